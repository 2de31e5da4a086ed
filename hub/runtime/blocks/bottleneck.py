"""Bottleneck adapters, as `adapters` 1.3.0 computes a single active one."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional
from transformers.activations import ACT2FN

from hub.runtime.attached import Attached, token_wise
from hub.runtime.base import Backbone
from hub.runtime.blocks.block import Tensors
from hub.spec.components import Component, Part


def bottleneck(attached: Attached, backbone: Backbone, component: Component, part: Part, tensors: Tensors) -> None:
    """Within the output block of a sub-layer: dense -> dropout -> [adapter] -> LayerNorm(+ residual)."""
    block = backbone.model.get_submodule(part.module)
    squeeze = _squeeze(part, tensors)
    order = component.config
    inner: list[torch.Tensor] = []

    @token_wise
    def keep(module: Any, args: Any, output: torch.Tensor) -> None:
        if attached.enabled:
            inner.append(output)

    @token_wise
    def hook(module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
        if not attached.enabled:
            return None
        return _block(block.LayerNorm, inner.pop(), args[1], squeeze, order)

    attached.add(block.dropout.register_forward_hook(keep), {})
    attached.add(block.register_forward_hook(hook), part.tensors)


def _squeeze(part: Part, tensors: Tensors) -> Callable[[torch.Tensor], torch.Tensor]:
    weight = {role: tensors[key] for role, key in part.tensors.items()}
    activation = activations(part.activation)

    def squeeze(x: torch.Tensor) -> torch.Tensor:
        down = activation(functional.linear(x, weight["down_weight"], weight["down_bias"]))
        return functional.linear(down, weight["up_weight"], weight["up_bias"]) * part.scale

    return squeeze


def _block(
    norm: Any,
    hidden: torch.Tensor,
    entered: torch.Tensor,
    squeeze: Callable[[torch.Tensor], torch.Tensor],
    order: Mapping[str, Any],
) -> torch.Tensor:
    """Residuals and the layer's own normalisation in the order that the adapter's configuration names.

    Shapes: `hidden` (output of dense) and `entered` (input of the sub-layer) are [batch, tokens, hidden].
    """
    residual = hidden
    if order.get("original_ln_before", False):
        hidden = hidden + entered
        if order.get("residual_before_ln", True) == "post_add":
            residual = hidden
        hidden = norm(hidden)
    if not order.get("residual_before_ln", True):
        residual = hidden
    hidden = squeeze(hidden) + residual
    return norm(hidden + entered) if order.get("original_ln_after", True) else hidden


def activations(name: str | None) -> Callable[[torch.Tensor], torch.Tensor]:
    """A non-linearity by the name AdapterHub gives it; None is the identity."""
    if name is None:
        return lambda x: x
    if name.lower() == "leakyrelu":
        return functional.leaky_relu
    return ACT2FN[name.lower()]
