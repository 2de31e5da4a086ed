"""The component that is read from PEFT's files: parts, head and overlays with their sizes, and the configuration that is handed on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hub.spec import components
from hub.spec.methods import peft_heads
from hub.spec.methods.peft_shapes import Shapes


def build(
    shapes: Shapes, head: components.Head | None, overlays: Sequence[components.Part], aside: tuple[str, ...]
) -> components.Component:
    """Put together what was read. `overlays`: what stands in for tensors of the base model; `aside`: copies that mean nothing."""
    source = shapes.source
    by_key = {tensor.name: tensor for tensor in source.tensors}
    of_head = [by_key[key] for key in head.tensors.values() if key in by_key] if head else []
    heads = [part for part in overlays if part.kind != "copy" and peft_heads.is_head(part.module)]
    of_head += [by_key[key] for part in heads for key in part.tensors.values()]
    rest = [part for part in overlays if part not in heads]
    of_saved = [by_key[key] for part in rest if part.kind != "copy" for key in part.tensors.values()]
    copies = [by_key[key] for part in rest if part.kind == "copy" for key in part.tensors.values()]
    of_parts = [by_key[key] for part in shapes.parts for key in part.tensors.values()]
    return components.Component(
        folder=source.folder,
        library="peft",
        method=shapes.row.name,
        variant=_variant(shapes),
        config=_handed_on(shapes),
        weights=source.weights,
        parts=(*shapes.parts, *overlays),
        head=head,
        rank=max((size for part in shapes.parts if (size := _rank(part))), default=None),
        parameters=sum(tensor.count for tensor in shapes.trained),
        head_parameters=sum(tensor.count for tensor in of_head),
        saved_parameters=sum(tensor.count for tensor in of_saved),
        nbytes={
            what: sum(tensor.nbytes for tensor in found)
            for what, found in (("adapter", of_parts), ("head", of_head), ("saved", of_saved), ("copied", copies))
        },
        unrun=tuple(str(problem) for problem in source.unrun),
        by_library=tuple(source.by_library),
        checked=shapes.row.checked,
        generation=shapes.modules.generation,
        aside=aside,
    )


def _variant(shapes: Shapes) -> str:
    """What people call it: DoRA, rsLoRA and aLoRA have names of their own."""
    if shapes.row.name != "lora":
        return shapes.row.name
    names = {"use_dora": "dora", "alora_invocation_tokens": "alora"}
    return next(
        (name for key, name in names.items() if key in shapes.settings.on),
        "rslora" if shapes.settings.rslora else "lora",
    )


def _handed_on(shapes: Shapes) -> dict[str, Any]:
    """The configuration as it is handed on: explicit module names, and nothing of the user's that we do not know."""
    row, settings = shapes.row, shapes.settings
    value: dict[str, Any] = {"peft_type": row.type, "task_type": settings.task_type, "inference_mode": True}
    for knob in row.knobs:
        if (number := settings.numbers[knob.symbol]) is not None:
            value[knob.key] = number
        if knob.pattern:
            value[knob.pattern] = dict(settings.patterns[knob.symbol])
    if row.forms:
        value |= {
            "target_modules": [part.module for part in shapes.parts if part.module],
            "modules_to_save": sorted(settings.saved),
        }
    value |= shapes.reckoned | {
        key: settings.alpha
        for key in ("alpha", "lora_alpha")
        if key in row.keys and shapes.source.config.get(key) is not None
    }
    if row.name == "lora":
        value |= {
            "lora_alpha": settings.alpha, "use_rslora": settings.rslora, "alpha_pattern": dict(settings.alpha_pattern),
            "bias": "none" if settings.bias == "none" else shapes.source.config["bias"], "init_lora_weights": True,
            "lora_dropout": 0.0,
        }  # fmt: skip
    return value


def _rank(part: components.Part) -> int:
    """The rank of a part: the first axis of the half that reads."""
    for role in (
        "A",
        "lora_embedding_A",
        "lora_A",
        "hada_w1_b",
        "lokr_w2_b",
        "delora_A",
        "vera_lambda_d",
        "miss_block",
    ):
        if role in part.shapes:
            return part.shapes[role][0]
    if "hra_u" in part.shapes:
        return part.shapes["hra_u"][1]
    return 0
