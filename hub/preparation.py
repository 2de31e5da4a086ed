"""Before a push: look at a folder as the hub will, and tell every problem before a byte travels.

folder + what the command line says -> manifest -> inspection. The folder itself is never written to.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub import errors, folder
from hub.spec import card, documents, manifest, sizes, torch_file, validation, words
from hub.spec.base_model import BaseModel
from hub.spec.errors import Problem, SpecError
from hub.transfer.wire import Wire

FACTS = "hub.json"


@dataclass(frozen=True)
class Prepared:
    """A folder ready to be sent: what the manifest will be, what is in it, what is wrong with it."""

    snapshot: folder.FolderSnapshot
    manifest: manifest.Manifest
    facts: Mapping[str, Any]
    inspection: validation.Inspection | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    base_parameters: int = 0

    def to_json(self) -> dict[str, Any]:
        """What `--dry-run` shows."""
        return {
            "ok": not self.problems,
            "digest": f"sha256:{self.manifest.digest}",
            "size": self.manifest.size,
            "files": [file.to_json() for file in self.manifest.files],
            "left_out": self.snapshot.left_out,
            "hub.json": dict(self.facts),
            "components": self._components(),
            "checks": list(self.inspection.checks) if self.inspection else [],
            "problems": [problem.to_json() for problem in self.problems],
            "rewritten": self._rewritten(),
            "notes": list(self.notes),
        }

    def _rewritten(self) -> list[dict[str, Any]]:
        """Every change, also those that the notes leave out."""
        found = self.inspection.rewritten if self.inspection else ()
        return [{"path": one.path, "changes": list(one.changes)} for one in found]

    def _components(self) -> list[dict[str, Any]]:
        found = self.inspection.components if self.inspection else ()
        return [summary(component) | {"sizes": sizes.of(component, self.base_parameters)} for component in found]


@dataclass
class _Merged:
    facts: dict[str, Any]
    data: bytes | None
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def summary(component: validation.Component) -> dict[str, Any]:
    """One adapter of a snapshot in a few words."""
    names = ("folder", "library", "method", "variant", "rank", "parameters", "head_parameters")
    return {name: getattr(component, name) for name in names}


def prepare(
    root: Path | str,
    said: Mapping[str, Any],
    *,
    base: BaseModel | None = None,
    called: str = "",
    labels: tuple[str, ...] | None = None,
    tasks: Callable[[Collection[str]], Collection[str]] = lambda benchmarks: (),
    unknown: errors.NotFound | None = None,
    check: bool = True,
) -> Prepared:
    """Looks at a folder as the hub will. `said` are facts of the command line, as hub.json writes them: they win.

    The folder itself is never written to. `labels` are the benchmark's, where one is known; `called` is what
    the user calls the base model. `tasks` gives the ML tasks of
    the plan from the benchmarks that the folder names; it is asked only for an adapter without a head. `unknown`: what the
    hub says of the base model that the files name: raised where hub.json names it, as a push would be answered; else a problem.
    """
    merged = _merge(Path(root), {key: value for key, value in said.items() if value not in (None, [], "")})
    files = folder.FolderSnapshot(root, {FACTS: merged.data} if merged.data else None)
    content = files.manifest()
    problems = merged.problems + files.problems + _unknown_base(unknown, merged.facts)
    inspection = validation.inspect(torch_file.as_kept(files), base, labels) if check else None
    if inspection is not None and not all(part.head for part in inspection.components):
        inspection = inspection.asked(tasks(inspection.facts.benchmarks), base, called)
    if inspection is not None:
        problems += inspection.problems or _refused(content)
    notes = (*merged.notes, *_conversions(files), *_rewritings(inspection))
    parameters = base.parameters if base else 0
    return Prepared(files, content, merged.facts, inspection, tuple(dict.fromkeys(problems)), notes, parameters)


def declared_base(root: Path | str) -> str | None:
    """The base model that a folder's own files name, None where they name none (or cannot be read)."""
    try:
        return card.read(folder.FolderSnapshot(root)).base
    except SpecError:
        return None


def refuse(prepared: Prepared, what: str) -> None:
    """Raises Rejected with every problem when there is any. Nothing was sent."""
    if prepared.problems:
        checks = list(prepared.inspection.checks) if prepared.inspection else []
        report = {"verdict": "failed", "checks": checks, "problems": [p.to_json() for p in prepared.problems]}
        count = words.counted(len(prepared.problems), "problem")
        raise errors.Rejected(
            f"{what} cannot be pushed as it is ({count}); nothing was sent",
            problems=prepared.problems,
            report=report,
            code="rejected",
        )


def proposals(wire: Wire, root: Path | str) -> list[str]:
    """Base models of the hub that an adapter fits whose files name none, best first. Empty where they name one, and where
    nobody can tell: what was not asked for is no reason to fail."""
    try:
        files = folder.FolderSnapshot(root)
        if card.read(files).base:
            return []
        needs = [part.needs for part in validation.inspect(torch_file.as_kept(files), None).components]
        if not needs or not all(needs):
            return []
        found = wire.request("POST", "compat/bases", json={"needs": needs}, idempotent=True).data["results"]
    except (SpecError, errors.HubError):
        return []
    return [str(one["name"] or one["fingerprint"]) for one in found]


def _merge(root: Path, said: Mapping[str, Any]) -> _Merged:
    """hub.json of the folder with what the command line says laid over it; a contradiction is told."""
    path = root / FACTS
    merged = _Merged({}, None)
    if path.is_file() and not path.is_symlink():
        try:
            merged.facts = documents.loads_object(path.read_bytes(), where=FACTS)
        except SpecError as error:
            merged.problems += error.problems
    own = dict(merged.facts)
    for key, value in said.items():
        if key in own and own[key] != value:
            merged.notes.append(
                f"{FACTS} says {key} {own[key]!r}, the command line {value!r}: the command line is used"
            )
        merged.facts[key] = value
    if merged.facts != own and not merged.problems:
        text = json.dumps(merged.facts, indent=2, sort_keys=True, ensure_ascii=False)
        merged.data = f"{text}\n".encode()
    return merged


def _unknown_base(unknown: errors.NotFound | None, facts: Mapping[str, Any]) -> list[Problem]:
    """What a hub that judges says of the files when it has them; what hub.json names it looks up before."""
    if unknown is None:
        return []
    if facts.get("base"):
        raise unknown
    return [Problem("unknown_base", "base", unknown.message, unknown.hint, "config")]


def _conversions(files: folder.FolderSnapshot) -> tuple[str, ...]:
    """A line for each file that the hub will not keep as it is sent."""
    try:
        made = torch_file.replaced(files.files)
    except SpecError:
        return ()
    return tuple(
        f"{path} is sent as it is; the hub reads it without running it and keeps {kept}" for path, kept in made.items()
    )


def _rewritings(inspection: validation.Inspection | None) -> tuple[str, ...]:
    """A line for each configuration that the hub will serve in other words, where somebody may miss something."""
    found = [one for one in inspection.rewritten if one.news] if inspection else []
    return tuple(f"{one.path} is sent as it is; the hub keeps it rewritten: {'; '.join(one.news)}" for one in found)


def _refused(content: manifest.Manifest) -> tuple[Problem, ...]:
    """What the hub would say to the manifest itself (sizes, numbers of files)."""
    try:
        manifest.Manifest.from_json(content.to_json())
    except SpecError as error:
        return error.problems
    return ()
