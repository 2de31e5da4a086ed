"""Does this adapter fit this base model? One answer, from the strongest to the weakest:

validated      it ran and passed on exactly this backbone
same_values    this base is a copy of such a backbone in another number format
derived        one of this backbone and such a one is known to come from the other
shape_only     every tensor fits, and nothing more is known
unknown        there is nothing to compare: no adapter, or its files do not tell what sizes it needs
incompatible   tensors clash; only a proven clash is one

The registry asks the same of whole tables in SQL (`registry.models.fits`); a test holds both against each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal

from hub.spec import base_model, components, validation

Level = Literal["validated", "same_values", "derived", "shape_only", "unknown", "incompatible"]
FITTING: tuple[Level, ...] = ("validated", "same_values", "derived", "shape_only")
LEVELS: tuple[Level, ...] = (*FITTING, "unknown", "incompatible")
NAMED = 3  # tensors that a reason names
REASONS = {
    "validated": "it ran and passed on exactly this backbone",
    "same_values": "the same values as a validated backbone, in another number format",
    "derived": "one of this backbone and a validated one is known to come from the other",
    "declared": "published for this base model, but it has not passed on it",
    "shape_only": "every tensor fits, but other weights were validated",
    "unknown": "the files do not tell what sizes the base model must have",
}
WORDS = {
    "in": "input width",
    "out": "output width",
    "hidden": "hidden size",
    "prefix": "a width of keys and values of",
}
"""What sizes of a base model are called."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The level, and why."""

    level: Level
    reasons: tuple[str, ...]


def check(
    found: validation.Inspection | Iterable[components.Component],
    base: base_model.BaseModel,
    declared: str | None = None,
    validated_on: Collection[str] = (),
    *,
    same_values: Collection[str] = (),
    derived: Collection[str] = (),
) -> Verdict:
    """Compare adapters with a base model.

    `declared` is the fingerprint the adapter was published for, `validated_on` the backbone roots it passed on,
    `same_values` roots whose values those are in another format, `derived` roots known to be derived from them, or they from those.
    """
    parts = found.components if isinstance(found, validation.Inspection) else tuple(found)
    if not parts:
        return Verdict("unknown", ("there is no adapter to compare",))
    clashes = tuple(clash for component in parts for clash in _clashes(component, base))
    if clashes:
        return Verdict("incompatible", clashes)
    root = base.roots.get("backbone", "")
    known: tuple[tuple[Level, Collection[str]], ...] = (
        ("validated", validated_on),
        ("same_values", same_values),
        ("derived", derived),
    )
    for level, roots in known:
        if root in roots:
            return Verdict(level, (REASONS[level],))
    if declared == base.fingerprint:
        return Verdict("shape_only", (REASONS["declared"],))
    if not all(component.needs for component in parts):
        return Verdict("unknown", (REASONS["unknown"],))
    return Verdict("shape_only", (REASONS["shape_only"],))


def differences(names: Sequence[str], total: int, called: str = "") -> str:
    """Say which of `total` tensors differ, the first three by name, and how many; with `called`, from whose."""
    shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    verb, those = ("differs", "that") if len(names) == 1 else ("differ", "those")
    counted = f"{len(names)} of {total} tensors"
    return f"{shown} {verb} from {those} of {called}: {counted}" if called else f"{shown} {verb} ({counted})"


def unlike(base: base_model.BaseModel, other: base_model.BaseModel, called: str) -> str:
    """Say in which tensors a base model is not `other`, which is `called` so; nothing where they are the same."""
    names = base_model.differing(base, other)
    return differences(names, len({leaf.name for leaf in (*base.leaves, *other.leaves)}), called) if names else ""


def other_weights(found: base_model.BaseModel, known: base_model.BaseModel) -> str:
    """Say which tensors prove that one backbone is not the other; empty where nothing proves it.

    A tensor in another number format proves nothing: it may be a copy. Nor does one that a quantised base model lacks, which
    packs its weights under names of its own.
    """
    mine, theirs = _backbone(found), _backbone(known)
    packed = bool(found.quantisation or known.quantisation)
    names = [name for name in sorted(mine.keys() | theirs.keys()) if _proves(mine.get(name), theirs.get(name), packed)]
    return differences(names, len(mine.keys() | theirs.keys())) if names else ""


def _backbone(base: base_model.BaseModel) -> dict[str, base_model.Leaf]:
    return {leaf.name: leaf for leaf in base.leaves if base_model.part_of(leaf.name) in ("embeddings", "layers")}


def _proves(mine: base_model.Leaf | None, theirs: base_model.Leaf | None, packed: bool) -> bool:
    if mine is None or theirs is None:
        return not packed
    return mine != theirs and (mine.dtype == theirs.dtype or (mine.shape != theirs.shape and not packed))


def _clashes(component: components.Component, base: base_model.BaseModel) -> list[str]:
    found = [clash for part in component.parts for clash in _missing(part.needs, part, base)]
    head = component.head
    return found + (list(_missing(head.needs, head, base)) if head is not None else [])


def _missing(
    needs: dict[str, dict[str, int]], what: components.Part | components.Head, base: base_model.BaseModel
) -> Iterator[str]:
    """What the base model lacks: the tensor that needs it, and both shapes.

    A size that a module does not have is a clash: it is another kind of module. One that the configuration does not tell
    of the whole model (the empty path) proves nothing.
    """
    for path, sizes in needs.items():
        have = base.offers.get(path)
        role = next(iter(what.tensors))
        key, shape = what.tensors[role], components.shown(what.shapes[role])
        if have is None:
            yield f"{key}: the base model has no {path!r}"
            continue
        for name, size in sizes.items():
            if name not in have:
                if path:
                    yield f"{key} {shape} needs {WORDS.get(name, name)} {size}; the base model's {path} has none"
            elif have[name] != size:
                own = base.modules[path].shape if path in base.modules else None
                where = f"the base model's {path}.weight {components.shown(own)}" if own else "the base model"
                yield f"{key} {shape} needs {WORDS.get(name, name)} {size}; {where} has {have[name]}"
