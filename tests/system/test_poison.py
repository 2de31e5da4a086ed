"""Adapters that take their run down with them among good ones, and messages that come five times: nobody waits, nothing counts twice.

`make test` has a small crowd, `make faults` the whole: 5 among 50 on two workers, a hundred adapters on eight.
"""

import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import pytest

from hub import registration
from hub.client import Client
from tests.registry import adapters
from tests.system import checker, poison, storm
from tests.system.checker import Receipt
from tests.system.hubs import RunningHub, stopped, wait_for
from workers.celery import QUEUE, VALIDATE, configured

pytestmark = [
    pytest.mark.faults,
    pytest.mark.usefixtures("home"),
    pytest.mark.skipif("STORM" not in os.environ, reason="whole hubs for minutes: make faults"),
]

GOOD, POISON = 50, 5
WORKERS, CROWD, TIMES = 8, 100, 5
MOST_ATTEMPTS = 3
MOST_IDLE = 10.0
SEED = int(os.environ.get("STORM_SEED") or time.time_ns() % 1_000_000)
PLAIN = "owner/plain"
RUNS = "SELECT status, count(*) AS runs FROM registry_run GROUP BY status"
Start = Callable[..., RunningHub]


def furnish(client: Client, folder: Path) -> None:
    """A base model, a benchmark of rows of equal length, and a policy without gates: what an adapter scores does not matter."""
    folder.mkdir(parents=True)
    for split, rows in {"dev": poison.ROWS, "train": 20}.items():
        (folder / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *poison.lines(rows), ""]))
    (folder / "benchmark.yaml").write_text(adapters.BENCHMARK.format(name=PLAIN))
    registration.add_base(client.wire, client.settings, storm.TINY_BASE, name=storm.BASE)
    registration.add_benchmark(client.wire, folder / "benchmark.yaml")
    client.request(
        "PUT", f"policies/{storm.OWNER}", json={"required": [], "gates": {"min_gain": None, "max_drop": None}}
    )


def publish(client: Client, made: Path, number: int, good: bool = True) -> Receipt:
    """Push an adapter under a name of its own and wait for nothing."""
    told = client.push(made, f"owner/one-{number}", base=storm.BASE, benchmarks=[PLAIN], version="v1")
    return Receipt(f"owner/one-{number}", "v1", int(told["number"]), made, good)


def crowd(folder: Path, good: int, bad: int) -> list[tuple[Path, bool]]:
    """So many adapters, mixed: (folder, whether it is a good one)."""
    made = [(storm.write_adapter(folder / f"good-{n}", n, good=True), True) for n in range(good)]
    made += [(poison.write_poison(folder / f"poison-{n}", n), False) for n in range(bad)]
    random.Random(SEED).shuffle(made)
    return made


@dataclass
class Watch:
    """How long runs waited while no worker held one."""

    hub: RunningHub
    longest: float = 0.0
    samples: int = 0
    _over: Event = field(default_factory=Event)

    def look(self) -> None:
        idle_since: float | None = None
        while not self._over.wait(0.2):
            counted = {row.status: row.runs for row in checker.ask(self.hub, RUNS)}
            idle = bool(counted.get("queued")) and not counted.get("leased")
            now = time.monotonic()
            idle_since = (idle_since or now) if idle else None
            self.longest = max(self.longest, now - (idle_since or now))
            self.samples += 1


@contextmanager
def watched(hub: RunningHub) -> Iterator[Watch]:
    """Watch the runs while the block lasts."""
    watch = Watch(hub)
    thread = Thread(target=watch.look, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch._over.set()
        thread.join(10)


@pytest.mark.timeout(900)
def test_adapters_that_take_their_run_down_keep_nobody_waiting(start_hub: Start, home: Path) -> None:
    print(f"{POISON} poison among {GOOD} good, STORM_SEED={SEED}")
    hub = start_hub("poison", "--workers", "2", **storm.SETTINGS, HUB_RUN_MEMORY_GB=str(poison.MEMORY_GB))
    with Client(hub.endpoint, hub.tokens[storm.OWNER], quiet=True) as client:
        furnish(client, home / "benchmark")
        began = time.monotonic()
        with watched(hub) as watch:
            pushed = crowd(home / "adapters", GOOD, POISON)
            receipts = [publish(client, made, number, good) for number, (made, good) in enumerate(pushed)]
            wait_for(lambda: checker.is_quiet(hub), 600, lambda: str(checker.ask(hub, RUNS)))
        took = time.monotonic() - began
        versions = {row.repo: row for row in checker.ask(hub, checker.VERSIONS)}
        runs = checker.ask(hub, checker.RUNS)
        ill = [run for run in runs if run.status not in checker.JUDGED]
        attempts = Counter(run.attempt for run in ill)
        print(f"{took:.0f} s, attempts of the poison {dict(attempts)}, longest idle {watch.longest:.1f} s")
        assert {versions[r.repo].status for r in receipts if r.good} == {"published"}
        assert {versions[r.repo].status for r in receipts if not r.good} == {"validating"}, "no verdict, no rejection"
        assert len(ill) == POISON
        assert all(
            run.status == "error" and run.attempt <= MOST_ATTEMPTS and "out of memory" in run.error for run in ill
        )
        assert watch.samples > 5
        assert watch.longest < MOST_IDLE


@pytest.mark.timeout(240)
def test_with_enough_memory_the_same_adapter_is_judged(start_hub: Start, home: Path) -> None:
    """The control: nothing is wrong with it but its appetite."""
    hub = start_hub("enough", "--workers", "1", **storm.SETTINGS)
    with Client(hub.endpoint, hub.tokens[storm.OWNER], quiet=True) as client:
        furnish(client, home / "benchmark")
        publish(client, poison.write_poison(home / "poison", 0), 0)
        wait_for(lambda: checker.is_quiet(hub), 120)
        assert [row.status for row in checker.ask(hub, checker.VERSIONS)] == ["published"]


@pytest.mark.timeout(900)
def test_messages_that_come_five_times_in_any_order_are_applied_once(start_hub: Start, home: Path) -> None:
    """The workers are stopped until every message lies there five times, shuffled."""
    print(f"{CROWD} adapters, {WORKERS} workers, each message {TIMES} times, STORM_SEED={SEED}")
    hub = start_hub("fivefold", "--workers", str(WORKERS), **storm.SETTINGS)
    with Client(hub.endpoint, hub.tokens[storm.OWNER], quiet=True) as client:
        furnish(client, home / "benchmark")
        with stopped(hub.pids("worker")):
            pushed = crowd(home / "adapters", CROWD, 0)
            receipts = [publish(client, made, number) for number, (made, _) in enumerate(pushed)]
            wait_for(lambda: len(checker.ask(hub, checker.RUNS)) == CROWD, 120)
            sent = repeat_messages(hub)
        began = time.monotonic()
        wait_for(lambda: checker.is_quiet(hub) and not storm.broker(hub).llen(QUEUE), 600)
        said = "\n".join(log.read_text() for log in (hub.data / "logs").glob("worker*.log"))
        came = len(re.findall(rf"Task {VALIDATE}\[\S+\] received", said))
        claims = sum(run.lease_no for run in checker.ask(hub, checker.RUNS))
        took = time.monotonic() - began
        print(f"{sent} messages sent, {came} received, {claims} claims of {CROWD} runs, {took:.0f} s")
        assert came >= sent
        assert checker.violations(hub, receipts, client) == []


def repeat_messages(hub: RunningHub) -> int:
    """Lay a message for each run into the queue, so many times, in any order; returns how many."""
    runs = [run.id for run in checker.ask(hub, checker.RUNS)] * TIMES
    random.Random(SEED).shuffle(runs)
    app = configured(checker.environment(hub)["BROKER_URL"])
    for run in runs:
        app.send_task(VALIDATE, kwargs={"run_id": run}, queue=QUEUE)
    app.close()
    return len(runs)
