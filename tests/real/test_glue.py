"""LoRA and Houlsby adapters trained on six GLUE tasks, pushed to a running hub: what it publishes is what their libraries answer.

The hub is whole: PostgreSQL, an S3 server, web, jobs and one worker, started as an operator starts them. Every row of the dev files is
scored. HUB_TEST_TRAIN says how many rows are trained on (3 000), HUB_TEST_WORK where the trained adapters are kept between runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demo.base import base_folder
from hub import Client, errors, evaluation, registration
from hub import base_folder as bases
from tests.engine.makers import check
from tests.real import glue_kept
from tests.real.glue import TASKS
from tests.real.glue_kept import Kept
from tests.storage import swift
from tests.system.hubs import RunningHub, start, wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(14400)]
EVERY = [kept.name for kept in glue_kept.every()]
HEAD = "| task | method | trained | metric | value | interval | rows | majority | adapter off | probe | told by | seconds | verdict |"
BUCKET = "hub"
NEAR = 1e-5
PATIENCE = 3600.0


@dataclass(frozen=True)
class Judged:
    """An adapter and the report that the hub has published on it, with the answers to every row."""

    kept: Kept
    report: dict[str, Any]

    @property
    def score(self) -> dict[str, Any]:
        """The one score of the one component."""
        return dict(self.report["components"][0]["scores"][0])

    @property
    def said(self) -> np.ndarray:
        """What the hub's worker answered, row for row."""
        (found,) = self.report["predictions"].values()
        return np.array(found["labels"])

    @property
    def decided(self) -> dict[str, Any] | None:
        """What was told before the last row."""
        (evidence,) = check(self.report, "benchmark")["evidence"].values()
        return evidence.get("decided")


@pytest.fixture(scope="module")
def data() -> Path:
    """GLUE, which is no part of the repository."""
    folder = glue_kept.data_folder()
    if missing := glue_kept.missing(folder):
        pytest.skip(f"no GLUE: {missing} is not there (HUB_TEST_DATA names the folder)")
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """A hub that stores on S3, with one worker that holds the base model."""
    if why := swift.missing():
        pytest.skip(why)
    with swift.serve() as store:
        store.make_bucket(BUCKET)
        chosen = store.environment | {"HUB_STORAGE": f"s3://{BUCKET}/blobs", "HUB_BASES": str(base_folder())}
        running = start(tmp_path_factory.mktemp("glue") / "hub", "--workers", "1", **chosen)
        try:
            running.wait_ready()
            yield running
        finally:
            running.stop()


@pytest.fixture(scope="module")
def adapters(data: Path) -> list[Kept]:
    """All twelve, trained."""
    found = glue_kept.every()
    for kept in found:
        glue_kept.train(kept, data)
    return found


@pytest.fixture(scope="module")
def judged(
    adapters: list[Kept], data: Path, hub: RunningHub, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Judged]:
    """Every adapter pushed, and the report on it, by name."""
    known = f"/api/v1/base-models/{bases.fingerprint(base_folder())}"
    wait_for(lambda: hub.get(known)[0] == 200, 120, lambda: hub.said)
    operator = Client(hub.endpoint, hub.token("operator", "admin"), quiet=True)
    place = tmp_path_factory.mktemp("benchmarks")
    for task in TASKS.values():
        registration.add_benchmark(operator.wire, task.lay(data, place / task.name))
    owner = Client(hub.endpoint, hub.tokens["owner"], quiet=True)
    for kept in adapters:
        push(owner, kept)
    found = {kept.name: verdict(owner, kept) for kept in adapters}
    print("\n" + "\n".join([HEAD, "|" + "---|" * (HEAD.count("|") - 1), *map(row_of, found.values())]))
    return found


def push(owner: Client, kept: Kept) -> None:
    """Send an adapter as a publisher does, and do not wait."""
    task = kept.task
    asked = {"base": str(base_folder()), "benchmarks": [task.definition["name"]], "labels": task.labels or None}
    owner.push(kept.adapter, f"owner/{kept.name}", **asked)


def verdict(owner: Client, kept: Kept) -> Judged:
    """Wait until the hub has judged it, whatever it finds."""
    ref = f"owner/{kept.name}"
    try:
        owner.status(ref, follow=True, timeout=PATIENCE)
    except errors.Rejected as refused:
        print(refused)
    return Judged(kept, dict(evaluation.published(owner.wire, ref, "1")))


@pytest.fixture(params=EVERY)
def one(request: pytest.FixtureRequest, judged: dict[str, Judged]) -> Judged:
    """Each of the twelve."""
    return judged[request.param]


def test_every_row_is_answered_as_the_library_that_trained_it_answers(one: Judged, data: Path) -> None:
    ours, theirs = one.said, one.kept.said
    assert len(ours) == len(theirs) == len(one.kept.task.truth(data)) == one.score["n"]
    if one.kept.task.labels:
        assert np.flatnonzero(ours != theirs).tolist() == []
    else:
        assert np.abs(ours - theirs).max() <= NEAR * np.abs(theirs).max() + 1e-6


def test_the_published_score_is_that_of_the_librarys_answers(one: Judged, data: Path) -> None:
    task = one.kept.task
    assert one.score["value"] == pytest.approx(task.measure(task.truth(data), one.kept.said), abs=1e-5)


def test_less_than_one_per_cent_was_trained_and_all_of_it_is_at_work(one: Judged) -> None:
    consumed = check(one.report, "applied")["evidence"]
    assert consumed["consumed"] == consumed["tensors"] > 0
    assert 0 < one.kept.share < 0.01


def test_what_was_told_before_the_last_row_is_what_the_last_row_says(one: Judged) -> None:
    if one.decided is not None:
        assert one.decided["passed"] == all(gate["passed"] for gate in one.score["gates"])
        assert one.decided["rows"] < one.score["n"]


@pytest.mark.parametrize("method", glue_kept.LIBRARIES)
def test_an_adapter_that_has_learnt_more_than_a_probe_is_published(method: str, judged: dict[str, Judged]) -> None:
    """SST-2's; whether the others have learnt enough for their gain to be sure is what the table tells."""
    found = judged[f"sst2-{method.lower()}"]
    assert found.report["verdict"] == "passed"
    assert found.score["gain"]["over"] == "probe" and found.score["gain"]["interval"][0] > 0


def test_the_control_another_adapters_answers_are_not_taken_for_these(judged: dict[str, Judged]) -> None:
    """The rows do tell two adapters of one task apart."""
    for task in TASKS:
        assert (judged[f"{task}-lora"].said != judged[f"{task}-houlsby"].kept.said).any()


def row_of(found: Judged) -> str:
    """A row of the table, in Markdown; `told by` is the number of rows after which the verdict was known."""
    kept, score, decided = found.kept, found.score, found.decided
    low, high = score["interval"]
    off = [score["baselines"].get(name) for name in ("majority", "adapter_off", "probe")]
    cells = [kept.task.name, kept.method, f"{kept.share:.2%}", score["metric"], f"{score['value']:.4f}"]
    cells += [f"{low:.3f} to {high:.3f}", str(score["n"])]
    cells += ["" if value is None else f"{value:.3f}" for value in off]
    return (
        "| "
        + " | ".join(
            [*cells, str(decided["rows"]) if decided else "", f"{found.report['seconds']:.1f}", found.report["verdict"]]
        )
        + " |"
    )
