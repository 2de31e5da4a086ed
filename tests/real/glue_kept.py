"""Adapters that were trained on GLUE, kept between runs in a folder that is never committed: GLUE's licence lets nobody ship them."""

import hashlib
import json
import os
import shutil
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from demo.base import base_folder
from tests.real.glue import ROOT, TASKS, Glue
from tests.real.trained import adapters_python, run

TRAIN = ROOT / "tests" / "real" / "glue_train.py"
LIBRARIES = {"LoRA": "peft", "Houlsby": "adapters"}


@dataclass(frozen=True)
class Kept:
    """An adapter as its library saved it, with what that library answers to every row of the dev file."""

    task: Glue
    method: str
    folder: Path

    @property
    def name(self) -> str:
        """As sst2-lora."""
        return self.folder.name

    @property
    def library(self) -> str:
        """What trained it."""
        return LIBRARIES[self.method]

    @property
    def python(self) -> str:
        """The interpreter that has this library."""
        return sys.executable if self.method == "LoRA" else adapters_python()

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    @cached_property
    def _told(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "answers.json").read_text()))

    @property
    def said(self) -> np.ndarray:
        """The library's answers [rows]."""
        return self.task.said(self._told["logits"])

    @property
    def share(self) -> float:
        """Numbers trained, without the head, in parts of those of the base model."""
        return float(self._told["trained"] / self._told["total"])


def work() -> Path:
    """Where they are kept: HUB_TEST_WORK, or a folder that git does not see."""
    return Path(os.environ.get("HUB_TEST_WORK") or ROOT / ".pytest_cache" / "d") / "glue"


def data_folder() -> Path:
    """The folder that holds sst2/, cola/ and so on; HUB_TEST_DATA names it."""
    return Path(os.environ.get("HUB_TEST_DATA") or ROOT.parent / "shared" / "data")


def missing(data: Path) -> str:
    """Which file of GLUE is not there; empty where all are."""
    files = [data / name / str(task.definition[split]) for name, task in TASKS.items() for split in ("data", "train")]
    return next((str(file) for file in files if not file.is_file()), "")


def every() -> list[Kept]:
    """Each task with each method, in its place, whether or not it was trained yet."""
    place = work()
    return [
        Kept(task, method, place / f"{task.name}-{method.lower()}") for task in TASKS.values() for method in LIBRARIES
    ]


def train(found: Kept, data: Path) -> None:
    """Have an adapter trained, unless the same lesson was given by the same script before."""
    lesson = found.task.lesson(data)
    key = hashlib.sha256(lesson.encode() + TRAIN.read_bytes()).hexdigest()
    mark = found.folder / "lesson.sha256"
    if mark.is_file() and mark.read_text() == key:
        return
    shutil.rmtree(found.folder, ignore_errors=True)
    found.folder.parent.mkdir(parents=True, exist_ok=True)
    rows = found.folder.parent / f"{found.name}.json"
    rows.write_text(lesson)
    line = [found.python, str(TRAIN), "--library", found.library, "--rows", str(rows)]
    run([*line, "--base", str(base_folder()), "--out", str(found.folder)], PYTHONPATH=str(ROOT))
    rows.unlink()
    mark.write_text(key)
