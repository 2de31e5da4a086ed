"""Whether an adapter can answer the benchmarks that it is pushed against: its head, its ML task, its number of classes."""

from __future__ import annotations

from collections.abc import Collection

from hub.spec import errors, families, tasks
from hub.spec.base_model import BaseModel
from hub.spec.components import Component
from hub.spec.words import counted

_ADDS = {
    tasks.TEXT_CLASSIFICATION.name: "add_classification_head",
    tasks.TOKEN_CLASSIFICATION.name: "add_tagging_head",
    tasks.QUESTION_ANSWERING.name: "add_qa_head",
}
"""How AdapterHub gives a model a head of an ML task."""


def lacks_head(component: Component, asked: Collection[str]) -> errors.Problem | None:
    """Return the problem of an adapter that brings no head, where an ML task of its benchmarks needs one: what it was made
    for, what is asked, and how to mend it."""
    needing = sorted(task for task in set(asked) if tasks.get(task).needs_head)
    if component.head is not None or not needing:
        return None
    made, meant = component.config.get("task_type"), _made_for(component)
    origin = f" was made for {meant} (task_type {made}) and" if meant else f" has task_type {made} and" if made else ""
    message = (
        f"the adapter{origin} brings no head, and benchmarks of its plan need one: they are for {' and '.join(needing)}"
    )
    return errors.Problem("head.none", component.weights, message, _mend(needing, meant), "head")


def cannot_speak(base: BaseModel | None, called: str, asked: Collection[str]) -> errors.Problem | None:
    """Return the problem of a base model of a family without a language-model head that is run here, where a benchmark of the
    plan asks what it would say. `called`: what people call the base model."""
    speech = tasks.TEXT_GENERATION.name
    family = families.of(base.model_type) if base is not None else None
    if base is None or family is None or family.decoder or not family.runs or speech not in asked:
        return None
    message = f"{speech} needs a decoder with its own language-model head; {called or 'the base model'} ({base.model_type}) has none"
    return errors.Problem("head.base", "base", message, "choose another base model or benchmark", "head")


def other_classes(component: Component, labels: tuple[str, ...], named: bool) -> errors.Problem | None:
    """Return the problem of a head of another number of classes than the benchmark has; `named`: with the benchmark's labels."""
    head = component.head
    if head is None or head.num_labels == len(labels):
        return None
    names = f": {', '.join(labels[:10])}" if named else ""
    message = f"the head has {counted(head.num_labels, 'class')}, but the benchmark has {len(labels)} labels{names}"
    hint = f"choose a benchmark with as many labels, of the head's ML task{f' ({component.task})' if component.task else ''}"
    return errors.Problem("head.classes", head.weights, message, hint, "head")


def _made_for(component: Component) -> str:
    """The ML task that the configuration names; empty where it names none that this hub judges."""
    made = component.config.get("task_type")
    return next((task.name for task in tasks.TASKS.values() if made == task.peft), "")


def _mend(needing: list[str], meant: str) -> str:
    task = needing[0]
    peft = f'task_type="{tasks.get(task).peft}" in PEFT'
    train = f"train it with a head: {peft}" + (f", {_ADDS[task]} in AdapterHub" if task in _ADDS else "")
    return f"choose benchmarks for {meant}, or {train}" if meant and meant not in needing else train
