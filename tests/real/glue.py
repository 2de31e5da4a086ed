"""GLUE's tasks as they lie in the test data: slices to train on, rows to be judged by, and the official metric of each."""

import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from sklearn import metrics

from hub.spec import benchmark
from workers.assignment import BenchmarkFiles

TRAIN, ASKED = 384, 500
"""Rows to train on, and at most to be judged by: enough to see whether both sides answer alike."""
HEADER = ("text", "pair", "label")
Row = tuple[str, str | None, str]


def correlation(truth: Any, said: Any) -> float:
    """STS-B's metric: the mean of Pearson's and Spearman's correlation."""
    return float((stats.pearsonr(truth, said)[0] + stats.spearmanr(truth, said)[0]) / 2)


@dataclass(frozen=True)
class Glue:
    """One task: its columns, its classes (none: a number), its metric, and that metric by scikit-learn or SciPy."""

    name: str
    columns: tuple[str, str | None]
    labels: tuple[str, ...]
    metric: str
    measure: Callable[[Any, Any], float]
    label: str = "label"
    names: tuple[str, ...] = ()
    """What the classes are called in the data, where not by number."""

    def rows(self, folder: Path, kind: str, most: int) -> list[Row]:
        """The first rows of the train or dev file, in their order."""
        path = sorted((folder / self.name).glob(f"{kind}*.tsv"))[0]
        with path.open(encoding="utf-8", newline="") as stream:
            found = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))[:most]
        first, second = self.columns
        return [(row[first], row[second] if second else None, self.number(row[self.label])) for row in found]

    def number(self, word: str) -> str:
        """The class index, or the number itself, as text."""
        return str(self.names.index(word)) if self.names else word

    def lay(self, folder: Path, place: Path) -> BenchmarkFiles:
        """The benchmark, its data beside it."""
        place.mkdir(parents=True)
        digests = {}
        for file, kind, most in (("dev.tsv", "dev", ASKED), ("train.tsv", "train", TRAIN)):
            lines = ["\t".join(cell or "" for cell in row) for row in (HEADER, *self.rows(folder, kind, most))]
            data = "\n".join([*lines, ""]).encode()
            (place / file).write_bytes(data)
            digests[file] = hashlib.sha256(data).hexdigest()
        definition: dict[str, Any] = {
            "name": f"glue/{self.name}-slice",
            "task": "text-classification" if self.labels else "sentence-similarity",
            "data": "dev.tsv",
            "train": "train.tsv",
            "columns": {"text": "text", "label": "label"} | ({"pair": "pair"} if self.columns[1] else {}),
            "metric": self.metric,
            "max_length": 128,
        } | ({"labels": list(self.labels)} if self.labels else {})
        found = benchmark.parse(definition, digests)
        return BenchmarkFiles(found, place / "dev.tsv", place / "train.tsv")

    def write(self, folder: Path, path: Path) -> None:
        """What `glue_train` reads."""
        kind = int if self.labels else float
        train = [(text, pair, kind(label)) for text, pair, label in self.rows(folder, "train", TRAIN)]
        asked = [(text, pair) for text, pair, _ in self.rows(folder, "dev", ASKED)]
        path.write_text(json.dumps({"classes": len(self.labels) or 1, "train": train, "asked": asked}))

    def truth(self, folder: Path) -> np.ndarray:
        return np.array([float(label) for _, _, label in self.rows(folder, "dev", ASKED)])

    def said(self, logits: Sequence[Sequence[float]]) -> np.ndarray:
        """What a library's logits answer: a class, or the number itself."""
        found = np.array(logits)
        return found.argmax(-1) if self.labels else found[:, 0]


ENTAILED = ("entailment", "not_entailment")
TASKS = {
    task.name: task
    for task in (
        Glue("sst2", ("sentence", None), ("negative", "positive"), "accuracy", metrics.accuracy_score),
        Glue("cola", ("sentence", None), ("unacceptable", "acceptable"), "matthews", metrics.matthews_corrcoef),
        Glue("mrpc", ("sentence1", "sentence2"), ("different", "equivalent"), "f1", metrics.f1_score),
        Glue("rte", ("sentence1", "sentence2"), ENTAILED, "accuracy", metrics.accuracy_score, names=ENTAILED),
        Glue("qnli", ("question", "sentence"), ENTAILED, "accuracy", metrics.accuracy_score, names=ENTAILED),
        Glue("stsb", ("sentence1", "sentence2"), (), "pearson_spearman", correlation, label="score"),
    )
}
