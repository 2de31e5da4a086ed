"""A LoRA that is computed beside its layer: for base models in half precision, and where a gate looks at the text."""

from typing import Any

import torch
from torch.nn import functional

from hub.runtime.attached import Attached, token_wise
from hub.runtime.base import Backbone
from hub.runtime.blocks import block
from hub.runtime.blocks.block import Tensors
from hub.runtime.merging import adapterhub
from hub.spec.components import Component, Part


def lora(attached: Attached, backbone: Backbone, component: Component, part: Part, tensors: Tensors) -> None:
    """Add s B A x to what a layer returns: merged into half precision, part of it would be rounded away."""
    down, up = tensors[part.tensors["A"]], tensors[part.tensors["B"]]
    scale = part.scale

    @token_wise
    def hook(module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
        if not attached.enabled:
            return None
        x = args[0].to(down.dtype)
        delta = functional.linear(functional.linear(x, down), up) * scale
        return (output + delta).to(output.dtype)

    module = block.module_of(backbone, part.module, part.tensors["A"])
    attached.add(module.register_forward_hook(hook), part.tensors)


def gated_lora(attached: Attached, backbone: Backbone, component: Component, part: Part, tensors: Tensors) -> None:
    """AdapterHub's LoRA with a gate (UniPELT), which takes the place of the factor alpha / r; IA3 with one, and DoRA."""
    common = block.shared(component)
    given = {role: tensors[key] for role, key in (common | part.tensors).items()}
    module = block.module_of(backbone, part.module, part.tensors["gate.weight"])
    scaled = part.options.get("mode") == "scale"
    delta = given["lora_B"].flatten() if scaled else adapterhub.delta(given, part.options)
    magnitude = given.get("m.weight")
    factor = None if magnitude is None else adapterhub.magnitude(module.weight.detach().float(), delta, magnitude)

    def hook(module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
        if not attached.enabled:
            return None
        x = args[0].to(delta.dtype)
        share = block.gate(x, given)
        assert share is not None, "it is gated"
        if scaled:
            return (output * (delta * share)).to(output.dtype)
        answer = output + functional.linear(x, delta) * share
        return (answer if factor is None else answer * factor).to(output.dtype)

    used = part.tensors | (common if "vera_B" in part.tensors else {})
    attached.add(module.register_forward_hook(hook), used)
