"""Bottleneck adapters, as `adapters` 1.3.0 computes a single active one.

They sit in the output block of a sub-layer: dense -> dropout -> [adapter] -> LayerNorm(+ residual). One after the other with the
block (Houlsby et al. 2019, arXiv 1902.00751; Pfeiffer et al. 2020, arXiv 2005.00247) reads what dense gives; one beside it (He et
al. 2021, arXiv 2110.04366) reads what entered the sub-layer.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from hub import errors
from hub.runtime.attached import Attached, token_wise
from hub.runtime.base import Backbone
from hub.runtime.blocks import block
from hub.runtime.blocks.activations import activation
from hub.runtime.blocks.block import Tensors
from hub.runtime.blocks.projections import Projection
from hub.spec.components import Component, Part


def bottleneck(attached: Attached, backbone: Backbone, component: Component, part: Part, tensors: Tensors) -> None:
    """Put a bottleneck into an output block of the backbone. Raises HubError where its tensors do not go together."""
    key = next(iter(part.tensors.values()))
    output_block = block.module_of(backbone, part.module, key)
    common = block.shared(component)
    try:
        squeeze = Squeeze(part, block.own(part, tensors), {role: tensors[key] for role, key in common.items()})
    except (LookupError, RuntimeError, ValueError) as error:
        message = f"{key} cannot be put together: {error}"
        raise errors.HubError(message, hint="save the adapter again; it may be damaged") from error
    run = _beside if part.options.get("parallel") else _behind
    inner: list[torch.Tensor] = []

    def keep(module: Any, args: Any, output: torch.Tensor) -> None:
        if attached.enabled:
            inner.append(output)

    def hook(module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
        if not attached.enabled:
            return None
        return run(output_block.LayerNorm, inner.pop(), args[1], squeeze, part.options).to(output.dtype)

    keep, hook = (keep, hook) if squeeze.gated else (token_wise(keep), token_wise(hook))
    attached.add(output_block.dropout.register_forward_hook(keep), common if squeeze.shares else {})
    attached.add(output_block.register_forward_hook(hook), part.tensors)


class Squeeze:
    """Down, activation, up; scaled, gated and normalised as the part has it."""

    def __init__(self, part: Part, given: Mapping[str, torch.Tensor], shared: Mapping[str, torch.Tensor]) -> None:
        self.given = given
        self.down, self.up = Projection("down", given, shared), Projection("up", given, shared)
        self.activation = activation(part.activation)
        scaling = given.get("scaling")
        self.scaling: torch.Tensor | float = part.scale if scaling is None else scaling
        self.shares = "down_weight" not in given
        self.gated = "gate_weight" in given
        self.early = bool(part.options.get("adapter_residual_before_ln"))
        self.size = len(self.up.weight)

    def raised(self, x: torch.Tensor) -> torch.Tensor:
        """What comes up again, scaled: [rows, tokens, hidden] -> the same."""
        x = self._normed(x.to(self.up.weight.dtype), "before")
        return self.up(self.activation(self.down(x))) * self.scaling

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
        """The adapter's answer to `x`, on a residual where there is one; both [rows, tokens, hidden]."""
        answer = self.raised(x)
        share = block.gate(x, self.given)
        answer = answer if share is None else answer * share
        if residual is not None and self.early:
            answer = answer + residual
        answer = self._normed(answer, "after")
        return answer if residual is None or self.early else answer + residual

    def _normed(self, x: torch.Tensor, place: str) -> torch.Tensor:
        weight = self.given.get(f"norm_{place}_weight")
        return x if weight is None else functional.layer_norm(x, (self.size,), weight, self.given[f"norm_{place}_bias"])


def entering(
    norm: Any, hidden: torch.Tensor, entered: torch.Tensor, order: Mapping[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(what an adapter behind the block reads, the residual around it), by the order that its configuration names.

    Shapes: `hidden` (output of dense) and `entered` (input of the sub-layer) are [rows, tokens, hidden].
    """
    residual = hidden
    if order.get("original_ln_before", False):
        hidden = hidden + entered
        if order.get("residual_before_ln", True) == "post_add":
            residual = hidden
        hidden = norm(hidden)
    if not order.get("residual_before_ln", True):
        residual = hidden
    return hidden, residual


def leaving(norm: Any, hidden: torch.Tensor, entered: torch.Tensor, order: Mapping[str, Any]) -> torch.Tensor:
    """The sub-layer's own residual and normalisation behind the adapter, where its configuration keeps them there."""
    return norm(hidden + entered) if order.get("original_ln_after", True) else hidden


def _behind(
    norm: Any, hidden: torch.Tensor, entered: torch.Tensor, squeeze: Squeeze, order: Mapping[str, Any]
) -> torch.Tensor:
    read, residual = entering(norm, hidden, entered, order)
    return leaving(norm, squeeze(read, residual), entered, order)


def _beside(
    norm: Any, hidden: torch.Tensor, entered: torch.Tensor, squeeze: Squeeze, order: Mapping[str, Any]
) -> torch.Tensor:
    return leaving(norm, squeeze(entered, None) + hidden, entered, order)
