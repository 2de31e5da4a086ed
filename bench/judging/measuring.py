"""Wall seconds and CPU seconds of what several processes do at the same time, and where they are told."""

import concurrent.futures
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
PROCESSES = 2
POOL = concurrent.futures.ThreadPoolExecutor(PROCESSES)
"""Kept to the end: a backbone process ends with the thread that started it."""


@dataclass(frozen=True)
class Cost:
    """Of one adapter, with `PROCESSES` at work: wall seconds each takes, CPU seconds."""

    wall: float
    cpu: float

    @property
    def a_minute(self) -> float:
        return 60 * PROCESSES / self.wall

    def to_json(self) -> dict[str, float]:
        return {"wall": round(self.wall, 3), "cpu": round(self.cpu, 3), "a_minute": round(self.a_minute, 1)}

    def of(self, other: "Cost") -> dict[str, float]:
        """How many times the other's wall seconds and CPU seconds these are."""
        return {"wall": round(self.wall / other.wall, 2), "cpu": round(self.cpu / other.cpu, 2)}


def middle(costs: Sequence[Cost]) -> Cost:
    return Cost(statistics.median(cost.wall for cost in costs), statistics.median(cost.cpu for cost in costs))


def at_once(work: Callable[[int], list[Cost]]) -> Cost:
    """The middle of what `PROCESSES` at the same time give; each is told its number."""
    return middle([cost for costs in POOL.map(work, range(PROCESSES)) for cost in costs])


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and of its children that have ended."""
    return sum(psutil.Process(pid).cpu_times()[:4])


def say(text: str = "") -> None:
    print(text, file=sys.stderr, flush=True)
