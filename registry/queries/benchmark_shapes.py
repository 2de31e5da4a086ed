"""The shapes of what the API answers about benchmarks and policies; see `shapes`."""

import datetime
from typing import Any, TypedDict

from registry.queries import shapes


class BenchmarkShape(TypedDict):
    name: str
    digest: str
    task: str
    metric: str
    direction: str
    visibility: str
    labels: list[str]
    max_length: int
    rows: int
    definition: dict[str, Any]
    files: list[shapes.FileShape]
    created_at: datetime.datetime


class Trouble(TypedDict):
    """Why runs could not be judged on a benchmark."""

    at: datetime.datetime
    error: str


class BenchmarkDetail(BenchmarkShape):
    trouble: Trouble | None
    """For the owner's side only."""


class PolicyShape(TypedDict):
    namespace: str
    required: list[str]
    hidden: int
    """How many more are required that the viewer may not know of."""
    gates: dict[str, Any]
    is_default: bool
