"""What attaching leaves behind: hooks and merged layers that can be switched off, and taken off."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import torch

from hub.runtime.merging import Layer


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
