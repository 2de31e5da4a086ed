"""Whether a policy's gates are decided before every row is answered, at a stated risk of being wrong.

The rows lie before us: truth, and what the baselines and the version before answered to each, are known, so the only unknown is how
many of the rows to come will be answered right. Rows are cut into strata by what is known of them and counts, and answered in an order drawn
beforehand. In each stratum the number of right answers among all its N rows is bounded at any time by the prior-posterior-ratio
martingale for sampling without replacement (I. Waudby-Smith and A. Ramdas, Confidence sequences for sampling without replacement,
NeurIPS 2020, section 2.3, beta-binomial prior): with all strata together the bounds fail, at any time, with a chance of at most RISK.

The gates are then decided, by the very rule that decides the full record, for the worst and for the best rest that the bounds allow.
Where both come out the same, so will the full record: more right answers never make a metric here worse, nor turn a gate that is
watched (`can_be_told`). The order is drawn by the benchmark's digest, which is public: the risk is that of an adapter not made for it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from workers.statistics import Labels

RISK = 0.01
"""Of telling, at any time, another verdict than the full record's."""
COMPLETING = ", completing"
"""How a stage ends that tells a verdict early: what remains is the record."""
METRICS = frozenset({"accuracy", "f1", "matthews"})

CHANGES = {"min_gain": 1.0, "max_drop": -1.0}
"""Gates on a difference, with the sign of their threshold."""

Decide = Callable[[Labels], bool]
"""Answers to all rows -> whether every gate is passed."""


def can_be_told(gates: Mapping[str, Any], metric: str) -> bool:
    """Whether more right answers can turn each of a score's gates from failed to passed only, so that two corners speak for all between.

    The end of an interval of differences that a gate looks at grows with the right answers on its own side of zero, and not on the
    other: no difference at all is known for sure, one row's is not. A metric's own interval grows throughout for accuracy only.
    """
    if metric not in METRICS or (gates.get("min_value") and metric != "accuracy"):
        return False
    changes = [(name, sign, gates[name]) for name, sign in CHANGES.items() if gates.get(name)]
    return all(_turns_once(name, sign * gate["value"], gate["undecided"]) for name, sign, gate in changes)


def _turns_once(name: str, least: float, undecided: str) -> bool:
    if undecided == "pass":
        return least < 0
    return least > 0 or (least == 0 and name == "min_gain")  # a drop by nothing passes, a gain of nothing does not


class Watch:
    """One adapter on one benchmark of classes.

    `truth` and each of `others`, the answers to compare with, are class numbers, int64 [rows]; `decide` judges answers to all rows
    by a `metric` of `METRICS`.
    """

    def __init__(self, truth: Labels, classes: int, others: Sequence[Labels], decide: Decide, metric: str) -> None:
        self.truth, self.classes, self.decide = truth, classes, decide
        # of accuracy and its gains it is all the same which classes the right answers are of: fewer strata have narrower bounds
        told_apart = [] if metric == "accuracy" else [truth]
        columns = np.stack([*told_apart, *(other == truth for other in others)], 1)
        self.stratum = np.unique(columns, axis=0, return_inverse=True)[1].reshape(-1)
        sizes = np.bincount(self.stratum)
        self.low, self.high = np.zeros_like(sizes), sizes.copy()
        self.verdict: bool | None = None
        self.rows = 0
        """Rows that had been answered when the verdict was known."""

    @property
    def told(self) -> dict[str, Any] | None:
        """What was known early, as a report's evidence has it."""
        return None if self.verdict is None else {"rows": self.rows, "passed": self.verdict, "risk": RISK}

    def look(self, answers: Labels, answered: Any) -> bool | None:
        """Take the answers so far and return the verdict, None while it is open.

        `answers` are int64 [rows], of which those count that `answered` (bool [rows]) marks.
        """
        if self.verdict is not None or answered.all():
            return self.verdict
        self._narrow(answers == self.truth, answered)
        if self.decide(self._finished(answers, answered, self.low)):
            self.verdict = True
        elif not self.decide(self._finished(answers, answered, self.high)):
            self.verdict = False
        self.rows = int(answered.sum())
        return self.verdict

    def _narrow(self, right: Any, answered: Any) -> None:
        risk = RISK / len(self.low)
        for stratum, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            here = self.stratum == stratum
            least, most = bounds(
                int(here.sum()), int((here & answered).sum()), int((here & answered & right).sum()), risk
            )
            self.low[stratum], self.high[stratum] = max(low, least), min(high, most)

    def _finished(self, answers: Labels, answered: Any, totals: Any) -> Labels:
        """Answers to all rows: those given, and of the rest as many right as make `totals` right ones in each stratum."""
        found = np.where(answered, answers, (self.truth + 1) % self.classes)
        for stratum, total in enumerate(totals):
            here = self.stratum == stratum
            rest = np.flatnonzero(here & ~answered)
            missing = int(total) - int((here & answered & (answers == self.truth)).sum())
            chosen = rest[: max(0, missing)]
            found[chosen] = self.truth[chosen]
        return found


def bounds(rows: int, seen: int, right: int, risk: float) -> tuple[int, int]:
    """The fewest and the most right answers among `rows`, of which `right` of `seen` are known; at any time together wrong with a
    chance of at most `risk`."""
    from scipy.stats import betabinom

    left = rows - seen
    totals = np.arange(left + 1)
    likely = (
        betabinom.pmf(totals, left, 1 + right, 1 + seen - right) * (rows + 1) > risk
    )  # the prior gives each total 1 / (rows + 1)
    inside = np.flatnonzero(likely)
    return right + int(inside[0]), right + int(inside[-1])
