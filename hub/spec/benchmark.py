"""A benchmark measures: data, columns, labels and a metric. What a score must reach is a policy's business."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hub.spec import documents, errors, reference, tasks

VISIBILITIES = ("public", "private")
MAX_LABELS = 1000
STRIDE = 128
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}\.(tsv|jsonl)")
_EXAMPLE = "a definition has name, task, data, columns {text, label}, labels and metric"
_LABELS = "write {'0': negative, '1': positive}, or a list"
_KEYS = frozenset(
    {"name", "task", "data", "train", "columns", "labels", "metric", "direction", "max_length", "visibility",
     "description", "stride", "also", "source"}
)  # fmt: skip


_PROSE = ("description", "visibility", "source")


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
    stride: int | None = None
    source: dict[str, dict[str, str]] | None = None
    """Where the rows of `data` and `train` come from, as `hub benchmark add` found them: no part of the identity."""
    also: tuple[str, ...] = ()
    """Metrics that are shown beside the one that decides."""

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 (64 hex) over everything a score depends on: the definition and the data, not the prose.

        Optional fields count only where they say something: a field that a later edition adds changes no digest.
        """
        value = self.to_json()
        silent = {field.name for field in dataclasses.fields(self) if getattr(self, field.name) == field.default}
        meaning = {key: item for key, item in value.items() if key not in {*_PROSE, *silent}}
        return documents.digest({"benchmark": 1, **meaning})

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 by file name."""
        train = {self.train: self.train_sha256} if self.train and self.train_sha256 else {}
        return {self.data: self.data_sha256, **train}

    def to_json(self) -> dict[str, Any]:
        """The benchmark as a plain JSON object; `from_json` reads it back."""
        return dataclasses.asdict(self) | {"labels": list(self.labels), "also": list(self.also)}


def from_json(value: Any) -> Benchmark:
    """Read what `to_json` wrote, whichever edition wrote it; keys that are not known here are ignored.

    It was judged when it was added, by the rules of that day. Raises SpecError where it is no such thing.
    """
    if not isinstance(value, dict):
        raise wrong("benchmark", f"must be an object, not {documents.kind(value)}", _EXAMPLE)
    fields = {field.name: value[field.name] for field in dataclasses.fields(Benchmark) if field.name in value}
    try:
        also, labels = tuple(fields.get("also", ())), tuple(fields["labels"])
        return Benchmark(**{**fields, "labels": labels, "also": also, "columns": dict(fields["columns"])})
    except (KeyError, TypeError, ValueError) as error:
        raise wrong("benchmark", f"is no stored definition ({error})", _EXAMPLE) from None


def common_labels(labels: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Return the labels that a head has to have, from those of its benchmarks; None where there are none, or they
    differ."""
    found = set(labels)
    return (found.pop() or None) if len(found) == 1 else None


def parse(definition: dict[str, Any] | bytes, digests: Mapping[str, str]) -> Benchmark:
    """Read a definition (YAML bytes or an object) whose data files have these SHA-256 by name. Raises SpecError with
    every fault."""
    raw = documents.loads_yaml(definition, where="benchmark") if isinstance(definition, bytes) else definition
    if not isinstance(raw, dict):
        raise wrong("benchmark", f"must be a mapping, not {documents.kind(raw)}", _EXAMPLE)
    collector = errors.Collector()
    fields = _Definition(raw, digests, collector).fields()
    collector.finalize()
    return Benchmark(**fields)


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
            "columns": self.columns(task or tasks.TEXT_CLASSIFICATION, metric),
            "labels": self.labels(task or tasks.TEXT_CLASSIFICATION),
            "metric": metric,
            "direction": self.direction(task, metric),
            "max_length": self.number("max_length", task.max_length if task else 128, 8, 8192),
            "stride": self.stride(task),
            "also": self.also(task, metric),
            "source": self.source(),
            "visibility": self.choice("visibility", VISIBILITIES, "public"),
            "data": data,
            "data_sha256": data_sha256,
            "train": train or None,
            "train_sha256": train_sha256 or None,
            "description": self.text("description", required=False),
        }

    def fault(self, where: str, message: str, hint: str) -> None:
        self.collector.add(problem(where, message, hint))

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

    def number(self, key: str, default: int, low: int, high: int) -> int:
        value = self.raw.get(key, default)
        if type(value) is not int or not low <= value <= high:
            message = f"{documents.shorten(value)} is no number of tokens"
            self.fault(key, message, f"write one between {low} and {high}")
            return default
        return value

    def source(self) -> dict[str, dict[str, str]] | None:
        found = self.raw.get("source")
        if found is None:
            return None
        places = found.items() if isinstance(found, dict) else [("", None)]
        for key, place in places:
            words = (
                place.items()
                if isinstance(place, dict) and key in ("data", "train") and len(place) <= 8
                else [("", None)]
            )
            if any(not isinstance(text, str) or len(f"{word}{text}") > 500 for word, text in words):
                self.fault(
                    "source", "says where data and train come from, in short texts", "hub benchmark add writes it"
                )
                return None
        return dict(found)

    def also(self, task: tasks.Task | None, metric: str) -> tuple[str, ...]:
        found = self.raw.get("also", [])
        own = task.metrics[metric].columns if task and metric in task.metrics else ()
        known = [
            name for name, other in (task.metrics if task else {}).items() if name != metric and other.columns == own
        ]
        if not isinstance(found, list) or any(name not in known for name in found) or len(set(found)) != len(found):
            self.fault(
                "also",
                "must list other metrics of the task that need the same columns",
                f"known are {', '.join(known)}",
            )
            return ()
        return tuple(found)

    def stride(self, task: tasks.Task | None) -> int | None:
        """Tokens that two windows of a long text share; only where a text may need several."""
        if task is not tasks.QUESTION_ANSWERING:
            if "stride" in self.raw:
                self.fault("stride", "is for questions about long texts", "leave it out")
            return None
        longest = self.number("max_length", task.max_length, 8, 8192)
        return self.number("stride", min(STRIDE, longest // 4), 0, longest // 2)

    def file(self, key: str, required: bool) -> tuple[str, str]:
        name = self.raw.get(key)
        if name is None and not required:
            return "", ""
        task = tasks.TASKS.get(str(self.raw.get("task")))
        if task and not task.tabular and str(name).endswith(".tsv"):
            self.fault(key, f"a line of a TSV file cannot hold a row of {task.name}", "write JSONL")
            return "", ""
        if not isinstance(name, str) or not _FILE.fullmatch(name):
            message = f"{documents.shorten(name)!r} is no name of a data file"
            self.fault(key, message, "name a .tsv or .jsonl file beside the definition")
            return "", ""
        digest = self.digests.get(name, "")
        if not documents.is_digest(digest):
            self.fault(key, f"the data file {name} was not sent along", "send it with the definition")
        return name, digest

    def columns(self, task: tasks.Task, metric: str) -> dict[str, str]:
        columns = self.raw.get("columns")
        needed = task.columns + (task.metrics[metric].columns if metric in task.metrics else ())
        if not isinstance(columns, dict) or not set(needed) <= set(columns) <= {*needed, *task.optional}:
            message = f"must name the columns of {_listed(needed)}"
            message += f", and may name {_listed(task.optional)}" if task.optional else ""
            unknown = sorted(set(columns) - {*needed, *task.optional}) if isinstance(columns, dict) else []
            message += (
                f"; {_listed([repr(documents.shorten(key)) for key in unknown])} is none of them" if unknown else ""
            )
            wanted = ", ".join(f"{name}: ..." for name in needed)
            self.fault("columns", message, f"write columns: {{{wanted}}}, each with the name that it has in the data")
            return {}
        if any(not isinstance(name, str) or not name for name in columns.values()):
            self.fault("columns", "must map to names of columns", _EXAMPLE)
            return {}
        return dict(columns)

    def labels(self, task: tasks.Task) -> tuple[str, ...]:
        if not task.labelled:
            if self.raw.get("labels"):
                self.fault("labels", f"{task.name} has no classes to name", "leave it out")
            return ()
        with self.collector.collect():
            found = parse_labels(self.raw.get("labels"), "labels")
            chunks = all(re.fullmatch(r"O|[BIES]-.+", name) for name in found)
            if task is tasks.TOKEN_CLASSIFICATION and self.raw.get("metric") == "f1" and not chunks:
                message = "f1 counts entities, so labels are O, B-PER, I-PER and the like"
                self.fault("labels", message, "name them so, or measure accuracy")
            return found
        return ()


def _listed(names: Collection[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{', '.join(list(names)[:-1])} and {list(names)[-1]}"


def parse_labels(value: Any, where: str) -> tuple[str, ...]:
    """Return label names by class index from a list, or from a mapping index -> name. Raises SpecError."""
    names = value if isinstance(value, list) else _by_index(value, where)
    good = 2 <= len(names) <= MAX_LABELS and all(isinstance(name, str) and 0 < len(name) <= 200 for name in names)
    if not good or len(set(names)) != len(names):
        raise wrong(where, f"must give 2 to {MAX_LABELS} different names", _LABELS)
    return tuple(names)


def _by_index(value: Any, where: str) -> list[Any]:
    if not isinstance(value, dict) or set(value) != {str(index) for index in range(len(value))}:
        raise wrong(where, "must map every class index from 0 on to a name", _LABELS)
    return [value[str(index)] for index in range(len(value))]


def problem(where: str, message: str, hint: str) -> errors.Problem:
    """Return a fault of a definition or of its data."""
    return errors.Problem("benchmark", where, message, hint, "benchmark")


def wrong(where: str, message: str, hint: str) -> errors.SpecError:
    """Return the same as an exception."""
    return errors.SpecError([problem(where, message, hint)])
