"""The work behind a hint: claim runs until none waits; for each, pull, have it judged, report."""

import functools
import logging
import math
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hub import HubError
from workers import bases, settings
from workers.assignment import Assignment
from workers.celery import VALIDATE, app
from workers.errors import Fault, LeaseLost
from workers.process import BackboneProcess
from workers.registry import Lease, Registry
from workers.seat import Seat

BEATS = 4
"""Heartbeats per lease."""
PATIENCE = 0.75
"""Share of the lease after which, unheard, a worker ends its child: before anybody else can hold the run."""

REST_SECONDS = (5.0, 300.0)
"""How long a worker rests that cannot get a run started, at first and at most: it must not burn the whole queue."""
OPENED_AHEAD = 2
"""Base models opened before a run asks for one."""
ANNOUNCED_FOR = 3600.0
"""Seconds after which the registry is told again of the base models here: it may wait by now for the files of one."""

logger = logging.getLogger("workers")


@app.task(name=VALIDATE, bind=True)  # type: ignore[untyped-decorator]
def validate(task: Any, *, run_id: str | None = None, **_: object) -> None:
    """Do whatever waits, the run that the hint names first."""
    try:
        worker(str(task.request.hostname or "worker")).drain(run_id)
    except HubError as error:
        # The hint comes again: the registry sends it as long as the run waits.
        logger.warning("the registry cannot be asked for work: %s", error)


@functools.cache
def worker(name: str) -> "Worker":
    """The one worker of this process."""
    return Worker(name, settings.read())


class Worker:
    """Claims and serves runs, one at a time, with one backbone process."""

    def __init__(self, name: str, given: settings.Settings) -> None:
        self._seat = Seat(given.scratch)
        self.name = self._seat.named(name)
        self.settings = given
        self.registry = Registry(given.endpoint, given.token)
        self.process = BackboneProcess(self._seat.folder, given.isolation)
        self._pulled = self._seat.folder / "runs" / name.replace("/", "_")
        self._starting = True
        self._announced: dict[str, float] = {}
        self._stumbled = 0
        self._rests_until = 0.0

    def drain(self, run_id: str | None = None) -> None:
        """Serve runs until none waits. The first claim of a process frees what it held before it was restarted.

        A worker that could not get a run started (its disk is full, its base model is gone) rests for a while.
        """
        if time.monotonic() < self._rests_until:
            return
        if self._starting:  # what was pulled for those runs goes, too: a worker that is killed cannot tidy up
            shutil.rmtree(self._pulled, ignore_errors=True)
        known = bases.find(self.settings.bases, self.settings.scratch / "bases")
        # Its libraries take seconds to load: they do so while the registry is being asked.
        self.process.warm({key: known[key].folder for key in sorted(known)[:OPENED_AHEAD]})
        self._announce(known)
        if not self._has_walls():
            self._rest()
            return
        while True:
            lease = self.registry.claim(
                self.name, sorted(known), held=self.process.held, run=run_id, starting=self._starting
            )
            self._starting, run_id = False, None
            if lease is None:
                return
            if not self.serve(lease, known[lease.run["base_fingerprint"]]):
                self._rest()
                return
            self._stumbled = 0

    def _has_walls(self) -> bool:
        """Whether runs may be claimed: where the walls do not hold they are left to other workers."""
        try:
            self.process.insist_on_walls()
        except Fault as fault:
            logger.error("%s claims no run: %s", self.name, fault)
            return False
        return True

    def _rest(self) -> None:
        first, most = REST_SECONDS
        seconds = min(most, first * 2**self._stumbled)
        self._stumbled += 1
        self._rests_until = time.monotonic() + seconds
        logger.warning("%s could not get a run started and rests for %.0f s", self.name, seconds)

    def serve(self, lease: Lease, base: bases.Base) -> bool:
        """Judge one claimed run and report it, whatever comes of it; False where it could not be started here.

        Where the way to the registry or its store is bad, nothing is told: the lease runs out, no attempt is counted.
        """
        logger.info("run %s claimed, attempt %s", lease.id, lease.run.get("attempt"))
        began, well = time.monotonic(), True
        try:
            with heart(lease) as beating:
                try:
                    report = self._judged(lease, base, beating)
                except (Fault, OSError) as fault:
                    started = isinstance(fault, Fault) and fault.started
                    unfit = fault.benchmark if isinstance(fault, Fault) else None
                    well = started or unfit is not None
                    logger.warning("run %s: %s", lease.id, fault)
                    report = unjudged(str(fault), time.monotonic() - began, started=started, benchmark=unfit)
                self._deliver(lease, report)
        except LeaseLost as lost:
            logger.warning("run %s: %s", lease.id, lost)
        except HubError as error:
            logger.warning("run %s is left to others: %s", lease.id, error)
        return well

    def _judged(self, lease: Lease, base: bases.Base, beating: "Heart") -> dict[str, Any]:
        _insist(base, lease.base_model)
        folder = self._pulled / f"{lease.id}-{lease.run['lease_no']}"
        try:
            beating.stage = "pull"
            assignment = Assignment(
                run=lease.id,
                snapshot=lease.pull(folder / "adapter"),
                adapter_digest=str(lease.run["adapter_digest"]),
                base=base.folder,
                fingerprint=base.model.fingerprint,
                benchmarks=lease.benchmarks(self._seat.folder / "benchmarks"),
                plan=lease.run["plan"],
                base_model=lease.base_model,
                previous=lease.previous(folder / "previous"),
                limits=self.settings.limits,
                parity=self.settings.parity,
            )
            return self.process.judge(assignment, beating.tell, beating.is_lost)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _deliver(self, lease: Lease, report: dict[str, Any]) -> None:
        try:
            status = lease.report(report)
        except HubError as error:
            if error.status != 422:
                raise
            # The registry holds the report against its plan; a report that does not fit is our fault.
            logger.error("run %s: the report was refused: %s", lease.id, error)
            status = lease.report(unjudged(f"the report was refused: {error}", float(report.get("seconds") or 0)))
        logger.info("run %s is %s: %s", lease.id, status, report.get("summary"))

    def _announce(self, known: dict[str, bases.Base]) -> None:
        for fingerprint, base in known.items():
            if time.monotonic() - self._announced.get(fingerprint, -math.inf) < ANNOUNCED_FOR:
                continue
            try:
                self.registry.announce(base.model, base.folder)
                self._announced[fingerprint] = time.monotonic()
            except HubError as error:
                logger.warning("%s could not be announced: %s", base.folder, error)


def _insist(base: bases.Base, wanted: dict[str, Any]) -> None:
    """The same weights under another configuration or tokenizer give other answers: nothing is judged on them."""
    for key in ("architecture", "tokenizer_digest"):
        if wanted.get(key) and wanted[key] != getattr(base.model, key):
            raise Fault(f"{base.folder} holds the weights of this base model, but another {key}", started=False)


class Heart:
    """Heartbeats of one lease from a thread of their own, and what they have found out."""

    def __init__(self, lease: Lease) -> None:
        self.stage = "claimed"
        self._lease = lease
        self._heard = time.monotonic()
        self._lost = threading.Event()
        self._done = threading.Event()
        self._told = threading.Event()

    def tell(self, stage: str) -> None:
        """Note how far the run has come; told to the registry soon, not at the next beat only."""
        self.stage = stage
        self._told.set()

    def is_lost(self) -> bool:
        """Whether the lease is lost, or may be lost before long because nobody answers."""
        return self._lost.is_set() or time.monotonic() - self._heard > PATIENCE * self._lease.seconds

    def beat_on(self) -> None:
        """Beat until the run is over."""
        while not self._done.is_set():
            self._beat()
            self._told.wait(self._lease.seconds / BEATS)
            self._told.clear()
            self._done.wait(min(1.0, self._lease.seconds / BEATS**2))

    def stop(self) -> None:
        self._done.set()
        self._told.set()

    def _beat(self) -> None:
        asked = time.monotonic()
        try:
            self._lease.heartbeat(self.stage)
            self._heard = asked
        except LeaseLost:
            self._lost.set()
            self._done.set()
        except HubError as error:
            logger.warning("run %s: no heartbeat: %s", self._lease.id, error)


@contextmanager
def heart(lease: Lease) -> Iterator[Heart]:
    """Beat while the block runs."""
    beating = Heart(lease)
    thread = threading.Thread(target=beating.beat_on, name=f"heart-{lease.id}", daemon=True)
    thread.start()
    try:
        yield beating
    finally:
        beating.stop()
        thread.join(timeout=2)


def unjudged(reason: str, seconds: float, *, started: bool = True, benchmark: str | None = None) -> dict[str, Any]:
    """The report of a run that came to no verdict; one whose adapter was never `started` counts no attempt, unless a
    benchmark of its plan is to blame."""
    return {
        "verdict": "error",
        "error": reason,
        "summary": f"not judged: {reason}",
        "checks": [],
        "components": [],
        "seconds": round(seconds, 3),
        "started": started,
        **({"benchmark": f"sha256:{benchmark}"} if benchmark else {}),
    }
