"""The probe for questions: linear heads for start and end on the frozen base's tokens.

Of every piece of the train split it sees the token that is right and a few that are not; of a piece without the answer, the
first token is right, as in training a head.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from hub.runtime import predict
from hub.runtime.base import Backbone
from hub.runtime.predict import Encoded
from hub.spec.benchmark import Benchmark
from hub.spec.rows import Question
from workers import features, spans, statistics
from workers.probe import ITERATIONS, STRENGTHS, TOLERANCE, Probe
from workers.spans import Pieces
from workers.statistics import Labels, Values, rounded

QUESTIONS = 1_000
"""Of the train split, the first ones; every fifth is kept for choosing how much regularisation."""
HELD = 5
OTHERS = 10
"""Wrong tokens for a right one."""

Weights = Values
"""[hidden + 1, 2]: for start and end, the last row the bias."""


def fit(
    backbone: Backbone,
    benchmark: Benchmark,
    train: Sequence[Question],
    scored: tuple[list[Encoded], Pieces, int],
    measure: Callable[[Pieces, Sequence[Question], Labels], float],
) -> Probe | None:
    """Fit on the train split and give the likeliest span of each scored row ([rows, 3] of `spans`); None where it is too small.

    `scored` is (tokens, pieces, rows); `measure(pieces, questions, spans)` is the benchmark's metric.
    """
    used = train[:QUESTIONS]
    held, learnt = used[::HELD], [asked for at, asked in enumerate(used) if at % HELD]
    if len(held) < HELD:
        return None
    empty = any(not asked.answers for asked in used)
    known = _examples(backbone, benchmark, learnt)
    tokens, pieces = spans.cut(backbone, benchmark, held)
    values = []
    for weights in _heads(known):
        given = _logits(backbone, tokens, weights)
        values.append(measure(pieces, held, spans.best(pieces, given, len(held), empty)))
    at = int(np.argmax(values))
    both = [np.concatenate(parts) for parts in zip(known, _examples(backbone, benchmark, held), strict=True)]
    weights = list(_heads(both))[at]
    encoded, asked, rows = scored
    value = rounded(values[at])
    facts = {"features": "token", "C": STRENGTHS[at], "cross_validated": value, "train_rows": len(used)}
    return Probe(spans.best(asked, _logits(backbone, encoded, weights), rows, empty), facts)


def _examples(backbone: Backbone, benchmark: Benchmark, rows: Sequence[Question]) -> list[Values]:
    """Tokens and whether they are right, for starts and for ends: [tokens, hidden], [tokens], twice."""
    encoded, pieces = spans.cut(backbone, benchmark, rows)
    generator = np.random.Generator(np.random.PCG64(statistics.seed_of(benchmark.digest)))
    chosen = [_right(pieces.offsets[at], rows[int(row)]) for at, row in enumerate(pieces.rows)]
    wrong = [generator.integers(0, len(each.ids), OTHERS) for each in encoded]
    found: list[list[Values]] = [[], [], [], []]
    for at, states in features.each(backbone, predict.batches(encoded, features.pad(backbone))):
        for side, right in enumerate(chosen[at]):
            others = wrong[at][wrong[at] != right]
            found[2 * side].append(states[[right, *others.tolist()]].numpy().astype(np.float64))
            found[2 * side + 1].append(np.array([1.0] + [0.0] * len(others)))
    return [np.concatenate(parts) for parts in found]


def _right(offsets: Labels, asked: Question) -> tuple[int, int]:
    """The tokens where the first answer starts and ends in a piece; the first token where it is not whole in it."""
    if not asked.answers:
        return 0, 0
    begin, end = asked.starts[0], asked.starts[0] + len(asked.answers[0])
    first = np.flatnonzero((offsets[:, 0] <= begin) & (begin < offsets[:, 1]))
    last = np.flatnonzero((offsets[:, 0] < end) & (end <= offsets[:, 1]))
    return (int(first[0]), int(last[0])) if len(first) and len(last) else (0, 0)


def _heads(examples: Sequence[Values]) -> Iterator[Weights]:
    """Heads for start and end, one pair for each strength, the weakest first."""
    from sklearn.linear_model import LogisticRegression

    sides = []
    for tokens, right in (examples[:2], examples[2:]):
        middle, spread = tokens.mean(0), tokens.std(0)
        spread[spread == 0] = 1.0
        model = LogisticRegression(max_iter=ITERATIONS, tol=TOLERANCE, warm_start=True)
        fitted = []
        for strength in STRENGTHS:
            model.set_params(C=strength).fit((tokens - middle) / spread, right)
            slope = model.coef_[0] / spread
            fitted.append(np.append(slope, model.intercept_[0] - slope @ middle))
        sides.append(fitted)
    for start, end in zip(*sides, strict=True):
        yield np.stack([start, end], axis=1)


def _logits(backbone: Backbone, encoded: Sequence[Encoded], weights: Weights) -> Iterator[tuple[int, Values]]:
    slope, bias = torch.from_numpy(weights[:-1]), torch.from_numpy(weights[-1])
    for at, states in features.each(backbone, predict.batches(encoded, features.pad(backbone))):
        yield at, (states.double() @ slope + bias).numpy()
