"""Has the head been trained?

Libraries start a new head at random: transformers and AdapterHub draw weights from a normal distribution with the
configuration's `initializer_range` and set biases to zero; torch's own layers draw both from a uniform one within
1 / sqrt(width). An optimiser's first step moves every bias off zero and some weights over that edge. What still looks as it
was drawn was lost on the way (a head that PEFT was not told to save) or never trained. Told, never refused: the score says
whether it does anything. The comparison is Kolmogorov's and Smirnov's test at 1 %.
"""

from collections.abc import Mapping

import torch

from hub.runtime.base import Backbone
from hub.spec.components import Component
from workers.ledger import Finding, listed

LEVEL = 0.01
FEWEST = 64
"""Numbers below which nothing can be said about their distribution."""
LOST = 'save the head that was trained: modules_to_save=["classifier"] in PEFT, with_head=True in AdapterHub'


def head(backbone: Backbone, component: Component, tensors: Mapping[str, torch.Tensor]) -> Finding | None:
    """A warning where every layer of the head is as libraries draw it at the start; None where there is nothing to tell."""
    if component.head is None:
        return None
    keys = component.head.tensors
    layers = [role.removesuffix("weight") for role in keys if role.endswith("weight") and "pooler" not in role]
    spread = float(getattr(backbone.model.config, "initializer_range", 0.02))
    drawn = {}
    for layer in layers:
        bias = keys.get(f"{layer}bias")
        drawn[layer] = _drawn(tensors[keys[f"{layer}weight"]], None if bias is None else tensors[bias], spread)
    if not drawn or not all(drawn.values()):
        return None
    how = listed(sorted({told for told in drawn.values() if told}))
    message = f"the head looks untrained: its weights are spread as a new layer's ({how})"
    return Finding("head", "warning", message, LOST, {"untrained": how})


def _drawn(weight: torch.Tensor, bias: torch.Tensor | None, spread: float) -> str:
    """How a layer looks as if it had been drawn; empty where it does not."""
    if weight.dim() != 2 or weight.numel() < FEWEST:
        return ""
    if (bias is None or not bool(bias.any())) and _fits(weight, "norm", (0.0, spread)):
        return f"normal with a deviation of {spread:g}" + ("" if bias is None else ", biases 0")
    edge = weight.shape[1] ** -0.5
    within = all(float(item.abs().max()) <= edge for item in (weight, bias) if item is not None)
    if within and bias is not None and bool(bias.any()) and _fits(weight, "uniform", (-edge, 2 * edge)):
        return f"uniform within {edge:.3g}"
    return ""


def _fits(weight: torch.Tensor, name: str, arguments: tuple[float, float]) -> bool:
    from scipy import stats

    return float(stats.kstest(weight.flatten().numpy(), name, args=arguments).pvalue) > LEVEL
