"""Do the labels that an adapter answers with mean what the benchmark's labels mean?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest

from hub.spec.words import counted
from workers import statistics
from workers.statistics import Labels

SMALLEST_HALF = 20
LEVEL = 1e-3
"""Chance at which a renaming that is no better would be flagged."""
SHOWN = 20
_GENERIC = re.compile(r"(?i)label[ _-]?\d+")


@dataclass(frozen=True)
class LabelMap:
    """Class index of the adapter -> class index of the benchmark."""

    to_benchmark: tuple[int, ...]
    source: str
    """`declared`: matched by name; `assumed`: the adapter names none, so the benchmark's order is taken."""


@dataclass(frozen=True)
class Swap:
    """A renaming of the labels that is better beyond doubt: found on one half of the rows, tested on the other."""

    renamed: tuple[int, ...]
    """Class index that the adapter answers -> class index that it seems to mean."""
    as_declared: float
    if_renamed: float
    p: float
    """Of McNemar's test on the half that did not choose the renaming."""


class Mismatch(ValueError):
    """Label names of the adapter and of the benchmark cannot be brought together."""


def match(declared: Sequence[str] | None, num_labels: int, benchmark: Sequence[str]) -> LabelMap:
    """Bring the adapter's label order to the benchmark's, by name where the adapter names its labels."""
    if num_labels != len(benchmark):
        raise Mismatch(
            f"the head has {counted(num_labels, 'label')}, the benchmark {len(benchmark)} ({', '.join(benchmark)})"
        )
    if declared is None or all(_GENERIC.fullmatch(name) for name in declared):
        return LabelMap(tuple(range(num_labels)), "assumed")
    places = {_plain(name): place for place, name in enumerate(benchmark)}
    found = [places.get(_plain(name)) for name in declared]
    known = [place for place in found if place is not None]
    if len(set(known)) != len(benchmark) or len(declared) != len(benchmark):
        raise Mismatch(f"the adapter's labels are {', '.join(declared)}, the benchmark's {', '.join(benchmark)}")
    return LabelMap(tuple(known), "declared")


def told(mapping: LabelMap, benchmark: Sequence[str]) -> tuple[str, ...]:
    """What has to be said of a mapping, for a warning."""
    if mapping.source != "assumed":
        return ()
    shown = ", ".join(benchmark[:SHOWN]) + (", ..." if len(benchmark) > SHOWN else "")
    return (f"the adapter names no labels; the benchmark's order is assumed ({shown})",)


def swapped(truth: Labels, predicted: Labels, classes: int, seed: int) -> Swap | None:
    """Look for a renaming of the labels that is better beyond doubt.

    The best renaming is chosen on one half of the rows; on the other half it has to beat both the labels as they are and the
    most frequent class by McNemar's test, exact and one-sided, at `LEVEL` (Q. McNemar, Psychometrika 12, 1947). Fewer than ten
    rows that the two answer differently can never do that, so a small set flags nothing.
    """
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(truth))
    chosen, tested = order[: len(order) // 2], order[len(order) // 2 :]
    if len(chosen) < SMALLEST_HALF:
        return None
    renamed = _best(truth[chosen], predicted[chosen], classes)
    if np.array_equal(renamed, np.arange(classes)):
        return None
    y, as_is = truth[tested], predicted[tested]
    better = renamed[as_is]
    frequent = np.full_like(y, np.bincount(truth[chosen], minlength=classes).argmax())
    p = max(_mcnemar(y, better, other) for other in (as_is, frequent))
    if p >= LEVEL:
        return None
    measured = [statistics.measure("accuracy", y, p, classes) for p in (as_is, better)]
    return Swap(tuple(int(i) for i in renamed), measured[0], measured[1], p)


def _mcnemar(truth: Labels, first: Labels, second: Labels) -> float:
    """The chance of `first` being right alone that often, if rows that only one gets right fell to either alike."""
    ours, theirs = (first == truth) & (second != truth), (second == truth) & (first != truth)
    won, lost = int(ours.sum()), int(theirs.sum())
    return float(binomtest(won, won + lost, alternative="greater").pvalue) if won + lost else 1.0


def _best(truth: Labels, predicted: Labels, classes: int) -> Labels:
    counts = statistics.confusion(truth, predicted, classes)
    _, columns = linear_sum_assignment(-counts.T)
    return np.asarray(columns, dtype=np.int64)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
