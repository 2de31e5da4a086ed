"""The hub's side: backbone processes that hold a base model and judge run after run."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.judging.measuring import PROCESSES, Cost, at_once, cpu_of
from workers.assignment import Assignment
from workers.process import BackboneProcess


class Ours:
    """Two backbone processes with the benchmark made ready."""

    def __init__(self, folder: Path) -> None:
        self.processes = [BackboneProcess(folder / f"scratch{number}") for number in range(PROCESSES)]

    def judge(self, runs: Sequence[Assignment]) -> Cost:
        """What a run costs, in each process one after the other; all but the first count."""

        def work(number: int) -> list[Cost]:
            process, found = self.processes[number], []
            for run in runs:
                used, before = self._cpu(number), time.perf_counter()
                process.judge(run, lambda stage: None)
                found.append(Cost(time.perf_counter() - before, self._cpu(number) - used))
            return found[1:]

        return at_once(work)

    def _cpu(self, number: int) -> float:
        pid = self.processes[number].pid
        return cpu_of(pid) if pid else 0.0

    def resident_bytes(self) -> int:
        """Memory that is the processes' own."""
        return sum(psutil.Process(process.pid).memory_full_info().uss for process in self.processes if process.pid)

    def stop(self) -> None:
        for process in self.processes:
            process.stop()


@contextmanager
def resident(folder: Path) -> Iterator[Ours]:
    """Two processes with a scratch folder each, ended behind the block."""
    ours = Ours(folder)
    try:
        yield ours
    finally:
        ours.stop()
