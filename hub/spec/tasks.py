"""The ML tasks this hub can judge, by Hugging Face's names. A new one is a row here and an evaluator file."""

from __future__ import annotations

import dataclasses

from hub.spec import errors


@dataclasses.dataclass(frozen=True)
class Metric:
    """In which direction a metric gets better, and between which values it lies; `columns`: which it needs besides those of
    its ML task."""

    direction: str
    low: float
    high: float
    columns: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Task:
    """An ML task: a title for people, its metrics (the usual one first), the module in `workers.evaluators` that scores
    it, and the task_type that PEFT gives it.

    `columns` are those that a definition has to name, `optional` those that it may; `labelled` says whether it names
    classes, `tabular` whether a line of a TSV file can hold a row. `needs_head`: whether an adapter has to bring a head.
    `read_whole`: whether an answer is about a row as a whole, so that a row may be cut and rows be answered in any order.
    `max_length`: tokens of a row where a definition does not say.
    """

    name: str
    title: str
    metrics: dict[str, Metric]
    evaluator: str
    peft: str
    columns: tuple[str, ...] = ("text", "label")
    optional: tuple[str, ...] = ("pair",)
    labelled: bool = True
    tabular: bool = True
    needs_head: bool = True
    read_whole: bool = False
    max_length: int = 128


_SHARE = Metric("up", 0, 1)
_CORRELATION = Metric("up", -1, 1)
TEXT_CLASSIFICATION = Task(
    "text-classification",
    "Text classification",
    {"accuracy": _SHARE, "f1": _SHARE, "matthews": _CORRELATION},
    "text_classification",
    "SEQ_CLS",
    read_whole=True,
)
SENTENCE_SIMILARITY = Task(
    "sentence-similarity",
    "Sentence similarity",
    {"pearson_spearman": _CORRELATION, "pearson": _CORRELATION, "spearman": _CORRELATION},
    "sentence_similarity",
    "SEQ_CLS",
    labelled=False,
    read_whole=True,
)
TOKEN_CLASSIFICATION = Task(
    "token-classification",
    "Token classification",
    {"f1": _SHARE, "accuracy": _SHARE},
    "token_classification",
    "TOKEN_CLS",
    optional=(),
)
QUESTION_ANSWERING = Task(
    "question-answering",
    "Question answering",
    {"f1": _SHARE, "exact_match": _SHARE},
    "question_answering",
    "QUESTION_ANS",
    columns=("question", "context", "answers"),
    optional=(),
    labelled=False,
    tabular=False,
    max_length=384,
)
WORST = 1e9
"""Where a perplexity ends: beyond it, all are as bad."""
_OF_CHOICES = ("choices", "label")
TEXT_GENERATION = Task(
    "text-generation",
    "Text generation",
    {
        "perplexity": Metric("down", 1, WORST),
        "bits_per_byte": Metric("down", 0, WORST),
        "acc": Metric("up", 0, 1, _OF_CHOICES),
        "acc_norm": Metric("up", 0, 1, _OF_CHOICES),
        "acc_bytes": Metric("up", 0, 1, _OF_CHOICES),
    },
    "text_generation",
    "CAUSAL_LM",
    columns=("text",),
    optional=(),
    labelled=False,
    tabular=False,
    needs_head=False,
)
TASKS: dict[str, Task] = {
    task.name: task
    for task in (TEXT_CLASSIFICATION, SENTENCE_SIMILARITY, TOKEN_CLASSIFICATION, QUESTION_ANSWERING, TEXT_GENERATION)
}

METRICS: dict[str, Metric] = {name: metric for task in TASKS.values() for name, metric in task.metrics.items()}


def get(name: str, where: str = "task") -> Task:
    """Return a task by name. Raises SpecError with the list of known ones."""
    if name not in TASKS:
        message = f"this hub does not judge the task {name!r} yet"
        raise errors.SpecError.of("task.unknown", where, message, f"known are {', '.join(TASKS)}", "config")
    return TASKS[name]
