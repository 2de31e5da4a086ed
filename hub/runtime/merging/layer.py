"""What the functions of this room take and give: a layer, an adapter's tensors at it, and what the configuration says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

Tensors: TypeAlias = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Layer:
    """A linear layer's weight [out, in], a convolution's [out, in, *kernel], an embedding's [rows, width], a norm's [size];
    and the bias [out], where there is one."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None

    @property
    def flat(self) -> torch.Tensor:
        """The weight as [out, everything else]."""
        return self.weight.flatten(1)

    def plus(self, delta: torch.Tensor) -> Layer:
        """This layer with something added to its weight, in any shape with as many numbers."""
        return Layer(self.weight + delta.reshape(self.weight.shape), self.bias)

    def of(self, weight: torch.Tensor) -> Layer:
        """This layer with another weight, in any shape with as many numbers."""
        return Layer(weight.reshape(self.weight.shape), self.bias)


@dataclass(frozen=True)
class Said:
    """What the configuration says beside the tensors. `scale`: the factor before a low-rank product. `wide`, `high`: the
    largest input and output width of all adapted layers. `module`: the layer's path. `adapted`: the paths of all adapted
    layers in the model's own order."""

    config: Mapping[str, Any]
    scale: float = 1.0
    wide: int = 0
    high: int = 0
    module: str = ""
    adapted: tuple[str, ...] = ()


Merge: TypeAlias = Callable[[Layer, Tensors, Said], Layer]


def check_places(places: torch.Tensor, count: int, role: str = "it") -> None:
    """Raise IndexError, naming the tensor by its role, unless every place is one of `count`: torch would count negative ones from the end."""
    if len(places.flatten()) and not 0 <= int(places.min()) <= int(places.max()) < count:
        raise IndexError(f"{role} names place {int(places.min())} to {int(places.max())} of {count}")
