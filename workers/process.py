"""The worker's end of the backbone process: start it, hand it assignments, end it."""

import collections
import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import workers
from workers import pipes, walls
from workers.assignment import Assignment
from workers.errors import Fault, LeaseLost
from workers.walls import Isolation

logger = logging.getLogger("workers")

GRACE = 60.0
"""Seconds beyond a run's limit before the process itself is ended: it may be stuck where no child is."""
START_SECONDS = 300.0
BEAT = 0.2
PROMPTLY = 5.0
"""Seconds that the process has to end a child it is told to end; then it is ended itself."""


class BackboneProcess:
    """One process, started when it is asked for and again whenever it has died."""

    def __init__(self, scratch: Path, asked: str = "required") -> None:
        """`asked` is HUB_ISOLATION: without the essential walls `required` judges nothing, `best` makes do, `off` raises none."""
        self.scratch = scratch
        self.asked = asked
        self.isolation: Isolation | None = None
        """Which walls hold around its children, once it has told."""
        self.held: list[str] = []
        """Fingerprints of the base models that it had open after the last run."""
        self._told: Isolation | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._commands = -1
        self._answers: pipes.Reader | None = None
        self._inbox: collections.deque[dict[str, Any]] = collections.deque()
        self._ready = False

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return None if self._process is None else self._process.pid

    def judge(
        self, assignment: Assignment, tell: Callable[[str], None], lost: Callable[[], bool] = lambda: False
    ) -> dict[str, Any]:
        """Have an assignment judged; returns the report.

        Raises Fault (its text says what happened) where there is no verdict, and LeaseLost as soon as
        `lost()` is true; the child is dead then.
        """
        self.start()
        try:
            pipes.send(self._commands, {**assignment.to_json()})
        except BrokenPipeError:
            self.stop()
            raise Fault("the backbone process has died", started=False) from None
        for message in self._messages(time.monotonic() + self._patience(assignment), lost):
            if "stage" in message:
                tell(message["stage"])
            elif "report" in message:
                self.held = list(message["held"])
                return dict(message["report"])
            elif "fault" in message:
                raise Fault(
                    message["fault"], started=bool(message.get("started", True)), benchmark=message.get("benchmark")
                )
            else:
                raise LeaseLost("the lease is lost; the child has been ended")
        self.stop()
        raise Fault("the backbone process has died")

    def warm(self, bases: Mapping[str, Path]) -> None:
        """Start the process and have it open base models (fingerprint -> folder); does not wait for either.

        What cannot be opened is told when a run needs it.
        """
        if self._alive:
            return
        self._launch()
        with contextlib.suppress(BrokenPipeError):
            pipes.send(self._commands, {"open": {key: str(folder) for key, folder in bases.items()}})

    def start(self) -> None:
        """Start the process unless it runs; returns when it has its libraries loaded. Raises Fault."""
        self.insist_on_walls()
        if not self._ready:
            self._hear("ready")
            self._ready = True

    def insist_on_walls(self) -> None:
        """Have the process started and its walls tried. Raises Fault where an essential one does not hold, unless told otherwise."""
        if not self._alive:
            self._launch()
        if self.isolation is None:
            self.isolation = walls.found(self._hear("walls")["walls"], asked=self.asked != "off")
            self._tell(self.isolation)
        if self.asked == "required" and self.isolation.breaches:
            missing = ", ".join(self.isolation.breaches)
            self.stop()
            hint = "mend what the log says, or accept it by HUB_ISOLATION=best"
            raise Fault(
                f"nothing is judged on this machine, for these walls do not hold: {missing}; {hint}", started=False
            )

    def _hear(self, wanted: str) -> dict[str, Any]:
        """The next message of a process that starts."""
        message = next(self._messages(time.monotonic() + START_SECONDS, lambda: False), {})
        if wanted not in message:
            self.stop()
            raise Fault("the backbone process did not start", started=False)
        return message

    def _tell(self, isolation: Isolation) -> None:
        """Say once which walls hold; again only where that has changed."""
        if isolation == self._told:
            return
        self._told = isolation
        logger.info("isolation of runs: %s; walls that hold: %s", isolation.level, ", ".join(isolation.held) or "none")
        for line in isolation.advice():
            logger.warning("isolation of runs: %s", line)

    @property
    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _launch(self) -> None:
        self.stop()
        theirs, self._commands = os.pipe()
        answers, theirs_too = os.pipe()
        self._answers, self._ready, self.isolation = pipes.Reader(answers), False, None
        self._inbox.clear()
        self.held = []
        command = [sys.executable, "-m", "workers.backbone", str(theirs), str(theirs_too), str(os.getpid())]
        self.scratch.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(  # noqa: S603  our own module, by absolute path
            [*command, str(self.scratch.resolve()), self.asked],
            env={},
            cwd=Path(workers.__file__).parents[1],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(theirs, theirs_too),
            start_new_session=True,
        )
        os.close(theirs)
        os.close(theirs_too)

    def stop(self) -> None:
        """End the process and its child, if it runs."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(self._commands)
        if self._answers is not None:
            os.close(self._answers.descriptor)

    def _messages(self, deadline: float, lost: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        """What the process says, until it ends. Watches the clock and the lease between messages."""
        assert self._answers is not None, "started"
        cancelled = False
        while self._inbox or not self._answers.ended:
            if self._inbox:
                yield self._inbox.popleft()
                continue
            if not cancelled and lost():
                cancelled, deadline = True, time.monotonic() + PROMPTLY
                with contextlib.suppress(BrokenPipeError):
                    pipes.send(self._commands, {"cancel": True})
            if time.monotonic() > deadline:
                self.stop()
                raise _overdue(cancelled)
            ready, _, _ = select.select([self._answers.descriptor], [], [], BEAT)
            if ready:
                self._inbox += self._answers.read()

    @staticmethod
    def _patience(assignment: Assignment) -> float:
        """Seconds for the run and for making its benchmarks ready."""
        return assignment.limits.seconds * (1 + len(assignment.benchmarks)) + GRACE


def _overdue(cancelled: bool) -> Fault | LeaseLost:
    if cancelled:
        return LeaseLost("the lease is lost; the backbone process has been ended")
    return Fault("the backbone process did not answer in time")
