"""Metrics from counts per class are those of scikit-learn, for two classes and for many."""

import numpy as np
import pytest
from sklearn import metrics

from workers import statistics

REFERENCE = {
    "accuracy": metrics.accuracy_score,
    "matthews": metrics.matthews_corrcoef,
    "f1": lambda truth, said: metrics.f1_score(truth, said, average="binary" if max(truth) < 2 else "macro"),
}


def sample(classes: int, seed: int, right: float = 0.7, rows: int = 500) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    truth = chance.integers(0, classes, rows)
    said = np.where(chance.random(rows) < right, truth, chance.integers(0, classes, rows))
    return truth, said


@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize("classes", [2, 3, 10, 77])
@pytest.mark.parametrize("seed", range(3))
def test_a_metric_equals_that_of_scikit_learn(name: str, classes: int, seed: int) -> None:
    truth, said = sample(classes, seed)
    assert statistics.measure(name, truth, said, classes) == pytest.approx(REFERENCE[name](truth, said), abs=1e-12)


@pytest.mark.parametrize("name", REFERENCE)
def test_an_interval_holds_the_value_and_is_the_same_at_every_call(name: str) -> None:
    truth, said = sample(5, 1)
    first, second = (statistics.estimate(name, truth, said, 5, seed=7) for _ in range(2))
    assert first == second
    assert first.low <= first.value <= first.high
    assert first.high - first.low < 0.15


def test_a_difference_between_equal_predictions_is_nothing_and_between_good_and_bad_is_surely_something() -> None:
    truth, good = sample(3, 1, 0.9)
    _, bad = sample(3, 1, 0.4)
    assert statistics.difference("accuracy", truth, good, good, 3, seed=1).value == 0
    assert statistics.difference("accuracy", truth, good, bad, 3, seed=1).low > 0.2


def test_wilson_never_leaves_zero_to_one() -> None:
    for right, rows in ((0, 10), (10, 10), (5, 10), (1, 1)):
        low, high = statistics.wilson(right, rows)
        assert 0 <= low <= right / rows <= high + 1e-12 <= 1 + 1e-12
