"""A benchmark measures: data, columns, labels and a metric. What a score must reach is a policy's business."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from hub.spec import documents, errors, reference, tasks

VISIBILITIES = ("public", "private")
MAX_LABELS = 1000
MAX_ROWS = 1_000_000
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}\.(tsv|jsonl)")
_EXAMPLE = "a definition has name, task, data, columns {text, label}, labels and metric"
_LABELS = "write {'0': negative, '1': positive}, or a list"
_KEYS = frozenset(
    {"name", "task", "data", "train", "columns", "labels", "metric", "direction", "max_length", "visibility",
     "description"}
)  # fmt: skip


_PROSE = ("description", "visibility")


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
        """SHA-256 (64 hex) over everything a score depends on: the definition and the data, not the prose.

        Optional fields count only where they say something: a field that a later edition adds changes no digest.
        """
        value = self.to_json()
        silent = {field.name for field in dataclasses.fields(self) if value[field.name] == field.default}
        meaning = {key: item for key, item in value.items() if key not in {*_PROSE, *silent}}
        return documents.digest({"benchmark": 1, **meaning})

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 by file name."""
        train = {self.train: self.train_sha256} if self.train and self.train_sha256 else {}
        return {self.data: self.data_sha256, **train}

    def to_json(self) -> dict[str, Any]:
        """The benchmark as a plain JSON object; `from_json` reads it back."""
        return dataclasses.asdict(self) | {"labels": list(self.labels)}


def from_json(value: Any) -> Benchmark:
    """Read what `to_json` wrote, whichever edition wrote it; keys that are not known here are ignored.

    It was judged when it was added, by the rules of that day. Raises SpecError where it is no such thing.
    """
    if not isinstance(value, dict):
        raise _error("benchmark", f"must be an object, not {documents.kind(value)}", _EXAMPLE)
    fields = {field.name: value[field.name] for field in dataclasses.fields(Benchmark) if field.name in value}
    try:
        return Benchmark(**{**fields, "labels": tuple(fields["labels"]), "columns": dict(fields["columns"])})
    except (KeyError, TypeError, ValueError) as error:
        raise _error("benchmark", f"is no stored definition ({error})", _EXAMPLE) from None


def common_labels(labels: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Return the labels that a head has to have, from those of its benchmarks; None where there are none, or they
    differ."""
    found = set(labels)
    return found.pop() if len(found) == 1 else None


def parse(definition: dict[str, Any] | bytes, digests: Mapping[str, str]) -> Benchmark:
    """Read a definition (YAML bytes or an object) whose data files have these SHA-256 by name. Raises SpecError with
    every fault."""
    raw = documents.loads_yaml(definition, where="benchmark") if isinstance(definition, bytes) else definition
    if not isinstance(raw, dict):
        raise _error("benchmark", f"must be a mapping, not {documents.kind(raw)}", _EXAMPLE)
    collector = errors.Collector()
    fields = _Definition(raw, digests, collector).fields()
    collector.finalize()
    return Benchmark(**fields)


def read_rows(data: bytes, benchmark: Benchmark, where: str) -> list[Row]:
    """Return the examples of a data file (TSV with a header and no quoting, or JSONL, by the suffix of `where`).

    The label column may hold the class index or its name; a name wins. Raises SpecError with the number of every
    row that is wrong (the first 50): rows count from 1 behind a TSV's header, empty lines included.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 text (byte {error.start})"
        raise _error(where, message, "save the file as UTF-8") from error
    collector = errors.Collector()
    read = _jsonl if where.endswith(".jsonl") else _tsv
    rows = [row for number, raw in read(text, benchmark, where, collector)
            if (row := _row(number, raw, benchmark, where, collector))]  # fmt: skip
    if not rows and not collector.problems:
        collector.add(_problem(where, "holds no rows", "add examples"))
    if len(rows) > MAX_ROWS:
        message = f"holds {len(rows)} rows; at most {MAX_ROWS} are taken"
        collector.add(_problem(where, message, "take a sample"))
    collector.finalize()
    return rows


class _Definition:
    """Reads the fields of a definition; every fault is collected."""

    def __init__(self, raw: dict[str, Any], digests: Mapping[str, str], collector: errors.Collector) -> None:
        self.raw, self.digests, self.collector = raw, digests, collector

    def fields(self) -> dict[str, Any]:
        unknown = sorted(set(self.raw) - _KEYS)
        if unknown:
            message = "is not a key of a benchmark"
            self.fault(documents.shorten(unknown[0]), message, f"known are {', '.join(sorted(_KEYS))}")
        task = self.task()
        metric = self.choice("metric", task.metrics if task else None)
        data, data_sha256 = self.file("data", required=True)
        train, train_sha256 = self.file("train", required=False)
        if train and train_sha256 == data_sha256:
            self.fault("train", "holds the very rows that are scored", "give other rows, or leave it out")
        return {
            "name": self.name(),
            "task": task.name if task else "",
            "columns": self.columns(),
            "labels": self.labels(),
            "metric": metric,
            "direction": self.direction(task, metric),
            "max_length": self.max_length(),
            "visibility": self.choice("visibility", VISIBILITIES, "public"),
            "data": data,
            "data_sha256": data_sha256,
            "train": train or None,
            "train_sha256": train_sha256 or None,
            "description": self.text("description", required=False),
        }

    def fault(self, where: str, message: str, hint: str) -> None:
        self.collector.add(_problem(where, message, hint))

    def text(self, key: str, required: bool = True) -> str:
        value = self.raw.get(key)
        if value in (None, "") and not required:
            return ""
        if not isinstance(value, str) or not 0 < len(value) <= 2000:
            self.fault(key, "is missing, not text, or longer than 2000 characters", _EXAMPLE)
            return ""
        return value

    def name(self) -> str:
        name = self.text("name")
        with self.collector.collect():
            for part in name.split("/"):
                reference.check_name(part)
        if name.count("/") > 1:
            self.fault("name", f"{documents.shorten(name)!r} has more than one slash", "write one such as glue/sst2")
        return name

    def task(self) -> tasks.Task | None:
        name = self.text("task")
        with self.collector.collect():
            return tasks.get(name) if name else None
        return None

    def choice(self, key: str, allowed: Collection[str] | None, default: str | None = None) -> str:
        value = self.raw.get(key, default)
        if not isinstance(value, str) or (allowed is not None and value not in allowed):
            known = f"known are {', '.join(allowed)}" if allowed else _EXAMPLE
            self.fault(key, f"{documents.shorten(value)!r} is not known", known)
            return ""
        return value

    def direction(self, task: tasks.Task | None, metric: str) -> str:
        """The metric's own; a definition may repeat it, and cannot turn it round."""
        known = task.metrics[metric].direction if task and metric in task.metrics else "up"
        said = self.raw.get("direction", known)
        if said != known:
            self.fault(
                "direction", f"{documents.shorten(said)!r}, but {metric} gets better going {known}", "leave it out"
            )
        return known

    def max_length(self) -> int:
        value = self.raw.get("max_length", 128)
        if type(value) is not int or not 8 <= value <= 8192:
            message = f"{documents.shorten(value)} is no number of tokens"
            self.fault("max_length", message, "write one between 8 and 8192")
            return 128
        return value

    def file(self, key: str, required: bool) -> tuple[str, str]:
        name = self.raw.get(key)
        if name is None and not required:
            return "", ""
        if not isinstance(name, str) or not _FILE.fullmatch(name):
            message = f"{documents.shorten(name)!r} is no name of a data file"
            self.fault(key, message, "name a .tsv or .jsonl file beside the definition")
            return "", ""
        digest = self.digests.get(name, "")
        if not documents.is_digest(digest):
            self.fault(key, f"the data file {name} was not sent along", "send it with the definition")
        return name, digest

    def columns(self) -> dict[str, str]:
        columns = self.raw.get("columns")
        if not isinstance(columns, dict) or not {"text", "label"} <= set(columns) <= {"text", "pair", "label"}:
            message = "must name the columns of text and label, and of pair where there are two sentences"
            self.fault("columns", message, _EXAMPLE)
            return {}
        if any(not isinstance(name, str) or not name for name in columns.values()):
            self.fault("columns", "must map to names of columns", _EXAMPLE)
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
        raise _error(where, f"must give 2 to {MAX_LABELS} different names", _LABELS)
    return tuple(names)


def _by_index(value: Any, where: str) -> list[Any]:
    if not isinstance(value, dict) or set(value) != {str(index) for index in range(len(value))}:
        raise _error(where, "must map every class index from 0 on to a name", _LABELS)
    return [value[str(index)] for index in range(len(value))]


def _tsv(text: str, benchmark: Benchmark, where: str, out: errors.Collector) -> Iterator[tuple[int, dict[str, Any]]]:
    # by hand: GLUE's files are full of lone quotes, and csv stumbles over a carriage return within a text
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    header = lines[0].split("\t")
    for name in benchmark.columns.values():
        if header.count(name) != 1:
            fault = f"has no column {name!r}" if name not in header else f"has the column {name!r} twice"
            raise _error(where, fault, f"its columns are {documents.shorten(', '.join(header), 200)}")
    for number, line in enumerate(lines[1:], 1):
        cells = line.split("\t")
        if len(cells) == len(header):
            yield number, dict(zip(header, cells, strict=True))
        elif line:
            message = f"row {number} has {len(cells)} cells, the header has {len(header)}"
            out.add(_problem(where, message, "write one tab between two cells, and none within"))


def _jsonl(text: str, benchmark: Benchmark, where: str, out: errors.Collector) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            raw = None
            with out.collect(), errors.as_check("benchmark"):
                raw = documents.loads_object(line.encode(), where=f"{where} row {number}")
            if raw is not None:
                yield number, raw


def _row(number: int, raw: dict[str, Any], benchmark: Benchmark, where: str, out: errors.Collector) -> Row | None:
    columns, texts = benchmark.columns, []
    for column in (columns[key] for key in ("text", "pair") if key in columns):
        if not isinstance(text := raw.get(column), str):
            message = f"row {number}: {column!r} is missing or not text"
            out.add(_problem(where, message, "write text, or leave the row out"))
            return None
        texts.append(text)
    label = _label(raw.get(columns["label"]), benchmark.labels)
    if label is None:
        shown = documents.shorten(raw.get(columns["label"]))
        hint = f"labels are {', '.join(benchmark.labels[:10])} or their index from 0"
        out.add(_problem(where, f"row {number}: {shown!r} is not a label of {benchmark.name}", hint))
        return None
    return Row(texts[0], texts[1] if len(texts) > 1 else None, label)


def _label(value: Any, labels: tuple[str, ...]) -> int | None:
    if isinstance(value, str) and value in labels:
        return labels.index(value)
    digits = str(value).strip() if type(value) in (int, str) else ""
    if not re.fullmatch("[0-9]{1,5}", digits) or int(digits) >= len(labels):
        return None
    return int(digits)


def _problem(where: str, message: str, hint: str) -> errors.Problem:
    return errors.Problem("benchmark", where, message, hint, "benchmark")


def _error(where: str, message: str, hint: str) -> errors.SpecError:
    return errors.SpecError([_problem(where, message, hint)])
