"""An adapter on a frozen backbone: forward hooks that add to what modules return, and nothing else.

The order of arithmetic is that of the libraries which trained the adapter, so that results are theirs:
LoRA as PEFT 0.21 computes it unmerged, bottleneck adapters as `adapters` 1.3.0 computes a single active one.
"""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import torch
from torch.nn import functional
from transformers.activations import ACT2FN

from hub.runtime.base import Backbone
from hub.spec.components import Component, Part

Tensors = Mapping[str, torch.Tensor]


class Attached:
    """An adapter's hooks on a backbone. Leaving the context takes them off; `enabled` switches them."""

    def __init__(self, every: frozenset[str]) -> None:
        self.enabled = True
        self.consumed: frozenset[str] = frozenset()
        self.every = every
        self._handles: list[Any] = []

    @property
    def applied(self) -> tuple[frozenset[str], frozenset[str]]:
        """(keys of the tensors that are at work, keys of all tensors that were handed over)."""
        return self.consumed, self.every

    def add(self, handle: Any, consumed: Mapping[str, str]) -> None:
        """Keep a hook's handle, and note which tensors it uses (role -> key)."""
        self._handles.append(handle)
        self.consumed |= frozenset(consumed.values())

    def detach(self) -> None:
        """Take every hook off; the backbone is then as if nothing had been attached."""
        while self._handles:
            self._handles.pop().remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()


def attach(backbone: Backbone, component: Component, tensors: Tensors) -> Attached:
    """Hook a component's parts into the backbone. `tensors`: key in the weights file -> float32 tensor."""
    attached = Attached(frozenset(tensors))
    try:
        for part in component.parts:
            _ATTACH[part.kind](attached, backbone, component, part, tensors)
    except Exception:
        attached.detach()
        raise
    return attached


def _lora(attached: Attached, backbone: Backbone, component: Component, part: Part, tensors: Tensors) -> None:
    down, up = tensors[part.tensors["A"]], tensors[part.tensors["B"]]
    scale = part.scale

    def hook(module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
        if not attached.enabled:
            return None
        x = args[0].to(down.dtype)
        delta = functional.linear(functional.linear(x, down), up) * scale
        return (output + delta).to(output.dtype)

    module = backbone.model.get_submodule(part.module)
    attached.add(module.register_forward_hook(hook), part.tensors)


def _bottleneck(attached: Attached, backbone: Backbone, component: Component, part: Part, tensors: Tensors) -> None:
    """Within the output block of a sub-layer: dense -> dropout -> [adapter] -> LayerNorm(+ residual)."""
    block = backbone.model.get_submodule(part.module)
    squeeze = _squeeze(part, tensors)
    order = component.config
    inner: list[torch.Tensor] = []

    def keep(module: Any, args: Any, output: torch.Tensor) -> None:
        if attached.enabled:
            inner.append(output)

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


_ATTACH: dict[str, Callable[[Attached, Backbone, Component, Part, Tensors], None]] = {
    "lora": _lora,
    "bottleneck": _bottleneck,
}
