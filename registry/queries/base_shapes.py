"""The shapes of what the API answers about base models, and about what fits them; see `shapes`."""

from typing import Any, NotRequired, TypedDict

from registry.queries import shapes


class BaseFiles(TypedDict):
    """The files of a base model that the hub holds."""

    files: list[shapes.FileShape]


class Relation(TypedDict):
    """What a base model is of another (`parent`: it comes from that one; `child`: that one comes from it).

    Only what is `observed`, by an operator or a worker, counts for a verdict.
    """

    kind: str
    direction: str
    state: str
    claimed_by: str
    base_model: shapes.BaseRef


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
    locations: list[shapes.Location]
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

    base_model: shapes.BaseRef
    relation: str
    counts: dict[str, int]


class MatrixRow(TypedDict):
    """An adapter and, for each column, how it goes together with that base model."""

    adapter: str
    url: str
    task: str
    method: str
    cells: list[shapes.Compatibility]


class Matrix(TypedDict):
    base_model: shapes.BaseRef
    columns: list[MatrixColumn]
    rows: list[MatrixRow]
    next: str | None


class KnownBase(TypedDict):
    """A base model of this hub that a described one equals: in its `weights`, `backbone`, `values` or `architecture`."""

    base_model: shapes.BaseRef
    equal: str


class Checked(TypedDict):
    """What fits a base model that somebody described; `fingerprint` only where the tensors' hashes were told."""

    fingerprint: str | None
    architecture: str
    parameters: int
    known: list[KnownBase]
    results: list[shapes.Summary]


class FittingBase(TypedDict):
    """A base model that a version fits, and how they go together."""

    base_model: shapes.BaseRef
    compatibility: shapes.Compatibility
