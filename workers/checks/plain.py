"""What the base model itself says of a few rows, and its own noise: worked out once, used by every run on them.

The backbone process has it ready (`remember`) before it forks; a child that finds nothing works it out.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from hub.runtime import predict
from hub.runtime.attach import Attached
from hub.runtime.base import Backbone
from hub.runtime.predict import Batch, Outputs
from workers.checks.token_rows import one_by_one

KEPT = 32
"""Batches whose outputs are held at once; the one unused for longest goes first."""

_known: OrderedDict[str, "Plain"] = OrderedDict()


@dataclass(frozen=True)
class Plain:
    """`predict.outputs` of the base model alone, and the largest change of it when each row stands in a batch of its own."""

    outputs: Outputs
    noise: float


def plain(backbone: Backbone, attached: Attached, batch: Batch) -> Plain:
    """The base model's own answer to a batch; the adapter is switched off for as long as that takes."""
    key = _key(backbone, batch)
    if key not in _known:
        attached.enabled = False
        try:
            remember(backbone, batch)
        finally:
            attached.enabled = True
    _known.move_to_end(key)
    return _known[key]


def remember(backbone: Backbone, batch: Batch) -> None:
    """Work it out and keep it. Nothing may be attached and on."""
    key = _key(backbone, batch)
    if key in _known:
        return
    outputs = predict.outputs(backbone, batch)
    _known[key] = Plain(outputs, _noise(backbone, batch, outputs))
    while len(_known) > KEPT:
        _known.popitem(last=False)


def apart(here: Outputs, there: Outputs, batch: Batch) -> float:
    """The largest difference of two answers to a batch, where there is a token."""
    seen = batch.attention_mask.bool()
    return _distance((here.hidden[seen], *here.by_row), (there.hidden[seen], *there.by_row))


def _noise(backbone: Backbone, batch: Batch, together: Outputs) -> float:
    found = 0.0
    for place, single in enumerate(one_by_one(batch)):
        alone, seen = predict.outputs(backbone, single), batch.attention_mask[place].bool()
        row = (together.hidden[place, seen], *(item[place] for item in together.by_row))
        found = max(found, _distance(row, [item[0] for item in (alone.hidden, *alone.by_row)]))
    return found


def _distance(here: Iterable[torch.Tensor], there: Iterable[torch.Tensor]) -> float:
    return max(float((one - other).abs().max()) for one, other in zip(here, there, strict=True))


def _key(backbone: Backbone, batch: Batch) -> str:
    rows = [(tuple(tensor.shape), tensor.numpy().tobytes()) for tensor in batch.inputs.values()]
    said = (backbone.fingerprint, backbone.base.architecture, backbone.dtype, rows)
    return hashlib.sha256(repr(said).encode()).hexdigest()
