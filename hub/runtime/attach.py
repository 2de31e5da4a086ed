"""An adapter on a frozen backbone: merged copies of the weights it changes, and forward hooks for what no weight can say.

A method that changes weights is merged (`hub.runtime.merging`) into copies of the layers it touches, which take the place of the
backbone's own tensors as long as the adapter is on; nothing is written into what lies there. Where the base model is in half
precision a LoRA is added to what the layer returns instead: merged, part of it would be rounded away.
Bottleneck adapters compute as `adapters` 1.3.0 computes a single active one.
"""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import torch
from torch.nn import functional
from transformers.activations import ACT2FN

from hub import errors
from hub.runtime.base import Backbone
from hub.runtime.merging import MERGES, Layer, Said
from hub.spec.components import Component, Part

Tensors = Mapping[str, torch.Tensor]


class Attached:
    """An adapter on a backbone. Leaving the context takes it off; `enabled` switches it."""

    def __init__(self, every: frozenset[str]) -> None:
        self.consumed: frozenset[str] = frozenset()
        self.every = every
        self._enabled = True
        self._handles: list[Any] = []
        self._merged: list[tuple[torch.nn.Module, Layer]] = []
        """Modules and the layers that they do not hold now: the merged ones while it is off, their own while it is on."""

    @property
    def enabled(self) -> bool:
        """Whether the backbone answers with the adapter."""
        return self._enabled

    @enabled.setter
    def enabled(self, on: bool) -> None:
        if on != self._enabled:
            self._enabled = on
            self._exchange()

    @property
    def applied(self) -> tuple[frozenset[str], frozenset[str]]:
        """(keys of the tensors that are at work, keys of all tensors that were handed over)."""
        return self.consumed, self.every

    def add(self, handle: Any, consumed: Mapping[str, str]) -> None:
        """Keep a hook's handle, and note which tensors it uses (role -> key)."""
        self._handles.append(handle)
        self.consumed |= frozenset(consumed.values())

    def put(self, module: torch.nn.Module, merged: Layer, consumed: frozenset[str]) -> None:
        """Let a module compute with a merged layer from now on."""
        self._merged.append((module, _exchanged(module, merged)))
        self.consumed |= consumed

    def detach(self) -> None:
        """Take everything off; the backbone is then as if nothing had been attached."""
        self.enabled = False
        self._merged.clear()
        while self._handles:
            self._handles.pop().remove()

    def _exchange(self) -> None:
        self._merged = [(module, _exchanged(module, other)) for module, other in self._merged]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()


def attach(backbone: Backbone, component: Component, tensors: Tensors) -> Attached:
    """Put a component's parts on the backbone. `tensors`: key in the weights file -> tensor, floating ones as float32."""
    attached = Attached(frozenset(tensors))
    merging, hooked = _sorted(backbone, component)
    try:
        with torch.no_grad():
            for module, parts in merging.items():
                _merge(attached, backbone, component, module, parts, tensors)
        for part in hooked:
            _ATTACH[part.kind](attached, backbone, component, part, tensors)
    except Exception:
        attached.detach()
        raise
    return attached


def _sorted(backbone: Backbone, component: Component) -> tuple[dict[str, list[Part]], list[Part]]:
    """(what is merged, by module; what is hooked in). Tensors of no module go to those that use them."""
    merging: dict[str, list[Part]] = {}
    hooked = []
    for part in component.parts:
        half = part.kind in _ATTACH and backbone.dtype != "float32"
        if part.module and part.kind in MERGES and not half:
            merging.setdefault(part.module, []).append(part)
        elif part.module or part.kind in _ATTACH:
            hooked.append(part)
    # a copy of the base model's own table stands under everything else
    return {path: sorted(parts, key=lambda part: part.kind != "copy") for path, parts in merging.items()}, hooked


def _merge(
    attached: Attached, backbone: Backbone, component: Component, path: str, parts: list[Part], tensors: Tensors
) -> None:
    shared = {role: key for part in component.parts if not part.module for role, key in part.tensors.items()}
    if path not in backbone.modules:
        raise errors.HubError(f"the part of the base model that runs here has no {path}", hint="leave its tensors out")
    module = backbone.modules[path]
    turned = backbone.is_transposed(path)
    layer = _layer(module, turned)
    for part in parts:
        own = {role: tensors[key] for role, key in (shared | part.tensors).items()}
        said = Said(component.config, part.scale, *_widest(component), path)
        try:
            layer = MERGES[part.kind](layer, own, said)
        except (ArithmeticError, LookupError, RuntimeError, ValueError) as error:
            message = f"{next(iter(part.tensors.values()))} cannot be merged into {path}: {error}"
            raise errors.HubError(message, hint="save the adapter again; it may be damaged") from error
    used = frozenset(key for part in parts for key in part.tensors.values()) | frozenset(shared.values())
    attached.put(module, Layer(layer.weight.T.contiguous() if turned else layer.weight, layer.bias), used)


def _layer(module: Any, turned: bool) -> Layer:
    bias = getattr(module, "bias", None)
    weight = module.weight.detach().float()
    return Layer(weight.T if turned else weight, None if bias is None else bias.detach().float())


def _widest(component: Component) -> tuple[int, int]:
    """The largest input and output of the layers that a component adapts: what shared matrices were drawn for."""
    sizes = [need for part in component.parts for path, need in part.needs.items() if path]
    return max((size.get("in", 0) for size in sizes), default=0), max((size.get("out", 0) for size in sizes), default=0)


def _exchanged(module: Any, layer: Layer) -> Layer:
    """Give a module another weight and bias; return those that it had. The tensors themselves stay as they are."""
    had = Layer(module.weight, getattr(module, "bias", None))
    for name, tensor in (("weight", layer.weight), ("bias", layer.bias)):
        if name in module._parameters:
            module._parameters[name] = None if tensor is None else _parameter(tensor, module.weight.dtype)
    return had


def _parameter(tensor: torch.Tensor, dtype: torch.dtype) -> torch.nn.Parameter:
    if isinstance(tensor, torch.nn.Parameter):
        return tensor
    return torch.nn.Parameter(tensor.to(dtype), requires_grad=False)


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
