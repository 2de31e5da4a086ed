"""AdapterHub's LoRA and its kin, as `adapters` 1.3.0 computes them unmerged: its own merging leaves a scale and a bias out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from hub.runtime.merging.layer import Layer, Said, Tensors


def lora(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + s D for a product D of low rank; with IA3 W and b times s v; with DoRA all of it, b too, to the length m.

    DoRA's length is that of W + D, without the factor s: so the library measures it.
    """
    if said.config.get("mode") == "scale":
        factor = own["lora_B"].flatten() * said.scale
        return Layer(layer.weight * factor[:, None], None if layer.bias is None else layer.bias * factor)
    product = delta(own, said.config)
    weight = layer.weight + product * said.scale
    if "m.weight" not in own:
        return Layer(weight, layer.bias)
    factor = magnitude(layer.weight, product, own["m.weight"])
    return Layer(weight * factor[:, None], None if layer.bias is None else layer.bias * factor)


def delta(own: Tensors, options: Mapping[str, Any]) -> torch.Tensor:
    """What is added to a weight [out, in], before it is scaled.

    LoRA: B A. VeRA: Lb B Ld A, with B and A drawn once for all layers, and Lb, Ld that began as diagonals (Kopiczko et al. 2023,
    arXiv 2310.11454). MTL-LoRA: several B, weighed, and a task's own diagonal (Yang et al. 2024, arXiv 2410.09437).
    """
    if "vera_B" in own:
        return own["vera_B"] @ own["lora_B"] @ own["vera_D"] @ own["lora_A"]
    if "weights" in own:
        shares = torch.softmax(own["weights"] / float(options.get("sharpness", 0.05)), dim=0)
        upward = (shares[:, None, None] * own["lora_B"]).sum(0)
        return upward @ (own["task_specific.values"][:, None] * own["lora_A"])
    return own["lora_B"] @ own["lora_A"]


def magnitude(weight: torch.Tensor, product: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The factor [out] that brings every row of W + D to the length that was trained."""
    return wanted.flatten() / torch.linalg.norm(weight + product, dim=1)
