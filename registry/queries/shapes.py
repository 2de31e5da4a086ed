"""The shapes of what the API answers, field by field.

Queries build these values, the API renders them as JSON, the pages show them, and the OpenAPI document is made
from them: one description for all three. Digests read `sha256:<hex>`, the SHA-256 of a file is bare hex, times
are UTC, sizes are bytes.
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
    benchmark: str
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


class BaseFiles(TypedDict):
    """The files of a base model that the hub holds."""

    files: list[FileShape]


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


class Relation(TypedDict):
    """What a base model is of another (`parent`: it comes from that one; `child`: that one comes from it).

    Only what is `observed`, by an operator or a worker, counts for a verdict.
    """

    kind: str
    direction: str
    state: str
    claimed_by: str
    base_model: BaseRef


class WeightFile(TypedDict):
    path: str
    size: int
    sha256: str


class BaseClaim(TypedDict):
    """Which base model a person says that a located one is. Nobody who is believed has said so."""

    fingerprint: str
    claimed_by: str


class BaseModelShape(TypedDict):
    """A base model. One of the state `located` is known by its headers: no fingerprint, no roots, no leaves; instead
    `files`, `claim` and, on request, `tensors`."""

    fingerprint: str | None
    name: str
    state: str
    roots: dict[str, str]
    architecture: str
    tokenizer_digest: str | None
    parameters: int
    model_type: str
    aliases: list[str]
    cast_roots: dict[str, dict[str, str]]
    quantisation: str
    locations: list[Location]
    owner: str | None
    relations: list[Relation]
    tensors_url: str
    url: str
    config: NotRequired[dict[str, Any]]
    leaves: NotRequired[list[list[Any]]]
    tensors: NotRequired[list[list[Any]]]
    files: NotRequired[list[WeightFile]]
    claim: NotRequired[BaseClaim | None]
    logical: NotRequired[dict[str, list[int]] | None]


class MatrixColumn(TypedDict):
    """A base model of a matrix, what it is to the one that was asked for, and how many adapters are at each level on it."""

    base_model: BaseRef
    relation: str
    counts: dict[str, int]


class MatrixRow(TypedDict):
    """An adapter and, for each column, how it goes together with that base model."""

    adapter: str
    url: str
    task: str
    method: str
    cells: list[Compatibility]


class Matrix(TypedDict):
    base_model: BaseRef
    columns: list[MatrixColumn]
    rows: list[MatrixRow]
    next: str | None


class KnownBase(TypedDict):
    """A base model of this hub that a described one equals: in its `weights`, `backbone`, `values` or `architecture`."""

    base_model: BaseRef
    equal: str


class Checked(TypedDict):
    """What fits a base model that somebody described; `fingerprint` only where the tensors' hashes were told."""

    fingerprint: str | None
    architecture: str
    parameters: int
    known: list[KnownBase]
    results: list[Summary]


class FittingBase(TypedDict):
    """A base model that a version fits, and how they go together."""

    base_model: BaseRef
    compatibility: Compatibility


class Held(TypedDict):
    """A version that holds what has this digest: a `file`, `tensors` of a file, the `adapter` or the whole `manifest`."""

    kind: str
    path: str | None
    adapter: str
    version: VersionShort


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
    files: list[FileShape]
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


class PartShape(TypedDict):
    """One request of an upload that goes straight to the store."""

    n: int
    url: str
    offset: int
    size: int


class UploadBlobShape(TypedDict):
    """A file that is wanted: send it to `url` in one stream, or in `urls` part by part where the store takes it."""

    n: int
    path: str
    sha256: str
    size: int
    received: int
    urls: list[PartShape] | None
    url: str | None


class BaseFileWanted(UploadBlobShape):
    """A file of a base model whose bytes are to be sent; POST to `complete_url` when they are."""

    complete_url: str


class BaseFilesWanted(TypedDict):
    fingerprint: str
    blobs: list[BaseFileWanted]


class UploadShape(TypedDict):
    id: str
    adapter: str
    digest: str
    state: str
    expires_at: datetime.datetime
    blobs: list[UploadBlobShape]
    have: list[str]
    complete_url: str


class Received(TypedDict):
    received: int
    size: int


class Completed(TypedDict):
    version: VersionDetail
    status: str
    report_url: str


class NamespaceRole(TypedDict):
    name: str
    role: str


class Me(TypedDict):
    user: str
    namespaces: list[NamespaceRole]
    scope: str
    expires_at: datetime.datetime | None


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


class PreviousAnswers(FileShape):
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
    files: list[FileShape]
    benchmarks: list[BenchmarkShape]
    base_model: BaseModelShape
    facts: dict[str, Any]
    previous: Previous | None


class Heartbeat(TypedDict):
    lease_seconds: int


class Reported(TypedDict):
    """The status of the run after its report: passed, failed, queued (tried again) or error."""

    status: str
