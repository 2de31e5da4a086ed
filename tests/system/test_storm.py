"""Processes die, the broker forgets, a worker stalls: nothing is lost, nothing is published unproven, nothing counts twice."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hub.client import Client
from tests.system import checker, storm
from tests.system.checker import Receipt
from tests.system.hubs import RunningHub, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("home")]

SIZE = float(os.environ.get("STORM") or 0.5)
"""Times ten kills of worker and web each; `make faults` has larger ones."""
SEED = int(os.environ.get("STORM_SEED") or time.time_ns() % 1_000_000)
LEAST = int(40 * SIZE)
QUIET_SECONDS = 90
SALAD = "owner/salad"
Start = Callable[..., RunningHub]


# --- The checker, on histories made by hand -------------------------------------------------------------------------
def version(**other: object) -> SimpleNamespace:
    row = {"repo": "o/a", "ref": "o/a:v1", "number": 1, "status": "published", "run_status": "passed"}
    return SimpleNamespace(**row | {"by_its_run": True, "by_its_files": True} | other)


def run(**other: object) -> SimpleNamespace:
    row = {"id": "r", "status": "passed", "attempt": 0, "takeovers": 1, "error": "", "key": "k" * 12}
    return SimpleNamespace(**row | {"benchmarks": 1, "scores": 1} | other)


def event(kind: str, subject: str = "r") -> SimpleNamespace:
    return SimpleNamespace(kind=kind, subject=subject)


WELL: dict[str, Any] = {
    "receipts": [Receipt("o/a", "v1", 1, Path(), good=True, heard="published")],
    "versions": [version()],
    "runs": [run()],
    "events": [event("run.passed"), event("version.published", "o/a:v1"), event("run.taken_back")],
    "uploads": [],
}
ILL: dict[str, dict[str, Any]] = {
    "o/a:v1 is there 0 times": {"versions": []},
    "o/a:v1 is there 2 times": {"versions": [version(), version(number=2)]},
    "o/a:v1 was acknowledged and is validating": {"versions": [version(status="validating")]},
    "o/a:v1 was acknowledged and is rejected": {"versions": [version(status="rejected", run_status="failed")]},
    "the publisher was told NotJudged": {"receipts": [replace(WELL["receipts"][0], heard="NotJudged: ...")]},
    "o/a:v1 is there and nobody has a receipt": {"receipts": []},
    "o/a:v1 is published without a passed run": {"versions": [version(run_status=None)]},
    "without a passed run for exactly its key": {"versions": [version(by_its_run=False)]},
    "o/a:v1 is published without": {"versions": [version(by_its_files=False)]},
    "o/a:v1 is published, its run says rejected": {"versions": [version(run_status="failed")]},
    "run r came to no verdict: error": {"runs": [run(status="error")]},
    "run r came to no verdict: leased": {"runs": [run(status="leased")]},
    "upload u is open": {"uploads": [SimpleNamespace(id="u", state="open")]},
    "run r was judged 0 times": {"events": WELL["events"][1:]},
    "run r was judged 2 times": {"events": [*WELL["events"], event("run.failed")]},
    "run r has 2 scores on 1 benchmarks": {"runs": [run(scores=2)]},
    "the evidence key kkkkkkkkkkkk has 2 runs": {"runs": [run(), run()]},
    "has 2 events version.published": {"events": [*WELL["events"], event("version.published", "o/a:v1")]},
    "has 1 events version.rejected": {"events": [*WELL["events"], event("version.rejected", "o/a:v1")]},
}


def test_the_checker_finds_nothing_where_all_is_well() -> None:
    assert checker.compare(**WELL) == []


@pytest.mark.parametrize("words", ILL)
def test_the_checker_finds(words: str) -> None:
    found = checker.compare(**WELL | ILL[words])
    assert [told for told in found if words in told], found


# --- Whole hubs -------------------------------------------------------------------------------------------------------
def owner(hub: RunningHub) -> Client:
    return Client(hub.endpoint, hub.tokens[storm.OWNER], quiet=True)


@pytest.mark.timeout(240 + 240 * SIZE)
def test_a_storm_loses_nothing_and_does_nothing_twice(start_hub: Start, home: Path) -> None:
    print(f"storm of size {SIZE}, STORM_SEED={SEED}")
    hub = start_hub("storm", "--workers", "2", **storm.SETTINGS)
    with owner(hub) as client:
        storm.furnish(client, home / "benchmark", SALAD, 24)
        publishers = storm.Publishers(hub, home / "adapters", SALAD, LEAST)
        nemesis = storm.Nemesis(hub, SEED, SIZE)
        begin = time.monotonic()
        publishers.start()
        nemesis.rage()
        ended = time.monotonic()
        publishers.finish(QUIET_SECONDS)
        wait_for(lambda: checker.is_quiet(hub), QUIET_SECONDS, lambda: "the hub does not come to rest")
        tell(hub, publishers, nemesis, ended - begin, time.monotonic() - ended)
        assert publishers.troubles == []
        assert len(publishers.receipts) >= LEAST
        assert checker.violations(hub, publishers.receipts, client) == []


def tell(hub: RunningHub, publishers: storm.Publishers, nemesis: storm.Nemesis, raged: float, rested: float) -> None:
    """The figures of a storm, and what happened when."""
    runs = checker.ask(hub, checker.RUNS)
    good = sum(receipt.good for receipt in publishers.receipts)
    taken, faults = (sum(getattr(run, name) for run in runs) for name in ("takeovers", "attempt"))
    stale = sum(log.read_text().count(storm.NO_LEASE) for log in (hub.data / "logs").glob("worker*.log"))
    print(*nemesis.history, sep="\n")
    print(
        f"{len(publishers.receipts)} pushes ({good} good), {publishers.repeated} pushed again by hand, {len(runs)} runs; "
        f"{nemesis.done}, {nemesis.hits} workers killed with a lease; {taken} takeovers, {faults} failed attempts, "
        f"{stale} calls of workers without a lease refused; {raged:.0f} s of storm, at rest {rested:.1f} s later"
    )


@pytest.mark.timeout(180)
def test_a_stalled_worker_that_reports_late_changes_nothing(start_hub: Start, home: Path) -> None:
    assert violations_after_a_stale_report(start_hub, home, "fenced") == []


@pytest.mark.timeout(180)
def test_without_fences_a_stalled_worker_judges_a_second_time(start_hub: Start, home: Path) -> None:
    """The negative control: the same scenario, the same checker, and only the fence is missing."""
    found = violations_after_a_stale_report(start_hub, home, "unfenced", HUB_FENCING="off")
    assert [words for words in found if "was judged 2 times" in words], found


def violations_after_a_stale_report(start_hub: Start, home: Path, name: str, **settings: str) -> list[str]:
    """Stall a worker that has its verdict, let another one judge the run, let the first one report; then check.

    The adapter is a bad one: the verdict of a passed run is guarded a second time, by the database itself.
    """
    hub = start_hub(name, "--workers", "2", **storm.SETTINGS, **settings)
    with owner(hub) as client:
        storm.furnish(client, home / "benchmark", SALAD, 24)
        receipts: list[Receipt] = []

        def push() -> None:
            receipts.append(publish_bad(client, home / "adapters", len(receipts)))

        while len(storm.experienced(hub)) < 2:
            push()
            push()
            wait_for(lambda: checker.is_quiet(hub), QUIET_SECONDS)
        stalled = storm.stall_with_a_verdict(hub, push, files=3)
        stalled.wait_for_heir()
        words = stalled.go_on()
        assert ("is failed" if settings else storm.NO_LEASE) in words
        wait_for(lambda: checker.is_quiet(hub), QUIET_SECONDS)
        return checker.violations(hub, receipts, client)


def publish_bad(client: Client, folder: Path, number: int) -> Receipt:
    """Push one adapter that changes nothing."""
    made = storm.write_adapter(folder / str(number), number, good=False)
    told = client.push(made, "owner/stall", base=storm.BASE, benchmarks=[SALAD], version=f"v{number}")
    return Receipt("owner/stall", f"v{number}", int(told["number"]), made, good=False)
