"""Names that came over the wire never leave the folder they are meant for."""

import os
from collections.abc import Iterable
from pathlib import Path

from hub import errors
from hub.spec import manifest
from hub.spec.errors import Problem, SpecError


def problems(names: Iterable[str]) -> list[Problem]:
    """Everything wrong with these relative paths: what no system can hold, what collides where case is ignored."""
    found, fine = [], []
    for name in names:
        reason = manifest.path_fault(name)
        if reason:
            found.append(
                Problem("path.syntax", repr(name[:200]), f"is no file name that may be written: {reason}", "rename it")
            )
        else:
            fine.append(name)
    try:
        manifest.check_paths(fine)
    except SpecError as error:
        found += error.problems
    if len(fine) > manifest.MAX_FILES:
        found.append(
            Problem("path.count", "", f"{len(fine)} files; at most {manifest.MAX_FILES} are written", "push fewer")
        )
    return found


def check(names: Iterable[str], *, source: str) -> None:
    """Raises IntegrityError for names that a well-meaning hub never sends."""
    found = problems(names)
    if found:
        hint = "do not use this hub; nothing was written"
        raise errors.IntegrityError(f"{source} names files that must not be written", hint=hint, problems=found)


def inside(root: Path, name: str) -> Path:
    """`root/name`, after proof that nothing on the way is a link that leads out. Raises IntegrityError."""
    check([name], source="a manifest")
    target = root.joinpath(*name.split("/"))
    for parent in target.parents:
        if parent == root:
            return target
        if os.path.islink(parent):
            raise errors.IntegrityError(f"{parent} is a symbolic link; nothing is written through it")
    raise errors.IntegrityError(f"the file name {name!r} leads out of {root}")
