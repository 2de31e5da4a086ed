"""A verdict that is told before the last row is the verdict of the last row, but for a stated share of runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hub.runtime.base import Backbone
from hub.spec import policy
from hub.spec.benchmark import Benchmark
from tests.engine import makers
from workers import comparing, early, engine, statistics
from workers.early import Watch
from workers.statistics import Labels


def stages(rows: int, generator: np.random.Generator) -> list[np.ndarray]:
    order, ends = generator.permutation(rows), [0, 64]
    while ends[-1] < rows:
        ends.append(2 * ends[-1])
    return [order[start:end] for start, end in zip(ends, ends[1:], strict=False)]


def decider(truth: Labels, base: Labels) -> Callable[[Labels], bool]:
    """The gate on the gain, by the normal approximation of its paired interval: thousands of runs are made here."""

    def decide(answers: Labels) -> bool:
        gap = (answers == truth).astype(float) - (base == truth)
        return bool(gap.mean() - 1.96 * gap.std() / np.sqrt(len(gap)) > 0)

    return decide


def run(truth: Labels, base: Labels, answers: Labels, generator: np.random.Generator) -> tuple[bool | None, int, bool]:
    """(verdict told early, after how many rows, verdict of all rows)."""
    decide = decider(truth, base)
    watch, answered = Watch(truth, 2, [base], decide, "accuracy"), np.zeros(len(truth), dtype=bool)
    for chosen in stages(len(truth), generator):
        answered[chosen] = True
        watch.look(np.where(answered, answers, 0), answered)
    return watch.verdict, watch.rows, decide(answers)


def drawn(generator: np.random.Generator, rows: int, skill: float, base_skill: float) -> tuple[Labels, Labels, Labels]:
    truth = generator.integers(0, 2, rows)
    base, answers = (np.where(generator.random(rows) < share, truth, 1 - truth) for share in (base_skill, skill))
    return truth, base, answers


@pytest.mark.parametrize("gain", [-0.02, 0.0, 0.03, 0.05, 0.08, 0.15])
def test_of_many_runs_at_most_the_stated_share_is_told_another_verdict(gain: float) -> None:
    """The hardest gains are those near what the gate asks: 170 runs of each, 1 020 in all."""
    generator, wrong, told = np.random.default_rng(int(1000 * (gain + 1))), 0, 0
    for _ in range(170):
        verdict, _, whole = run(*drawn(generator, 600, 0.7 + gain, 0.7), generator)
        told += verdict is not None
        wrong += verdict is not None and verdict != whole
    assert wrong <= 5, "of 170 runs at a risk of 0.01, more than 5 come about once in 100 000 times"
    if gain in (-0.02, 0.15):
        assert told > 100, "clear cases are told early"


def test_without_bounds_that_hold_at_any_time_wrong_verdicts_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: intervals for one look, taken at every look, and none for what is left."""

    def reckless(rows: int, seen: int, right: int, risk: float) -> tuple[int, int]:
        expected = right + (rows - seen) * (right / seen if seen else 0.5)
        return int(expected), int(expected) + 1

    monkeypatch.setattr(early, "bounds", reckless)
    generator, wrong = np.random.default_rng(3), 0
    for _ in range(170):
        verdict, _, whole = run(*drawn(generator, 600, 0.75, 0.7), generator)
        wrong += verdict is not None and verdict != whole
    assert wrong > 20


def test_bounds_hold_the_truth_at_every_look_but_for_the_stated_share() -> None:
    generator, missed = np.random.default_rng(5), 0
    for _ in range(400):
        rows = generator.random(300) < 0.8
        order = generator.permutation(300)
        for seen in range(10, 300, 10):
            low, high = early.bounds(300, seen, int(rows[order[:seen]].sum()), 0.05)
            if not low <= rows.sum() <= high:
                missed += 1
                break
    assert missed <= 400 * 0.05 + 3 * np.sqrt(400 * 0.05 * 0.95)


@pytest.mark.parametrize(("rows", "seen", "right"), [(10, 10, 7), (1, 0, 0), (5, 0, 0), (872, 64, 64), (100, 99, 0)])
def test_bounds_are_within_what_can_be(rows: int, seen: int, right: int) -> None:
    low, high = early.bounds(rows, seen, right, 0.01)
    assert right <= low <= high <= right + rows - seen
    if seen in (0, rows):
        assert (low, high) == (right, right + rows - seen)


@pytest.mark.parametrize("metric", sorted(early.METRICS))
def test_more_right_answers_make_no_metric_worse(metric: str) -> None:
    """What the corners stand on."""
    generator = np.random.default_rng(7)
    truth, _, answers = drawn(generator, 200, 0.7, 0.5)
    for row in np.flatnonzero(answers != truth):
        before = statistics.measure(metric, truth, answers, 2)
        answers[row] = truth[row]
        assert statistics.measure(metric, truth, answers, 2) >= before - 1e-12


TOLD = [
    ("accuracy", {"min_gain": {"value": 0.0, "undecided": "fail"}, "max_drop": {"value": 0.01, "undecided": "pass"}}),
    ("accuracy", {"min_value": {"value": 0.6, "undecided": "fail"}}),
    ("matthews", {"min_gain": {"value": 0.0, "undecided": "fail"}}),
]
NOT_TOLD = [
    ("accuracy", {"max_drop": {"value": 0.0, "undecided": "fail"}}),
    ("accuracy", {"min_gain": {"value": -0.001, "undecided": "fail"}}),
    ("accuracy", {"min_gain": {"value": 0.0, "undecided": "pass"}}),
    ("matthews", {"min_value": {"value": 0.9, "undecided": "fail"}}),
    ("pearson", {"min_gain": {"value": 0.0, "undecided": "fail"}}),
]


def turns(metric: str, gates: dict[str, Any]) -> int:
    """How often one more right answer turns the policy's own verdict from passed to failed, from an answer like the one before on."""
    generator = np.random.default_rng(11)
    truth, base, _ = drawn(generator, 120, 0.7, 0.7)
    labels, found = ("no", "yes"), 0
    benchmark = Benchmark("b", "text-classification", {}, labels, metric, "up", 64, "public", "dev.tsv", "0" * 64)
    yardstick = statistics.Classes(truth, 2)
    worse = base.copy()
    right = np.flatnonzero(base == truth)[:12]
    worse[right] = 1 - truth[right]
    passed = False
    for row in [*right, *np.flatnonzero(base != truth)[:16]]:
        worse[row] = truth[row]
        score = comparing.compared(benchmark, yardstick, len(truth), worse, {"probe": base}, ("0" * 64, base))
        now = all(gate["passed"] for gate in policy.decide(score, gates))
        found += passed and not now
        passed = now
    return found


@pytest.mark.parametrize(("metric", "gates"), TOLD)
def test_gates_that_are_told_early_turn_with_more_right_answers_one_way_only(
    metric: str, gates: dict[str, Any]
) -> None:
    assert early.can_be_told(gates, metric)
    assert turns(metric, gates) == 0


@pytest.mark.parametrize(("metric", "gates"), NOT_TOLD)
def test_gates_that_turn_both_ways_are_not_told_early(metric: str, gates: dict[str, Any]) -> None:
    """An adapter that answers as its predecessor did drops by nothing for sure; with one row more it may have dropped."""
    assert not early.can_be_told(gates, metric)


@pytest.mark.parametrize(("metric", "gates"), NOT_TOLD[:2])
def test_such_gates_do_turn(metric: str, gates: dict[str, Any]) -> None:
    """The control."""
    assert turns(metric, gates) > 0


# --- in a run ---------------------------------------------------------------------------------------------------------
def test_a_clear_verdict_is_told_before_the_last_row_and_is_the_reports(backbone: Backbone, tmp_path: Path) -> None:
    good = makers.teacher(tmp_path / "good", makers.TINY)
    files = makers.benchmark_of(tmp_path / "rows", good, makers.TINY, rows=600, train=100)
    given, heard = makers.assignment(good, makers.TINY, files), []
    prepared = {files.benchmark.digest: makers.ready(files, backbone, tmp_path / "scratch")}
    found = engine.judge(given, backbone, prepared, engine.in_memory(given.snapshot), heard.append)
    (told,) = [stage for stage in heard if "completing" in stage]
    assert told.startswith("tests/salad passes by ") and told.endswith(" of 600 rows, completing")
    assert len(told) < 64, "a run's stage has so much room"
    decided = makers.check(found, "benchmark")["evidence"]["tests/salad"]["decided"]
    assert decided["rows"] < 600
    assert decided["passed"] is (found["verdict"] == "passed") is True
    heard.clear()
    assert (
        engine.judge(given, backbone, prepared, engine.in_memory(given.snapshot), heard.append)["result_digest"]
        == found["result_digest"]
    )


def test_rows_come_in_stages_that_are_samples_of_all(backbone: Backbone, tmp_path: Path) -> None:
    good = makers.teacher(tmp_path / "good", makers.TINY)
    files = makers.benchmark_of(tmp_path / "rows", good, makers.TINY, rows=300, train=0)
    prepared = makers.ready(files, backbone, tmp_path / "scratch")
    sizes = [sum(len(batch.rows) for batch in stage) for stage in prepared.staged]
    assert sizes == [64, 64, 128, 44]
    rows = [row for stage in prepared.staged for batch in stage for row in batch.rows]
    assert sorted(rows) == list(range(300))
    assert 90 < np.mean([row for batch in prepared.staged[0] for row in batch.rows]) < 210, (
        "no matter of length or place"
    )
