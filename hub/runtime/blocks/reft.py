"""Representation fine-tuning: what a layer says of the first and last tokens is moved within a small subspace.

    x + (s(A x + b) - P x) P        LoReFT (P orthogonal), NoReFT
    x + s(A x + b) P                DiReFT

(Wu et al. 2024, arXiv 2404.03592.) As `adapters` 1.3.0 computes it: every unit sees what the layer gave, and where a token is both
among the first and the last, the unit of the last ones decides. In a text shorter than the positions all of its tokens are moved; the
library stops there.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from hub import errors
from hub.runtime.attached import Attached
from hub.runtime.base import Backbone
from hub.runtime.blocks import block
from hub.runtime.blocks.activations import Activation, activation
from hub.runtime.blocks.block import Tensors
from hub.spec.components import Component, Part

_ORIGINAL = "projection.parametrizations.weight.original"
_BASE = "projection.parametrizations.weight.0.base"


def reft(attached: Attached, backbone: Backbone, component: Component, part: Part, tensors: Tensors) -> None:
    """Move what a layer says of some tokens. `part.module`: the layer; its tensors begin with `units.0.`, `units.1.`"""
    layer = block.module_of(backbone, part.module, next(iter(part.tensors.values())))
    given = block.own(part, tensors)
    act = activation(part.activation)
    subtract = bool(part.options.get("subtract", True))
    try:
        units = [_Unit(unit, act, subtract) for unit in _apart(given)]
    except RuntimeError as error:
        key = next(key for role, key in part.tensors.items() if role.endswith((_ORIGINAL, "projection.weight")))
        raise errors.HubError(f"{key} gives no projection: {error}", hint="save the adapter again") from error
    prefix, suffix = int(part.options.get("prefix", 0)), int(part.options.get("suffix", 0))

    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if not attached.enabled:
            return None
        states = output if isinstance(output, torch.Tensor) else output[0]
        first, last = _ends(states, kwargs.get("attention_mask", args[1] if len(args) > 1 else None), prefix, suffix)
        moved = torch.where(first, units[0](states), states) if prefix else states
        moved = torch.where(last, units[-1](states), moved) if suffix else moved
        moved = moved.to(states.dtype)
        return moved if isinstance(output, torch.Tensor) else (moved, *output[1:])

    attached.add(layer.register_forward_hook(hook, with_kwargs=True), part.tensors)


class _Unit:
    def __init__(self, given: Mapping[str, torch.Tensor], act: Activation, subtract: bool) -> None:
        self.source, self.bias = given["learned_source.weight"], given["learned_source.bias"]
        free = given.get("projection.weight")
        self.projection = orthogonal(given[_ORIGINAL], given[_BASE]) if free is None else free
        self.act, self.subtract = act, subtract

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[rows, tokens, hidden] -> the same."""
        x = x.to(self.source.dtype)
        moved = self.act(functional.linear(x, self.source, self.bias))
        if self.subtract:
            moved = moved - functional.linear(x, self.projection)
        return x + moved @ self.projection


def orthogonal(original: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """Orthonormal rows [r, d] from what `torch.nn.utils.parametrizations.orthogonal` keeps: reflections [r, d] of which each row
    holds one (a square: the logarithm of a rotation), and a matrix [d, d] from which they start."""
    wide = original.shape[0] < original.shape[1]
    tall = original.T if wide else original
    if tall.shape[0] == tall.shape[1]:
        lower = tall.tril()
        turned = torch.matrix_exp(lower - lower.T)
    else:
        vectors = tall.tril(diagonal=-1)
        turned = torch.linalg.householder_product(vectors, 2.0 / (1.0 + (vectors * vectors).sum(dim=0)))
        turned = turned * tall.diagonal().int()
    turned = base @ turned
    return turned.T.contiguous() if wide else turned


def _apart(given: Mapping[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """The tensors of each unit, by role."""
    names = sorted({role.split(".")[1] for role in given}, key=int)
    return [
        {role.removeprefix(f"units.{name}."): tensor for role, tensor in given.items() if role.split(".")[1] == name}
        for name in names
    ]


def _ends(
    states: torch.Tensor, mask: torch.Tensor | None, prefix: int, suffix: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which tokens are among the first and which among the last of their text, [rows, tokens, 1].

    `mask`: what the layer was told its tokens may see, [rows, 1, tokens, tokens]: true, or 0; None where they see all.
    """
    rows, tokens = states.shape[:2]
    if mask is None:
        seen = torch.ones(rows, tokens, dtype=torch.bool, device=states.device)
    else:
        seen = (mask if mask.dtype == torch.bool else mask == 0)[:, 0, -1].expand(rows, tokens)
    count = seen.cumsum(1)
    first, last = seen & (count <= prefix), seen & (count > count[:, -1:] - suffix)
    return first.unsqueeze(-1), last.unsqueeze(-1)
