"""Yardsticks by the paired bootstrap over rows, for metrics that are no matter of counts per class.

B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993): rows are drawn with replacement, both answers to a
row together; the interval is that between the 2.5 and the 97.5 percentile, with rows of an unseen kind as `statistics.unseen` has it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from hub.spec.tasks import WORST
from workers.statistics import ALIKE, BY_BOOTSTRAP, BY_UNSEEN, CHUNK, RESAMPLES, Estimate, Values, percentiles, unseen

NEAR = 200_000
"""Numbers in a chunk that is gone through several times: it should stay near the processor."""

ROUNDING = 1e-9
"""Resamples of one metric that are no farther apart are the same."""

A = TypeVar("A")
Formula = Callable[[Values], Values]


@dataclass(frozen=True)
class Tallied(Generic[A]):
    """A `comparing.Yardstick` for metrics that are made of sums over rows (means, F1 of entities, perplexity, Pearson).

    `tally` turns answers into what each row adds, [rows, k]; a formula turns sums [..., k] into the metric [...]. `ends`
    are the lowest and the highest value of each metric.
    """

    tally: Callable[[A], Values]
    formulas: Mapping[str, Formula]
    ends: Mapping[str, tuple[float, float]]

    def value(self, name: str, answers: A) -> float:
        """Return the metric."""
        return float(self.formulas[name](self.tally(answers).sum(0)))

    def estimate(self, name: str, answers: A, seed: int) -> Estimate:
        """Return the metric with its interval."""
        rows = self.tally(answers)
        draws = self.formulas[name](resampled(rows, seed))
        return Estimate(self.value(name, answers), *interval(draws, len(rows), self.ends[name], seed))

    def difference(self, name: str, answers: A, others: A, seed: int) -> Estimate:
        """Return how much more the first has than the second, with its paired interval."""
        ours, theirs = self.tally(answers), self.tally(others)
        formula, width = self.formulas[name], ours.shape[1]
        value = self.value(name, answers) - self.value(name, others)
        if np.array_equal(ours, theirs):
            return ALIKE
        sums = resampled(np.concatenate([ours, theirs], axis=1), seed)
        draws = formula(sums[:, :width]) - formula(sums[:, width:])
        low, high = self.ends[name]
        return Estimate(value, *interval(draws, len(ours), (low - high, high - low), seed))

    def discordant(self, answers: A, others: A) -> None:
        """Rows are not right or wrong here."""


def interval(draws: Values, n: int, ends: tuple[float, float], seed: int) -> tuple[float, float, str]:
    """The interval that resamples [RESAMPLES] of `n` rows give for a metric that lies between `ends`, and the name of this method.

    A row of an unseen kind pulls a metric to its end. Where that end is a cap only (a perplexity), one row could be as bad as any,
    and nothing were ever sure: there it pulls only where no two resamples differ, which percentiles would take for a point.
    """
    is_capped = ends[1] >= WORST - 1  # less one: of a difference of two perplexities, which start at 1
    if is_capped and np.ptp(draws) > ROUNDING:
        return *percentiles(draws, draws), BY_BOOTSTRAP
    share = unseen(n, seed)
    return *percentiles(draws - share * (draws - ends[0]), draws + share * (ends[1] - draws)), BY_UNSEEN


def resampled(rows: Values, seed: int) -> Values:
    """Sums over resamples of the rows: [rows, k] -> [RESAMPLES, k]. Equal rows are drawn as one kind."""
    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    found = [drawn @ kinds for drawn in weights(counts, seed)]
    return np.concatenate(found)


def weights(counts: Any, seed: int, chunk: int = CHUNK) -> Iterator[Values]:
    """How often each kind of row (there are `counts` of each) is drawn, in chunks [resamples, kinds] that make RESAMPLES."""
    generator, n, kinds = np.random.Generator(np.random.PCG64(seed)), int(counts.sum()), len(counts)
    step = max(1, chunk // max(kinds, n if kinds * 2 > n else 1))
    place = np.repeat(np.arange(kinds), counts)
    for at in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - at)
        if kinds * 2 > n:  # drawing each row is faster than drawing a binomial for each kind
            drawn = place[generator.integers(0, n, (size, n))] + kinds * np.arange(size)[:, None]
            yield np.bincount(drawn.ravel(), minlength=size * kinds).reshape(size, kinds).astype(np.float64)
        else:
            yield generator.multinomial(n, counts / n, size=size).astype(np.float64)


@dataclass(frozen=True)
class Numbers:
    """A `comparing.Yardstick` for numbers [rows] that are to go with others: Pearson's and Spearman's correlation, and
    GLUE's mean of both. A correlation with a constant is 0."""

    truth: Values

    def value(self, name: str, answers: Values) -> float:
        """Return the metric."""
        return float(self._correlation(name, answers)(np.ones((1, len(answers))))[0])

    def estimate(self, name: str, answers: Values, seed: int) -> Estimate:
        """Return the metric with its interval."""
        draws = self._drawn(name, seed, answers)[0]
        return Estimate(self.value(name, answers), *interval(draws, len(answers), (-1.0, 1.0), seed))

    def difference(self, name: str, answers: Values, others: Values, seed: int) -> Estimate:
        """Return how much more the first has than the second, with its paired interval."""
        if np.array_equal(answers, others):
            return ALIKE
        ours, theirs = self._drawn(name, seed, answers, others)
        value = self.value(name, answers) - self.value(name, others)
        return Estimate(value, *interval(ours - theirs, len(answers), (-2.0, 2.0), seed))

    def discordant(self, answers: Values, others: Values) -> None:
        """Numbers are not right or wrong."""

    def _drawn(self, name: str, seed: int, *answers: Values) -> list[Values]:
        correlations = [self._correlation(name, each) for each in answers]
        drawn = weights(np.ones(len(self.truth), dtype=np.int64), seed, NEAR)
        chunks = [[found(weight) for found in correlations] for weight in drawn]
        return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]

    def _correlation(self, name: str, answers: Values) -> Formula:
        """A metric as a function of how often each row is there: [resamples, rows] -> [resamples]."""
        found = []
        if name != "spearman":
            found.append(_pearson(self.truth, answers))
        if name != "pearson":
            found.append(_spearman(self.truth, answers))
        return lambda weight: np.asarray(np.mean([each(weight) for each in found], axis=0))


def _pearson(x: Values, y: Values) -> Formula:
    x, y = _standard(x), _standard(y)
    moments = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)

    def found(weight: Values) -> Values:
        n, sx, sy, sxx, syy, sxy = (weight @ moments).T
        return _ratio(sxy - sx * sy / n, sxx - sx * sx / n, syy - sy * sy / n, n)

    return found


def _spearman(x: Values, y: Values) -> Formula:
    """Pearson's correlation of the ranks, equals sharing the mean of theirs."""
    ours, theirs = _Ranks(x), _Ranks(y)

    def found(weight: Values) -> Values:
        n = weight.sum(1)
        (a, aa), (b, bb) = ours.of(weight), theirs.of(weight)
        both = np.einsum("ij,ij,ij->i", weight, a, b)
        middle = n * (n / 2) * (n / 2)
        return _ratio(both - middle, aa - middle, bb - middle, n**3)

    return found


class _Ranks:
    """The ranks of numbers among rows that are there several times, or not at all."""

    def __init__(self, values: Values) -> None:
        _, self.place = np.unique(values, return_inverse=True)
        self.order = np.argsort(self.place, kind="stable")
        self.starts = np.flatnonzero(np.diff(self.place[self.order], prepend=-1))

    def of(self, weight: Values) -> tuple[Values, Values]:
        """Ranks less a half [resamples, rows], and the sum of their squares over all rows [resamples]."""
        groups = np.add.reduceat(weight[:, self.order], self.starts, axis=1)
        ranks = groups.cumsum(1) - groups / 2
        return ranks[:, self.place], np.einsum("ij,ij,ij->i", groups, ranks, ranks)


def _standard(values: Values) -> Values:
    spread = values.std()
    return np.asarray((values - values.mean()) / (spread if spread > 0 else 1.0))


def _ratio(both: Values, first: Values, second: Values, scale: Values) -> Values:
    """Covariance by the root of the variances; 0 where one of them is none, but for rounding."""
    first, second = (np.where(each > 1e-12 * scale, each, 0.0) for each in (first, second))
    below = np.sqrt(first * second)
    ratio = np.divide(both, below, out=np.zeros_like(below), where=below > 0)
    return np.asarray(np.clip(ratio, -1.0, 1.0))
