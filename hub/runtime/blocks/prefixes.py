"""Keys and values that stand before those of an attention layer: prefix tuning, in PEFT's files and in AdapterHub's.

A prefix is put before what an attention layer has computed of the text, and every token may look at it (Li and Liang 2021,
https://arxiv.org/abs/2101.00190). It is handed over where such a layer takes the keys and values of what it has read before.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from hub import errors
from hub.runtime.base import Backbone

Prefix: TypeAlias = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Hidden states [rows, tokens, hidden] -> keys and values [rows or 1, heads, prefix, head size]: a gate may look at the text."""


_PASTS = ("past_key_values", "layer_past")
"""What transformers calls the keys and values of what was read before."""


class _Past:
    """What an attention layer asks for the keys and values of what it has read before: a prefix, then what it had."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, had: Any) -> None:
        self.keys, self.values, self.had = keys, values, had

    def update(self, keys: torch.Tensor, values: torch.Tensor, *more: Any, **named: Any) -> tuple[Any, Any]:
        """The layer's new keys and values with everything before them."""
        if self.had is not None:
            keys, values = self.had.update(keys, values, *more, **named)
        return _before(self.keys, keys), _before(self.values, values)


def _before(prefix: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    return torch.cat([prefix.to(states.dtype).expand(len(states), -1, -1, -1), states], dim=2)


def attentions(backbone: Backbone) -> list[Any]:
    """The layers in which tokens look at each other, from the first to the last."""
    found = [module for module in backbone.model.modules() if isinstance(getattr(module, "layer_idx", None), int)]
    takes = [module for module in found if type(module).__name__.endswith("Attention") and _named(module)]
    if not takes:
        kind = backbone.base.model_type
        raise errors.HubError(f"no layer of a {kind} takes keys and values from before: it can have no prefix")
    return sorted(takes, key=lambda module: int(module.layer_idx))


def same(keys: torch.Tensor, values: torch.Tensor) -> Prefix:
    """A prefix that is the same whatever the text: keys and values [1, heads, prefix, head size]."""
    return lambda hidden: (keys, values)


def gated(keys: torch.Tensor, values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> Prefix:
    """A prefix as strong as a gate says that has read the text, all its tokens: one for both, or one for keys and one for values.
    `weight` [gates, hidden], `bias` [gates]."""

    def prefix(hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        strength = torch.nn.functional.linear(hidden, weight, bias).sigmoid().mean(1)[:, :, None, None, None]
        return keys * strength[:, 0], values * strength[:, -1]

    return prefix


def put(attention: Any, prefix: Prefix, enabled: Callable[[], bool]) -> Any:
    """Let an attention layer look at a prefix, as long as it is enabled; returns the hook's handle."""
    names = _names(attention)
    past = next(name for name in _PASTS if name in names)

    def hook(
        module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if not enabled():
            return None
        given = dict(zip(names, args, strict=False)) | kwargs
        keys, values = prefix(given["hidden_states"])
        given["attention_mask"] = _visible(module, given.get("attention_mask"), given["hidden_states"], keys.shape[2])
        given[past] = _Past(keys, values, given.get(past))
        return (), given

    return attention.register_forward_pre_hook(hook, with_kwargs=True)


def _visible(module: Any, mask: torch.Tensor | None, hidden: torch.Tensor, count: int) -> torch.Tensor | None:
    """A mask [rows, 1, tokens, tokens] with places in front that every token sees; None where all see everything."""
    if mask is None and getattr(module, "is_causal", False):
        size = hidden.shape[1]
        mask = torch.ones(1, 1, size, size, dtype=torch.bool, device=hidden.device).tril()
    if mask is None:
        return None
    if mask.dim() != 4:
        raise errors.HubError("a prefix needs an attention whose mask has a place for every pair of tokens")
    shape = (*mask.shape[:-1], count)
    front = mask.new_ones(shape) if mask.dtype == torch.bool else mask.new_zeros(shape)
    return torch.cat([front, mask], dim=-1)


def _names(module: Any) -> list[str]:
    return list(inspect.signature(type(module).forward).parameters)[1:]


def _named(module: Any) -> bool:
    names = _names(module)
    return {"hidden_states", "attention_mask"} <= set(names) and any(name in names for name in _PASTS)
