"""The configuration of AdapterHub's bottleneck adapters (Houlsby, Pfeiffer, parallel, Compacter), and where they must stand.

Two projections with an activation between them, one after the other with the sub-layer or beside it, with gates, norms and
scalings of their own, in every order of residuals and layer norms that the library knows (`adapters.BnConfig`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from hub.spec import components, documents
from hub.spec.methods import adapterhub_places as places

ACTIVATIONS = (
    "relu", "gelu", "gelu_new", "swish", "silu", "tanh", "leakyrelu", "gelu_10", "gelu_fast", "gelu_python",
    "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_accurate", "laplace", "leaky_relu", "linear", "mish", "quick_gelu",
    "relu2", "relu6", "sigmoid",
)  # fmt: skip
"""transformers' activations without numbers of their own, by the names that `adapters` 1.3 takes; and one name of its own."""
MIN_REDUCTION, MAX_REDUCTION = 0.01, 10_000
MAX_SCALING = 1e4
LEARNED = ("learned", "channel")
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
# key -> how the role of a tensor ends that is there exactly if it is switched on
_MARKS = {
    "use_gating": "gate_weight", "ln_before": "norm_before_weight", "ln_after": "norm_after_weight",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the configuration says. `reduction` is by layer number, or "default"; `order`: where residuals and norms stand.

    `flags`: the switches that tensors stand for. `learned`: how the scaling is trained, empty where it is a number.
    `coupling`: the kind of invertible adapter behind the embeddings, empty where there is none.
    """

    mh: bool
    output: bool
    activation: str
    reduction: dict[str, float]
    leave_out: frozenset[int]
    scaling: float
    order: dict[str, bool | str]
    parallel: bool
    flags: dict[str, bool]
    learned: str
    coupling: str
    shares_rule: bool

    container = "adapters"

    def width(self, module: str, hidden: int) -> int:
        """The bottleneck's width in a layer, as adapters computes it."""
        layer = next((part for part in module.split(".") if part.isdecimal()), "default")
        return max(1, int(hidden // self.reduction.get(layer, self.reduction.get("default", 16.0))))

    def places(self, layers: Collection[int]) -> set[str]:
        """The modules that have to hold an adapter."""
        named = ["output"] * self.output + ["attention.output"] * self.mh
        return {places.LAYER.format(layer) + place for layer in set(layers) - self.leave_out for place in named}

    @property
    def variant(self) -> str:
        """What people call it."""
        if self.flags["phm_layer"]:
            return "compacter"
        if self.parallel or self.learned or self.coupling or any(self.flags.values()):
            return "bottleneck"
        if self.mh and self.output:
            return "houlsby"
        return "pfeiffer" if self.output else "bottleneck"

    @property
    def options(self) -> dict[str, Any]:
        """What the runtime is told beside the tensors."""
        return {"parallel": self.parallel, **self.order}

    def rebuilt(self) -> dict[str, Any]:
        """The configuration as it is handed on: nothing of the user's that we do not know."""
        return {
            "mh_adapter": self.mh, "output_adapter": self.output, "non_linearity": self.activation,
            "reduction_factor": self.reduction, "leave_out": sorted(self.leave_out),
            "scaling": self.learned or self.scaling, "is_parallel": self.parallel, "inv_adapter": self.coupling or None,
            **self.flags, **self.order,
        }  # fmt: skip

    def check(self, source: components.Source, module: str, roles: Collection[str]) -> None:
        """A tensor that a switch of the configuration stands for is there if it is on, and only then."""
        wanted = {role: (key, self.flags[key]) for key, role in _MARKS.items()}
        wanted["down_weight"] = ("phm_layer", not self.flags["phm_layer"])
        wanted["scaling"] = ("scaling", bool(self.learned))
        if self.flags["phm_layer"]:
            wanted["down_phm_rule"] = ("shared_phm_rule", not self.shares_rule and "down_phm_rule_left" not in roles)
        for role, (key, on) in wanted.items():
            if on != (role in roles):
                there = "lacks" if on else "has"
                message = f"the adapter at {module!r} {there} {role}, which does not fit config.{key}"
                source.tensor_problem(
                    "missing" if on else "untargeted", message, f"{key} must be what it was trained with"
                )


def read(source: components.Source, raw: dict[str, Any]) -> Settings:
    """Judge the configuration; faults are collected, and a usable value stands in for each."""
    where = f"{source.config_path}: config."
    if raw.get("cross_adapter"):
        message = "this hub does not run adapters in cross-attention (cross_adapter) yet"
        source.not_run("config.unsupported", f"{where}cross_adapter", message)
    scaling, learned = _scaling(source, raw.get("scaling", 1.0))
    return Settings(
        mh=places.flag(source, raw, "mh_adapter", False),
        output=places.flag(source, raw, "output_adapter", True),
        activation=places.activation(source, raw.get("non_linearity"), ACTIVATIONS) or "relu",
        reduction=_reduction(source, raw.get("reduction_factor")),
        leave_out=places.leave_out(source, raw),
        scaling=scaling,
        order={key: _order(source, raw, key) for key in _DEFAULTS},
        parallel=places.flag(source, raw, "is_parallel", False),
        flags={key: places.flag(source, raw, key, False) for key in (*_MARKS, "phm_layer")},
        learned=learned,
        coupling=_coupling(source, raw.get("inv_adapter")),
        shares_rule=places.flag(source, raw, "shared_phm_rule", True),
    )


def _order(source: components.Source, raw: dict[str, Any], key: str) -> bool | str:
    """Where residual and layer norm stand; adapters also knows "post_add" for the first."""
    if key == "residual_before_ln" and raw.get(key) == "post_add":
        return "post_add"
    return places.flag(source, raw, key, _DEFAULTS[key])


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


def _scaling(source: components.Source, value: Any) -> tuple[float, str]:
    """The fixed factor behind the upward projection, and how it is trained where it is not fixed."""
    if value in LEARNED:
        return 1.0, value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < abs(value) <= MAX_SCALING:
        return float(value), ""
    message = f"must be a number above 0, at most {MAX_SCALING:g}, or one of {', '.join(LEARNED)}"
    source.config_problem("scaling", "config.scaling", message)
    return 1.0, ""


def _coupling(source: components.Source, value: Any) -> str:
    """The kind of invertible adapter."""
    if not value:
        return ""
    if value == "glow":
        where = f"{source.config_path}: config.inv_adapter"
        message = "this hub does not run GLOW couplings: adapters 1.3 itself cannot, its coupling answers with a list"
        source.not_run("config.unsupported", where, message)
    elif value != "nice":
        message = f"{documents.shorten(value)!r} is no invertible adapter this hub knows"
        source.config_problem("value", "config.inv_adapter", message, "known are nice, glow")
        return ""
    return str(value)
