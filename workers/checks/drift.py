"""How far does the adapter move the base model on text that is none of its business?

Shown, never a reason to refuse: an adapter may well be meant to change everything. Two numbers over the tokens of a fixed
sample: the mean cosine between hidden states with and without the adapter, and the size of the change against that of the
state, ||h' - h|| / ||h||.
"""

from torch.nn import functional

from hub.runtime import predict
from hub.runtime.attach import Attached
from hub.runtime.base import Backbone
from hub.runtime.predict import Batch
from workers import benchmarks
from workers.checks.plain import plain
from workers.ledger import Finding, significant

SAMPLE = (
    "The bridge was closed for repairs until the end of the month.",
    "She packed two apples, some bread and a bottle of water.",
    "Most of the rain in this valley falls between October and March.",
    "Turn left after the post office and follow the road to the river.",
    "The committee will meet again on Tuesday at half past nine.",
    "A kilogram of flour is enough for about three loaves.",
    "Before the railway came, the journey took four days.",
    "If the light stays red, check that the cable is plugged in.",
)
"""Neutral sentences of our own; a change of them is a change of what every report shows (bench and docs name them)."""


def drift(backbone: Backbone, attached: Attached, batch: Batch) -> Finding:
    """Cosine and relative size of the change of the last hidden states on the sample's tokens; `batch`: see `sample`."""
    seen = batch.attention_mask.bool()
    moved = predict.hidden(backbone, batch)[seen].float()
    still = plain(backbone, attached, batch).outputs.hidden[seen].float()
    cosine = float(functional.cosine_similarity(moved, still, dim=-1).mean())
    change = float((moved - still).norm() / still.norm())
    message = (
        f"on {len(batch.rows)} neutral sentences hidden states keep a cosine of {cosine:.3f} and move by {change:.0%}"
    )
    evidence = {"rows": len(batch.rows), "cosine": significant(cosine), "moved": significant(change)}
    return Finding("drift", "passed", message, evidence=evidence)


def sample(backbone: Backbone) -> Batch:
    """The neutral sentences as one batch for this base model."""
    return benchmarks.in_memory(backbone, SAMPLE)
