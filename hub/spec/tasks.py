"""The ML tasks this hub can judge, by Hugging Face's names. A new one is a row here and an evaluator file."""

from __future__ import annotations

import dataclasses

from hub.spec import errors


@dataclasses.dataclass(frozen=True)
class Metric:
    """In which direction a metric gets better, and between which values it lies."""

    direction: str
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Task:
    """An ML task: a title for people, its metrics (the usual one first), the module in `workers.evaluators` that scores it, and the task_type that PEFT gives it."""

    name: str
    title: str
    metrics: dict[str, Metric]
    evaluator: str
    peft: str


_CLASSIFICATION = Task(
    "text-classification",
    "Text classification",
    {"accuracy": Metric("up", 0, 1), "f1": Metric("up", 0, 1), "matthews": Metric("up", -1, 1)},
    "text_classification",
    "SEQ_CLS",
)
TASKS: dict[str, Task] = {_CLASSIFICATION.name: _CLASSIFICATION}

METRICS: dict[str, Metric] = {name: metric for task in TASKS.values() for name, metric in task.metrics.items()}


def get(name: str, where: str = "task") -> Task:
    """Return a task by name. Raises SpecError with the list of known ones."""
    if name not in TASKS:
        message = f"this hub does not judge the task {name!r} yet"
        raise errors.SpecError.of("task.unknown", where, message, f"known are {', '.join(TASKS)}", "config")
    return TASKS[name]
