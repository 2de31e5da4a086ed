"""The engine without a server: one folder, one base model, some benchmarks, one report (`hub eval`).

Everything is as in a run that a registry has given out: a backbone process of its own, a child behind walls, the same
checks and the same arithmetic, so that on the same machine the result digest is the same. Where the machine lets no
walls be had the run goes on without those: who judges a file of their own need not be kept from it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hub
from hub import base_folder
from hub.errors import IncompatibleBaseModel, NotJudged
from hub.spec import policy
from hub.spec.benchmark import Benchmark
from workers.assignment import Assignment, BenchmarkFiles, Limits
from workers.errors import Fault
from workers.process import BackboneProcess

ISOLATION = "best"


def evaluate(
    folder: Path,
    base: Path,
    benchmarks: Sequence[tuple[Benchmark, Path]],
    *,
    adapter_digest: str,
    scratch: Path,
    plan: Mapping[str, Any] | None = None,
    fingerprint: str | None = None,
    previous: Mapping[str, Any] | None = None,
    parity: bool = False,
    tell: Callable[[str], None] = lambda stage: None,
) -> dict[str, Any]:
    """Judge the adapter in a folder on a base model and return the report.

    `benchmarks`: each with the folder that its data lies in. `plan`: gates and label names, the default policy's without one;
    its benchmarks are those given. `previous`: what the adapter that `max_drop` names answered. `scratch` keeps what is
    worked out of base model and benchmark from call to call. `tell` hears each stage.

    Raises IncompatibleBaseModel where the folder holds other weights than `fingerprint` says, NotJudged where the run came to
    no verdict, UsageError for a folder that holds no base model.
    """
    model = base_folder.read(base)
    if fingerprint is not None and model.fingerprint != fingerprint:
        raise IncompatibleBaseModel(
            f"{base} holds {model.fingerprint}, the adapter was validated on {fingerprint}",
            hint="--base DIR: the folder of that base model",
        )
    assignment = Assignment(
        run="local",
        snapshot=folder,
        adapter_digest=adapter_digest,
        base=base,
        fingerprint=model.fingerprint,
        benchmarks=tuple(_files(found, place) for found, place in benchmarks),
        plan=_asked(plan or {}, benchmarks),
        previous=None if previous is None else dict(previous),
        limits=Limits(),
        parity=parity,
    )
    process = BackboneProcess(scratch, ISOLATION)
    try:
        return process.judge(assignment, tell)
    except Fault as fault:
        raise NotJudged(f"no verdict: {fault}", hint="this says nothing about the adapter") from fault
    finally:
        process.stop()


def version() -> str:
    """The edition of the engine: that of the client it was written with."""
    return hub.__version__


def _asked(plan: Mapping[str, Any], benchmarks: Sequence[tuple[Benchmark, Path]]) -> dict[str, Any]:
    """A plan of a registry's form for the benchmarks that are there."""
    found = policy.plan([known.digest for known, _ in benchmarks], plan.get("gates") or policy.DEFAULT.resolve())
    return found | {"labels": list(plan["labels"])} if plan.get("labels") else found


def _files(benchmark: Benchmark, place: Path) -> BenchmarkFiles:
    return BenchmarkFiles(benchmark, place / benchmark.data, place / benchmark.train if benchmark.train else None)
