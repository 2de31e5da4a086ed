"""What the worker hands to the backbone process: one run, as plain values and local paths."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hub.spec import benchmark
from hub.spec.benchmark import Benchmark


@dataclass(frozen=True)
class BenchmarkFiles:
    """A benchmark with its data on the local disk; whoever put it there has checked the SHA-256."""

    benchmark: Benchmark
    data: Path
    train: Path | None


@dataclass(frozen=True)
class Limits:
    """What a run may use before it counts as a fault."""

    seconds: float = 1800.0
    memory_gb: float = 8.0
    """Beyond what the child shares with the backbone process."""


@dataclass(frozen=True)
class Assignment:
    """One run: which files, on which base model, against which benchmarks, by which gates."""

    run: str
    snapshot: Path
    adapter_digest: str
    base: Path
    fingerprint: str
    benchmarks: tuple[BenchmarkFiles, ...]
    plan: dict[str, Any]
    base_model: dict[str, Any] = field(default_factory=dict)
    previous: dict[str, Any] | None = None
    """`{adapter_digest, predictions}` of the version behind `latest`, as `hub.spec.answers` has them."""
    limits: Limits = Limits()
    parity: bool = False
    """Whether the library that wrote the adapter is asked, too, where it is installed."""

    def to_json(self) -> dict[str, Any]:
        found = {**vars(self), "limits": asdict(self.limits)}
        found["snapshot"], found["base"] = str(self.snapshot), str(self.base)
        found["benchmarks"] = [
            {
                "benchmark": item.benchmark.to_json(),
                "data": str(item.data),
                "train": None if item.train is None else str(item.train),
            }
            for item in self.benchmarks
        ]
        return found

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Assignment":
        given = dict(value)
        given["snapshot"], given["base"] = Path(given["snapshot"]), Path(given["base"])
        given["limits"] = Limits(**given["limits"])
        given["benchmarks"] = tuple(_files(item) for item in given["benchmarks"])
        return cls(**given)


def _files(item: dict[str, Any]) -> BenchmarkFiles:
    train = item["train"]
    return BenchmarkFiles(
        benchmark.from_json(item["benchmark"]), Path(item["data"]), None if train is None else Path(train)
    )
