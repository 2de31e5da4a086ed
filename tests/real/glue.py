"""GLUE's tasks as `demo/glue` defines them, laid beside their data; read and measured here without the hub's own code."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import stats
from sklearn import metrics

ROOT = Path(__file__).resolve().parents[2]
DEFINITIONS = ROOT / "demo" / "glue"
TRAIN = int(os.environ.get("HUB_TEST_TRAIN") or 3000)
"""Rows to train on, at most."""
Row = tuple[str, str | None, float]


def correlation(truth: Any, said: Any) -> float:
    """STS-B's metric: the mean of Pearson's and Spearman's correlation."""
    return float((stats.pearsonr(truth, said)[0] + stats.spearmanr(truth, said)[0]) / 2)


@dataclass(frozen=True)
class Glue:
    """One task, and its official metric by scikit-learn or SciPy."""

    name: str
    measure: Callable[[Any, Any], float]

    @cached_property
    def definition(self) -> dict[str, Any]:
        """What the hub is told of it."""
        return dict(yaml.safe_load((DEFINITIONS / f"{self.name}.yaml").read_text()))

    @property
    def labels(self) -> list[str]:
        """Its classes; none where the answer is a number."""
        return list(self.definition.get("labels", ()))

    def rows(self, folder: Path, split: str) -> list[Row]:
        """Text, second text if there is one, and truth (a class or a number) of the split `data` or `train`, in their order."""
        with (folder / self.name / self.definition[split]).open(encoding="utf-8", newline="") as stream:
            found = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
        columns = self.definition["columns"]
        text, pair, label = columns["text"], columns.get("pair"), columns["label"]
        return [(row[text], row[pair] if pair else None, self._number(row[label])) for row in found]

    def _number(self, word: str) -> float:
        return self.labels.index(word) if word in self.labels else float(word)

    def lay(self, folder: Path, place: Path) -> Path:
        """The definition in a folder of its own with its whole data beside it; gives the file."""
        place.mkdir(parents=True)
        for split in ("data", "train"):
            name = self.definition[split]
            shutil.copyfile(folder / self.name / name, place / name)
        return Path(shutil.copy(DEFINITIONS / f"{self.name}.yaml", place))

    def lesson(self, folder: Path) -> str:
        """What `glue_train` reads: rows to learn from, every row of the dev file to answer."""
        kind = int if self.labels else float
        train = [(text, pair, kind(label)) for text, pair, label in self.rows(folder, "train")[:TRAIN]]
        asked = [(text, pair) for text, pair, _ in self.rows(folder, "data")]
        classes, longest = len(self.labels) or 1, self.definition["max_length"]
        return json.dumps({"classes": classes, "max_length": longest, "train": train, "asked": asked})

    def truth(self, folder: Path) -> np.ndarray:
        """What is right for each row of the dev file."""
        return np.array([label for _, _, label in self.rows(folder, "data")])

    def said(self, logits: Sequence[Sequence[float]]) -> np.ndarray:
        """What a library's logits answer: a class, or the number itself."""
        found = np.array(logits)
        return found.argmax(-1) if self.labels else found[:, 0]


TASKS = {
    task.name: task
    for task in (
        Glue("sst2", metrics.accuracy_score),
        Glue("cola", metrics.matthews_corrcoef),
        Glue("mrpc", metrics.f1_score),
        Glue("rte", metrics.accuracy_score),
        Glue("stsb", correlation),
        Glue("qnli", metrics.accuracy_score),
    )
}
