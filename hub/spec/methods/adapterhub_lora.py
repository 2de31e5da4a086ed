"""The configuration of AdapterHub's LoRA and its kin (`adapters.LoRAConfig`: IA3, DoRA, VeRA, MTL-LoRA)."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from hub.spec import components, documents
from hub.spec.methods import adapterhub_places as places

_ATTENTION = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value"}
_PARTS = (*_ATTENTION, "o")
_MODES = ("add", "scale")
_MAX_ALPHA = 1 << 16
# key -> how the role of a tensor is called that is there exactly if it is switched on
_MARKS = {"use_dora": "m.weight", "use_gating": "gate.weight"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the configuration says. `matrices`: the adapted ones of an attention; `mode`: whether the product is added to the
    layer's weight, or a vector multiplied with it; `sharpness`: how MTL-LoRA weighs its upward projections."""

    matrices: tuple[str, ...]
    attention: bool
    intermediate: bool
    output: bool
    leave_out: frozenset[int]
    rank: int
    alpha: float
    mode: str
    flags: dict[str, bool]
    sharpness: float

    container = "loras"

    def places(self, layers: Collection[int]) -> set[str]:
        """The modules that have to hold an adapter."""
        named = [module for key, module in _ATTENTION.items() if self.attention and key in self.matrices]
        named += ["intermediate.dense"] * self.intermediate + ["output.dense"] * self.output
        return {places.LAYER.format(layer) + place for layer in set(layers) - self.leave_out for place in named}

    @property
    def scale(self) -> float:
        """The factor before the product, or before the vector."""
        return self.alpha if self.mode == "scale" else self.alpha / self.rank

    @property
    def options(self) -> dict[str, Any]:
        """What the runtime is told beside the tensors."""
        return {"mode": self.mode, "matrices": list(self.matrices), "sharpness": self.sharpness}

    def check(self, source: components.Source, module: str, roles: Collection[str]) -> None:
        """A tensor that a switch of the configuration stands for is there if it is on, and only then."""
        for key, role in _MARKS.items():
            if self.flags[key] != (role in roles):
                there = "lacks" if self.flags[key] else "has"
                message = f"the adapter at {module!r} {there} {role}, which does not fit config.{key}"
                code = "missing" if self.flags[key] else "untargeted"
                source.tensor_problem(code, message, f"{key} must be what it was trained with")
        if (self.mode == "scale") == ("lora_A" in roles or "vera_B" in roles):
            message = f"the tensors at {module!r} are not those of config.composition_mode {self.mode!r}"
            source.tensor_problem("method", message, "composition_mode must be what it was trained with")


def read(source: components.Source, raw: dict[str, Any]) -> Settings:
    """Judge the configuration; faults are collected, and a usable value stands in for each."""
    rank = places.number(source, raw, "r", 8, _MAX_ALPHA, 1)
    mode = raw.get("composition_mode", "add")
    if mode not in _MODES:
        message = f"{documents.shorten(mode)!r} is no way to compose this hub knows"
        source.config_problem("value", "config.composition_mode", message, f"known are {', '.join(_MODES)}")
        mode = "add"
    if mode == "scale" and rank != 1:
        source.config_problem("value", "config.r", "must be 1 where composition_mode is 'scale'")
    if mode == "scale" and raw.get("use_dora"):
        source.config_problem("value", "config.use_dora", "must be false where composition_mode is 'scale'")
    return Settings(
        matrices=_matrices(source, raw.get("attn_matrices", ["q", "v"])),
        attention=places.flag(source, raw, "selfattn_lora", True),
        intermediate=places.flag(source, raw, "intermediate_lora", False),
        output=places.flag(source, raw, "output_lora", False),
        leave_out=places.leave_out(source, raw),
        rank=rank,
        alpha=_alpha(source, raw.get("alpha", 8)),
        mode=mode,
        flags={key: places.flag(source, raw, key, False) for key in _MARKS},
        sharpness=_sharpness(source, raw),
    )


def _matrices(source: components.Source, value: Any) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or any(item not in _PARTS for item in value if isinstance(item, str))
        or any(not isinstance(item, str) for item in value)
    ):
        source.config_problem("value", "config.attn_matrices", f"must be a list of {', '.join(_PARTS)}")
        return ("q", "v")
    return tuple(value)


def _alpha(source: components.Source, value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MAX_ALPHA:
        return float(value)
    source.config_problem("value", "config.alpha", f"must be a number, at most {_MAX_ALPHA}")
    return 8.0


def _sharpness(source: components.Source, raw: dict[str, Any]) -> float:
    value = raw.get("weights_sharpness", 0.05)
    if isinstance(value, int | float) and not isinstance(value, bool) and 1e-3 <= value <= 1e3:
        return float(value)
    source.config_problem("value", "config.weights_sharpness", "must be a number from 0.001 to 1000")
    return 0.05
