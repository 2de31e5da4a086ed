"""The configuration of AdapterHub's bottleneck adapters (Houlsby, Pfeiffer, parallel, Compacter), and where they must stand.

What runs here are the two projections with a fixed scaling, in every order of residuals and layer norms that the library
knows. The rest is understood.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from hub.spec import components, documents, families

ACTIVATIONS = ("relu", "gelu", "gelu_new", "swish", "silu", "tanh", "leakyrelu")
MIN_REDUCTION, MAX_REDUCTION = 0.01, 10_000
MAX_SCALING = 1e4
_DEFAULTS: dict[str, Any] = {
    "residual_before_ln": True, "original_ln_before": False, "original_ln_after": True,
    "adapter_residual_before_ln": False,
}  # fmt: skip
# the configurations that files of old versions name instead of spelling out
NAMED: dict[str, dict[str, Any]] = {
    "houlsby": {"mh_adapter": True, "output_adapter": True, "non_linearity": "swish", "reduction_factor": 16},
    "pfeiffer": {"mh_adapter": False, "output_adapter": True, "non_linearity": "relu", "reduction_factor": 16,
                 "original_ln_before": True},
}  # fmt: skip
NAMED |= {"double_seq_bn": NAMED["houlsby"], "seq_bn": NAMED["pfeiffer"]}
# key -> (values that mean "off", what it is): understood, and not run here yet
_NOT_RUN: dict[str, tuple[tuple[Any, ...], str]] = {
    "is_parallel": ((None, False), "parallel adapters (is_parallel)"),
    "phm_layer": ((None, False), "Compacter (phm_layer)"),
    "inv_adapter": ((None, False), "invertible adapters (inv_adapter)"),
    "use_gating": ((None, False), "gated adapters (use_gating)"),
    "ln_before": ((None, False), "a layer norm before the adapter (ln_before)"),
    "ln_after": ((None, False), "a layer norm after the adapter (ln_after)"),
    "cross_adapter": ((None, False), "adapters in cross-attention (cross_adapter)"),
    "shared_W_phm": ((None, False), "Compacter (shared_W_phm)"),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the configuration says. `reduction` is by layer number, or "default"; `order`: where residuals and norms stand."""

    mh: bool
    output: bool
    activation: str
    reduction: dict[str, float]
    leave_out: frozenset[int]
    scaling: float
    order: dict[str, bool | str]
    plain: bool
    compacter: bool

    def width(self, module: str, hidden: int) -> int:
        """The bottleneck's width in a layer, as adapters computes it."""
        layer = next((part for part in module.split(".") if part.isdecimal()), "default")
        return max(1, int(hidden // self.reduction.get(layer, self.reduction.get("default", 16.0))))

    @property
    def variant(self) -> str:
        """What people call it."""
        if self.compacter:
            return "compacter"
        if not self.plain:
            return "bottleneck"
        if self.mh and self.output:
            return "houlsby"
        return "pfeiffer" if self.output else "bottleneck"

    def rebuilt(self) -> dict[str, Any]:
        """The configuration as it is handed on: nothing of the user's that we do not know."""
        return {
            "mh_adapter": self.mh, "output_adapter": self.output, "non_linearity": self.activation,
            "reduction_factor": self.reduction, "leave_out": sorted(self.leave_out), "scaling": self.scaling, **self.order,
        }  # fmt: skip


def read(source: components.Source, raw: dict[str, Any]) -> Settings:
    """Judge the configuration; faults are collected, and a usable value stands in for each."""
    off = {key: what for key, (values, what) in _NOT_RUN.items() if key in raw and raw[key] not in values}
    for key, what in off.items():
        source.not_run("config.unsupported", f"{source.config_path}: config.{key}", f"this hub does not run {what} yet")
    activation = raw.get("non_linearity")
    activation = activation.lower() if isinstance(activation, str) else activation  # as adapters reads it
    if activation not in ACTIVATIONS:
        message = f"{documents.shorten(activation)!r} is no activation this hub runs"
        source.config_problem("activation", "config.non_linearity", message, f"known are {', '.join(ACTIVATIONS)}")
        activation = "relu"
    return Settings(
        mh=_flag(source, raw, "mh_adapter", False),
        output=_flag(source, raw, "output_adapter", True),
        activation=activation,
        reduction=_reduction(source, raw.get("reduction_factor")),
        leave_out=_leave_out(source, raw.get("leave_out")),
        scaling=_scaling(source, raw.get("scaling", 1.0)),
        order={key: _order(source, raw, key) for key in _DEFAULTS},
        plain=not off,
        compacter="phm_layer" in off,
    )


def check_complete(source: components.Source, settings: Settings, found: set[str]) -> None:
    """Every layer that the configuration names has its adapters, and no other: checked for the families that run here."""
    kind = source.model_type or source.config.get("model_type")
    if kind not in families.BLOCKS or not found:
        return
    places = ["output"] * settings.output + ["attention.output"] * settings.mh
    if source.base is None:
        layers = {int(number) for module in found for number in module.split(".") if number.isdecimal()}
    else:
        layers = set(source.base.layers - settings.leave_out)
    wanted = {f"encoder.layer.{layer}.{place}" for layer in layers for place in places}
    if missing := sorted(wanted - found):
        more = f" and {len(missing) - 1} more blocks" if len(missing) > 1 else ""
        message = f"the adapter at {missing[0]!r}{more} is missing: the configuration names it"
        source.tensor_problem("missing", message, "a missing tensor would be made up at random")
    if extra := sorted(found - wanted):
        more = f" and {len(extra) - 1} more blocks" if len(extra) > 1 else ""
        message = f"there are tensors for {extra[0]!r}{more}, where neither configuration nor base has an adapter"
        source.tensor_problem("untargeted", message, "mh_adapter, output_adapter and leave_out must fit the tensors")


def _order(source: components.Source, raw: dict[str, Any], key: str) -> bool | str:
    """Where residual and layer norm stand; adapters also knows "post_add" for the first."""
    if key == "residual_before_ln" and raw.get(key) == "post_add":
        return "post_add"
    return _flag(source, raw, key, _DEFAULTS[key])


def _flag(source: components.Source, raw: dict[str, Any], key: str, default: bool) -> bool:
    value = raw.get(key, default)
    if not isinstance(value, bool):
        source.config_problem("type", f"config.{key}", f"must be true or false, not {documents.kind(value)}")
        return default
    return value


def _reduction(source: components.Source, value: Any) -> dict[str, float]:
    """The reduction factor by layer number, or "default"."""
    table = value if isinstance(value, dict) else {"default": value}
    good = all(
        isinstance(item, int | float) and not isinstance(item, bool) and MIN_REDUCTION <= item <= MAX_REDUCTION
        for item in table.values()
    )
    if not table or not good or any(key != "default" and not key.isdecimal() for key in table):
        message = "must be a number, or numbers by layer with a default"
        source.config_problem("reduction", "config.reduction_factor", message)
        return {"default": 16.0}
    return {str(key): float(item) for key, item in table.items()}


def _scaling(source: components.Source, value: Any) -> float:
    """The fixed factor behind the upward projection."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < abs(value) <= MAX_SCALING:
        return float(value)
    if value in ("learned", "channel"):
        where = f"{source.config_path}: config.scaling"
        source.not_run("config.unsupported", where, "this hub does not run learned scaling yet")
    else:
        source.config_problem("scaling", "config.scaling", f"must be a number above 0, at most {MAX_SCALING:g}")
    return 1.0


def _leave_out(source: components.Source, value: Any) -> frozenset[int]:
    numbers = [] if value is None else value
    if not isinstance(numbers, list) or any(type(item) is not int or item < 0 for item in numbers):
        source.config_problem("type", "config.leave_out", "must be a list of layer numbers")
        return frozenset()
    return frozenset(numbers)
