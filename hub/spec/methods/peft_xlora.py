"""X-LoRA's classifier: a few linear layers that weigh the experts, which are LoRA adapters in folders of their own.

PEFT 0.21: `hidden_size` -> `xlora_size` -> ... -> one number for each expert (and each adapted layer with
`layerwise_scalings`), `xlora_depth` layers in all. Between two of them stand a ReLU and, with `xlora_dropout_p`, a dropout, which
take numbers in the sequence.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

from hub.spec import components, tensors
from hub.spec.methods import layout
from hub.spec.methods.layout import Slot
from hub.spec.methods.peft_config import Settings

_LAYERS = "internal_xlora_classifier.layers."


def slots(source: components.Source, settings: Settings, once: Mapping[str, tensors.Tensor]) -> tuple[Slot, ...]:
    """Return what the classifier's layers have to be; notes where the file holds other ones than the configuration says."""
    found = sorted({int(name) for role in once if (name := _number_of(role)).isdecimal()})
    depth = settings.numbers["depth"] or 1
    step = 3 if _drops(source.config.get("xlora_dropout_p", 0.2)) else 2
    if len(found) != depth or found != list(range(0, depth * step, step)):
        named = ", ".join(map(str, found[:10])) or "none"
        message = f"{source.config_path} says xlora_depth {depth}, the file's layers are {named}"
        hint = (
            "PEFT 0.21 leaves out layers whose number is an expert's: save internal_xlora_classifier's state_dict whole"
        )
        source.tensor_problem("missing", message, hint)
        return tuple(dataclasses.replace(slot, axes=None) for slot in layout.spelled(settings.layout.prompts, once))
    _check_layerwise(source, once.get(f"{_LAYERS}{found[-1]}.weight"))
    ends = ["hidden", *["size"] * (depth - 1), "rows" if source.config.get("layerwise_scalings") else "classes"]
    rows = []
    for number, (read, written) in zip(found, itertools.pairwise(ends), strict=True):
        rows += [f"{_LAYERS}{number}.weight: {written} {read}", f"{_LAYERS}{number}.bias: {written}"]
    return tuple(map(Slot.parse, rows))


def sizes(source: components.Source) -> layout.Symbols:
    """What is known before the tensors are looked at: the base model's width, and how many experts are named."""
    known = {"hidden": source.base.sizes["hidden"]} if source.base and source.base.sizes["hidden"] else {}
    experts = source.config.get("adapters")
    return known | ({"classes": len(experts)} if isinstance(experts, dict) and experts else {})


def needs(found: Mapping[str, tensors.Tensor]) -> dict[str, int]:
    """What the first layer's width asks of the base model."""
    first = found.get(f"{_LAYERS}0.weight")
    return {"hidden": first.shape[1]} if first is not None and len(first.shape) == 2 else {}


def _number_of(role: str) -> str:
    return role.removeprefix(_LAYERS).partition(".")[0] if role.startswith(_LAYERS) else ""


def _drops(rate: object) -> bool:
    return isinstance(rate, int | float) and rate > 0


def _check_layerwise(source: components.Source, last: tensors.Tensor | None) -> None:
    """With `layerwise_scalings` the last layer has a row for each expert at each adapted layer."""
    experts = sizes(source).get("classes")
    if not source.config.get("layerwise_scalings") or not experts or last is None or not last.shape:
        return
    if last.shape[0] % experts:
        message = f"tensor {last.name!r} has {last.shape[0]} rows, which is no multiple of the {experts} experts"
        source.tensor_problem("shape", message, "are all experts named in adapters?")
