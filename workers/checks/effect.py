"""Does the adapter change what the encoder says, by more than the base model itself varies?

The same row gives other last bits in another batch: sums are taken in another order. How far the base model's own hidden
states move when the rows stand alone instead of together is the noise floor. An adapter that moves them by nothing at all
is refused. One that stays within a few times the floor (the policy's `min_effect`, ten by default) cannot be told from a
rounding error: a warning, or a refusal where the policy says so.
"""

from collections.abc import Mapping
from typing import Any

import torch

from hub.runtime import predict
from hub.runtime.attach import Attached
from hub.runtime.base import Backbone
from hub.runtime.predict import Batch
from hub.spec.components import Component
from workers.checks.plain import apart, plain
from workers.checks.tensors import DIVERGED
from workers.errors import Rejected
from workers.ledger import Finding, significant

UNTRAINED = "the weights were saved before training, or training never reached them"
WEAK = "train longer, or with a higher learning rate; an adapter that waits for a word names it: usage.invocation in hub.json"


def effect(
    backbone: Backbone,
    component: Component,
    attached: Attached,
    tensors: Mapping[str, torch.Tensor],
    batch: Batch,
    gate: Mapping[str, Any],
) -> Finding:
    """How far the adapter moves the hidden states of some rows, beside the base model's own noise.

    `gate` is the policy's `min_effect`: {"value": multiples of the noise, "undecided"}. Raises Rejected where nothing moves,
    or where what comes out is not finite.
    """
    on, base = predict.outputs(backbone, batch), plain(backbone, attached, batch)
    if not all(bool(torch.isfinite(item).all()) for item in (on.hidden, *on.by_row)):
        raise Rejected("finite", "the adapted model answers with NaN or infinity", DIVERGED)
    change, floor = apart(on, base.outputs, batch), base.noise
    evidence = {"rows": len(batch.rows), "hidden": significant(change), "noise": significant(floor)}
    if change == 0.0:
        message = "the adapter changes nothing: its hidden states are exactly the base model's"
        message += " (B = 0)" if _is_zero(component, tensors) else ""
        raise Rejected("effect", message, UNTRAINED, evidence)
    message = f"hidden states move by up to {change:.3g}; the base model's own noise is {floor:.3g}"
    if change >= gate["value"] * floor:
        return Finding("effect", "passed", message, evidence=evidence)
    message = f"cannot be told from noise: {message}, and {gate['value']:g} times that is asked for"
    if gate["undecided"] == "fail":
        raise Rejected("effect", message, WEAK, evidence)
    return Finding("effect", "warning", message, WEAK, evidence)


def _is_zero(component: Component, tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether the half that LoRA starts at zero still is, in every module: in some it may stay there."""
    halves = [tensors[part.tensors["B"]] for part in component.parts if part.kind == "lora"]
    return bool(halves) and not any(bool(half.any()) for half in halves)
