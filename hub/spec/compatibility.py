"""Does this adapter fit this base model? One answer, from the strongest to the weakest:

validated      it ran and passed on exactly this backbone
same_values    this base is a copy of such a backbone in another number format
derived        its publisher, or the base's, says that one comes from the other
shape_only     every tensor fits, and nothing more is known
unknown        there is nothing to compare
incompatible   tensors clash; only a proven clash is one
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from typing import Literal

from hub.spec import base_model, components, validation

Level = Literal["validated", "same_values", "derived", "shape_only", "unknown", "incompatible"]
LEVELS: tuple[Level, ...] = ("validated", "same_values", "derived", "shape_only", "unknown", "incompatible")


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
    `same_values` roots whose values those are in another format, `derived` roots declared to descend from them.
    """
    parts = found.components if isinstance(found, validation.Inspection) else tuple(found)
    if not parts:
        return Verdict("unknown", ("there is no adapter to compare",))
    clashes = tuple(clash for component in parts for clash in _clashes(component, base))
    if clashes:
        return Verdict("incompatible", clashes)
    root = base.roots.get("backbone", "")
    for level, roots, reason in (
        ("validated", validated_on, "it ran and passed on exactly this backbone"),
        ("same_values", same_values, "the same values as a validated backbone, in another number format"),
        ("derived", derived, "declared to descend from a validated backbone"),
    ):
        if root in roots:
            return Verdict(level, (reason,))  # type: ignore[arg-type]
    if declared == base.fingerprint:
        return Verdict("shape_only", ("published for this base model, but it has not passed on it",))
    return Verdict("shape_only", ("every tensor fits, but other weights were validated",))


def _clashes(component: components.Component, base: base_model.BaseModel) -> list[str]:
    found = [clash for part in component.parts if (clash := _CLASH[part.kind](part, base))]
    head = component.head
    if head is not None:
        found += [clash for role, shape in head.shapes.items() if (clash := _head_clash(head, role, shape, base))]
    return found


def _lora_clash(part: components.Part, base: base_model.BaseModel) -> str:
    if part.module not in base.linears:
        return f"{part.tensors['A']}: the base model has no linear layer {part.module!r}"
    out, width = base.modules[part.module]
    a, b = part.shapes["A"], part.shapes["B"]
    if a[1] == width and b[0] == out:
        return ""
    shapes = f"{components.shown(a)} and {components.shown(b)}"
    return f"{part.module}: the adapter's {shapes} do not fit the base model's {components.shown((out, width))}"


def _bottleneck_clash(part: components.Part, base: base_model.BaseModel) -> str:
    block = f"{part.module}.dense"
    if block not in base.modules:
        return f"{part.tensors['down_weight']}: the base model has no block {part.module!r}"
    hidden = base.modules[block][0]
    shape = part.shapes["down_weight"]
    if shape[1] == hidden:
        return ""
    return f"{part.module}: the adapter's {components.shown(shape)} does not fit hidden size {hidden}"


def _head_clash(head: components.Head, role: str, shape: components.Shape, base: base_model.BaseModel) -> str:
    wide = len(shape) == 2 and base.hidden_size and shape[1] != base.hidden_size
    if not wide:
        return ""
    name = head.tensors[role]
    return f"{name}: the head's {components.shown(shape)} does not fit hidden size {base.hidden_size}"


_CLASH = {"lora": _lora_clash, "bottleneck": _bottleneck_clash}
