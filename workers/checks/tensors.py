"""Are the values numbers, does the adapter go on its base model, and is every tensor at work?"""

from collections.abc import Mapping

import torch

from hub import errors, runtime
from hub.runtime import weights
from hub.runtime.attached import REFERENCE, Attached
from hub.runtime.base import Backbone
from hub.spec.components import Component
from hub.spec.snapshot import Snapshot
from hub.spec.words import counted
from workers import library
from workers.errors import Rejected
from workers.ledger import LISTED, Finding, listed

DIVERGED = "training diverged: lower the learning rate, look for a loss of NaN, save again"
IDLE = "save the adapter without tensors that belong to nothing"

Tensors = Mapping[str, torch.Tensor]


def finite(snapshot: Snapshot, component: Component) -> tuple[dict[str, torch.Tensor], Finding]:
    """Read the component's tensors, none of them with values that training does not leave behind. Raises Rejected."""
    try:
        tensors = runtime.tensors_of(snapshot, component)
    except ValueError as error:
        raise Rejected("finite", f"the weights cannot be read: {error}", "save the adapter again") from error
    wrong = weights.unsound(tensors)
    if wrong:
        told = listed([f"{item.name} {item.reason}" for item in wrong])
        message = f"{len(wrong)} of {counted(len(tensors), 'tensor')} unsound: {told}"
        raise Rejected("finite", message, DIVERGED, {"unsound": [item.name for item in wrong[:LISTED]]})
    return tensors, Finding("finite", "passed", counted(len(tensors), "tensor"), evidence={"tensors": len(tensors)})


def load(
    backbone: Backbone, component: Component, config: bytes, tensors: Tensors, task: object = None
) -> tuple[Backbone, Attached]:
    """The component on the backbone, to answer for one of its tasks where it has several (`usage.task` in hub.json): (the
    backbone that answers with it, a copy where only the library that wrote it runs it; the adapter). `config`: as it is served.
    Raises Rejected where the two do not go together."""
    wanted = _of_adapter(component, tensors)
    try:
        if component.by_library:
            return library.lend(backbone, component, config, wanted)
        attached = runtime.attach(backbone, component, wanted)
        if attached.tasks > 1:
            attached.answer_for(task)
    except errors.HubError as error:
        raise Rejected("load", error.message, error.hint) from error
    return backbone, attached


def loaded(component: Component, attached: Attached) -> Finding:
    """What has been put on the backbone, by kind of part, and who computes with it."""
    kinds: dict[str, int] = {}
    for part in component.parts:
        kinds[part.kind] = kinds.get(part.kind, 0) + 1
    told = ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items()))
    if attached.runtime == REFERENCE:
        return Finding("load", "passed", f"{component.method}: {told}", evidence={"parts": kinds})
    message = f"{component.method}: {told}; run by {attached.runtime}: {', '.join(component.by_library)}"
    return Finding("load", "passed", message, evidence={"parts": kinds, "runtime": attached.runtime})


def applied(component: Component, attached: Attached, tensors: Tensors) -> Finding:
    """Every tensor of the upload is at work, in the adapter or in the head; copies that were set aside do not count."""
    in_head = set() if component.head is None else set(component.head.tensors.values())
    used, brought = set(attached.applied[0]) | in_head, set(tensors) - set(component.aside)
    idle = sorted(brought - used)
    message = f"{len(used)} of {counted(len(brought), 'tensor')} at work"
    evidence = {"consumed": len(used), "tensors": len(brought)}
    if not idle and attached.applied[0]:
        return Finding("applied", "passed", message, evidence=evidence)
    message += f"; unused: {listed(idle)}; used: {listed(sorted(used))}"
    return Finding("applied", "failed", message, IDLE, evidence | {"idle": idle[:LISTED]})


def _of_adapter(component: Component, tensors: Tensors) -> dict[str, torch.Tensor]:
    """Only what the component's parts name: nothing else of an upload comes near the backbone."""
    wanted = {key for part in component.all_parts for key in part.tensors.values()}
    return {key: tensor for key, tensor in tensors.items() if key in wanted}
