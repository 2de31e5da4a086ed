"""The shapes of what the API answers to workers; see `shapes`."""

from typing import Any, TypedDict

from registry.queries import base_shapes, benchmark_shapes, shapes


class ClaimedRun(TypedDict):
    id: str
    adapter_digest: str
    base_fingerprint: str
    plan: dict[str, Any]
    plan_digest: str
    attempt: int
    lease_no: int
    lease_seconds: int
    digest: str


class PreviousAnswers(shapes.FileShape):
    """What the adapter in a folder answered row by row to a benchmark, named by its digest."""

    folder: str
    benchmark: str


class Previous(TypedDict):
    """What the version that `max_drop` compares with answered, in the order of folders."""

    adapter_digest: str
    answers: list[PreviousAnswers]


class Claim(TypedDict):
    run: ClaimedRun
    token: str
    files: list[shapes.FileShape]
    benchmarks: list[benchmark_shapes.BenchmarkShape]
    base_model: base_shapes.BaseModelShape
    facts: dict[str, Any]
    previous: Previous | None


class Heartbeat(TypedDict):
    lease_seconds: int


class Reported(TypedDict):
    """The status of the run after its report: passed, failed, queued (tried again) or error."""

    status: str
