"""Invertible adapters behind the embeddings (MAD-X: Pfeiffer et al. 2020, arXiv 2005.00052), as NICE couples halves (Dinh et al.
2014, arXiv 1410.8516).

The way back belongs before a language-model head that is tied to the embeddings; the heads that run here read hidden states, and
`adapters` 1.3.0 inverts nothing before them either.
"""

from typing import Any

import torch
from torch.nn import functional

from hub.runtime.attached import Attached
from hub.runtime.base import Backbone
from hub.runtime.blocks import block
from hub.runtime.blocks.activations import activation
from hub.runtime.blocks.block import Tensors
from hub.spec.components import Component, Part


def invertible(attached: Attached, backbone: Backbone, component: Component, part: Part, tensors: Tensors) -> None:
    """Let what the embeddings give, [rows, tokens, hidden], pass a coupling of its two halves."""
    given = block.own(part, tensors)
    act = activation(part.activation)
    embeddings = block.module_of(backbone, "embeddings", next(iter(part.tensors.values())))

    def subnet(name: str, x: torch.Tensor) -> torch.Tensor:
        x = act(functional.linear(x, given[f"{name}.0.weight"], given[f"{name}.0.bias"]))
        return functional.linear(x, given[f"{name}.2.weight"], given[f"{name}.2.bias"])

    def hook(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor | None:
        if not attached.enabled:
            return None
        first, second = output.chunk(2, dim=-1)
        first = first + subnet("F", second)
        return torch.cat((first, second + subnet("G", first)), dim=-1).to(output.dtype)

    attached.add(embeddings.register_forward_hook(hook), part.tensors)
