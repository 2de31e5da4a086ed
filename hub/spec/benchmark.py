"""A benchmark measures: data, columns, labels and a metric. What a score must reach is a policy's
business."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hub.spec import documents, errors, reference, tasks

DIRECTIONS = ("up", "down")
VISIBILITIES = ("public", "private")
MAX_LABELS = 1000
MAX_ROWS = 1_000_000
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}\.(tsv|jsonl)")
_KEYS = frozenset(
    {"name", "task", "data", "train", "columns", "labels", "metric", "direction", "max_length", "visibility",
     "description"}
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Row:
    """One example: a text, perhaps a second one, and the index of its class."""

    text: str
    pair: str | None
    label: int


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A benchmark with the hashes of its data. `labels` are names by class index."""

    name: str
    task: str
    columns: dict[str, str]
    labels: tuple[str, ...]
    metric: str
    direction: str
    max_length: int
    visibility: str
    data: str
    data_sha256: str
    train: str | None = None
    train_sha256: str | None = None
    description: str = ""

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 (64 hex) over everything a score depends on: the definition and the data, not the prose."""
        meaning = {
            key: value for key, value in self.to_json().items() if key not in ("name", "description", "visibility")
        }
        return documents.digest({"benchmark": 1, **meaning, "name": self.name})

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 by file name."""
        train = {self.train: self.train_sha256} if self.train and self.train_sha256 else {}
        return {self.data: self.data_sha256, **train}

    def to_json(self) -> dict[str, Any]:
        """The benchmark as a plain JSON object; `from_json` reads it back."""
        return dataclasses.asdict(self) | {"labels": list(self.labels)}


def from_json(value: Any) -> Benchmark:
    """Read what `to_json` wrote; further keys, such as URLs, are ignored. Raises SpecError."""
    if not isinstance(value, dict):
        raise _error("benchmark", "must be an object")
    definition = {key: item for key, item in value.items() if key in _KEYS and item is not None}
    digests = {value.get("data"): value.get("data_sha256"), value.get("train"): value.get("train_sha256")}
    return parse(definition, {key: item for key, item in digests.items() if key and item})


def parse(definition: dict[str, Any] | bytes, digests: Mapping[str, str]) -> Benchmark:
    """Read a definition (YAML bytes or an object) whose data files have these SHA-256 by name. Raises
    SpecError."""
    raw = documents.loads_yaml(definition, where="benchmark") if isinstance(definition, bytes) else definition
    if not isinstance(raw, dict):
        raise _error("benchmark", "must be a mapping with name, task, data, columns, labels and metric")
    collector = errors.Collector()
    read = _Definition(raw, digests, collector)
    fields = read.fields()
    collector.finalize()
    return Benchmark(**fields)


def read_rows(data: bytes, benchmark: Benchmark, where: str) -> list[Row]:
    """Return the examples of a data file (TSV with a header and no quoting, or JSONL, by the suffix of
    `where`).

    The label column may hold the class index or its name. Raises SpecError with the numbers of the rows that
    are wrong; the first line after a header is row 1.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _error(where, f"is not UTF-8 text (byte {error.start})") from error
    rows = _jsonl(text, where) if where.endswith(".jsonl") else _tsv(text, benchmark, where)
    collector = errors.Collector()
    found = [row for number, raw in rows if (row := _row(number, raw, benchmark, where, collector))]
    if not found and not collector.problems:
        collector.add(_error(where, "holds no rows").problems[0])
    if len(found) > MAX_ROWS:
        collector.add(_error(where, f"holds {len(found)} rows; at most {MAX_ROWS}").problems[0])
    collector.finalize()
    return found


class _Definition:
    """Reads the fields of a definition; every fault is collected."""

    def __init__(self, raw: dict[str, Any], digests: Mapping[str, str], collector: errors.Collector) -> None:
        self.raw, self.digests, self.collector = raw, digests, collector

    def fields(self) -> dict[str, Any]:
        unknown = sorted(set(self.raw) - _KEYS)
        if unknown:
            self.fault(unknown[0], f"is not a key of a benchmark (known are {', '.join(sorted(_KEYS))})")
        task = self.task()
        metric = self.choice("metric", task.metrics if task else None)
        data, data_sha256 = self.file("data", required=True)
        train, train_sha256 = self.file("train", required=False)
        return {
            "name": self.name(), "task": task.name if task else "", "columns": self.columns(), "labels":
            self.labels(),
            "metric": metric, "direction": self.choice("direction", DIRECTIONS, "up"), "max_length":
            self.max_length(),
            "visibility": self.choice("visibility", VISIBILITIES, "public"), "data": data, "data_sha256":
            data_sha256,
            "train": train or None, "train_sha256": train_sha256 or None,
            "description": self.text("description", required=False),
        }  # fmt: skip

    def fault(self, where: str, message: str, hint: str = "") -> None:
        self.collector.add(_error(where, message, hint).problems[0])

    def text(self, key: str, required: bool = True) -> str:
        value = self.raw.get(key)
        if value in (None, "") and not required:
            return ""
        if not isinstance(value, str) or not 0 < len(value) <= 2000:
            self.fault(key, "is missing or not text")
            return ""
        return value

    def name(self) -> str:
        name = self.text("name")
        with self.collector.collect():
            for part in name.split("/"):
                reference.check_name(part)
        if name.count("/") > 1:
            self.fault("name", "has at most one slash, such as glue/sst2")
        return name

    def task(self) -> tasks.Task | None:
        name = self.text("task")
        with self.collector.collect():
            return tasks.get(name) if name else None
        return None

    def choice(self, key: str, allowed: tuple[str, ...] | None, default: str | None = None) -> str:
        value = self.raw.get(key, default)
        if not isinstance(value, str) or (allowed is not None and value not in allowed):
            known = ", ".join(allowed or ())
            self.fault(key, f"{documents.shorten(value)} is not known", f"known are {known}" if known else "")
            return ""
        return value

    def max_length(self) -> int:
        value = self.raw.get("max_length", 128)
        if type(value) is not int or not 8 <= value <= 8192:
            self.fault("max_length", "must be a number of tokens between 8 and 8192")
            return 128
        return value

    def file(self, key: str, required: bool) -> tuple[str, str]:
        name = self.raw.get(key)
        if name is None and not required:
            return "", ""
        if not isinstance(name, str) or not _FILE.fullmatch(name):
            self.fault(key, "must be the name of a .tsv or .jsonl file beside the definition")
            return "", ""
        digest = self.digests.get(name, "")
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            self.fault(key, f"the data file {name} was not sent along")
        return name, digest

    def columns(self) -> dict[str, str]:
        columns = self.raw.get("columns")
        if not isinstance(columns, dict) or not {"text", "label"} <= set(columns) <= {
            "text",
            "pair",
            "label",
        }:
            self.fault(
                "columns",
                "must name the columns of text and label, and of pair where there are two sentences",
            )
            return {}
        if any(not isinstance(name, str) or not name for name in columns.values()):
            self.fault("columns", "must map to names of columns")
            return {}
        return dict(columns)

    def labels(self) -> tuple[str, ...]:
        with self.collector.collect():
            return parse_labels(self.raw.get("labels"), "labels")
        return ()


def parse_labels(value: Any, where: str) -> tuple[str, ...]:
    """Return label names by class index from a list, or from a mapping index -> name. Raises SpecError."""
    names = value if isinstance(value, list) else _by_index(value, where)
    good = 2 <= len(names) <= MAX_LABELS and all(isinstance(name, str) and 0 < len(name) <= 200 for name in names)
    if not good or len(set(names)) != len(names):
        raise _error(where, f"must give 2 to {MAX_LABELS} different names, such as {{'0': negative, '1': positive}}")
    return tuple(names)


def _by_index(value: Any, where: str) -> list[Any]:
    if not isinstance(value, dict) or set(value) != {str(index) for index in range(len(value))}:
        raise _error(where, "must map every class index from 0 on to a name")
    return [value[str(index)] for index in range(len(value))]


def _tsv(text: str, benchmark: Benchmark, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    # GLUE's files are full of lone quotes, so that quoting must stay off
    csv.field_size_limit(1 << 20)
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter="\t", quoting=csv.QUOTE_NONE)
    header = next(reader, [])
    missing = [name for name in benchmark.columns.values() if name not in header]
    if missing:
        raise _error(where, f"has no column {missing[0]!r}", f"its columns are {', '.join(header[:20])}")
    for number, cells in enumerate(reader, 1):
        if not cells:
            continue
        if len(cells) != len(header):
            raise _error(where, f"row {number} has {len(cells)} cells, the header has {len(header)}")
        yield number, dict(zip(header, cells, strict=True))


def _jsonl(text: str, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, documents.loads_object(line.encode(), where=f"{where} row {number}")


def _row(number: int, raw: dict[str, Any], benchmark: Benchmark, where: str, out: errors.Collector) -> Row | None:
    columns = benchmark.columns
    text, pair = raw.get(columns["text"]), raw.get(columns["pair"]) if "pair" in columns else None
    if not isinstance(text, str) or ("pair" in columns and not isinstance(pair, str)):
        out.add(_error(where, f"row {number}: the text is missing").problems[0])
        return None
    label = _label(raw.get(columns["label"]), benchmark.labels)
    if label is None:
        shown = documents.shorten(raw.get(columns["label"]))
        hint = f"labels are {', '.join(benchmark.labels[:10])} or their index from 0"
        out.add(_error(where, f"row {number}: {shown!r} is not a label of {benchmark.name}", hint).problems[0])
        return None
    return Row(text, pair, label)


def _label(value: Any, labels: tuple[str, ...]) -> int | None:
    if isinstance(value, str) and value in labels:
        return labels.index(value)
    digits = str(value).strip() if type(value) in (int, str) else ""
    return (
        int(digits)
        if digits.isdecimal() and digits.isascii() and len(digits) < 6 and int(digits) < len(labels)
        else None
    )


def _error(where: str, message: str, hint: str = "") -> errors.SpecError:
    return errors.SpecError.of("benchmark", where, message, hint, "benchmark")
