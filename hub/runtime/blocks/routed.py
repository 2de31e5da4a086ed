"""Adapters that mix several products for each call: by the task that is asked for, or by what a layer reads."""

from __future__ import annotations

from typing import Any

import torch

from hub import errors
from hub.runtime.attached import Attached
from hub.runtime.base import Backbone
from hub.runtime.blocks.block import Tensors
from hub.spec.components import Component, Part


def poly(attached: Attached, backbone: Backbone, component: Component, part: Part, tensors: Tensors) -> None:
    """y + x A B / r, A and B mixed from skills as a task has learnt to (Poly: Ponti et al. 2022, arXiv 2202.13914)."""
    down, up = tensors[part.tensors["poly_lora_A"]], tensors[part.tensors["poly_lora_B"]]
    logits = tensors[part.tensors["poly_router.module_logits"]]
    if not any(name.isdigit() for name in part.module.split(".")):
        message = f"{part.tensors['poly_lora_A']}: Poly takes rows of tokens, and {part.module} reads a single one"
        raise errors.HubError(message, hint="PEFT itself cannot run it there; leave it out of target_modules")
    splits, skills, _, rank = down.shape
    shares = logits.sigmoid().view(-1, splits, skills)
    shares = shares / (shares.sum(-1, keepdim=True) + 1e-12)
    narrow = torch.einsum("tqs,qsdr->tqdr", shares, down).reshape(len(shares), -1, rank)  # [tasks, in, r]
    wide = torch.einsum("tqs,qsrd->tqrd", shares, up).transpose(1, 2).reshape(len(shares), rank, -1)  # [tasks, r, out]
    attached.tasks = len(shares)

    def hook(module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
        if not attached.enabled:
            return None
        x = args[0].to(narrow.dtype)
        asked = attached.chosen(len(x))
        return (output + (x @ narrow[asked]) @ wide[asked] / rank).to(output.dtype)

    attached.add(backbone.modules[part.module].register_forward_hook(hook), part.tensors)


def lily(attached: Attached, backbone: Backbone, component: Component, part: Part, tensors: Tensors) -> None:
    """y + s x A B, B mixed of several as a router says (Lily: Zhong et al. 2024, arXiv 2407.09946). PEFT 0.21 takes the router's
    mean over all that is in a call, padding too: a row's answer depends on those beside it, so a replay needs the same batches."""
    down, router = tensors[part.tensors["lily_A.weight"]], tensors[part.tensors["lily_router.weight"]]
    many = tensors[part.tensors["lily_B.weight"]]
    experts = many.reshape(len(router), -1, many.shape[1])  # [experts, r, out]
    scale = float(component.config.get("scaling", 1.0))

    def hook(module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
        if not attached.enabled:
            return None
        hidden = args[0].to(down.dtype) @ down.T
        shares = (hidden @ router.T).softmax(-1).flatten(end_dim=-2).mean(0)
        return (output + hidden @ torch.einsum("e,ero->ro", shares, experts) * scale).to(output.dtype)

    attached.add(backbone.modules[part.module].register_forward_hook(hook), part.tensors)
