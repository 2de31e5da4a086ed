"""Sentence similarity: correlations are SciPy's, and a head with one output is judged by them."""

import json
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
import transformers
from scipy import stats

from hub import runtime
from hub.runtime import answering
from hub.runtime.base import Backbone
from tests.engine import makers
from tests.engine.makers import check, failed, judged
from workers.resampling import Numbers, weights

MEASURES = {
    "pearson": lambda x, y: stats.pearsonr(x, y)[0],
    "spearman": lambda x, y: stats.spearmanr(x, y)[0],
    "pearson_spearman": lambda x, y: (stats.pearsonr(x, y)[0] + stats.spearmanr(x, y)[0]) / 2,
}


def rated(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers with many equal ones, answers near them, and answers farther off."""
    chance = np.random.default_rng(seed)
    truth = chance.integers(0, 26, rows) / 5
    near = truth + chance.normal(size=rows)
    return truth, near, np.round(truth + 3 * chance.normal(size=rows))


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("seed", range(3))
def test_a_correlation_is_that_of_scipy(name: str, seed: int) -> None:
    truth, near, far = rated(300, seed)
    for answers in (near, far, 1e6 + near * 1e-3):
        assert Numbers(truth).value(name, answers) == pytest.approx(MEASURES[name](truth, answers), abs=1e-9)


@pytest.mark.parametrize("name", MEASURES)
def test_a_correlation_of_resampled_rows_is_that_of_the_rows_that_were_drawn(name: str) -> None:
    truth, _, far = rated(80)
    drawn = next(weights(np.ones(80, dtype=np.int64), seed=3))[:20]
    found = Numbers(truth)._correlation(name, far)(drawn)
    for row, value in zip(drawn.astype(int), found, strict=True):
        there = np.repeat(np.arange(80), row)
        assert value == pytest.approx(MEASURES[name](truth[there], far[there]), abs=1e-9)


def test_an_interval_is_about_as_wide_as_fishers() -> None:
    truth, near, _ = rated(400)
    found = Numbers(truth).estimate("pearson", near, seed=1)
    low, high = stats.pearsonr(truth, near).confidence_interval(0.95)
    assert found.low == pytest.approx(low, abs=0.01)
    assert found.high == pytest.approx(high, abs=0.01)


def test_answers_that_are_nearer_are_surely_better_and_a_constant_correlates_with_nothing() -> None:
    truth, near, far = rated(300)
    assert Numbers(truth).difference("pearson_spearman", near, far, seed=1).low > 0.1
    assert Numbers(truth).difference("pearson_spearman", near, near, seed=1).value == 0
    assert Numbers(truth).value("pearson_spearman", np.full(300, 2.5)) == 0


def test_a_perfect_correlation_has_an_interval_too() -> None:
    truth, _, _ = rated(100)
    found = Numbers(truth).estimate("pearson", 2 * truth + 1, seed=1)
    assert found.value == pytest.approx(1.0)
    assert 0.9 < found.low < 0.97, "of none wrong in 100, Clopper and Pearson's bound is 0.036; the scale is 2 wide"


def test_a_head_with_one_output_is_scored_row_for_row_as_transformers_and_peft_answer(
    tiny: Path, backbone: Backbone, tmp_path: Path
) -> None:
    model = makers.lora_model(tiny, seed=2, std=1.0, labels=1)
    model.save_pretrained(tmp_path / "rater")
    first, second = makers.sentences(260, seed=1), makers.sentences(260, seed=2)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(tiny, num_labels=1)
    reference = peft.PeftModel.from_pretrained(plain, tmp_path / "rater").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    with torch.no_grad():
        said = reference(**tokenizer(first, second, padding=True, return_tensors="pt")).logits[:, 0].numpy()
    truth = said + 0.3 * said.std() * np.random.default_rng(0).normal(size=260)
    lines = [f"{a}\t{b}\t{value:.6f}" for a, b, value in zip(first, second, truth, strict=True)]
    files = makers.write_benchmark(
        tmp_path / "rated", lines[:160], lines[160:], task="sentence-similarity", labels=None,
        metric="pearson_spearman", header=["one", "other", "score"],
        columns={"text": "one", "pair": "other", "label": "score"},
    )  # fmt: skip
    found = judged(makers.assignment(tmp_path / "rater", tiny, files), backbone, tmp_path)
    assert found["verdict"] == "passed", found["summary"]
    (predictions,) = found["predictions"].values()
    assert np.allclose(predictions["labels"], said[:160], rtol=1e-4, atol=1e-5)
    (score,) = found["components"][0]["scores"]
    truth = np.array([float(line.split("\t")[2]) for line in lines[:160]])
    expected = MEASURES["pearson_spearman"](truth, np.array(predictions["labels"]))
    assert score["value"] == pytest.approx(expected, abs=1e-6)
    assert score["baselines"]["majority"] == 0
    assert score["gain"]["over"] == "probe"
    assert score["gain"]["method"].endswith("rows of a kind not seen")
    assert check(found, "benchmark")["evidence"]["tests/salad"]["probe"]["alpha"] > 0


def test_a_head_is_not_scored_on_a_benchmark_of_another_ml_task(tiny: Path, backbone: Backbone, tmp_path: Path) -> None:
    makers.lora_model(tiny, labels=2).save_pretrained(tmp_path / "classifier")
    lines = [f"{text}\t{len(text)}" for text in makers.sentences(40)]
    files = makers.write_benchmark(
        tmp_path / "rated", lines, [], task="sentence-similarity", labels=None, metric="pearson"
    )
    found = judged(makers.assignment(tmp_path / "classifier", tiny, files), backbone, tmp_path)
    assert failed(found) == ["head"]
    assert "for sentence-similarity, the adapter's head for text-classification" in check(found, "head")["message"]
    assert json.dumps(found["components"][0]["scores"]) == "[]"


def test_who_pulls_a_rater_gets_numbers(tiny: Path, tmp_path: Path) -> None:
    model = makers.lora_model(tiny, seed=2, std=1.0, labels=1)
    model.save_pretrained(tmp_path / "rater")
    (found,) = answering.answer(*runtime.load(tmp_path / "rater", tiny), ["a b c"])
    assert found == {"score": pytest.approx(float(makers.answers(model, tiny, ["a b c"])), abs=1e-4)}
