"""Metrics from counts per class are those of scikit-learn, for two classes and for many."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from workers import details, statistics
from workers.resampling import Tallied

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


def test_mcnemars_exact_test_is_the_sign_test_of_rows_that_differ() -> None:
    for better, worse in ((0, 0), (5, 0), (12, 3), (3, 12), (40, 41)):
        expected = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
        assert statistics.mcnemar(better, worse) == pytest.approx(expected)
    assert statistics.mcnemar(5, 0) == pytest.approx(2 * 0.5**5)
    truth = np.array([0, 1, 0, 1, 1])
    found = statistics.Classes(truth, 2).discordant(np.array([0, 1, 1, 0, 1]), np.array([0, 0, 1, 1, 0]))
    assert found == (2, 1)


@pytest.mark.parametrize("name", ["accuracy", "f1", "matthews"])
def test_a_perfect_score_has_an_interval_that_more_rows_make_shorter(name: str) -> None:
    few, many = (
        statistics.estimate(name, truth, truth, 2, seed=1) for truth in (np.arange(100) % 2, np.arange(10_000) % 2)
    )
    assert few.value == many.value == few.high == many.high == 1
    assert 0.9 < few.low < 0.98
    assert 0.999 < many.low < 1


def test_the_bound_at_a_perfect_score_is_that_of_clopper_and_pearson() -> None:
    truth = np.arange(100) % 2
    exact = stats.binomtest(100, 100).proportion_ci(0.95, method="exact").low
    assert statistics.estimate("f1", truth, truth, 2, seed=1).low == pytest.approx(exact, abs=0.003)
    answers = Tallied(
        lambda rights: rights, {"exact_match": lambda sums: sums[..., 0] / 100}, {"exact_match": (0.0, 1.0)}
    )
    assert answers.estimate("exact_match", np.ones((100, 1)), seed=1).low == pytest.approx(exact, abs=0.001)


@pytest.mark.parametrize("classes", [2, 5])
def test_a_table_per_class_is_that_of_scikit_learn(classes: int) -> None:
    truth, said = sample(classes, 1)
    found = details.of_classes(truth, said, [f"c{at}" for at in range(classes)])
    precision, recall, f1, support = metrics.precision_recall_fscore_support(truth, said)
    for at, row in enumerate(found["classes"]):
        expected = {"precision": precision[at], "recall": recall[at], "f1": f1[at], "support": support[at]}
        assert {key: row[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    assert found["confusion"]["counts"] == metrics.confusion_matrix(truth, said).tolist()


def test_of_many_classes_the_pairs_that_are_confused_most_are_told() -> None:
    truth = np.arange(300) % 30
    said = np.where(truth == 3, 7, truth)
    said[:2] = [5, 5]
    found = details.of_classes(truth, said, [f"c{at}" for at in range(30)])
    assert "confusion" not in found
    assert found["confused"][0] == {"truth": "c3", "said": "c7", "rows": 10}
    assert len(found["confused"]) == 3


# --- few rows that differ -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("worse", [0, 1, 3, 10])
def test_a_gain_in_accuracy_is_sure_only_where_mcnemars_test_is(worse: int) -> None:
    for better in range(worse, worse + 25):
        low, high = statistics.discordant_interval(better, worse, 200)
        sure = statistics.mcnemar(better, worse) < 0.05
        assert (low > 0) is (sure and better > worse)
        assert low <= (better - worse) / 200 <= high


def test_four_answers_more_of_a_hundred_and_twenty_are_no_sure_gain() -> None:
    """Resamples alone would say so: one in fifty-five has none of the four."""
    truth = np.zeros(120, dtype=np.int64)
    ours, theirs = truth.copy(), truth.copy()
    theirs[:4] = 1
    found = statistics.difference("accuracy", truth, ours, theirs, 2, 1)
    assert found.value == pytest.approx(4 / 120)
    assert found.low < 0
    theirs[:9] = 1
    assert statistics.difference("accuracy", truth, ours, theirs, 2, 1).low > 0


# --- kinds of rows that were not seen -----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["f1", "matthews"])
@pytest.mark.parametrize("of", [0, 1])
def test_next_to_a_perfect_score_each_wrong_answer_more_lowers_the_interval(name: str, of: int) -> None:
    truth, found = np.arange(100) % 2, []
    for wrong in range(8):
        said = truth.copy()
        said[np.flatnonzero(truth == of)[:wrong]] = 1 - of
        found.append(statistics.estimate(name, truth, said, 2, seed=1))
    lows, highs = [each.low for each in found], [each.high for each in found]
    assert all(later < earlier for earlier, later in zip(lows, lows[1:], strict=False)), lows
    assert all(later <= earlier for earlier, later in zip(highs, highs[1:], strict=False)), highs


def test_next_to_a_perfect_share_each_wrong_answer_more_lowers_the_interval() -> None:
    shares = Tallied(lambda rights: rights, {"share": lambda sums: sums[..., 0] / 100}, {"share": (0.0, 1.0)})
    lows = [
        shares.estimate("share", (np.arange(100) >= wrong).astype(float)[:, None], seed=1).low for wrong in range(8)
    ]
    assert all(later < earlier for earlier, later in zip(lows, lows[1:], strict=False)), lows


@pytest.mark.parametrize("worse", [0, 2])
def test_a_gain_in_f1_is_sure_about_where_mcnemars_test_is(worse: int) -> None:
    """Balanced classes and ten rows that neither has right; the bootstrap alone is sure of four to none."""
    truth = np.arange(400) % 2
    for better in range(worse, worse + 16):
        ours, theirs = truth.copy(), truth.copy()
        ours[-10:], theirs[-10:] = 1 - truth[-10:], 1 - truth[-10:]
        ours[:worse], theirs[100 : 100 + better] = 1 - truth[:worse], 1 - truth[100 : 100 + better]
        sure, p = statistics.difference("f1", truth, ours, theirs, 2, seed=1).low > 0, statistics.mcnemar(better, worse)
        assert sure is bool(p < 0.05) or 0.02 < p < 0.08, (better, worse, p)


@pytest.mark.parametrize("name", ["f1", "matthews"])
@pytest.mark.parametrize(("rows", "share", "missed", "invented"), [(200, 0.05, 0.05, 0.0), (100, 0.5, 0.2, 0.2)])
def test_of_many_samples_at_most_one_in_twenty_has_an_interval_without_the_true_value(
    name: str, rows: int, share: float, missed: float, invented: float
) -> None:
    """150 samples: more than 15 outside at a level of 0.05 come about once in 200 times, and the draws are fixed."""
    assert _outside(name, rows, (1 - share, share), (invented, missed)) <= 15


@pytest.mark.parametrize("name", ["f1", "matthews"])
def test_resamples_alone_know_too_little_of_a_rare_class(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: nobody thinks of rows that were not seen, and every second sample is told too well."""
    monkeypatch.setattr(statistics, "unseen", lambda n, seed: np.zeros(statistics.RESAMPLES))
    assert _outside(name, 200, (0.95, 0.05), (0.0, 0.05)) > 75


PERFECT = {
    "two rows each of a hundred classes": (np.repeat(np.arange(100), 2), 100),
    "a hundred classes of one row beside a large one": (
        np.concatenate([np.zeros(400, np.int64), np.arange(1, 101)]),
        101,
    ),
    "half of the declared classes": (np.arange(100) % 2, 4),
}


@pytest.mark.parametrize(("truth", "classes"), PERFECT.values(), ids=PERFECT)
def test_of_many_classes_a_perfect_f1_is_one_and_its_interval_ends_there(
    truth: statistics.Labels, classes: int
) -> None:
    """A resample lacks classes: counted as answered wrong, they once put a perfect F1 below 0.8 for sure."""
    found = statistics.estimate("f1", truth, truth, classes, seed=1)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low > 0.95


@pytest.mark.parametrize("classes", [20, 60])
def test_of_many_classes_with_few_rows_each_intervals_lie_around_the_value_and_most_hold_the_true_one(
    classes: int,
) -> None:
    """20 samples of four rows a class, nine of ten answered right: the true F1 is 0.9 in the long run."""
    chance, held = np.random.default_rng(1), 0
    for _ in range(20):
        truth = chance.integers(0, classes, 4 * classes)
        other = (truth + chance.integers(1, classes, len(truth))) % classes
        found = statistics.estimate(
            "f1", truth, np.where(chance.random(len(truth)) < 0.9, truth, other), classes, seed=1
        )
        assert found.low < found.value < found.high
        held += found.low <= 0.9 <= found.high
    assert held >= 17


def _outside(name: str, rows: int, classes: tuple[float, float], wrong: tuple[float, float]) -> int:
    """How many of 150 samples have an interval without the true value, where so much of each class is answered wrong."""
    chance = np.random.default_rng(1)
    right, shares, wrongly = np.subtract(1, wrong), np.array(classes), np.array(wrong)
    said = shares * right + (shares * wrongly)[::-1]
    true = float(statistics.metric(name, statistics.Counts(shares * right, shares, said)))
    outside = 0
    for _ in range(150):
        truth = (chance.random(rows) < classes[1]).astype(np.int64)
        answers = np.where(chance.random(rows) < wrongly[truth], 1 - truth, truth)
        found = statistics.estimate(name, truth, answers, 2, seed=1)
        outside += not found.low <= true <= found.high
    return outside
