"""A LoRA that is added to what a layer returns: for base models in half precision."""

from typing import Any

import torch
from torch.nn import functional

from hub.runtime.attached import Attached, token_wise
from hub.runtime.base import Backbone
from hub.runtime.blocks.block import Tensors
from hub.spec.components import Component, Part


def lora(attached: Attached, backbone: Backbone, component: Component, part: Part, tensors: Tensors) -> None:
    down, up = tensors[part.tensors["A"]], tensors[part.tensors["B"]]
    scale = part.scale

    @token_wise
    def hook(module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
        if not attached.enabled:
            return None
        x = args[0].to(down.dtype)
        delta = functional.linear(functional.linear(x, down), up) * scale
        return (output + delta).to(output.dtype)

    module = backbone.model.get_submodule(part.module)
    attached.add(module.register_forward_hook(hook), part.tensors)
