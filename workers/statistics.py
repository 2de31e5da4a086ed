"""Metrics and 95 % intervals from counts per class: thousands of resamples in one array operation.

Wilson's interval for a proportion: E. B. Wilson, JASA 22 (1927). The paired bootstrap resamples rows; rows
with the same (truth, prediction, other prediction) are alike, so drawing rows is drawing from a multinomial
over those triples.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
LEVEL = 0.95
Z = 1.959963984540054
METHOD = f"paired bootstrap over rows, {RESAMPLES} resamples, percentile; of accuracy no narrower than by McNemar's exact test"
ROUNDING = 1e-9
"""Resamples of one metric that are no farther apart are the same."""
DIGITS = 6
"""Decimals of a measured number in a report."""
SIGNIFICANT = 9
"""Digits of an answer that is a number: a float32 has no more."""
CHUNK = 4_000_000
"""Numbers that a chunk of resamples holds at once."""

Labels = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def rounded(value: float) -> float:
    """A number as reports write it."""
    return round(float(value), DIGITS)


def kept(answers: NDArray[Any]) -> Values:
    """Answers that are numbers [rows], with the digits that are kept of them."""
    return np.array([float(f"{value:.{SIGNIFICANT}g}") for value in answers])


def seed_of(digest: str) -> int:
    """The seed of every draw for a benchmark: the first 64 bits of its digest."""
    return int(digest.removeprefix("sha256:")[:16], 16)


@dataclass(frozen=True)
class Counts:
    """What every metric here is made of, per class: rows answered right, rows that are it, rows answered with it.

    Each [..., classes]; of resamples the first axis is the resample.
    """

    right: Values
    truth: Values
    predicted: Values


def count(truth: Labels, predicted: Labels, classes: int) -> Counts:
    """Counts [classes] of one set of predictions."""
    right, true, said = (
        np.bincount(labels, minlength=classes).astype(np.float64)
        for labels in (truth[truth == predicted], truth, predicted)
    )
    return Counts(right, true, said)


def confusion(truth: Labels, predicted: Labels, classes: int) -> Values:
    """The table [classes, classes]: rows are the truth, columns the predictions."""
    flat = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.float64)


def metric(name: str, counts: Counts) -> Values:
    """A metric over counts [..., classes] -> [...]; 0 where it is undefined."""
    return _METRICS[name](counts)


def measure(name: str, truth: Labels, predicted: Labels, classes: int) -> float:
    """One metric of one set of predictions."""
    return float(metric(name, count(truth, predicted, classes)))


def estimate(name: str, truth: Labels, predicted: Labels, classes: int, seed: int) -> Estimate:
    """A metric with its interval: Wilson for accuracy, bootstrap for the others."""
    value = measure(name, truth, predicted, classes)
    if name == "accuracy":
        return Estimate(value, *wilson(int((truth == predicted).sum()), len(truth)))
    draws, _ = _resampled(name, truth, predicted, predicted, classes, seed)
    return Estimate(value, *interval(draws, len(truth), ENDS[name]))


def difference(name: str, truth: Labels, predicted: Labels, other: Labels, classes: int, seed: int) -> Estimate:
    """How much better `predicted` is than `other` on the same rows, with its paired interval."""
    value = measure(name, truth, predicted, classes) - measure(name, truth, other, classes)
    if np.array_equal(predicted, other) or (name == "accuracy" and np.array_equal(predicted == truth, other == truth)):
        return Estimate(0.0, 0.0, 0.0)
    ours, theirs = _resampled(name, truth, predicted, other, classes, seed)
    low, high = ENDS[name]
    found = interval(ours - theirs, len(truth), (low - high, high - low))
    if name == "accuracy":  # of few rows that differ resamples know too little: four to none would be sure
        right, others = predicted == truth, other == truth
        exact = discordant_interval(int((right & ~others).sum()), int((others & ~right).sum()), len(truth))
        found = min(found[0], exact[0]), max(found[1], exact[1])
    return Estimate(value, *found)


@dataclass(frozen=True)
class Classes:
    """A `comparing.Yardstick` for predicted classes [rows] of a truth [rows]."""

    truth: Labels
    classes: int

    def value(self, name: str, answers: Labels) -> float:
        """See `measure`."""
        return measure(name, self.truth, answers, self.classes)

    def estimate(self, name: str, answers: Labels, seed: int) -> Estimate:
        """See `estimate`."""
        return estimate(name, self.truth, answers, self.classes, seed)

    def difference(self, name: str, answers: Labels, others: Labels, seed: int) -> Estimate:
        """See `difference`."""
        return difference(name, self.truth, answers, others, self.classes, seed)

    def discordant(self, answers: Labels, others: Labels) -> tuple[int, int]:
        """Rows that only the first has right, and only the second."""
        ours, theirs = answers == self.truth, others == self.truth
        return int((ours & ~theirs).sum()), int((theirs & ~ours).sum())


def mcnemar(better: int, worse: int) -> float:
    """The two-sided p of Q. McNemar's test (Psychometrika 12, 1947) in its exact form: of rows that one of two has right and
    the other wrong, each is as likely to be the one's as the other's."""
    from scipy.stats import binomtest

    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0


def discordant_interval(better: int, worse: int, n: int) -> tuple[float, float]:
    """The interval of a difference in accuracy over `n` rows that goes with McNemar's exact test: it leaves zero out where, and only
    where, that test does at this level.

    Clopper's and Pearson's interval (Biometrika 26, 1934) for the share of the better one's among the rows that differ, which are
    taken as given.
    """
    from scipy.stats import binomtest

    if not better + worse:
        return 0.0, 0.0
    share = binomtest(better, better + worse).proportion_ci(LEVEL, method="exact")
    differing = (better + worse) / n
    return differing * (2 * float(share.low) - 1), differing * (2 * float(share.high) - 1)


def wilson(right: int, n: int) -> tuple[float, float]:
    """Wilson's score interval for `right` successes of `n`."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = right / n, Z * Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _resampled(
    name: str, truth: Labels, first: Labels, second: Labels, classes: int, seed: int
) -> tuple[Values, Values]:
    """The metric of both predictions over resamples of the rows: two arrays [RESAMPLES]."""
    if (
        name == "accuracy"
    ):  # whether a row was answered right is all that counts: four kinds of rows, however many classes
        ones = np.ones_like(truth)
        truth, first, second, classes = ones, (first == truth).astype(np.int64), (second == truth).astype(np.int64), 2
    codes = (truth * classes + first) * classes + second
    kinds, counts = np.unique(codes, return_counts=True)
    y, a, b = kinds // (classes * classes), kinds // classes % classes, kinds % classes
    shares = counts / counts.sum()
    is_true, ours_said, theirs_said = (_places(labels, classes) for labels in (y, a, b))
    generator = np.random.Generator(np.random.PCG64(seed))
    ours, theirs = np.empty(RESAMPLES), np.empty(RESAMPLES)
    step = max(1, CHUNK // (len(kinds) + 5 * classes))
    for at in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - at)
        drawn = generator.multinomial(len(truth), shares, size=size).astype(np.float64)
        true = drawn @ is_true
        for found, labels, said in ((ours, a, ours_said), (theirs, b, theirs_said)):
            right = (drawn * (labels == y)) @ is_true
            found[at : at + size] = metric(name, Counts(right, true, drawn @ said))
    return ours, theirs


def _places(labels: Labels, classes: int) -> Values:
    """[kinds, classes] with a one where a kind of row has that class: a product with it sums up classes."""
    return np.eye(classes)[labels]


def interval(draws: Values, n: int, ends: tuple[float, float]) -> tuple[float, float]:
    """The interval that resamples of `n` rows give for a metric that lies between `ends`.

    Where no two resamples differ (nothing is wrong, or all is the same) the rows cannot say how much another sample would
    differ, and percentiles would fall on one point. What `n` equal rows do say is that other rows are, at this level, at most
    a share of 1 - (0.025)^(1/n): the exact bound of C. J. Clopper and E. S. Pearson (Biometrika 26, 1934) for none of n. So
    each bound moves by that share of the way to its end.
    """
    edge = (1 - LEVEL) / 2
    low, high = (float(bound) for bound in np.quantile(draws, [edge, 1 - edge]))
    if float(draws.max() - draws.min()) > ROUNDING:
        return low, high
    unseen = 1 - edge ** (1 / n)
    return low - unseen * (low - ends[0]), high + unseen * (ends[1] - high)


def _share(above: Values, below: Values) -> Values:
    return np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0)


def _accuracy(counts: Counts) -> Values:
    return _share(counts.right.sum(-1), counts.truth.sum(-1))


def _f1(counts: Counts) -> Values:
    """Of the second class where there are two (GLUE's reading), unweighted mean over classes otherwise."""
    each = _share(2 * counts.right, counts.truth + counts.predicted)
    return each[..., 1] if each.shape[-1] == 2 else each.mean(-1)


def _matthews(counts: Counts) -> Values:
    """Matthews' correlation for any number of classes (J. Gorodkin, Comput. Biol. Chem. 28, 2004)."""
    n, right = counts.truth.sum(-1), counts.right.sum(-1)
    above = right * n - (counts.truth * counts.predicted).sum(-1)
    below = np.sqrt((n * n - (counts.predicted**2).sum(-1)) * (n * n - (counts.truth**2).sum(-1)))
    return _share(above, below)


ENDS = {"accuracy": (0.0, 1.0), "f1": (0.0, 1.0), "matthews": (-1.0, 1.0)}
"""The lowest and the highest value of each metric."""
_METRICS = {"accuracy": _accuracy, "f1": _f1, "matthews": _matthews}
