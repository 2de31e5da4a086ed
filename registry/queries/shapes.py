"""The shapes of what the API answers, field by field: adapters, their versions, and what a pull needs.

Queries build these values, the API renders them as JSON, the pages show them, and the OpenAPI document is made
from them: one description for all three. Base models, benchmarks, runs and uploads have theirs in files beside this one.
Digests read `sha256:<hex>`, the SHA-256 of a file is bare hex, times are UTC, sizes are bytes.
"""

import datetime
from typing import Any, NotRequired, TypedDict


class BaseRef(TypedDict):
    """A base model as others mention it; one that is `located` has no fingerprint yet."""

    fingerprint: str | None
    name: str
    state: str


class CompatibilityEvidence(TypedDict):
    """The run that a level stands on: the version that was published on it, and its report."""

    base_model: BaseRef
    ref: str
    report_url: str
    page_url: str


class TrainedOn(TypedDict):
    """The base that lay below in training, where it is not the one that is judged on; `guessed`: by its name alone.

    `base_model`: that base, where this hub knows it under this name.
    """

    name: str
    quantised: bool
    guessed: bool
    base_model: BaseRef | None


class Compatibility(TypedDict):
    """How an adapter and a base model go together: validated, same_values, derived, shape_only, unknown or incompatible.

    `components`: of several adapters in one snapshot, the verdict on each alone.
    """

    level: str
    reasons: list[str]
    evidence: CompatibilityEvidence | None
    components: NotRequired[list["ComponentCompatibility"]]


class Gain(TypedDict):
    value: float
    interval: list[float]
    method: NotRequired[str]


class ScoreShort(TypedDict):
    """A score in a list; `digest` is the benchmark's, `sha256:<hex>`: another of the same `benchmark` is not compared."""

    benchmark: str
    digest: str
    metric: str
    direction: str
    value: float
    interval: list[float] | None
    n: int
    gain: Gain | None
    folder: str


class ComponentCompatibility(TypedDict):
    """The same of one of several adapters in a snapshot; `scores` are what it measured in the run of the evidence."""

    folder: str
    level: str
    reasons: list[str]
    evidence: CompatibilityEvidence | None
    scores: list[ScoreShort]


class Regression(TypedDict):
    """Since when a published version no longer passes what it passed once."""

    at: datetime.datetime


class Latest(TypedDict):
    """The version that `latest` names."""

    version: str
    digest: str
    status: str
    published_at: datetime.datetime | None
    size: int
    parameters: int
    regressed: Regression | None
    scores: list[ScoreShort]


class Summary(TypedDict):
    """An adapter in a list."""

    namespace: str
    name: str
    ref: str
    visibility: str
    description: str
    task: str
    method: str
    base_model: BaseRef | None
    latest: Latest | None
    pulls: int
    created_at: datetime.datetime
    updated_at: datetime.datetime
    url: str
    compatibility: NotRequired[Compatibility]


class Yank(TypedDict):
    at: datetime.datetime
    reason: str


class VersionShort(TypedDict):
    """A version in a list."""

    version: str
    number: int
    label: str | None
    ref: str
    status: str
    stage: str
    digest: str | None
    size: int
    created_at: datetime.datetime
    published_at: datetime.datetime | None
    yanked: Yank | None
    regressed: Regression | None
    report_url: str
    page_url: str


class AliasShape(TypedDict):
    name: str
    version: str


class AdapterDetail(Summary):
    versions: list[VersionShort]
    aliases: list[AliasShape]
    readme: str | None


class FileShape(TypedDict):
    path: str
    sha256: str
    size: int
    url: str


class QueuePlace(TypedDict):
    """How many runs stand before this one (0: next, or running), and which run it is."""

    position: int
    run: str
    status: str


class Rewritten(TypedDict):
    """A configuration that is served otherwise than it was sent, and every change in words."""

    path: str
    changes: list[str]


class VersionDetail(TypedDict):
    adapter: str
    version: str
    number: int
    label: str | None
    ref: str
    status: str
    stage: str
    digest: str | None
    adapter_digest: str | None
    plan_digest: str | None
    base_model: BaseRef | None
    trained_on: TrainedOn | None
    task: str
    method: str
    labels: list[str] | None
    size: int
    parameters: int
    author: str
    message: str
    created_at: datetime.datetime
    published_at: datetime.datetime | None
    yanked: Yank | None
    regressed: Regression | None
    files: list[FileShape]
    rewritten: list[Rewritten]
    components: list[dict[str, Any]]
    report_url: str
    page_url: str
    queue: QueuePlace | None


class Location(TypedDict):
    kind: str
    name: str
    revision: str
    state: str


class ResolvedBase(TypedDict):
    fingerprint: str
    name: str
    state: str
    roots: dict[str, str]
    architecture: str
    tokenizer_digest: str | None
    reads_pooler: bool
    locations: list[Location]


class ResolvedFile(TypedDict):
    path: str
    sha256: str
    size: int
    inline: str | None
    url: str


class Resolved(TypedDict):
    """Everything that one pull needs."""

    ref: str
    namespace: str
    name: str
    version: str
    digest: str
    adapter_digest: str
    status: str
    yanked: Yank | None
    regressed: Regression | None
    base_model: ResolvedBase | None
    trained_on: TrainedOn | None
    task: str
    method: str
    labels: list[str] | None
    components: list[dict[str, Any]]
    compatibility: Compatibility | None
    files: list[ResolvedFile]
    report_url: str


class Held(TypedDict):
    """A version that holds what has this digest: a `file`, `tensors` of a file, the `adapter` or the whole `manifest`."""

    kind: str
    path: str | None
    adapter: str
    version: VersionShort


class NamespaceRole(TypedDict):
    name: str
    role: str


class Me(TypedDict):
    user: str
    namespaces: list[NamespaceRole]
    scope: str
    expires_at: datetime.datetime | None
