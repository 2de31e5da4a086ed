"""AdapterHub's bottleneck adapters (Houlsby, Pfeiffer): adapter_config.json + adapter.safetensors.

Keys are `[bert.]encoder.layer.<i>.[attention.]output.adapters.<name>.adapter_down.0|adapter_up.weight|bias`, where
`<name>` is the adapter's own. A head lies beside it in head_config.json + model_head.safetensors: a flexible one
(`heads.<name>.1.*`, `.4.*`) or the model's own (`classifier.*`). Semantics: adapters 1.3.0.
"""

from __future__ import annotations

import re
from typing import Any

from hub.spec import components, documents, families, tensors
from hub.spec.methods import bottleneck_head, heads

FAMILIES = families.RUNS
ACTIVATIONS = ("relu", "gelu", "gelu_new", "swish", "silu", "tanh", "leakyrelu")
MIN_REDUCTION, MAX_REDUCTION = 0.01, 10_000
MAX_SCALING = 1e4
_KEY = re.compile(
    r"(?P<module>encoder\.layer\.(?P<layer>\d{1,4})\.(?P<attention>attention\.)?output)\.adapters\.(?P<name>[^.]+)\."
    r"(?P<role>adapter_down\.0|adapter_up)\.(?P<what>weight|bias)"
)
_ROLES = {"adapter_down.0": "down", "adapter_up": "up"}
_ORDER = ("residual_before_ln", "original_ln_before", "original_ln_after", "adapter_residual_before_ln")
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
# key -> (values that mean "off", what it is)
_NOT_YET: dict[str, tuple[tuple[Any, ...], str]] = {
    "is_parallel": ((None, False), "parallel adapters (is_parallel)"),
    "phm_layer": ((None, False), "Compacter (phm_layer)"),
    "inv_adapter": ((None, False), "invertible adapters (inv_adapter)"),
    "use_gating": ((None, False), "gated adapters (use_gating)"),
    "ln_before": ((None, False), "a layer norm before the adapter (ln_before)"),
    "ln_after": ((None, False), "a layer norm after the adapter (ln_after)"),
    "cross_adapter": ((None, False), "adapters in cross-attention (cross_adapter)"),
    "shared_W_phm": ((None, False), "Compacter (shared_W_phm)"),
}


def read(source: components.Source) -> components.Component | None:
    """Return the bottleneck component of a folder; every fault goes to the source's collector."""
    config = _config(source)
    name = _name(source)
    if config is None or name is None:
        return None
    found = _sort(source, name)
    parts = [part for module in sorted(found) if (part := _part(source, config, module, found[module]))]
    _check_complete(source, config, set(found))
    head = bottleneck_head.read(source, name)
    widths = {part.shapes["down_weight"][0] for part in parts}
    return components.Component(
        folder=source.folder,
        library="adapters",
        method="bottleneck",
        variant=_variant(config),
        config={**config, "leave_out": sorted(config["leave_out"])},
        weights=source.weights,
        parts=tuple(parts),
        head=head,
        rank=max(widths, default=None),
        parameters=sum(components.count(part.shapes) for part in parts),
        head_parameters=components.count(head.shapes) if head else 0,
    )


def _config(source: components.Source) -> dict[str, Any] | None:
    """The adapter's configuration rebuilt from an allow-list; None where it cannot be read at all."""
    family = source.config.get("model_type")
    if family not in FAMILIES:
        message = f"this hub does not run bottleneck adapters on {documents.shorten(family)} yet"
        source.config_problem("unsupported", "model_type", message, f"it runs them on {', '.join(FAMILIES)}")
    raw = source.config["config"]
    raw = NAMED.get(raw, {}) if isinstance(raw, str) else raw
    for key, (off, what) in _NOT_YET.items():
        if key in raw and raw[key] not in off:
            source.config_problem("unsupported", f"config.{key}", f"this hub does not run {what} yet")
    activation = raw.get("non_linearity")
    activation = activation.lower() if isinstance(activation, str) else activation  # as adapters reads it
    if activation not in ACTIVATIONS:
        message = f"{documents.shorten(activation)!r} is no activation this hub runs"
        source.config_problem("activation", "config.non_linearity", message, f"known are {', '.join(ACTIVATIONS)}")
        activation = "relu"
    return {
        "mh_adapter": _flag(source, raw, "mh_adapter", False),
        "output_adapter": _flag(source, raw, "output_adapter", True),
        "non_linearity": activation,
        "reduction_factor": _reduction(source, raw.get("reduction_factor")),
        "leave_out": _leave_out(source, raw.get("leave_out")),
        "scaling": _scaling(source, raw.get("scaling", 1.0)),
        **{key: _order(source, raw, key) for key in _ORDER},
    }


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
        message = "this hub does not run learned scaling yet"
        source.config_problem("unsupported", "config.scaling", message)
    else:
        source.config_problem("scaling", "config.scaling", f"must be a number above 0, at most {MAX_SCALING:g}")
    return 1.0


def _leave_out(source: components.Source, value: Any) -> frozenset[int]:
    numbers = [] if value is None else value
    if not isinstance(numbers, list) or any(type(item) is not int or item < 0 for item in numbers):
        source.config_problem("type", "config.leave_out", "must be a list of layer numbers")
        return frozenset()
    return frozenset(numbers)


def _name(source: components.Source) -> str | None:
    name = source.config.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= 128 or "." in name or not name.isprintable():
        source.config_problem("name", "name", f"{documents.shorten(name)!r} is no name of an adapter")
        return None
    return name


def _sort(source: components.Source, name: str) -> dict[str, dict[str, tensors.Tensor]]:
    """Group this adapter's tensors by module and role; refuse every other tensor by reason."""
    found: dict[str, dict[str, tensors.Tensor]] = {}
    refused: dict[tuple[str, str, str], list[str]] = {}
    for tensor in source.tensors:
        match = _KEY.fullmatch(families.canonical_path(tensor.name, source.model_type))
        if match is None or match["name"] != name:
            refused.setdefault(_reason(source, tensor.name, name, match), []).append(tensor.name)
            continue
        role = f"{_ROLES[match['role']]}_{match['what']}"
        module = found.setdefault(match["module"], {})
        if role in module:
            refused.setdefault(("twice", "is there twice, with a prefix and without", ""), []).append(tensor.name)
        module[role] = tensor
    components.refuse_by_reason(source, refused)
    return found


def _reason(source: components.Source, key: str, name: str, match: re.Match[str] | None) -> tuple[str, str, str]:
    save = "save the adapter again with save_adapter"
    if match is not None or (".adapters." in key and f".adapters.{name}." not in key):
        return "other_adapter", f"belongs to another adapter than {name!r}", save
    canonical = families.canonical_name(key, source.model_type)
    if source.base is not None and canonical in source.base.tensors:
        return "backbone", "is a tensor of the base model itself, which stays frozen", "leave it out"
    if ".loras." in key or ".prefix_tunings." in key or ".prompt_tunings." in key:
        return "method", "belongs to another method than the configuration says", save
    return "unknown", "is not part of a bottleneck adapter this hub knows", save


def _part(
    source: components.Source, config: dict[str, Any], module: str, found: dict[str, tensors.Tensor]
) -> components.Part | None:
    wanted = ("down_weight", "down_bias", "up_weight", "up_bias")
    missing = [role for role in wanted if role not in found]
    if missing:
        message = f"the adapter at {module!r} lacks {', '.join(missing)}"
        source.tensor_problem("missing", message, "a missing tensor would be made up at random")
        return None
    for tensor in found.values():
        heads.check_dtype(source, tensor, source.weights)
    _check_shapes(source, config, module, found)
    if any(len(found[role].shape) != (2 if role.endswith("weight") else 1) for role in wanted):
        return None  # told above; nothing further can be said of it
    return components.Part(
        module, "bottleneck", {role: found[role].name for role in wanted}, config["scaling"], config["non_linearity"],
        {role: found[role].shape for role in wanted}, {f"{module}.dense": {"out": found["down_weight"].shape[1]}},
    )  # fmt: skip


def _check_shapes(
    source: components.Source, config: dict[str, Any], module: str, found: dict[str, tensors.Tensor]
) -> None:
    shape = found["down_weight"].shape
    hidden = source.base.hidden_size if source.base else (shape[1] if len(shape) == 2 else 0)
    width = _width(config, module, hidden)
    expected = {
        "down_weight": (width, hidden),
        "down_bias": (width,),
        "up_weight": (hidden, width),
        "up_bias": (hidden,),
    }
    for role, tensor in found.items():
        if tensor.shape != expected[role]:
            message = (
                f"tensor {tensor.name!r} has shape {components.shown(tensor.shape)}, but hidden size {hidden} and "
                f"the reduction factor in {source.config_path} need {components.shown(expected[role])}"
            )
            source.tensor_problem("shape", message, "is this the base model the adapter was trained on?")


def _width(config: dict[str, Any], module: str, hidden: int) -> int:
    """The bottleneck's width in a layer, as adapters computes it."""
    factors: dict[str, float] = config["reduction_factor"]
    layer = module.split(".")[2]
    return max(1, int(hidden // factors.get(layer, factors.get("default", 16.0))))


def _check_complete(source: components.Source, config: dict[str, Any], found: set[str]) -> None:
    places = ["output"] * config["output_adapter"] + ["attention.output"] * config["mh_adapter"]
    if source.base is None:
        layers = {int(module.split(".")[2]) for module in found}
    else:
        layers = source.base.layers - config["leave_out"]
    wanted = {f"encoder.layer.{layer}.{place}" for layer in layers for place in places}
    if missing := sorted(wanted - found):
        more = f" and {len(missing) - 1} more blocks" if len(missing) > 1 else ""
        message = f"the adapter at {missing[0]!r}{more} is missing: the configuration names it"
        source.tensor_problem("missing", message, "a missing tensor would be made up at random")
    if extra := sorted(found - wanted):
        more = f" and {len(extra) - 1} more blocks" if len(extra) > 1 else ""
        message = f"there are tensors for {extra[0]!r}{more}, where neither configuration nor base has an adapter"
        source.tensor_problem("untargeted", message, "mh_adapter, output_adapter and leave_out must fit the tensors")
    if not found:
        source.tensor_problem("none", "there is no bottleneck tensor in this file", "save it with save_adapter")


def _variant(config: dict[str, Any]) -> str:
    if config["mh_adapter"] and config["output_adapter"]:
        return "houlsby"
    return "pfeiffer" if config["output_adapter"] else "bottleneck"
