"""Run adapters: open a base model, attach an adapter to it, predict. The only room of the client that knows torch.

    model, tokenizer = runtime.load("snapshot/", "base/")

Nothing here writes into a base model: what an adapter changes is merged into copies that stand in for the base's own tensors
while it is on, the rest are forward hooks (`attach`). A worker's weights lie in read-only memory.
"""

from pathlib import Path
from typing import Any

from hub import casting, errors
from hub.folder import FolderSnapshot
from hub.runtime import heads, weights
from hub.runtime.adapted import AdaptedModel
from hub.runtime.attach import Attached, attach
from hub.runtime.base import Backbone, open_backbone, rehash
from hub.runtime.heads import ClassificationHead
from hub.runtime.torch_casting import TorchBench
from hub.spec import tasks, validation
from hub.spec.components import Component
from hub.spec.snapshot import Snapshot

__all__ = [
    "AdaptedModel",
    "Attached",
    "Backbone",
    "ClassificationHead",
    "attach",
    "load",
    "open_backbone",
    "open_snapshot",
    "rehash",
    "tensors_of",
]

casting.use(TorchBench)  # torch is here: the roots of copies in other formats are had in half the time


def load(
    folder: str | Path, base_folder: str | Path, *, component: str = "", fingerprint: str | None = None
) -> tuple[AdaptedModel, Any]:
    """A snapshot's adapter on the base model in a folder: (model in evaluation mode, tokenizer).

    `component` names one adapter of several by its folder; `fingerprint` insists on a base model. Raises
    `IncompatibleBaseModel` where the adapter does not fit, naming the tensors, and `HubError` where it holds values
    that no training leaves behind.
    """
    backbone = open_backbone(base_folder, fingerprint=fingerprint, writable=True)
    snapshot = open_snapshot(folder)
    chosen = _chosen(snapshot, backbone, component)
    tensors = tensors_of(snapshot, chosen)
    if wrong := weights.unsound(tensors):
        raise errors.HubError(f"{wrong[0].name} {wrong[0].reason}", hint="the adapter's training diverged")
    attached = attach(backbone, chosen, tensors)
    head = None if chosen.head is None else heads.build(chosen.head, tensors, backbone.pools)
    speaks = chosen.config.get("task_type") == tasks.TEXT_GENERATION.peft
    return AdaptedModel(backbone, attached, head, _labels(chosen), speaks), backbone.tokenizer


def open_snapshot(folder: str | Path) -> Snapshot:
    """The files of a pulled adapter; links are not followed."""
    return FolderSnapshot(folder)


def tensors_of(snapshot: Snapshot, component: Component) -> dict[str, Any]:
    """Every tensor of a component's weights, of those that it fuses and of its head, by its key in the file, as float32."""
    found = weights.copied(snapshot, component.weights)
    for item in component.fused:
        found |= weights.copied(snapshot, item.weights)
    head = component.head
    return (
        found if head is None or head.weights == component.weights else found | weights.copied(snapshot, head.weights)
    )


def _chosen(snapshot: Snapshot, backbone: Backbone, folder: str) -> Component:
    inspection = validation.inspect(snapshot, backbone.base)
    clashes = [problem for problem in inspection.problems if problem.check == "shapes"]
    if clashes:
        raise errors.IncompatibleBaseModel(
            f"the adapter does not fit {backbone.base.fingerprint}",
            problems=clashes,
            hint="load it with the base model that it was trained on",
        )
    if not inspection.ok:
        raise errors.HubError("the adapter cannot be loaded", problems=inspection.problems)
    found = {component.folder: component for component in inspection.components}
    if folder not in found:
        names = ", ".join(sorted(name or "(root)" for name in found)) or "none"
        raise errors.NotFound(f"no adapter in {folder or 'the root of the snapshot'}; there is: {names}")
    if reasons := found[folder].by_library:
        raise errors.HubError(
            f"this hub's own runtime does not run {reasons[0]}",
            hint="load it with the library that wrote it: peft.PeftModel.from_pretrained(model, folder)",
        )
    return found[folder]


def _labels(component: Component) -> tuple[str, ...]:
    if component.head is None:
        return ()
    return component.head.labels or tuple(f"LABEL_{index}" for index in range(component.head.num_labels))
