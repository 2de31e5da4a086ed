"""A benchmark that no worker can make ready ends its runs soon, and its owner hears of it."""

from typing import Any

import pytest

from registry.models import Event, Run
from registry.services import attempts
from tests.registry.cast import Caller, report_for
from tests.registry.workers import push, take
from workers.jobs import unjudged

pytestmark = pytest.mark.django_db
FAULT = "benchmark acme/tone cannot be made ready: out of memory"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "pause_after", lambda failures: 0)


def fail(worker: Caller, run: Run, digest: str) -> Run:
    lease = take(worker, run.base_fingerprint)
    assert lease.report(unjudged(FAULT, 1.0, started=False, benchmark=digest)).status == 200
    return lease.run


def test_three_tries_end_the_run_and_its_owners_side_is_told(
    owner: Caller, reader: Caller, stranger: Caller, worker: Caller, admin: Caller, base: Any, benchmark: Any
) -> None:
    run = push(owner)
    for attempt in (1, 2, 3):
        found = fail(worker, run, benchmark.pk)
        assert (found.attempt, found.takeovers) == (attempt, 0)
    assert (found.status, found.error) == (Run.Status.ERROR, FAULT)
    (event,) = Event.objects.filter(kind="benchmark.unfit")
    assert (event.subject, event.data["digest"]) == ("acme/tone", benchmark.pk)
    for who in (owner, reader, admin):
        assert who.get("benchmarks/acme/tone")["trouble"]["error"] == FAULT
    assert stranger.get("benchmarks/acme/tone")["trouble"] is None
    assert owner.get("adapters/acme/tone-bert/versions/1/report")["error"] == FAULT


def test_the_trouble_is_over_once_it_is_scored(owner: Caller, worker: Caller, base: Any, benchmark: Any) -> None:
    run = push(owner)
    for _ in range(3):
        fail(worker, run, benchmark.pk)
    lease = take(worker, push(owner, "acme/other", value=0.2).base_fingerprint)
    assert lease.report(report_for(lease.run)).status == 200
    assert owner.get("benchmarks/acme/tone")["trouble"] is None


def test_a_benchmark_that_is_not_in_the_plan_is_not_believed(
    owner: Caller, worker: Caller, base: Any, benchmark: Any
) -> None:
    """The control: it counts as a lost lease does, of which there may be twenty."""
    found = fail(worker, push(owner), "0" * 64)
    assert (found.attempt, found.takeovers) == (0, 1)
    assert not Event.objects.filter(kind="benchmark.unfit").exists()
