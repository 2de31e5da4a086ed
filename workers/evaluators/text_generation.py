"""Text generation by a base model's own language-model head: how likely it finds texts, and which continuation it prefers.

`perplexity` is exp of the mean negative log-likelihood of a token, `bits_per_byte` the sum of them in bits by the bytes of all
texts (UTF-8), `acc` the share of rows whose right choice is the likeliest, `acc_norm` the same by character of the choice and
`acc_bytes` by byte: as lm-evaluation-harness 0.4.13 has them. What is compared with is the plain base model: there is no head to train.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hub.runtime.base import Backbone
from hub.runtime.predict import Encoded, batches
from hub.spec import tasks
from hub.spec.benchmark import Benchmark
from hub.spec.rows import Passage
from workers import comparing, features, likelihood, opponents, statistics
from workers.errors import Fault
from workers.evaluation import Made, Outcome, Prepared, Previous, Subject
from workers.likelihood import Piece, Speaker
from workers.resampling import Tallied
from workers.statistics import Estimate, Labels, Values

PLAIN = "plain base model"
DELIMITER = " "
"""What stands between a context and each choice."""
CHOSEN = {"acc": "", "acc_norm": "characters", "acc_bytes": "bytes"}
"""What a choice's log-likelihood is divided by, by metric: a long one has more to be wrong about."""


def prepare(
    backbone: Backbone,
    benchmark: Benchmark,
    rows: Sequence[Passage],
    train: Sequence[Passage] | None,
    tell: Callable[[str], None],
) -> Made:
    """See `evaluation.Evaluator`. A train split is not looked at: there is nothing to fit."""
    speaker = Speaker.of(backbone, features.limit(backbone, benchmark))
    chosen = "choices" in benchmark.columns
    try:
        pieces = [_choices(speaker, row) if chosen else speaker.text(row.text) for row in rows]
    except ValueError as error:
        raise Fault(f"benchmark {benchmark.name}: {error}", started=False) from error
    flat = [piece for of_row in pieces for piece in of_row]
    tensors = {
        "last": np.array([piece.ids[-1] for piece in flat]),
        "scored": np.array([piece.scored for piece in flat]),
        "row": np.repeat(np.arange(len(rows)), [len(of_row) for of_row in pieces]),
    }
    if chosen:
        tensors["truth"] = np.array([row.label for row in rows])
        choices = [choice for row in rows for choice in row.choices]
        tensors["characters"] = np.array([len(choice) for choice in choices])
        tensors["bytes"] = np.array([len(choice.encode()) for choice in choices])
    else:
        tensors["bytes"] = np.array([len(row.text.encode()) for row in rows])
    encoded = [Encoded(piece.read, (0,) * len(piece.read)) for piece in flat]
    cut = batches(encoded, features.pad(backbone))
    tensors["plain"] = likelihood.likelihoods(backbone, cut, tensors["last"], tensors["scored"])
    return Made(encoded, {name: torch.from_numpy(values) for name, values in tensors.items()})


def score(subject: Subject, prepared: Prepared, previous: Previous | None) -> Outcome:
    """See `evaluation.Evaluator`."""
    held = {name: tensor.numpy() for name, tensor in prepared.tensors.items()}
    found = likelihood.likelihoods(subject.backbone, prepared.batches, held["last"], held["scored"])
    if not bool(np.isfinite(found).all()):
        raise FloatingPointError("some texts are NaN or infinitely unlikely")
    answers, off = _answers(held, found), _answers(held, held["plain"])
    former = opponents.former(previous, len(answers), lambda said: np.array(said, dtype=answers.dtype))
    yardstick = _yardstick(prepared.benchmark.metric, held)
    measured = comparing.compared(
        prepared.benchmark, yardstick, len(answers), answers, {"adapter_off": off}, former
    )  # fmt: skip
    measured["gain"]["called"] = PLAIN
    return Outcome(
        measured,
        answers.tolist(),
        warnings=_warnings(answers),
        evidence={"rows": len(answers), "tokens": int(held["scored"].sum()), "passes": len(found)},
    )


def _choices(speaker: Speaker, row: Passage) -> list[Piece]:
    return [speaker.continued(row.text, DELIMITER + choice) for choice in row.choices]


def _answers(held: dict[str, Any], found: Values) -> Any:
    """What is said of each row: the sum of its negative log-likelihoods [rows], or the choices that are preferred by each
    metric [rows, metrics]."""
    if "truth" not in held:
        return statistics.kept(np.bincount(held["row"], weights=-found))
    starts = np.flatnonzero(np.diff(held["row"], prepend=-1))
    ways = (found / held[by] if by else found for by in CHOSEN.values())
    return np.stack([[int(row.argmax()) for row in np.split(way, starts[1:])] for way in ways], axis=1)


def _yardstick(metric: str, held: dict[str, Any]) -> Any:
    if "truth" in held:
        return Chosen(held["truth"], metric)
    tokens = np.bincount(held["row"], weights=held["scored"])
    bits = held["bytes"] * math.log(2)
    return Tallied(
        lambda sums: np.stack([sums, tokens, bits], axis=1),
        {
            "perplexity": lambda each: np.exp(np.minimum(each[..., 0] / each[..., 1], math.log(tasks.WORST))),
            "bits_per_byte": lambda each: np.minimum(each[..., 0] / each[..., 2], tasks.WORST),
        },
        {name: (metric.low, metric.high) for name, metric in tasks.TEXT_GENERATION.metrics.items()},
    )


@dataclass(frozen=True)
class Chosen:
    """A `comparing.Yardstick` for the choices [rows, metrics] that are preferred: the share that is right by a metric's way,
    with the intervals of accuracy. `metric` is the benchmark's own."""

    truth: Labels
    metric: str

    def value(self, name: str, answers: Labels) -> float:
        """Return the share."""
        return float(self._right(name, answers).mean())

    def estimate(self, name: str, answers: Labels, seed: int) -> Estimate:
        """Return the share with its interval."""
        return self._rights.estimate("accuracy", self._right(name, answers), seed)

    def difference(self, name: str, answers: Labels, others: Labels, seed: int) -> Estimate:
        """Return how much larger the first share is, with its paired interval."""
        return self._rights.difference("accuracy", self._right(name, answers), self._right(name, others), seed)

    def discordant(self, answers: Labels, others: Labels) -> tuple[int, int]:
        """Return how many rows only the first has right, and only the second, by the benchmark's own metric."""
        return self._rights.discordant(self._right(self.metric, answers), self._right(self.metric, others))

    @property
    def _rights(self) -> statistics.Classes:
        """Rows by whether they are answered right, which all should be."""
        return statistics.Classes(np.ones_like(self.truth), 2)

    def _right(self, name: str, answers: Labels) -> Labels:
        return np.asarray(answers[:, list(CHOSEN).index(name)] == self.truth, dtype=np.int64)


def _warnings(answers: Any) -> tuple[str, ...]:
    if answers.ndim == 2 and len(answers) > 1 and len(np.unique(answers)) == 1:
        return (f"every row is answered with choice {int(answers[0, 0])}",)
    return ()
