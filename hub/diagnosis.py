"""What an adapter is and what is wrong with it, from its files alone: no server, no torch.

For one folder or for hundreds: each is read by names, small files and headers; of the weights only the halves that may be
empty and the tensors that may be copies of the base model's own.
"""

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from blake3 import blake3

from hub import base_folder, folder, local_fits
from hub.errors import HubError
from hub.findings import Finding, KnownBase
from hub.spec import (
    card,
    documents,
    engines,
    scan,
    sizes,
    snapshot,
    tensors,
    torch_file,
    validation,
)
from hub.spec.components import Component
from hub.spec.errors import SpecError
from hub.spec.methods import dialects, peft_table
from hub.spec.snapshot import Snapshot
from hub.spec.words import counted

MAX_PLACES = 100_000
PIECE = 8 << 20
"""Bytes that are compared at once."""
_UPPER_HALVES = ("B", "lora_B", "lora_embedding_B", "up_weight", "hada_w2_b", "delora_B", "hira_B")
"""Halves that are zero before training: an adapter with nothing else in them changes nothing."""


class FlatFolder:
    """The files of one folder, without what lies in folders below it; links are not followed. A `Snapshot`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with os.scandir(root) as entries:
            plain = [entry for entry in entries if entry.is_file(follow_symlinks=False) and entry.name[:1] != "."]
            sizes = {entry.name: entry.stat(follow_symlinks=False).st_size for entry in plain}
        self.files: Mapping[str, int] = {name: sizes[name] for name in sorted(sizes) if not folder.is_by_product(name)}

    def read(self, path: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive) of one file."""
        with folder.open_plain(self.root / path) as stream:
            stream.seek(start)
            return stream.read(end - start)


def places(root: Path) -> Iterator[Path]:
    """Every folder at or below a path that holds an adapter, in order of names."""
    waiting, seen = [root], 0
    while waiting and seen < MAX_PLACES:
        here = waiting.pop()
        seen += 1
        try:
            with os.scandir(here) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        names = {entry.name for entry in listed}
        if names & {snapshot.CONFIG, snapshot.FUSION} or ("config.json" not in names and _holds_a_dialect(here, names)):
            yield here
        below = [Path(entry.path) for entry in listed if entry.is_dir(follow_symlinks=False) and entry.name[:1] != "."]
        waiting += reversed(below)


def _holds_a_dialect(here: Path, names: set[str]) -> bool:
    """Whether a folder without configuration holds a LoRA file of kohya's or diffusers'."""
    weights = sorted(name for name in names if name.endswith(".safetensors"))
    files = FlatFolder(here) if weights else None
    for name in weights:
        try:
            if files is not None and name in files.files and dialects.detect(scan.header(files, name)):
                return True
        except SpecError:
            continue
    return False


def examine(
    found: Iterable[tuple[str, Snapshot]], bases: Sequence[KnownBase], tell: Callable[[str], None] = lambda place: None
) -> list[Finding]:
    """Look at every adapter, and at all of them together. `tell` hears of each place before it is read."""
    findings: list[Finding] = []
    signs: dict[str, list[tuple[Finding, Snapshot]]] = {}
    for place, files in found:
        tell(place)
        files = torch_file.as_kept(files)
        for finding in _of_snapshot(place, files, bases):
            findings.append(finding)
            if finding.component is not None:
                signs.setdefault(_sign(files, finding.component), []).append((finding, files))
    for alike in signs.values():
        _tell_duplicates(alike)
    return findings


def _of_snapshot(place: str, files: Snapshot, bases: Sequence[KnownBase]) -> Iterator[Finding]:
    facts = _facts(files)
    inspection = validation.inspect(files, None, to_run=False)
    if not inspection.components:
        finding = Finding(place, base=facts.base, nbytes=sum(files.files.values()))
        finding.declared = _declared(files)
        _tell_problems(finding, inspection)
        yield finding
    for component in inspection.components:
        where = f"{place}#{component.folder}" if component.folder else place
        finding = Finding(where, component, facts.base, nbytes=sum(files.files.values()), unrun=component.unrun)
        head = component.head
        finding.trained_on = facts.trained_on
        finding.labels = head.labels if head else facts.labels
        finding.serving = engines.serving(component)
        _tell_problems(finding, inspection)
        local_fits.tell_fits(finding, files, bases)
        _tell_head(finding, component)
        local_fits.tell_named(finding)
        _tell_bytes(finding, files, component, bases)
        _tell_empty(finding, files, component)
        _tell_tokenizer(finding, files, component, bases)
        yield finding


def _facts(files: Snapshot) -> card.Facts:
    try:
        return card.read(files)
    except SpecError:
        return card.Facts()


def _declared(files: Snapshot) -> tuple[str, int]:
    """Method and rank as PEFT's configuration says them: all there is where no weights can be read."""
    try:
        data = snapshot.whole(files, snapshot.CONFIG, documents.MAX_BYTES)
        config = documents.loads_object(data, where=snapshot.CONFIG)
    except (SpecError, KeyError):
        return "", 0
    said = config.get("peft_type")
    row = peft_table.TABLE.get(said) if isinstance(said, str) else None
    rank = config.get("r")
    return (row.name, rank if type(rank) is int and rank > 0 else 0) if row else ("", 0)


def _tell_problems(finding: Finding, inspection: validation.Inspection) -> None:
    for problem in inspection.problems:
        finding.remark(
            "problem", f"{problem.where}: {problem.message}" if problem.where else problem.message, problem.hint
        )
    for notice in inspection.notices:
        finding.remark("note", notice)


def _tell_head(finding: Finding, component: Component) -> None:
    if component.head is not None and finding.labels is None:
        finding.remark(
            "warning", f"a head of {counted(component.head.num_labels, 'class')}, and no file says what they are called",
            'write {"labels": [...]} into hub.json, or push with --labels',
        )  # fmt: skip
    if not component.checked:
        finding.remark("note", f"{component.method} is known by name: its shapes were not checked")
    if component.generation:
        finding.remark("note", f"its modules are called as in {component.generation}; older versions do not find them")


def _tell_bytes(finding: Finding, files: Snapshot, component: Component, bases: Sequence[KnownBase]) -> None:
    """What fills the bytes where it is not the adapter; and which of it is the base model's own, unchanged."""
    known = _first_fit(finding, bases)
    finding.sizes = sizes.of(component, known.base.parameters if known else 0)
    same = _unchanged(files, component, known) if known else {}
    finding.sizes["unchanged"] = {"bytes": sum(same.values())} if known else None
    if said := sizes.sentence(same):
        finding.remark("warning", said)
    whole = [part for part in component.parts if part.kind in ("saved", "copy")]
    size = component.nbytes.get("saved", 0) + component.nbytes.get("copied", 0)
    if not whole or size * 10 < sum(component.nbytes.values()):
        return
    names = ", ".join(sorted({part.module for part in whole})[:3])
    finding.remark(
        "warning", f"{size} of {sum(component.nbytes.values())} bytes of weights are whole modules ({names})"
    )


def _first_fit(finding: Finding, bases: Sequence[KnownBase]) -> KnownBase | None:
    folders = [fit["folder"] for fit in finding.fits[:1]]
    return next((known for known in bases if str(known.folder) in folders), None)


def _unchanged(files: Snapshot, component: Component, known: KnownBase) -> dict[sizes.Copy, int]:
    """Bytes of saved tensors that lie in rows equal to the base model's: both are on this machine, row by row."""
    found = sizes.copies(component, files, known.base)
    try:
        own = base_folder.places(known.folder) if found else {}
        return {copy: _equal(files, copy, *own[copy.name]) for copy in found if copy.name in own}
    except (OSError, HubError):  # the base went away meanwhile: its hashes may still be known
        return {}


def _equal(files: Snapshot, copy: sizes.Copy, shard: Path, start: int, end: int) -> int:
    with folder.open_plain(shard.resolve()) as stream:

        def theirs(at: int, to: int) -> bytes:
            stream.seek(at)
            return stream.read(to - at)

        if copy.picked:
            saved = files.read(copy.path, copy.start, copy.end)
            places = (start + row * copy.row for row in copy.picked)
            pairs = zip(range(0, len(saved), copy.row), places, strict=False)
            return copy.row * sum(saved[at : at + copy.row] == theirs(to, to + copy.row) for at, to in pairs)
        mine = _pieces(lambda at, to: files.read(copy.path, at, to), copy.start, copy.end)
        return sizes.rows(mine, _pieces(theirs, start, min(end, start + copy.end - copy.start)), copy.row)


def _pieces(read: Callable[[int, int], bytes], start: int, end: int) -> Iterator[bytes]:
    return (read(at, min(end, at + PIECE)) for at in range(start, end, PIECE))


def _tell_empty(finding: Finding, files: Snapshot, component: Component) -> None:
    """Modules whose upper half is zero were never trained."""
    located = sizes.places(files, component.weights)
    halves = [
        (part.module, part.tensors[role]) for part in component.parts for role in _UPPER_HALVES if role in part.tensors
    ]
    empty = [module for module, key in halves if key in located and _is_zero(files, component.weights, *located[key])]
    if halves and len(empty) == len(halves):
        finding.remark(
            "problem", "every module's upper half is zero: the adapter changes nothing", "was it ever trained?"
        )
    elif empty:
        finding.remark("warning", f"{len(empty)} of {len(halves)} modules were never trained: {empty[0]} is zero")


def _is_zero(files: Snapshot, path: str, tensor: tensors.Tensor, start: int) -> bool:
    first = files.read(path, start, start + min(tensor.nbytes, 4096))
    pieces = _pieces(functools.partial(files.read, path), start, start + tensor.nbytes)
    return not first.strip(b"\0") and not any(piece.strip(b"\0") for piece in pieces)


def _tell_tokenizer(finding: Finding, files: Snapshot, component: Component, bases: Sequence[KnownBase]) -> None:
    brought = base_folder.tokenizer_files(files.files)
    tables = [
        part.shapes["weight"][0]
        for part in component.parts
        if part.kind == "saved" and len(part.shapes.get("weight", ())) == 2
    ]
    for fit in finding.fits[:1]:
        base = next(known.base for known in bases if str(known.folder) == fit["folder"])
        vocab = base.sizes["vocab"]
        if tables and vocab and max(tables) > vocab and max(tables) < 2 * vocab:
            finding.remark(
                "warning",
                f"adds {max(tables) - vocab} tokens to the {vocab} of {fit['name']}: it needs its own tokenizer",
            )
        if brought and isinstance(files, FlatFolder) and base.tokenizer_digest:
            own = base_folder.tokenizer_digest(files.root)
            if own and own != base.tokenizer_digest:
                finding.remark("warning", f"its tokenizer is not that of {fit['name']}")


def _sign(files: Snapshot, component: Component) -> str:
    """What two copies share without reading their weights: sizes and the header."""
    size = files.files.get(component.weights, 0)
    head = files.read(component.weights, 0, min(size, 4096)) if size else b""
    return hashlib.sha256(f"{size} {component.weights} ".encode() + head).hexdigest()


def _tell_duplicates(alike: list[tuple[Finding, Snapshot]]) -> None:
    if len(alike) < 2:
        return
    groups: dict[str, list[Finding]] = {}
    for finding, files in alike:
        assert finding.component is not None
        path, digest = finding.component.weights, blake3()
        for piece in _pieces(functools.partial(files.read, path), 0, files.files.get(path, 0)):
            digest.update(piece)
        groups.setdefault(digest.hexdigest(), []).append(finding)
    for group in groups.values():
        for finding in group[1:]:
            finding.remark("warning", f"has the same weights as {group[0].place}")
