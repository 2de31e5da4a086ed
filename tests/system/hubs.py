"""A whole hub as processes, started as a user would: `manage.py up` on a free port and an empty folder."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
TINY_BASE = ROOT / "tests" / "specimens" / "tiny-bert"
START_SECONDS = 60
CAST = {"owner": "push", "member": "push", "stranger": "push", "reader": "read", "admin": "admin"}
# How a child is recognised by its command line.
CHILDREN = {
    "web": "gunicorn",
    "jobs": "registry.celery",
    "relay": "relay",
    "postgres": "pginstall18/bin/postgres",
    "redis": "redis-server",
    "worker": "workers.celery",
}


class Tokens(dict[str, str]):
    """Tokens of the cast, each made when it is first asked for."""

    def __init__(self, make: Callable[[str, str], str]) -> None:
        super().__init__()
        self.make = make

    def __missing__(self, name: str) -> str:
        self[name] = self.make(name, CAST[name])
        return self[name]


@dataclass
class RunningHub:
    """A hub, its process, and what a test may do to it."""

    endpoint: str
    data: Path
    process: subprocess.Popen[bytes]
    terminal: Path
    environment: Mapping[str, str]
    tokens: Tokens = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = Tokens(self.token)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.endpoint.rpartition(":")[2])

    @property
    def said(self) -> str:
        """What it has told on the terminal so far."""
        return self.terminal.read_text()

    def token(self, user: str, scope: str = "push") -> str:
        """Make a user, if need be, and a token for it, as an operator does."""
        words = ["token", user, "--create", "--scope", scope]
        return manage(*words, HUB_DATA=str(self.data)).stdout.strip()

    def get(self, path: str, token: str | None = None) -> tuple[int, bytes]:
        """GET a path; return status and body."""
        request = urllib.request.Request(f"{self.endpoint}{path}")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def is_ready(self) -> bool:
        """Whether GET /readyz is 200."""
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait for readiness; the hub's own words where it ends before."""
        wait_for(
            lambda: ("ready after" in self.said and self.is_ready()) or self.process.poll() is not None,
            seconds,
            lambda: self.said,
        )
        assert self.process.poll() is None, self.said

    def pids(self, name: str) -> list[int]:
        """The processes of a child (`web`, `postgres`, ...), its direct child first."""
        return [pid for pid in descendants(self.process.pid) if CHILDREN[name] in command_line(pid)]

    def stop(self, number: int = signal.SIGTERM, seconds: float = 30) -> int:
        """Send it a signal and wait for its end; return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=seconds)


def manage(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of manage.py that has to succeed."""
    line = [sys.executable, str(ROOT / "manage.py"), *words]
    done = subprocess.run(
        line, cwd=ROOT, env=clean_environment() | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def clean_environment() -> dict[str, str]:
    """Return the environment without anything of a hub in it."""
    ours = ("DATABASE_URL", "BROKER_URL", "DJANGO_SETTINGS_MODULE")
    return {name: value for name, value in os.environ.items() if not name.startswith("HUB_") and name not in ours}


def start(
    data: Path, *words: str, port: int = 0, user: int | None = None, python: str = sys.executable, **environment: str
) -> RunningHub:
    """Start `manage.py up` and return at once; wait_ready() waits."""
    port = port or free_port()
    data.parent.mkdir(parents=True, exist_ok=True)
    terminal = data.parent / f"{data.name} {time.monotonic_ns()}.terminal"
    line = [python, str(ROOT / "manage.py"), "up", "--port", str(port), "--data", str(data), "--no-demo"]
    chosen = clean_environment() | {"HUB_BASES": str(TINY_BASE)} | environment
    with terminal.open("ab") as out:
        process = subprocess.Popen([*line, *words], cwd=ROOT, env=chosen, stdout=out, stderr=out, user=user, group=user)
    return RunningHub(f"http://127.0.0.1:{port}", data, process, terminal, chosen)


def wait_for(done: Callable[[], bool], seconds: float, why: Callable[[], str] = str) -> None:
    """Wait until something is so; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, why() or "it took too long"
        time.sleep(0.05)


def descendants(pid: int) -> list[int]:
    """The processes below a process, nearest first."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(entry.parent.name)] = int(fields[1])
    found, level = [], [pid]
    while level:
        level = [child for child, parent in parents.items() if parent in level]
        found += level
    return found


def command_line(pid: int) -> str:
    """How a process was started; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def opened(pid: int) -> Iterator[str]:
    """What the descriptors of a process lead to, but for those that it closes meanwhile."""
    with suppress(FileNotFoundError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                yield os.readlink(descriptor)


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Processes that stand still while the block lasts."""
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
