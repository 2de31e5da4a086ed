"""The self-test of a folder: durable writes, names that stay, ranges, room."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from registry.storage import base

Rename = Callable[[Path, Path], None]


def capabilities(folder: Path, rename: Rename) -> tuple[base.Capability, ...]:
    """Try `folder`; `rename(source, target)` is how the store gives a blob its name. Raises OSError."""
    with _pair(folder) as (first, second):
        return (_durable(first), _keeps_names(first, second, rename), _ranges(first), _room(folder))


@contextlib.contextmanager
def _pair(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Two files with the contents "first" and "second"; all that begins with their names is removed."""
    mark = f"probe-{uuid.uuid4().hex}"
    first, second = folder / f"{mark}-first", folder / f"{mark}-second"
    try:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
        yield first, second
    finally:
        for path in folder.glob(f"{mark}*"):
            path.unlink(missing_ok=True)


def _durable(path: Path) -> base.Capability:
    for target, flags in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(target, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return base.Capability("durable write", True, "file and folder are synced")


def _keeps_names(first: Path, second: Path, rename: Rename) -> base.Capability:
    target = first.with_name(first.name + "-name")
    rename(first, target)
    try:
        rename(second, target)
    except FileExistsError:
        if target.read_bytes() == b"first":
            return base.Capability("no overwrite", True, "a name that exists is refused")
    return base.Capability("no overwrite", False, "a name that exists was given to other bytes")


def _ranges(path: Path) -> base.Capability:
    source = path if path.exists() else path.with_name(path.name + "-name")
    with source.open("rb") as file:
        file.seek(1)
        found = file.read(2)
    return base.Capability("ranges", found == b"ir", f"bytes 1 and 2 of 'first' are {found!r}")


def _room(folder: Path) -> base.Capability:
    free = shutil.disk_usage(folder).free
    return base.Capability("room", free > base.SINGLE_PUT, f"{free / 1e9:.1f} GB free", required=False)
