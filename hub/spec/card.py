"""What an adapter says about itself: base, what it was trained on, ML task, benchmarks, label names, licence.

Order of belief, field by field: hub.json (written by `hub push`), the README's front matter, then the libraries' own
files. `Facts.sources` names the file each fact came from.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Callable
from typing import Any

from hub.spec import benchmark, claims, documents, errors, quantised, reference, scan, snapshot, tasks

HUB_JSON = "hub.json"
README = "README.md"
MODEL_CONFIG = "config.json"
FOR_ALL = (HUB_JSON, README)
"""Files whose labels hold for every adapter of a snapshot; a library's own file speaks for its folder."""
MAX_README = 1 << 20
MAX_BENCHMARKS = 50
MAX_USAGE = 16 << 10
GUESSED = "the base model's name"
"""The source of a `trained_on` that nobody said: a file names a base whose name is that of a quantised copy."""
_KEYS = ("base", "trained_on", "task", "benchmarks", "labels", "usage")
_BASE = re.compile(rf"base:[0-9a-f]{{64}}|{reference.MODEL_ID.pattern}")
_NOBODY = frozenset({"", "none", "null"})
"""What a training script without a name writes where the base model's should stand."""
_OF_HEADS = {
    ("classification", "SequenceClassification"): tasks.TEXT_CLASSIFICATION.name,
    ("tagging", "TokenClassification"): tasks.TOKEN_CLASSIFICATION.name,
    ("question_answering", "QuestionAnswering"): tasks.QUESTION_ANSWERING.name,
}
"""AdapterHub's type of a head, and how classes of transformers end that have one -> the ML task."""
# no bracket within brackets: a million of them must not be a million searches
_MARKUP = re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)|[*_`]+")


@dataclasses.dataclass(frozen=True)
class Facts:
    """What was said, None or empty where nothing was. `base` is a name or a fingerprint, and so is `trained_on`, the
    copy that lay below in training where it is not `base`, such as a quantised one; `labels` are by class index,
    `notices` what was set aside and why."""

    base: str | None = None
    trained_on: str | None = None
    task: str | None = None
    benchmarks: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    usage: dict[str, Any] = dataclasses.field(default_factory=dict)
    description: str = ""
    license: str | None = None
    tags: tuple[str, ...] = ()
    library: str | None = None
    languages: tuple[str, ...] = ()
    sources: dict[str, str] = dataclasses.field(default_factory=dict)
    notices: tuple[str, ...] = ()
    claims: tuple[dict[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The facts as a plain JSON object."""
        return dataclasses.asdict(self)


def read(files: snapshot.Snapshot) -> Facts:
    """Gather the facts of a snapshot. Raises SpecError with every fault of the files it reads."""
    collector = errors.Collector()
    said = _Said(files, collector)
    if HUB_JSON in files.files:
        said.json_file(HUB_JSON, lambda value, _: check_hub_json(value))
    if README in files.files:
        with collector.collect(), errors.as_check(scan.check_of(README)):
            said.add(README, _from_readme(snapshot.whole(files, README, MAX_README), said))
    for folder in snapshot.folders(files.files):
        said.library(folder)
    if MODEL_CONFIG in files.files:
        said.json_file(MODEL_CONFIG, _from_model_config)
    collector.finalize()
    return said.facts()


def check_hub_json(value: Any) -> dict[str, Any]:
    """Read hub.json `{base, trained_on, task, benchmarks, labels, usage}`, every key optional, as `Facts` holds it.
    Raises SpecError with every fault."""
    if not isinstance(value, dict):
        raise _error(HUB_JSON, f"must be an object, not {documents.kind(value)}", "write {...} around it")
    collector = errors.Collector()
    for key in sorted(set(value) - set(_KEYS)):
        message = f"{documents.shorten(key)!r} is not one of {', '.join(_KEYS)}"
        collector.add(_problem(HUB_JSON, message, "remove the key"))
    found: dict[str, Any] = {}
    for key, check in _CHECKS.items():
        if value.get(key) is not None:
            with collector.collect():
                found[key] = check(value[key], f"{HUB_JSON}: {key}")
    collector.finalize()
    return found


def is_base(name: str) -> bool:
    """Tell whether this can be the name or the fingerprint of a base model: a place on a machine cannot."""
    return _BASE.fullmatch(name) is not None


def front_matter(readme: bytes) -> tuple[dict[str, Any], str]:
    """Split a README into its YAML front matter ({} where there is none) and the text below it."""
    text = readme.decode("utf-8", errors="replace").removeprefix("\ufeff").replace("\r\n", "\n")
    if not text.startswith("---\n"):
        return {}, text
    head, mark, body = text[4:].partition("\n---\n")
    if not mark and head.endswith("\n---"):
        head, mark, body = head[:-4], "---", ""
    if not mark:
        return {}, text
    value = documents.loads_yaml(head.encode(), where=f"{README} front matter")
    if value is not None and not isinstance(value, dict):
        message = f"must be a mapping, not {documents.kind(value)}"
        raise _error(f"{README} front matter", message, "write `key: value` lines")
    return value or {}, body


class _Said:
    """What the files said, the first to speak being believed."""

    def __init__(self, files: snapshot.Snapshot, collector: errors.Collector) -> None:
        self.files, self.collector = files, collector
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.notices: list[str] = []
        self.bases: dict[str, str] = {}
        self.named: list[str] = []

    def add(self, source: str, values: dict[str, Any]) -> None:
        for key, value in values.items():
            if value not in (None, "", (), {}) and key not in self.values:
                self.values[key] = value
                self.sources[key] = source

    def json_file(self, path: str, reader: Callable[[dict[str, Any], _Said], dict[str, Any]]) -> None:
        with self.collector.collect(), errors.as_check(scan.check_of(path)):
            value = documents.loads_object(snapshot.whole(self.files, path, documents.MAX_BYTES), where=path)
            self.add(path, reader(value, self))

    def library(self, folder: str) -> None:
        path = snapshot.config_of(folder, self.files.files)
        self.json_file(path, lambda config, said: self.one_base(path, _from_adapter_config(config, said)))
        head = posixpath.join(folder, "head_config.json")
        if head in self.files.files:
            self.json_file(head, _from_head_config)
        model = posixpath.join(folder, MODEL_CONFIG)
        if folder and model in self.files.files:
            self.json_file(model, _from_model_config)

    def one_base(self, path: str, values: dict[str, Any]) -> dict[str, Any]:
        """A snapshot is one version, and a version has one base."""
        base = values.get("base")
        # the same model with and without its organisation is one
        other = self.bases.setdefault(str(base).rpartition("/")[2], path) if base else path
        if len(self.bases) > 1 and other == path and self.sources.get("base") != HUB_JSON:
            first = next(iter(self.bases))
            message = f"names the base {base!r}, but another adapter of this snapshot names {first!r}"
            self.collector.problem("facts.bases", path, message, "split the repository: one base each", "config")
        return values

    def base(self, name: Any) -> str | None:
        """A base's name as a library wrote it; a folder on somebody's machine means nothing elsewhere."""
        if not isinstance(name, str) or name.strip().lower() in _NOBODY:
            return None
        if not reference.MODEL_ID.fullmatch(name):
            # only its last part is repeated: a report is public, somebody's home folder is not
            last = documents.shorten(re.split(r"[\\/]", name.rstrip("\\/"))[-1], 60)
            notice = f"the base is named by a place on somebody's machine (.../{last}), which was set aside"
            self.notices = [*(other for other in self.notices if other != notice), notice]
            return None
        self.named.append(name)
        return name

    def facts(self) -> Facts:
        names = (*self.named, self.values.get("base") or "")
        self.add(GUESSED, {"trained_on": next(filter(quantised.guess, names), None)})
        return Facts(**self.values, sources=self.sources, notices=tuple(self.notices))


def _from_readme(data: bytes, said: _Said) -> dict[str, Any]:
    front, body = front_matter(data)
    base = front.get("base_model")
    found: dict[str, Any] = {
        "base": said.base(base[0] if isinstance(base, list) and base else base),
        "task": front.get("pipeline_tag") if isinstance(front.get("pipeline_tag"), str) else None,
        "license": front.get("license") if isinstance(front.get("license"), str) else None,
        "tags": _texts(front.get("tags")),
        "languages": _texts(front.get("language")),
        "library": front.get("library_name") if isinstance(front.get("library_name"), str) else None,
        "description": _description(front, body),
        "claims": claims.read(front.get("model-index")),
    }
    if front.get("labels") is not None:
        found["labels"] = benchmark.parse_labels(front["labels"], f"{README}: labels")
    if front.get("benchmarks") is not None:
        found["benchmarks"] = _benchmarks(front["benchmarks"], f"{README}: benchmarks")
    return found


def _from_adapter_config(config: dict[str, Any], said: _Said) -> dict[str, Any]:
    if "peft_type" in config:
        by_type = {task.peft: name for name, task in reversed(tasks.TASKS.items())}
        task_type = config.get("task_type")
        base = said.base(config.get("base_model_name_or_path"))
        return {"library": "peft", "base": base, "task": by_type.get(task_type) if isinstance(task_type, str) else None}
    return {"library": "adapters", "base": said.base(config.get("model_name"))}


def _from_head_config(config: dict[str, Any], said: _Said) -> dict[str, Any]:
    kind, model = str(_head_table(config).get("head_type")), str(config.get("model_class"))
    found = [task for words, task in _OF_HEADS.items() if kind == words[0] or words[1] in model]
    return {"task": found[0] if found else None, "labels": labels_of_head(config)}


def _from_model_config(config: dict[str, Any], said: _Said) -> dict[str, Any]:
    return {"labels": labels_of(config)}


def labels_of(config: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the label names by class index of a config.json; None where it says nothing usable."""
    return _by_index(config.get("label2id")) or _by_index(_turned(config.get("id2label")))


def labels_of_head(config: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the label names by class index of a head_config.json; None where it says nothing usable."""
    return _by_index(_head_table(config).get("label2id"))


def _head_table(config: dict[str, Any]) -> dict[str, Any]:
    inner = config.get("config")
    return inner if isinstance(inner, dict) else config


def _turned(value: Any) -> dict[str, int] | None:
    """label2id from id2label; None where it is no such table."""
    if not isinstance(value, dict) or not all(re.fullmatch(r"[0-9]{1,6}", index) for index in value):
        return None
    if not all(isinstance(name, str) for name in value.values()) or len(set(value.values())) != len(value):
        return None
    return {name: int(index) for index, name in value.items()}


def _by_index(value: Any) -> tuple[str, ...] | None:
    """Label names from label2id; None where it says nothing usable (LABEL_0 is what an untouched file says)."""
    if not isinstance(value, dict) or any(type(index) is not int for index in value.values()):
        return None
    names = tuple(sorted(value, key=lambda name: int(value[name])))
    untouched = names == tuple(f"LABEL_{index}" for index in range(len(names)))
    whole = sorted(value.values()) == list(range(len(names))) and len(names) > 1
    return names if whole and not untouched else None


def _base(value: Any, where: str) -> str:
    if not isinstance(value, str) or not is_base(value):
        message = f"{documents.shorten(value)!r} is no name of a base model and no fingerprint"
        raise _error(where, message, "write a name such as bert-base-uncased, or base:<64 hex>")
    return value


def _task(value: Any, where: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", value):
        message = f"{documents.shorten(value)!r} is no name of a task"
        raise _error(where, message, "write one such as text-classification")
    return value


def _benchmarks(value: Any, where: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or len(names) > MAX_BENCHMARKS or any(not isinstance(name, str) for name in names):
        message = f"must be a list of at most {MAX_BENCHMARKS} benchmark names"
        raise _error(where, message, "write names such as glue/sst2")
    for name in names:
        for part in name.removeprefix("sha256:").split("/"):
            reference.check_name(part)
    return tuple(dict.fromkeys(names))


def _usage(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or len(documents.canonical(value)) > MAX_USAGE:
        raise _error(where, f"must be an object of at most {MAX_USAGE} bytes", "keep it short")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(item[:100] for item in items[:100] if isinstance(item, str))


_UNWRITTEN = frozenset(
    {
        "[More Information Needed]",
        "Users (both direct and downstream) should be made aware of the risks, biases and limitations of the model. "
        "More information needed for further recommendations.",
        "BibTeX:",
        "APA:",
        "Use the code below to get started with the model.",
        "Carbon emissions can be estimated using the Machine Learning Impact calculator presented in Lacoste et al. (2019).",
    }
)
"""Prose of the card that Hugging Face's libraries lay beside every model: nobody wrote it of this one."""


def _description(front: dict[str, Any], body: str) -> str:
    """The front matter's own, or the first paragraph of prose."""
    said = front.get("description") or front.get("summary")
    if isinstance(said, str):
        return said.strip()[:500]
    fenced = re.sub(r"```.*?(```|\Z)", "", body, flags=re.DOTALL)
    plain = re.sub(r"<!--.*?(-->|\Z)", "", fenced, flags=re.DOTALL)
    for paragraph in re.split(r"\n\s*\n", plain):
        lines = [
            line for line in paragraph.strip().split("\n") if not line.lstrip().startswith(("#", "|", "<", ">", "!["))
        ]
        text = _MARKUP.sub(lambda match: match[1] or "", " ".join(lines)).strip()
        if text and text not in _UNWRITTEN and not text.startswith(("- ", "---")):
            return text[:500]
    return ""


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "base": _base, "trained_on": _base, "task": _task, "benchmarks": _benchmarks, "labels": benchmark.parse_labels, "usage": _usage,
}  # fmt: skip


def _problem(where: str, message: str, hint: str) -> errors.Problem:
    return errors.Problem("facts", where, message, hint, "config")


def _error(where: str, message: str, hint: str) -> errors.SpecError:
    return errors.SpecError([_problem(where, message, hint)])
