"""Starts children, watches them, starts them again when they die, and stops them in order.

Every child has its own process group (a Ctrl-C on the terminal reaches the supervisor alone), writes straight
to its own log file, and dies with the supervisor however that dies (see launch.py). There are no threads: the
kernel's death signal is tied to the thread that started the child, so children must be started from the main
thread.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from registry.embedded.account import Account
from registry.embedded.errors import EmbeddedError, StoppedError

LAUNCH = Path(__file__).with_name("launch.py")
QUICK_SECONDS = 8.0  # a child that lived longer has started well: its next death counts as the first
FAILURES = 5  # so many quick deaths in a row of a vital child and the hub gives up; SIGKILL is not the child's failure
LONGEST_PAUSE = 60.0
LONGEST_PAUSE_WHEN_KILLED = 1.0
LOG_BYTES = 16 << 20
STEP_SECONDS = 0.25


@dataclass(frozen=True)
class Program:
    """What to run, as whom, and how to end it."""

    name: str
    line: tuple[str, ...]
    log: Path
    cwd: Path
    env: Mapping[str, str] | None = None
    account: Account | None = None
    stop: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 5.0),)  # then SIGKILL
    death_signal: signal.Signals = signal.SIGKILL
    stage: int = 0  # the lowest stops first
    vital: bool = False  # without it there is no hub: if it cannot be kept alive, the hub ends
    pass_fds: tuple[int, ...] = ()
    before: Callable[[], None] | None = None


@dataclass
class Child:
    """A program that was started, and its history."""

    program: Program
    process: subprocess.Popen[bytes]
    started: float
    log_offset: int
    failures: int = 0
    deaths: int = 0
    due: float | None = None  # dead; start again at this time

    @property
    def alive(self) -> bool:
        """Tell whether it runs; collects it when it has ended."""
        return self.process.poll() is None


@dataclass
class Supervisor:
    """Owns the children of one hub."""

    tell: Callable[[str], None]
    follow: bool = False
    children: dict[str, Child] = field(default_factory=dict)
    asked_to_stop: int = 0
    _wake: socket.socket | None = None

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Take SIGTERM, SIGINT and SIGHUP as orders to stop, and wake up when a child dies."""
        wake, ring = socket.socketpair()
        wake.setblocking(False)
        ring.setblocking(False)
        orders = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, self._stop) for number in orders}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(ring.fileno(), warn_on_full_buffer=False)
        self._wake = wake
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._wake = None
            wake.close()
            ring.close()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.asked_to_stop += 1

    def start(self, program: Program) -> Child:
        """Start a program and watch over it from now on."""
        child = Child(program, spawn(program), time.monotonic(), log_size(program.log))
        self.children[program.name] = child
        return child

    def step(self, seconds: float = STEP_SECONDS) -> None:
        """Sleep until something happens or the time is over, then look after the children.

        Raises StoppedError when somebody asked the hub to stop, EmbeddedError when a vital child cannot be
        kept alive.
        """
        self._sleep(seconds)
        if self.asked_to_stop:
            raise StoppedError("stopping")
        for child in self.children.values():
            self._copy_log(child)
            if child.due is not None and time.monotonic() >= child.due:
                self._start_again(child)
            elif child.due is None and not child.alive:
                self._mourn(child)

    def _sleep(self, seconds: float) -> None:
        if self._wake is None:
            time.sleep(seconds)
        elif select.select([self._wake], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                self._wake.recv(4096)

    def _mourn(self, child: Child) -> None:
        """Tell of a death and plan the next start; give up where a vital child keeps dying.

        What reads messages (jobs, workers) or talks to others (relay) may be made to die from outside: that must not end
        the hub.
        """
        name, code = child.program.name, child.process.returncode
        signal_group(child.process.pid, signal.SIGTERM)  # whoever it left behind
        quick = time.monotonic() - child.started < QUICK_SECONDS
        child.deaths = child.deaths + 1 if quick else 1
        child.failures = 0 if not quick else child.failures + (code != -signal.SIGKILL)
        told = f"{name} ended unexpectedly ({how_it_ended(code)})"
        if child.program.vital and child.failures >= FAILURES:
            raise EmbeddedError(
                f"{told} {child.failures} times in a row, soon after its start\n{last_words(child.program.log)}",
                f"its whole log: {child.program.log}",
            )
        longest = LONGEST_PAUSE_WHEN_KILLED if code == -signal.SIGKILL else LONGEST_PAUSE
        pause = 0.0 if child.deaths == 1 else min(0.1 * 2 ** min(child.deaths, 16), longest)
        child.due = time.monotonic() + pause
        again = f"starting it again{f' in {pause:.1f} s' if pause else ''}"
        if child.failures == FAILURES:  # once: the hub goes on without it, and somebody should look
            again += f". The hub goes on without it meanwhile\n{last_words(child.program.log)}"
        self.tell(f"{told}; {again}")

    def _start_again(self, child: Child) -> None:
        child.due = None
        child.process = spawn(child.program)
        child.started = time.monotonic()

    def wait_until(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        """Look after the children until something is so; raises EmbeddedError after so many seconds."""
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{what} took longer than {seconds:.0f} s")
            self.step(0.05)

    def run_once(self, program: Program, seconds: float) -> None:
        """Run a program to its end; raises EmbeddedError with its last words when that is not a good one."""
        child = Child(program, spawn(program), time.monotonic(), log_size(program.log))
        try:
            self.wait_until(lambda: not child.alive, seconds, program.name)
        finally:
            self._copy_log(child)
            if child.alive:
                end([child], lambda: False)
        if child.process.returncode:
            raise EmbeddedError(
                f"{program.name} failed ({how_it_ended(child.process.returncode)})\n{last_words(program.log)}",
                f"its whole log: {program.log}",
            )

    def stop_all(self) -> None:
        """Stop the children stage by stage; a second order to stop shortens all patience to a second."""
        enough = self.asked_to_stop
        for stage in sorted({child.program.stage for child in self.children.values()}):
            chosen = [child for child in self.children.values() if child.program.stage == stage]
            end(chosen, lambda: self.asked_to_stop > max(enough, 1))
            for child in chosen:
                self._copy_log(child)
        self.children.clear()

    def _copy_log(self, child: Child) -> None:
        """Show on the terminal what a child wrote since the last look, when that is wanted."""
        if not self.follow or (size := log_size(child.program.log)) <= child.log_offset:
            return
        with child.program.log.open("rb") as file:
            file.seek(child.log_offset)
            text = file.read(size - child.log_offset).decode(errors="replace")
        child.log_offset = size
        for line in text.splitlines():
            self.tell(f"{child.program.name:<8} | {line}")


def bare_environment() -> dict[str, str]:
    """The environment of a child that needs none."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def orders(death_signal: signal.Signals, account: Account | None, cwd: Path) -> str:
    """Write down what launch.py has to do."""
    return json.dumps(
        {
            "parent": os.getpid(),
            "death_signal": int(death_signal),
            "uid": account.uid if account else None,
            "gid": account.gid if account else None,
            "cwd": str(cwd),
        }
    )


def launched(order: str, line: tuple[str, ...] | list[str]) -> list[str]:
    """Return the command line that goes through launch.py."""
    return [sys.executable, "-I", "-S", str(LAUNCH), order, *line]


def spawn(program: Program) -> "subprocess.Popen[bytes]":
    """Start a program with its output in its log file."""
    if program.before:
        program.before()
    turn_log(program.log)
    with open(program.log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as log:
        return subprocess.Popen(  # noqa: S603
            launched(orders(program.death_signal, program.account, program.cwd), program.line),
            env=dict(program.env) if program.env is not None else bare_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=program.pass_fds,
            process_group=0,
        )


def end(children: list[Child], impatient: Callable[[], bool]) -> None:
    """End these children together: their own signals first, SIGKILL to what is left of their process groups."""
    for step in range(max((len(child.program.stop) for child in children), default=0)):
        waiting = []
        for child in children:
            if child.alive and step < len(child.program.stop):
                number, grace = child.program.stop[step]
                with contextlib.suppress(ProcessLookupError):
                    child.process.send_signal(number)
                waiting.append((child, grace))
        await_deaths(waiting, impatient)
    for child in children:
        signal_group(child.process.pid, signal.SIGKILL)
        child.process.wait()


def await_deaths(waiting: list[tuple[Child, float]], impatient: Callable[[], bool]) -> None:
    """Wait until each of these is dead or its time is over."""
    begin = time.monotonic()
    while any(child.alive and time.monotonic() - begin < grace for child, grace in waiting):
        if impatient() and time.monotonic() - begin > 1:
            return
        time.sleep(0.02)


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group, if any of it is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def how_it_ended(code: int) -> str:
    """Put an exit status into words."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}"


def log_size(log: Path) -> int:
    """Return the length of a log, 0 when there is none."""
    try:
        return log.stat().st_size
    except OSError:
        return 0


def turn_log(log: Path) -> None:
    """Keep a log from growing for ever: one older file beside it, moved at a start."""
    if log_size(log) > LOG_BYTES:
        log.replace(log.with_suffix(".1.log"))


def last_words(log: Path, lines: int = 15) -> str:
    """Return the end of a log, indented."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log_size(log) - 8192))
            tail = file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in tail)
