"""From answers to a report's score: value, baselines, gain over the strongest of them, change against the version before."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from hub.runtime import attached
from hub.spec.benchmark import Benchmark
from workers import statistics
from workers.statistics import Estimate, rounded

BASELINES = ("majority", "probe", "adapter_off")
STRENGTH = ("probe", "majority", "adapter_off")
"""In which order equals count as the strongest."""

A_contra = TypeVar("A_contra", contravariant=True)
A = TypeVar("A")


class Yardstick(Protocol[A_contra]):
    """Measures answers to the rows of one benchmark. Each method takes the metric's name first."""

    def value(self, name: str, answers: A_contra, /) -> float:
        """Return the metric."""
        ...

    def estimate(self, name: str, answers: A_contra, seed: int, /) -> Estimate:
        """Return the metric with its interval."""
        ...

    def difference(self, name: str, answers: A_contra, others: A_contra, seed: int, /) -> Estimate:
        """Return how much more the first has than the second, with its paired interval."""
        ...

    def discordant(self, answers: A_contra, others: A_contra, /) -> tuple[int, int] | None:
        """Return how many rows only the first has right, and only the second; None where rows are not right or wrong."""
        ...


def compared(
    benchmark: Benchmark,
    yardstick: Yardstick[A],
    n: int,
    answers: A,
    baselines: Mapping[str, A],
    former: tuple[str, A] | None = None,
) -> dict[str, Any]:
    """Return a score as a report has it (hub/spec/report.py), but for its gates.

    `n` counts the rows, `baselines` are answers by their name in BASELINES, `former` is (adapter digest, its answers).
    """
    name, seed = benchmark.metric, statistics.seed_of(benchmark.digest)
    values = {key: yardstick.value(name, other) for key, other in baselines.items()}
    over = strongest(benchmark, values)
    value = yardstick.estimate(name, answers, seed)
    score: dict[str, Any] = {
        "benchmark": benchmark.name,
        "digest": f"sha256:{benchmark.digest}",
        "metric": name,
        "direction": benchmark.direction,
        "value": rounded(value.value),
        "interval": [rounded(value.low), rounded(value.high)],
        "n": n,
        "baselines": {key: rounded(values[key]) if key in values else None for key in BASELINES},
        "gain": _gap(yardstick, name, answers, baselines[over], seed) | {"over": over},
        "change": None,
        "claimed": None,
        "runtime": attached.REFERENCE,
        "evidence": "ran",
    }
    if former is not None:
        against, others = former
        score["change"] = _gap(yardstick, name, answers, others, seed) | {"against": against}
    if benchmark.also:
        score["also"] = [_measured(yardstick, other, answers, seed) for other in benchmark.also]
    return score


def strongest(benchmark: Benchmark, values: Mapping[str, float]) -> str:
    """Return which baseline a gain is over, of those with these values.

    The strongest of what needs no adapter, the probe first among equals: a probe that a publisher's own train split has spoilt, or a
    head that does all the work by itself, must not make an adapter look useful.
    """
    sign = 1.0 if benchmark.direction == "up" else -1.0
    return max((key for key in STRENGTH if key in values), key=lambda key: sign * values[key])


def _measured(yardstick: Yardstick[A], name: str, answers: A, seed: int) -> dict[str, Any]:
    found = yardstick.estimate(name, answers, seed)
    return {"metric": name, "value": rounded(found.value), "interval": [rounded(found.low), rounded(found.high)]}


def _gap(yardstick: Yardstick[A], name: str, answers: A, others: A, seed: int) -> dict[str, Any]:
    """A difference as reports have it, with McNemar's test beside it where answers are right or wrong."""
    found = yardstick.difference(name, answers, others, seed)
    discordant = yardstick.discordant(answers, others)
    told: dict[str, Any] = {
        "value": rounded(found.value),
        "interval": [rounded(found.low), rounded(found.high)],
        "method": found.method,
    }
    if discordant is not None:
        better, worse = discordant
        p = float(f"{statistics.mcnemar(better, worse):.4g}")
        told["mcnemar"] = {"better": better, "worse": worse, "p": p}
    return told
