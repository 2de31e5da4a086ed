"""LoRA and Houlsby adapters trained on slices of six GLUE tasks: judged by a worker's process, row for row as their libraries say.

Training is short on purpose: what is asked is whether the hub measures what the library would, not whether the adapter is good.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demo.base import base_folder
from hub.spec import report
from tests.engine import makers
from tests.engine.makers import check
from tests.real.glue import TASKS, Glue
from tests.real.trained import ROOT, adapters_python, run
from workers.process import BackboneProcess

pytestmark = [pytest.mark.real, pytest.mark.timeout(7200)]
LIBRARIES = {"LoRA": "peft", "Houlsby": "adapters"}
NEAR = 1e-5


@pytest.fixture(scope="module")
def data() -> Path:
    folder = Path(os.environ.get("HUB_TEST_DATA") or ROOT.parent / "shared" / "data")
    missing = [name for name in TASKS if not (folder / name / "dev.tsv").is_file()]
    if missing:
        pytest.skip(f"no GLUE: {folder}/{missing[0]}/dev.tsv is not there (HUB_TEST_DATA names the folder)")
    return folder


def trained(method: str, task: Glue, data: Path, place: Path) -> Path:
    """The folder of what a library trained and answered."""
    task.write(data, place / "rows.json")
    python = sys.executable if method == "LoRA" else adapters_python()
    line = [python, str(ROOT / "tests/real/glue_train.py"), "--library", LIBRARIES[method]]
    line += ["--rows", str(place / "rows.json"), "--base", str(base_folder()), "--out", str(place / "out")]
    run(line, PYTHONPATH=str(ROOT))
    return place / "out"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackboneProcess]:
    found = BackboneProcess(tmp_path_factory.mktemp("glue"))
    yield found
    found.stop()


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("method", LIBRARIES)
def test_a_score_is_that_of_the_library_row_for_row(
    method: str, name: str, data: Path, tmp_path: Path, process: BackboneProcess
) -> None:
    task = TASKS[name]
    folder, files = trained(method, task, data, tmp_path), task.lay(data, tmp_path / "benchmark")
    found = process.judge(makers.assignment(folder / "adapter", base_folder(), files), lambda stage: None)
    report.validate(found, makers.assignment(folder / "adapter", base_folder(), files).plan)
    answers = json.loads((folder / "answers.json").read_text())
    said, truth = task.said(answers["logits"]), task.truth(data)
    (score,) = found["components"][0]["scores"]
    (ours,) = (np.array(item["labels"]) for item in found["predictions"].values())
    share = answers["trained"] / answers["total"]
    tell(method, task, found, score, share)
    assert len(ours) == len(said) == len(truth)
    if task.labels:
        assert ours.tolist() == said.tolist(), "row for row"
    else:
        assert np.abs(ours - said).max() <= NEAR * np.abs(said).max() + 1e-6, "row for row"
    assert score["value"] == pytest.approx(task.measure(truth, said), abs=1e-5)
    consumed = check(found, "applied")["evidence"]
    assert consumed["consumed"] == consumed["tensors"]
    assert 0 < share < 0.01, "below one per cent of the base model"


def tell(method: str, task: Glue, found: dict[str, Any], score: dict[str, Any], share: float) -> None:
    """A row of the table, for whoever runs this with -s."""
    base = {key: None if value is None else round(value, 3) for key, value in score["baselines"].items()}
    print(
        f"\n| {task.name} | {method} | {share:.2%} | {task.metric} | {score['value']:.4f} | {score['n']} | {base} | {found['verdict']} |"
    )
