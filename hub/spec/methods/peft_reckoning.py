"""What of PEFT's configuration enters the reckoning beside ranks and scales: switches, seeds, factors, rows of tokens.

`hub.runtime.merging` reads them. A key stands here with the values that it may have; any other is a fault of the file.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

from hub.spec import components, documents
from hub.spec.methods.layout import Layout

MOST_TOKENS = 20_000
_SEEDS = (1 << 63) - 1


@dataclasses.dataclass(frozen=True)
class _Kind:
    """The values that a key may have, and how a person is told."""

    told: str
    takes: Callable[[Any], bool]


def _whole(least: int, most: int) -> _Kind:
    return _Kind(f"a whole number, {least} to {most}", lambda value: type(value) is int and least <= value <= most)


def _number(most: float) -> _Kind:
    def takes(value: Any) -> bool:
        real = isinstance(value, int | float) and not isinstance(value, bool)
        return real and math.isfinite(value) and 0 < abs(value) <= most

    return _Kind(f"a number other than 0, at most {most:g}", takes)


def _word(*words: str) -> _Kind:
    return _Kind(f"one of {', '.join(words)}", lambda value: value in words)


def _is_rows(value: Any) -> bool:
    rows = value if isinstance(value, list) else None
    return rows is not None and 0 < len(rows) <= MOST_TOKENS and all(type(row) is int and row >= 0 for row in rows)


def _is_tokens(value: Any) -> bool:
    if isinstance(value, dict):
        return 0 < len(value) <= 8 and all(isinstance(name, str) and _is_rows(rows) for name, rows in value.items())
    return _is_rows(value)


_FLAG = _Kind("true or false", lambda value: isinstance(value, bool))
_TOKENS = _Kind(f"a list of at most {MOST_TOKENS} token numbers, or one for each table by its name", _is_tokens)
_SEED = _whole(0, _SEEDS)
_SWITCHES = ("apply_GS", "block_share", "coft", "decompose_both", "fan_in_fan_out", "lora_bias", "save_only_topk_weights",
             "para", "proportional_parameters", "sample_at_inference", "save_projection", "select_top", "sparse",
             "use_cayley_neumann", "use_dora", "use_effective_conv2d", "use_idwt", "very_sparse")  # fmt: skip
KINDS: dict[str, _Kind] = {
    **dict.fromkeys(_SWITCHES, _FLAG),
    "ab_svd_init": _word("psoft_init", "pissa_init"),
    "alora_invocation_tokens": _Kind(f"a list of at most {MOST_TOKENS} token numbers", _is_rows),
    "act_fn": _word("gelu", "gelu_new", "leaky_relu", "linear", "mish", "relu", "sigmoid", "silu", "swish", "tanh"),
    "cayley_neumann_eps": _number(1e3),
    "decomposition_method": _word("relu", "qr"),
    "depth": _whole(0, 64),
    "eps": _number(1.0),
    "group_size": _whole(2, 1 << 20),
    "init_r": _whole(1, 1024),
    "num_cayley_neumann_terms": _whole(1, 64),
    "num_attention_heads": _whole(1, 1024),
    "num_layers": _whole(1, 1024),
    "num_transformer_submodules": _whole(1, 2),
    "projection_prng_key": _SEED,
    "projection_seed": _SEED,
    "psoft_alpha": _number(1e5),
    "psoft_svd": _word("full", "lowrank"),
    "psoft_svd_lowrank_niter": _whole(0, 100),
    "randlora_alpha": _number(1e6),
    "random_loc_seed": _SEED,
    "random_seed": _SEED,
    "scaling": _number(1e5),
    "token_indices": _TOKENS,
    "token_dim": _whole(1, 1 << 20),
    "topk": _whole(1, 1024),
    "trainable_token_indices": _TOKENS,
    "variant": _word("road_1", "road_2", "road_4"),
    "weight_tying": _Kind("a share from 0 to 1", lambda value: type(value) in (int, float) and 0 <= value <= 1),
}
"""Key -> the values that it may have."""


_NOT_RUN: dict[tuple[str, str], tuple[tuple[Any, ...], str]] = {
    ("pvera", "sample_at_inference"): ((False,), "PVeRA that answers at random (sample_at_inference)"),
    ("poly", "poly_type"): (("poly",), "other routers of Poly (poly_type)"),
}
"""(method, key) -> (values that are run, what others are)."""
_BY_LIBRARY: dict[tuple[str, str], tuple[tuple[Any, ...], str]] = {
    ("waveft", "wavelet_family"): (("db1", "haar"), "WaveFT with other wavelets than Haar's (wavelet_family)"),
}
"""The same of what only PEFT runs."""


def say_what_is_not_run(source: components.Source, layout: Layout, parts: list[components.Part]) -> None:
    """Note variants of a method whose tensors are understood and whose arithmetic is another one, or not in the file."""
    for key, what in _others(source, layout, _NOT_RUN):
        source.not_run("config.unsupported", f"{source.config_path}: {key}", f"this hub does not run {what}")
    for _, what in _others(source, layout, _BY_LIBRARY):
        source.leave_to_library(what)
    if layout.name == "unilora" and not any(part.module for part in parts):
        source.leave_to_library("UniLoRA whose file does not say where its numbers go (save_indices=True writes it)")


def _others(
    source: components.Source, layout: Layout, table: dict[tuple[str, str], tuple[tuple[Any, ...], str]]
) -> Iterator[tuple[str, str]]:
    """(key, what it makes of the method) of each key in a table whose value is none of those that are run."""
    for (method, key), (values, what) in table.items():
        value = source.config.get(key)
        if method == layout.name and value is not None and value not in values:
            yield key, what


def check_invocation(source: components.Source, reckoned: dict[str, Any]) -> None:
    """The tokens that invoke an aLoRA are some of the base model's."""
    words = source.base.sizes["vocab"] if source.base else 0
    strange = [token for token in reckoned.get("alora_invocation_tokens", ()) if words and token >= words]
    if strange:
        message = f"names token {strange[0]}, and the base model has {words}"
        source.config_problem("type", "alora_invocation_tokens", message, "is this the base model it was trained on?")


def read(source: components.Source, layout: Layout) -> dict[str, Any]:
    """Return what a method's configuration says of these; a value that it may not have is a fault, and left out."""
    named = layout.keys | {knob.key for knob in layout.knobs}
    found = {}
    for key in sorted(named & set(KINDS) & set(source.config)):
        value = source.config[key]
        if value is None:
            continue
        if KINDS[key].takes(value):
            found[key] = value
        else:
            source.config_problem("type", key, f"must be {KINDS[key].told}, not {documents.shorten(value)}")
    return found
