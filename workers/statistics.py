"""Metrics and 95 % intervals from counts per class: thousands of resamples in one array operation.

Wilson's interval for a proportion: E. B. Wilson, JASA 22 (1927). The paired bootstrap resamples rows; rows
with the same (truth, prediction, other prediction) are alike, so drawing rows is drawing from a multinomial
over those triples. What no resample can show is a row of a kind that is not there: see `unseen`.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
LEVEL = 0.95
Z = 1.959963984540054
BY_BOOTSTRAP = f"paired bootstrap over rows, {RESAMPLES} resamples, percentile"
BY_UNSEEN = f"{BY_BOOTSTRAP}, each with rows of a kind not seen"
BY_MCNEMAR = f"{BY_BOOTSTRAP}, no narrower than by McNemar's exact test"
DIGITS = 6
"""Decimals of a measured number in a report."""
SIGNIFICANT = 9
"""Digits of an answer that is a number: a float32 has no more."""
CHUNK = 4_000_000
"""Numbers that a chunk of resamples holds at once."""
RAREST = 8
"""Classes of which the kind of row is sought that moves a metric farthest: one row tells most where there are few."""

Labels = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, and in words how that was found."""

    value: float
    low: float
    high: float
    method: str


ALIKE = Estimate(0.0, 0.0, 0.0, "equal answers to every row")


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
        return Estimate(value, *wilson(int((truth == predicted).sum()), len(truth)), "Wilson")
    return Estimate(value, *_interval(name, truth, (predicted,), classes, seed), BY_UNSEEN)


def difference(name: str, truth: Labels, predicted: Labels, other: Labels, classes: int, seed: int) -> Estimate:
    """How much better `predicted` is than `other` on the same rows, with its paired interval."""
    value = measure(name, truth, predicted, classes) - measure(name, truth, other, classes)
    if np.array_equal(predicted, other) or (name == "accuracy" and np.array_equal(predicted == truth, other == truth)):
        return ALIKE
    if name != "accuracy":
        return Estimate(value, *_interval(name, truth, (predicted, other), classes, seed), BY_UNSEEN)
    ours, theirs = (np.asarray(said == truth, dtype=np.int64) for said in (predicted, other))
    found = _interval(name, np.ones_like(truth), (ours, theirs), 2, seed)
    # of few rows that differ resamples know too little: four to none would be sure
    exact = discordant_interval(int((ours > theirs).sum()), int((theirs > ours).sum()), len(truth))
    return Estimate(value, min(found[0], exact[0]), max(found[1], exact[1]), BY_MCNEMAR)


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


def unseen(n: int, seed: int) -> Values:
    """The share that rows have of kinds that `n` rows do not show, [RESAMPLES] draws.

    Resamples hold the kinds of rows that are there, so those of a perfect score are all perfect, and those of one row wrong in a
    hundred know too little of the next. C. J. Clopper and E. S. Pearson (Biometrika 26, 1934) bound a share from below as if one
    row more, against it, had been seen, and from above as if one more had been for it: as quantiles of Beta(k, n - k + 1) and
    Beta(k + 1, n - k). P. Walley (J. R. Stat. Soc. B 58, 1996) does so for any number of kinds. The one row's share is drawn
    here, Beta(1, n), whose 97.5 percentile is 1 - 0.025^(1/n); the kind is the worst for the lower bound, the best for the upper.
    """
    return np.random.Generator(np.random.PCG64([seed, 1])).beta(1, n, RESAMPLES)


def percentiles(low: Values, high: Values) -> tuple[float, float]:
    """The interval between the lower percentile of some draws and the upper one of others."""
    edge = (1 - LEVEL) / 2
    return float(np.quantile(low, edge)), float(np.quantile(high, 1 - edge))


def _interval(name: str, truth: Labels, answers: tuple[Labels, ...], classes: int, seed: int) -> tuple[float, float]:
    """The interval of a metric of one set of answers [rows], or of how much more the first of two have of it.

    A resample lacks some of many classes, and has others twice, so that resamples of F1 do not lie around its value: they are
    moved by their mean distance from it, the bootstrap's estimate of bias (Efron and Tibshirani, 1993, chapter 10).
    """
    codes = np.ravel_multi_index((truth, *answers), (classes,) * (1 + len(answers)))
    codes, counts = np.unique(codes, return_counts=True)
    y, *said = np.unravel_index(codes, (classes,) * (1 + len(answers)))
    share = unseen(len(truth), seed)
    rows = np.zeros(RESAMPLES) if name == "accuracy" else len(truth) * share / (1 - share)
    ends = _extremes(name, truth, answers, classes)
    bounds, plain = np.empty((2, RESAMPLES)), np.empty(RESAMPLES)
    generator = np.random.Generator(np.random.PCG64(seed))
    step = max(1, CHUNK // (len(codes) + 5 * classes))
    for at in range(0, RESAMPLES, step):
        part = slice(at, min(at + step, RESAMPLES))
        drawn = generator.multinomial(len(truth), counts / counts.sum(), size=len(rows[part])).astype(np.float64)
        seen = [_counted(drawn, y, each, classes) for each in said]
        plain[part] = _gap(name, seen)
        for found, kind in zip(bounds, ends, strict=True):
            found[part] = _compared(name, seen, rows[part], kind)
    if classes == 2:  # whose resamples do, and an estimate of nothing would let bounds jump as right answers are added
        return percentiles(*bounds)
    bias = plain.mean() - _gap(name, [count(truth, each, classes) for each in answers])
    low, high = LOWEST[name], 1.0
    low, high = (low, high) if len(answers) == 1 else (low - high, high - low)
    least, most = percentiles(*(bounds - bias))
    return max(low, least), min(high, most)


def _counted(drawn: Values, y: Labels, said: Labels, classes: int) -> Counts:
    """Counts [resamples, classes] of how often each kind of row was drawn, [resamples, kinds]."""
    is_true, is_said = _places(y, classes), _places(said, classes)
    return Counts((drawn * (said == y)) @ is_true, drawn @ is_true, drawn @ is_said)


def _extremes(name: str, truth: Labels, answers: tuple[Labels, ...], classes: int) -> tuple[Labels, Labels]:
    """The kinds of row (truth, an answer or two) of which one more makes a metric least, and most. Classes that no row is of
    are left out."""
    support = np.bincount(truth)
    there = np.flatnonzero(support)
    rarest = there[np.argsort(support[there], kind="stable")[:RAREST]]
    kinds = np.array(list(itertools.product(rarest, repeat=1 + len(answers)))).T
    seen = [count(truth, each, classes) for each in answers]
    found = _compared(name, seen, np.ones(kinds.shape[1]), kinds)
    return kinds[:, found.argmin()], kinds[:, found.argmax()]


def _compared(name: str, seen: list[Counts], rows: Values, kind: Labels) -> Values:
    """A metric of counts with so many `rows` [...] of a `kind` (truth, an answer or two) besides; of two, the first's more."""
    y, *said = kind
    return _gap(name, [_with(counts, rows, y, each) for counts, each in zip(seen, said, strict=True)])


def _gap(name: str, seen: list[Counts]) -> Values:
    """A metric of counts; of two, how much more the first have."""
    first, *second = (metric(name, counts) for counts in seen)
    return first - second[0] if second else first


def _with(counts: Counts, rows: Values, y: Any, said: Any) -> Counts:
    true, answered = (rows[..., None] * _places(label, counts.truth.shape[-1]) for label in (y, said))
    right = np.asarray(y == said)[..., None] * true
    return Counts(counts.right + right, counts.truth + true, counts.predicted + answered)


def _places(labels: Labels, classes: int) -> Values:
    """[..., classes] with a one where a kind of row has that class: a product with it sums up classes."""
    return np.eye(classes)[labels]


def _share(above: Values, below: Values) -> Values:
    return np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0)


def _accuracy(counts: Counts) -> Values:
    return _share(counts.right.sum(-1), counts.truth.sum(-1))


def _f1(counts: Counts) -> Values:
    """Of the second class where there are two (GLUE's reading), otherwise the unweighted mean over the classes that a row is, or
    is answered, of: as scikit-learn has it, a declared class that nothing is of counts for nothing."""
    seen = counts.truth + counts.predicted
    each = _share(2 * counts.right, seen)
    return each[..., 1] if each.shape[-1] == 2 else _share(each.sum(-1), (seen > 0).sum(-1).astype(np.float64))


def _matthews(counts: Counts) -> Values:
    """Matthews' correlation for any number of classes (J. Gorodkin, Comput. Biol. Chem. 28, 2004)."""
    n, right = counts.truth.sum(-1), counts.right.sum(-1)
    above = right * n - (counts.truth * counts.predicted).sum(-1)
    below = np.sqrt((n * n - (counts.predicted**2).sum(-1)) * (n * n - (counts.truth**2).sum(-1)))
    return _share(above, below)


LOWEST = {"f1": 0.0, "matthews": -1.0}
"""Values that no answers are below; none are above 1."""
_METRICS = {"accuracy": _accuracy, "f1": _f1, "matthews": _matthews}
