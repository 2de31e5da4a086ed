"""Non-linearities by the names that AdapterHub gives them."""

from collections.abc import Callable

import torch
from torch.nn import functional
from transformers.activations import ACT2FN

Activation = Callable[[torch.Tensor], torch.Tensor]


def activation(name: str | None) -> Activation:
    """A non-linearity by its name, which `hub.spec` has found among those that are known; None is the identity."""
    if name is None:
        return lambda x: x
    if name.lower() == "leakyrelu":
        return functional.leaky_relu
    found: Activation = ACT2FN[name.lower()]
    return found
