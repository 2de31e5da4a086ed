"""Everything that can be said of an adapter on its base model before it is scored, in the order in which it is told."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from hub.runtime import predict
from hub.runtime.attach import Attached
from hub.runtime.base import Backbone
from hub.runtime.predict import Batch
from hub.spec import policy
from hub.spec.components import Component
from hub.spec.snapshot import Snapshot
from hub.spec.validation import Inspection
from workers.checks.drift import drift, sample
from workers.checks.effect import effect
from workers.checks.heads import head
from workers.checks.merge import merge
from workers.checks.tensors import applied, loaded
from workers.checks.token_rows import invoked
from workers.checks.tokenizer import tokenizer
from workers.ledger import Finding


@dataclass(frozen=True)
class Looked:
    """One component of a snapshot, attached and on."""

    backbone: Backbone
    snapshot: Snapshot
    inspection: Inspection
    component: Component
    tensors: Mapping[str, torch.Tensor]
    attached: Attached


def look(looked: Looked, rows: Batch, gates: Mapping[str, Any]) -> Iterator[Finding | None]:
    """Findings one by one; None where a check has nothing to tell. Raises Rejected where nothing further can run.

    `rows` are looked at for an effect, `gates` are those of the plan.
    """
    backbone, component, attached, tensors = looked.backbone, looked.component, looked.attached, looked.tensors
    yield loaded(component, attached)
    yield applied(component, attached, tensors)
    yield tokenizer(backbone, looked.snapshot, component, tensors)
    yield head(backbone, component, tensors)
    tokens = component.config.get("alora_invocation_tokens") or ()
    asked = invoked(backbone, rows, looked.inspection.facts.usage, tokens)
    yield effect(backbone, component, attached, tensors, asked, policy.run_gate("min_effect", gates))
    yield merge(backbone, attached)
    short = predict.within(sample(backbone), backbone.max_length - attached.taken)
    yield drift(backbone, attached, short)
