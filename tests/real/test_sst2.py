"""Real adapters on real data: what the issue asks of SST-2, proved through the worker's own process.

Two adapters, trained on 10 000 rows by the libraries that people use, judged on the 872 dev rows. Takes some minutes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from demo import pushes
from demo.base import base_folder
from hub import runtime
from hub.runtime import answering, predict
from tests.engine.makers import check, failed
from tests.real.trained import Trained

pytestmark = [pytest.mark.real, pytest.mark.timeout(3600)]

Dev = tuple[list[str], list[int]]
ROWS = 872
LEAST = 0.80
PARTS = {"lora": 6 * 2 * 2 + 2, "houlsby": 6 * 2 * 4 + 4}
"""Tensors of each: layers * places * tensors of a part, and those of the head."""


def score(found: dict[str, Any]) -> dict[str, Any]:
    return dict(found["components"][0]["scores"][0])


def tell(name: str, found: dict[str, Any], more: str = "") -> None:
    """The figures, for whoever runs this with -s."""
    got = score(found)
    print(f"\n{name}: {more}judged in {found['seconds']:.1f} s: {found['summary']}")
    print(f"  {got['metric']} {got['value']} {got['interval']}, baselines {got['baselines']}, gain {got['gain']}")
    print(f"  {check(found, 'benchmark')['evidence']}")


def tolerance(expected: torch.Tensor) -> float:
    return 1e-5 * float(expected.abs().max()) + 1e-6


def own_logits(model: Any, tokenizer: Any, sentences: list[str]) -> torch.Tensor:
    """Logits [rows, labels] by hub.runtime, in the batches that a worker cuts."""
    found = torch.full((len(sentences), 2), torch.nan)
    encoded = predict.tokenise(tokenizer, sentences, None, 128)
    with torch.inference_mode():
        for batch in predict.batches(encoded, tokenizer.pad_token_id):
            found[list(batch.rows)] = model(**batch.inputs).logits
    return found


def test_it_passes_with_an_accuracy_of_at_least_0_80_and_gains_over_the_probe(
    trained: Trained, verdict: dict[str, Any]
) -> None:
    tell(trained.name, verdict, f"trained and answered in {trained.seconds:.0f} s; ")
    assert verdict["verdict"] == "passed", verdict["summary"]
    assert failed(verdict) == []
    found = score(verdict)
    assert found["n"] == ROWS
    assert found["value"] >= LEAST
    assert found["gain"]["over"] == "probe"
    assert found["gain"]["interval"][0] > 0
    (gate,) = found["gates"]
    assert gate["gate"] == "min_gain" and gate["passed"] and gate["bound"] == found["gain"]["interval"][0]


def test_the_reported_accuracy_is_that_of_the_reported_answers(verdict: dict[str, Any], dev: Dev) -> None:
    (answers,) = verdict["predictions"].values()
    right = sum(answer == truth for answer, truth in zip(answers["labels"], dev[1], strict=True))
    assert score(verdict)["value"] == pytest.approx(right / ROWS, abs=1e-6)


def test_the_probe_was_fitted_on_all_training_rows(verdict: dict[str, Any]) -> None:
    (facts,) = check(verdict, "benchmark")["evidence"].values()
    assert facts["probe"]["train_rows"] == 10_000


def test_every_tensor_is_at_work(trained: Trained, verdict: dict[str, Any]) -> None:
    parts = PARTS[trained.name]
    assert check(verdict, "applied")["evidence"] == {"consumed": parts, "tensors": parts}


def test_the_answers_are_row_for_row_those_of_the_library_that_trained_it(
    trained: Trained, verdict: dict[str, Any]
) -> None:
    (answers,) = verdict["predictions"].values()
    differing = [
        row for row, pair in enumerate(zip(answers["labels"], trained.labels, strict=True)) if len(set(pair)) > 1
    ]
    assert len(trained.labels) == ROWS
    assert differing == []


def test_the_logits_are_those_of_the_library_and_the_base_models_are_not(trained: Trained, dev: Dev) -> None:
    model, tokenizer = runtime.load(trained.folder, base_folder())
    expected, allowed = trained.logits, tolerance(trained.logits)
    difference = float((own_logits(model, tokenizer, dev[0]) - expected).abs().max())
    print(f"\n{trained.name}: logits differ by up to {difference:.2e}, allowed {allowed:.2e}")
    assert difference <= allowed
    model.adapter.enabled = False
    assert float((own_logits(model, tokenizer, dev[0]) - expected).abs().max()) > 1000 * allowed


def test_what_a_user_predicts_with_it_is_what_the_library_predicts(trained: Trained, dev: Dev) -> None:
    model, tokenizer = runtime.load(trained.folder, base_folder())
    found = answering.answer(model, tokenizer, dev[0])
    chances = torch.softmax(trained.logits, -1).max(-1).values
    assert [model.labels.index(item["label"]) for item in found] == trained.labels
    assert [item["score"] for item in found] == pytest.approx(chances.tolist(), abs=1e-5)


def test_judged_again_it_gets_the_same_result(
    trained: Trained, verdict: dict[str, Any], judge: Callable[..., dict[str, Any]]
) -> None:
    assert judge(trained.folder)["result_digest"] == verdict["result_digest"]


def test_a_fresh_process_that_fits_the_probe_anew_gives_the_same_result(
    lora: Trained, judge: Callable[..., dict[str, Any]]
) -> None:
    assert judge(lora.folder, fresh=True)["result_digest"] == judge(lora.folder)["result_digest"]


def test_another_adapter_gets_another_result(
    lora: Trained, houlsby: Trained, judge: Callable[..., dict[str, Any]]
) -> None:
    """The control of the two above: the digest does tell results apart."""
    assert judge(lora.folder)["result_digest"] != judge(houlsby.folder)["result_digest"]


def test_random_weights_under_a_fitted_head_do_not_pass(
    lora: Trained, sst2: Path, tmp_path: Path, judge: Callable[..., dict[str, Any]]
) -> None:
    """The head was fitted well enough to beat the majority; what it brings over the probe is nothing."""
    pushes.random_with_head(lora.folder, tmp_path / "random", sst2)
    found = judge(tmp_path / "random")
    tell("random", found)
    assert found["verdict"] == "failed"
    assert failed(found) == ["benchmark"]
    assert "no gain over the probe" in check(found, "benchmark")["message"]
    assert score(found)["interval"][0] > score(found)["baselines"]["majority"]
    assert score(found)["gain"]["interval"][0] <= 0
