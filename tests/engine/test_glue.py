"""GLUE's nine tasks, defined over data that is no part of the repository: HUB_TEST_DATA names the folder (default:
../shared/data)."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from hub.spec import benchmark, rows
from workers import statistics
from workers.resampling import Numbers

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("HUB_TEST_DATA") or ROOT.parent / "shared" / "data")
SIZES = {
    "sst2": (872, 10_000), "cola": (1_043, 8_551), "mrpc": (408, 3_668), "qqp": (1_000, 5_000), "stsb": (1_500, 5_749),
    "mnli": (1_000, 5_000), "qnli": (5_463, 5_000), "rte": (277, 2_490), "wnli": (71, 635),
}  # fmt: skip
OFFICIAL = {
    "accuracy": metrics.accuracy_score,
    "f1": metrics.f1_score,
    "matthews": metrics.matthews_corrcoef,
    "pearson": lambda truth, said: stats.pearsonr(truth, said)[0],
    "spearman": lambda truth, said: stats.spearmanr(truth, said)[0],
    "pearson_spearman": lambda truth, said: (stats.pearsonr(truth, said)[0] + stats.spearmanr(truth, said)[0]) / 2,
}


def read(name: str) -> tuple[benchmark.Benchmark, list[rows.Text], list[rows.Text]]:
    definition = (ROOT / "demo" / "glue" / f"{name}.yaml").read_bytes()
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"no {name}: {folder} is not there (HUB_TEST_DATA names the folder that holds it)")
    data = {path.name: path.read_bytes() for path in folder.glob("*.tsv")}
    found = benchmark.parse(definition, {file: hashlib.sha256(content).hexdigest() for file, content in data.items()})
    assert found.train is not None
    return found, *(rows.read(data[file], found, file) for file in (found.data, found.train))


def test_every_task_of_glue_is_defined_and_no_other() -> None:
    assert {path.stem for path in (ROOT / "demo" / "glue").glob("*.yaml")} == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_every_row_of_a_task_is_read_and_every_label_occurs(name: str) -> None:
    found, dev, train = read(name)
    assert (len(dev), len(train)) == SIZES[name]
    assert all((row.pair is not None) == ("pair" in found.columns) for row in dev + train)
    for split in (dev, train):
        said = {row.label for row in split}
        assert said == set(range(len(found.labels))) if found.labels else (min(said) >= 0 and max(said) <= 5)
    text = {(row.text, row.pair) for row in dev}
    assert len(text & {(row.text, row.pair) for row in train}) < len(text) / 20


@pytest.mark.parametrize("name", SIZES)
def test_the_metrics_of_answers_at_random_are_those_of_scikit_learn_and_scipy(name: str) -> None:
    found, dev, _ = read(name)
    chance = np.random.default_rng(0)
    if found.labels:
        truth = np.array([row.label for row in dev])
        said = chance.integers(0, len(found.labels), len(dev))
        yardstick = statistics.Classes(truth, len(found.labels))
    else:
        truth = np.array([row.label for row in dev], dtype=float)
        said = truth + chance.normal(size=len(dev)) * 3
        yardstick = Numbers(truth)
    for metric in (found.metric, *found.also):
        assert yardstick.value(metric, said) == pytest.approx(OFFICIAL[metric](truth, said), abs=1e-9)
