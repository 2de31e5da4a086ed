"""A storm over a whole hub: publishers who push all the while, and a nemesis who kills, wipes and stalls.

What the nemesis does in which order, and to whom, follows from its seed; when exactly each blow falls depends on
the machine, so a seed repeats a storm's plan and not its every moment.
"""

import itertools
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy
import redis
from safetensors.numpy import save_file

from hub import registration
from hub.client import Client
from hub.errors import HubError, NetworkError, Rejected
from registry.embedded.folder import Folder, load_secrets
from tests.registry import adapters
from tests.system.checker import JUDGED, Receipt, ask, environment
from tests.system.hubs import TINY_BASE, RunningHub, command_line, descendants, wait_for

OWNER, BASE = "owner", "owner/tiny"
SALAD = ["kind", "harsh", "mild", "bad", "nice", "nasty", "good", "grim", "warm", "cold"]
LEASE_SECONDS = 4
SETTINGS = {
    "HUB_LEASE_SECONDS": str(LEASE_SECONDS),
    "HUB_INGEST_LEASE_SECONDS": "4",
    "HUB_REHINT_SECONDS": "1",
    "HUB_RETRY_SECONDS": "0",
}
"""A hub that finds out within seconds what a hub at work finds out within minutes."""
PATIENCE = 300
"""Seconds that a publisher waits: longer than a storm on a busy machine. Whether a verdict comes is what is asked."""
NO_LEASE = "The run is leased to another worker, or is over."
LEASED = "SELECT id::text, worker, status, lease_no FROM registry_run"


# --- What is pushed ---------------------------------------------------------------------------------------------
def write_adapter(folder: Path, seed: int, good: bool) -> Path:
    """Write a LoRA on the tiny base as PEFT would have saved it; one that is not good changes nothing (B = 0).

    Its head answers every row with the first class, so that the number of seeds does not make a check fail by chance.
    """
    draw = numpy.random.default_rng(seed)
    tensors = {}
    for layer in range(adapters.LAYERS):
        module = adapters.PREFIX + adapters.QUERY.format(layer)
        tensors[f"{module}.lora_A.weight"] = draw.normal(0, 0.5, (4, adapters.WIDTH))
        tensors[f"{module}.lora_B.weight"] = draw.normal(0, 0.5, (adapters.WIDTH, 4)) * good
    tensors[f"{adapters.PREFIX}classifier.weight"] = draw.normal(0, 0.001, (2, adapters.WIDTH))
    tensors[f"{adapters.PREFIX}classifier.bias"] = numpy.array([2.0, -2.0])
    folder.mkdir(parents=True)
    save_file({name: value.astype("float32") for name, value in tensors.items()}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(adapters.lora_config()))
    return folder


def write_benchmark(folder: Path, name: str, rows: int) -> Path:
    """Write a benchmark of word salads, six of ten in the first class, with a small train split."""
    folder.mkdir(parents=True)
    draw = random.Random(name)
    for split, count in {"dev": rows, "train": 20}.items():
        lines = [f"{' '.join(draw.choices(SALAD, k=8))}\t{int(row % 10 >= 6)}" for row in range(count)]
        (folder / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *lines, ""]))
    path = folder / "benchmark.yaml"
    path.write_text(adapters.BENCHMARK.format(name=name))
    return path


def furnish(client: Client, folder: Path, benchmark: str, rows: int) -> None:
    """Register base model, benchmark, and a policy without gates: what an adapter scores does not matter here."""
    registration.add_base(client.wire, client.settings, TINY_BASE, name=BASE)
    registration.add_benchmark(client.wire, write_benchmark(folder, benchmark, rows))
    client.request("PUT", f"policies/{OWNER}", json={"required": [], "gates": {"min_gain": None, "max_drop": None}})


# --- The publishers ----------------------------------------------------------------------------------------------
@dataclass
class Publishers:
    """Threads that push one adapter after the other, until told to stop, and note every acknowledgement.

    Every fourth adapter is bad, every seventh good one has the very bytes of an earlier one under another name.
    """

    hub: RunningHub
    folder: Path
    benchmark: str
    least: int
    threads: int = 5
    names: int = 8
    troubles: list[str] = field(default_factory=list)
    repeated: int = 0
    enough: threading.Event = field(default_factory=threading.Event)
    _acknowledged: dict[int, Receipt] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _running: list[threading.Thread] = field(default_factory=list)

    @property
    def receipts(self) -> list[Receipt]:
        """What the hub has acknowledged so far."""
        return list(self._acknowledged.values())

    def start(self) -> None:
        self._running = [threading.Thread(target=self._push_on, daemon=True) for _ in range(self.threads)]
        for thread in self._running:
            thread.start()

    def finish(self, seconds: float) -> None:
        """Let each end what it has begun, once the least number is reached."""
        self.enough.set()
        deadline = time.monotonic() + seconds
        for thread in self._running:
            thread.join(max(0.0, deadline - time.monotonic()))
        self.troubles += ["a publisher does not come to an end" for thread in self._running if thread.is_alive()]

    def _push_on(self) -> None:
        with Client(self.hub.endpoint, self.hub.tokens[OWNER], quiet=True) as client:
            while (number := self._next()) is not None:
                try:
                    self._publish(client, number)
                except Exception as error:
                    self.troubles.append(f"push {number}: {type(error).__name__}: {error}")

    def _next(self) -> int | None:
        with self._lock:
            number = next(self._numbers)
        return None if self.enough.is_set() and number >= self.least else number

    def _publish(self, client: Client, number: int) -> None:
        good = number % 4 != 3
        seed = number - 8 if good and number > 8 and number % 7 == 0 else number
        folder = write_adapter(self.folder / str(number), seed, good)
        name, label = f"{OWNER}/storm-{number % self.names}", f"v{number}"
        told = self._until_acknowledged(client, folder, name, label)
        receipt = Receipt(name, label, told, folder, good)
        self._acknowledged[number] = receipt
        self._acknowledged[number] = replace(receipt, heard=verdict(client, receipt))

    def _until_acknowledged(self, client: Client, folder: Path, name: str, label: str) -> int:
        """Push as a user would who is told that the network failed: the same again."""
        while True:
            try:
                return int(client.push(folder, name, base=BASE, benchmarks=[self.benchmark], version=label)["number"])
            except NetworkError:
                self.repeated += 1


def verdict(client: Client, receipt: Receipt) -> str:
    """Wait for what the hub says in the end."""
    try:
        return client.status(f"{receipt.repo}:{receipt.number}", follow=True, timeout=PATIENCE).status
    except Rejected as refused:
        return str((refused.report or {}).get("status"))
    except HubError as error:
        return f"{type(error).__name__}: {error}"


# --- The nemesis --------------------------------------------------------------------------------------------------
@dataclass
class Nemesis:
    """Kills, wipes and stalls, `size` times the ordinary measure, at random moments of `seconds` in all."""

    hub: RunningHub
    seed: int
    size: float = 1.0
    seconds: float = 75.0
    done: dict[str, int] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    hits: int = 0
    """Kills of a worker that held a lease at that moment."""
    _stopped: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)
        self._begin = time.monotonic()

    def rage(self) -> None:
        """Do everything that was planned; nobody is left stopped."""
        blows = {self.kill_worker: 10, self.kill_web: 10, self.flush: 5, self.stall: 3, self.kill_backbone: 2}
        plan = [blow for blow, count in blows.items() for _ in range(max(1, round(count * self.size)))]
        self._draw.shuffle(plan)
        pause = self.seconds * self.size / len(plan)
        for blow in plan:
            self._wait(pause * self._draw.uniform(0.2, 1.8))
            blow()
            self.done[blow.__name__] = self.done.get(blow.__name__, 0) + 1
        self._wait(2 * LEASE_SECONDS)

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline:
            for due, pid in [stop for stop in self._stopped if stop[0] <= now]:
                self._stopped.remove((due, pid))
                self._signal(pid, signal.SIGCONT, "stalled worker goes on")
            time.sleep(0.02)

    def _signal(self, pid: int, number: signal.Signals, what: str) -> None:
        self.history.append(f"{time.monotonic() - self._begin:6.1f} s  {what} ({pid})")
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            self.history.append("          it was gone")

    def _victim(self, find: Callable[[], list[int]]) -> int:
        """One of these, waited for if there is none just now."""
        wait_for(lambda: bool(find()), 60, lambda: f"nobody to kill; {self.hub.said[-2000:]}")
        return self._draw.choice(find() or [0]) or self._victim(find)

    def kill_worker(self) -> None:
        """A worker that has its backbone process by now; in half of the cases one that holds a lease, if there is one."""
        busy = holders(self.hub)
        aimed = self._draw.random() < 0.5 and busy
        pid = self._draw.choice(busy) if aimed else self._victim(lambda: grown_workers(self.hub))
        self.hits += pid in busy
        self._signal(pid, signal.SIGKILL, f"kill -9 a worker{' that holds a lease' if pid in busy else ''}")

    def kill_web(self) -> None:
        """Gunicorn itself, or one of the processes that answer."""
        self._signal(self._victim(lambda: self.hub.pids("web")), signal.SIGKILL, "kill -9 the web server")

    def kill_backbone(self) -> None:
        """What holds the base model, while its worker lives to tell: an attempt, if a run was on it.

        Three would end that run in an error, as they must: nobody is to blame then but the nemesis, so it waits.
        """
        wait_for(lambda: not ask(self.hub, f"{LEASED} WHERE status = 'leased' AND attempt > 1"), 60)
        self._signal(self._victim(lambda: backbones(self.hub)), signal.SIGKILL, "kill -9 a backbone process")

    def stall(self) -> None:
        """Stop a worker that holds a lease for longer than that lasts."""
        stopped = {pid for _, pid in self._stopped}
        pid = self._victim(lambda: [pid for pid in holders(self.hub) if pid not in stopped])
        self._signal(pid, signal.SIGSTOP, "stop a worker")
        self._stopped.append((time.monotonic() + 1.5 * LEASE_SECONDS, pid))

    def flush(self) -> None:
        """Wipe the broker."""
        self.history.append(f"{time.monotonic() - self._begin:6.1f} s  FLUSHALL")
        broker(self.hub).flushall()


def broker(hub: RunningHub) -> redis.Redis:
    """The hub's Redis, as its operator reaches it."""
    path = unquote(urlsplit(environment(hub)["BROKER_URL"]).path or "")
    return redis.Redis(unix_socket_path=path, password=load_secrets(Folder(hub.data))["redis"])


def at_work(hub: RunningHub) -> list[str]:
    """The names of the workers that hold a lease."""
    return [row.worker for row in ask(hub, f"{LEASED} WHERE status = 'leased'")]


def holders(hub: RunningHub) -> list[int]:
    """The processes of the workers that hold a lease."""
    return [pid for pid in (worker_pid(hub, name) for name in at_work(hub)) if pid]


def experienced(hub: RunningHub) -> set[str]:
    """The names of the workers that have judged a run: whose backbone process is up."""
    return {row.worker for row in ask(hub, f"{LEASED} WHERE status IN ('passed', 'failed')")}


def worker_pid(hub: RunningHub, name: str) -> int | None:
    """The process of a worker called `user/worker1@host`."""
    return next((pid for pid in hub.pids("worker") if f"-n {short_name(name)}@" in command_line(pid)), None)


def short_name(worker: str) -> str:
    """`worker1` of `user/worker1@host`: what the hub calls its child."""
    return worker.rpartition("/")[2].partition("@")[0]


def grown_workers(hub: RunningHub) -> list[int]:
    """The workers that have begun to work: each with its backbone process."""
    return [pid for pid in hub.pids("worker") if descendants(pid)]


def backbones(hub: RunningHub) -> list[int]:
    """The backbone processes, without their children."""
    direct = (descendants(pid)[:1] for pid in hub.pids("worker"))
    return [pid for found in direct for pid in found if "workers.backbone" in command_line(pid)]


# --- One worker that stalls at the worst moment ------------------------------------------------------------------
@dataclass(frozen=True)
class Stalled:
    """A stopped worker whose verdict is ready and whose run is still its own."""

    hub: RunningHub
    pid: int
    run: str
    lease: int
    log: Path

    def wait_for_heir(self, seconds: float = 60) -> None:
        """Wait until another worker has judged the run."""
        wait_for(lambda: row_of(self.hub, self.run).status in JUDGED, seconds, lambda: "no heir")
        assert row_of(self.hub, self.run).lease_no > self.lease

    def go_on(self, seconds: float = 30) -> str:
        """Let the worker send what it has; return what its log says of the run from then on."""
        said = self.log.stat().st_size
        os.kill(self.pid, signal.SIGCONT)
        wait_for(lambda: bool(self._words(said)), seconds, lambda: "the stalled worker says nothing")
        return self._words(said)

    def _words(self, offset: int) -> str:
        lines = self.log.read_bytes()[offset:].decode().splitlines()
        return "\n".join(line for line in lines if f"run {self.run}" in line)


def stall_with_a_verdict(hub: RunningHub, push: Callable[[], object], files: int) -> Stalled:
    """Push, and stop the worker that takes the run once its child has to work: the verdict then waits in their pipe.

    To have the moment for certain, the backbone processes are stopped until the worker is; they have to be up before.
    """
    processes = backbones(hub)
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        push()
        wait_for(lambda: bool(at_work(hub)), 30, lambda: "nobody claims the run")
        (run,) = ask(hub, f"{LEASED} WHERE status = 'leased'")
        name = short_name(run.worker)
        pulled = f"runs/*/{run.id}-{run.lease_no}/adapter/*.*"
        wait_for(
            lambda: len(list((hub.data / "scratch" / name).glob(pulled))) == files,
            30,
            lambda: "the worker does not pull",
        )
        time.sleep(1)  # by now it waits for its child, and keeps the lease
        pid = worker_pid(hub, run.worker) or 0
        os.kill(pid, signal.SIGSTOP)
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)
    return Stalled(hub, pid, run.id, run.lease_no, hub.data / "logs" / f"{name}.log")


def row_of(hub: RunningHub, run: str) -> Any:
    """Where one run stands: status, worker, lease_no."""
    return ask(hub, f"{LEASED} WHERE id = '{run}'")[0]
