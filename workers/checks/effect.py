"""Does the adapter change what the encoder says about the benchmark's first rows?"""

from collections.abc import Mapping

import torch

from hub.runtime import predict
from hub.runtime.attach import Attached
from hub.runtime.base import Backbone
from hub.runtime.predict import Batch
from hub.spec.components import Component
from workers.checks.tensors import DIVERGED
from workers.errors import Rejected
from workers.ledger import Finding, significant

UNTRAINED = "the weights were saved before training, or training never reached them"


def effect(
    backbone: Backbone, component: Component, attached: Attached, tensors: Mapping[str, torch.Tensor], batch: Batch
) -> Finding:
    """How far the hidden states of some rows move with the adapter. Raises Rejected where they do not."""
    on = predict.outputs(backbone, batch)
    attached.enabled = False
    off = predict.outputs(backbone, batch)
    attached.enabled = True
    if not all(bool(torch.isfinite(item).all()) for item in on):
        raise Rejected("finite", "the adapted model answers with NaN or infinity", DIVERGED)
    change = max(float((here - there).abs().max()) for here, there in zip(on, off, strict=True))
    evidence = {"rows": len(batch.rows), "hidden": significant(change)}
    if change == 0.0:
        message = "the adapter changes nothing: its hidden states are exactly the base model's"
        message += " (B = 0)" if _is_zero(component, tensors) else ""
        raise Rejected("effect", message, UNTRAINED, evidence)
    return Finding("effect", "passed", f"hidden states move by up to {change:.3g}", evidence=evidence)


def _is_zero(component: Component, tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether the half that LoRA starts at zero still is."""
    halves = [tensors[part.tensors["B"]] for part in component.parts if part.kind == "lora"]
    return bool(halves) and not any(bool(half.any()) for half in halves)
