"""What a run finds out about an adapter, told by its report."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression

from hub import runtime
from hub.runtime import answering
from hub.runtime.base import Backbone
from hub.spec import policy
from tests.engine import makers
from tests.engine.makers import SPECIMENS, check, failed, judged
from workers import labels

Judge = Callable[..., dict[str, Any]]
WEIGHTS = "adapter_model.safetensors"
HEAD = "base_model.model.classifier"


@pytest.fixture
def good(tmp_path: Path, tiny: Path) -> Path:
    return makers.teacher(tmp_path / "good", tiny)


@pytest.fixture
def judge(good: Path, tiny: Path, backbone: Backbone, tmp_path: Path) -> Judge:
    """Judge an adapter (the good one by default) on the benchmark that the good one is good at."""
    teacher = makers.copied(good, tmp_path / "teacher")

    def run(adapter: Path = good, benchmark: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        given = benchmark or {}
        files = makers.benchmark_of(tmp_path / f"bench{len(given)}", teacher, tiny, **given)
        return judged(makers.assignment(adapter, tiny, files, **more), backbone, tmp_path)

    return run


def score(found: dict[str, Any]) -> dict[str, Any]:
    return dict(found["components"][0]["scores"][0])


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    found = load_file(folder / WEIGHTS)
    change(found)
    save_file(found, folder / WEIGHTS)
    return folder


def name_labels(folder: Path, *labels: str) -> Path:
    (folder / "hub.json").write_text(json.dumps({"labels": list(labels)}))
    return folder


def test_a_good_adapter_passes_every_check(judge: Judge, backbone: Backbone) -> None:
    found = judge()
    assert found["verdict"] == "passed", found["summary"]
    assert score(found)["value"] > 0.9 > score(found)["baselines"]["probe"]
    assert score(found)["gain"]["over"] == "probe"
    assert score(found)["gain"]["interval"][0] > 0
    assert score(found)["gain"]["method"].endswith("no narrower than by McNemar's exact test")
    assert score(found)["gain"]["mcnemar"]["p"] < 1e-3
    assert sum(row["support"] for row in score(found)["details"]["classes"]) == score(found)["n"]
    assert check(found, "applied")["evidence"] == {"consumed": 10, "tensors": 10}
    facts = check(found, "benchmark")["evidence"]["tests/salad"]
    assert facts["probe"]["features"] in ("first_token", "pooler", "mean")
    base = backbone.base
    ways = {"architecture": base.architecture, "tokenizer_digest": base.tokenizer_digest}
    assert found["base_model"] == {"fingerprint": base.fingerprint, "state": "observed", **ways}


def test_predictions_are_row_for_row_those_of_transformers_and_peft(judge: Judge, good: Path, tiny: Path) -> None:
    found = judge()
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(tiny, num_labels=2)
    reference = peft.PeftModel.from_pretrained(plain, good).eval()
    texts = makers.sentences(360, seed=5)[:160]
    one_by_one = [int(makers.answers(reference, tiny, [text]).argmax()) for text in texts]
    (predictions,) = found["predictions"].values()
    assert predictions["labels"] == one_by_one


def test_an_adapter_without_effect_is_refused(judge: Judge, good: Path) -> None:
    def zero(found: dict[str, torch.Tensor]) -> None:
        for key, tensor in found.items():
            if "lora_B" in key:
                tensor.zero_()

    found = judge(change_weights(good, zero))
    assert failed(found) == ["effect"]
    assert "B = 0" in check(found, "effect")["message"]


def test_a_bottleneck_without_effect_is_refused(
    copy_of: Callable[[str], Path], backbone: Backbone, tmp_path: Path
) -> None:
    folder = copy_of("adapterhub/double_seq_bn")
    weights = load_file(folder / "adapter.safetensors")
    save_file(
        {key: torch.zeros_like(value) if "adapter_up" in key else value for key, value in weights.items()},
        folder / "adapter.safetensors",
    )
    assert failed(judged(makers.assignment(folder, makers.TINY), backbone, tmp_path)) == ["effect"]


def test_swapped_labels_are_seen_and_refused(judge: Judge, good: Path) -> None:
    found = judge(name_labels(good, "positive", "negative"))
    assert found["verdict"] == "failed"
    assert "labels look swapped" in check(found, "benchmark")["message"]
    assert "negative means positive" in check(found, "benchmark")["message"]
    assert "hub.json" in check(found, "benchmark")["hint"]


def test_labels_that_look_swapped_refuse_nothing_by_themselves(judge: Judge, good: Path) -> None:
    """A policy without gates asks for nothing that they explain."""
    found = judge(name_labels(good, "positive", "negative"), gates={})
    assert found["verdict"] == "passed"
    assert check(found, "benchmark")["status"] == "warning"
    assert "labels look swapped" in check(found, "benchmark")["message"]


def test_a_renaming_has_to_be_better_beyond_doubt() -> None:
    """McNemar's exact test by hand: 10 rows won and none lost is 2^-10 = 0.00098, 9 are not enough."""
    truth, wrong = np.zeros(200, dtype=np.int64), np.zeros(200, dtype=np.int64)
    assert labels._mcnemar(truth, truth, np.where(np.arange(200) < 10, 1, wrong)) == pytest.approx(2**-10)
    assert labels._mcnemar(truth, truth, np.where(np.arange(200) < 9, 1, wrong)) > labels.LEVEL
    draw = np.random.default_rng(0)
    flagged = sum(
        labels.swapped(draw.integers(0, 2, 200), draw.integers(0, 2, 200), 2, seed) is not None for seed in range(1000)
    )
    assert flagged <= 5, "answers that have nothing to do with the truth are flagged once in a thousand"


def test_labels_in_another_order_are_matched_by_name(judge: Judge, good: Path) -> None:
    def turn(found: dict[str, torch.Tensor]) -> None:
        for part in ("weight", "bias"):
            found[f"{HEAD}.{part}"] = found[f"{HEAD}.{part}"].flip(0).contiguous()

    upright = judge()
    found = judge(name_labels(change_weights(good, turn), "Positive", "negative"))
    assert found["verdict"] == "passed"
    assert score(found) == score(upright)
    assert check(found, "benchmark")["status"] == "passed"


def test_labels_that_nobody_names_are_assumed_and_that_is_said(judge: Judge) -> None:
    found = check(judge(), "benchmark")
    assert found["status"] == "warning"
    assert "the benchmark's order is assumed (negative, positive)" in found["message"]


def test_labels_of_another_benchmark_are_refused(judge: Judge, good: Path) -> None:
    found = judge(name_labels(good, "cat", "dog"))
    assert failed(found) == ["head"]
    assert "cat, dog" in check(found, "head")["message"]


def test_labels_that_only_the_readme_gives_come_with_the_plan(judge: Judge, good: Path) -> None:
    (good / "README.md").write_text("---\nlabels: [positive, negative]\n---\n")
    assert judge()["verdict"] == "passed", "the README is no evidence"
    files = makers.benchmark_of(good.parent / "again", good, makers.TINY)
    plan = policy.plan([files.benchmark.digest], policy.DEFAULT.resolve()) | {"labels": ["positive", "negative"]}
    assert "swapped" in judge(plan=plan)["summary"]


def test_a_head_of_another_size_is_refused(judge: Judge, tmp_path: Path, tiny: Path) -> None:
    folder = tmp_path / "three"
    makers.lora_model(tiny, labels=3).save_pretrained(folder)
    found = judge(folder)
    assert failed(found) == ["head"]
    assert "3 classes" in check(found, "head")["message"]


def test_an_adapter_without_a_head_cannot_be_scored(judge: Judge, tmp_path: Path, tiny: Path) -> None:
    torch.manual_seed(1)
    body = transformers.AutoModel.from_pretrained(tiny)
    model = peft.get_peft_model(body, peft.LoraConfig(r=4, target_modules=["query"], init_lora_weights=False))
    model.save_pretrained(tmp_path / "headless")
    found = judge(tmp_path / "headless")
    assert failed(found) == ["head"]
    assert "they are for text-classification" in check(found, "head")["message"]
    assert 'task_type="SEQ_CLS" in PEFT' in check(found, "head")["hint"]


def test_a_random_adapter_with_a_fitted_head_gains_nothing_over_what_needs_no_adapter(
    judge: Judge, good: Path, tiny: Path, tmp_path: Path, backbone: Backbone
) -> None:
    """Far better than the same head without the adapter, and still worth nothing: why gain is over the probe."""
    rng = np.random.default_rng(0)
    texts = makers.sentences(800, seed=8)
    truth = [int(" good " in f" {text} " or rng.random() < 0.4) for text in texts]
    lines = [f"{text}\t{label}" for text, label in zip(texts, truth, strict=True)]
    files = makers.write_benchmark(tmp_path / "words", lines[:400], lines[400:])
    model = makers.lora_model(tiny, seed=3, std=0.3)
    with torch.no_grad():
        tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
        given = tokenizer(texts[400:], padding=True, return_tensors="pt")
        features = model.base_model.model.bert(**given).pooler_output.numpy()
        fitted = LogisticRegression(max_iter=2000).fit(features, truth[400:])
        head = model.base_model.model.classifier.modules_to_save["default"]
        for parameter, values in ((head.weight, fitted.coef_[0]), (head.bias, fitted.intercept_[0])):
            parameter.copy_(torch.stack([torch.zeros_like(parameter[0]), torch.tensor(values, dtype=torch.float32)]))
    model.save_pretrained(tmp_path / "random")
    found = judged(makers.assignment(tmp_path / "random", tiny, files), backbone, tmp_path)
    assert failed(found) == ["benchmark"]
    assert "no gain over the" in check(found, "benchmark")["message"]
    assert [gate["passed"] for gate in score(found)["gates"]] == [False]
    assert score(found)["value"] > score(found)["baselines"]["majority"]
    assert score(found)["gain"]["over"] in ("probe", "majority")


def test_without_a_train_split_the_gain_is_over_something_weaker_and_that_is_said(judge: Judge) -> None:
    found = judge(benchmark={"train": 0})
    assert score(found)["baselines"]["probe"] is None
    assert score(found)["gain"]["over"] in ("majority", "adapter_off")
    assert "no train split" in check(found, "benchmark")["message"]


def test_further_metrics_are_shown_and_decide_nothing(judge: Judge) -> None:
    found = score(judge(benchmark={"also": ["f1", "matthews"]}))
    assert [item["metric"] for item in found["also"]] == ["f1", "matthews"]
    assert all(item["interval"][0] < item["value"] < item["interval"][1] for item in found["also"])
    assert found["metric"] == "accuracy"


@pytest.mark.parametrize("metric", ["f1", "matthews"])
def test_other_metrics_have_intervals_and_gains_too(judge: Judge, metric: str) -> None:
    found = score(judge(benchmark={"metric": metric}))
    low, high = found["interval"]
    assert low < found["value"] < high
    assert found["gain"]["interval"][0] < found["gain"]["value"] < found["gain"]["interval"][1]


def test_a_drop_against_the_version_before_is_refused(judge: Judge, good: Path, tiny: Path, tmp_path: Path) -> None:
    files = makers.benchmark_of(tmp_path / "bench0", good, tiny)
    rows = [line.split("\t")[1] for line in files.data.read_text().splitlines()[1:]]
    perfect = [int(label) for label in rows]
    against = "ab" * 32
    gates = {"max_drop": {"value": 0.0, "undecided": "fail", "against": against}}
    digest = f"sha256:{files.benchmark.digest}"
    previous = {"adapter_digest": f"sha256:{against}", "predictions": {digest: {"labels": perfect}}}
    found = judge(gates=gates, previous=previous)
    assert score(found)["change"]["value"] < 0
    assert failed(found) == ["benchmark"]
    assert "max_drop" in check(found, "benchmark")["message"]
    worst = {**previous, "predictions": {digest: {"labels": [1 - label for label in perfect]}}}
    assert judge(gates=gates, previous=worst)["verdict"] == "passed"


def test_a_minimum_value_is_asked_of_the_lower_bound(judge: Judge) -> None:
    gates = {"min_value": {"value": 0.99, "undecided": "fail"}}
    assert "min_value 0.99" in check(judge(gates=gates), "benchmark")["message"]


def test_pairs_of_sentences_are_read_as_pairs(good: Path, tiny: Path, backbone: Backbone, tmp_path: Path) -> None:
    first, second = makers.sentences(60, seed=1), makers.sentences(60, seed=2)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(tiny, num_labels=2)
    model = peft.PeftModel.from_pretrained(plain, good).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    with torch.no_grad():
        truth = model(**tokenizer(first, second, padding=True, return_tensors="pt")).logits.argmax(-1).tolist()
    lines = [f"{a}\t{b}\t{label}" for a, b, label in zip(first, second, truth, strict=True)]
    files = makers.write_benchmark(
        tmp_path / "pairs", lines, [], header=["premise", "hypothesis", "label"],
        columns={"text": "premise", "pair": "hypothesis", "label": "label"},
    )  # fmt: skip
    found = judged(makers.assignment(good, tiny, files, gates={}), backbone, tmp_path)
    assert score(found)["value"] == 1.0


def test_without_a_benchmark_an_adapter_still_has_to_run(
    good: Path, tiny: Path, backbone: Backbone, tmp_path: Path
) -> None:
    found = judged(makers.assignment(good, tiny), backbone, tmp_path)
    assert found["verdict"] == "passed"
    assert check(found, "benchmark")["status"] == "skipped"
    assert "runs, not benchmarked" in check(found, "benchmark")["message"]


@pytest.mark.parametrize("name", ["double_seq_bn", "seq_bn", "double_seq_bn_static"])
def test_bottleneck_adapters_are_judged_too(name: str, tiny: Path, backbone: Backbone, tmp_path: Path) -> None:
    texts = [f"{text}\t{i % 3}" for i, text in enumerate(makers.sentences(120))]
    files = makers.write_benchmark(tmp_path / "three", texts[:60], texts[60:], labels=["low", "mid", "high"])
    found = judged(makers.assignment(SPECIMENS / "adapterhub" / name, tiny, files), backbone, tmp_path)
    assert failed(found) == ["benchmark"], "labels at random: nothing to gain"
    assert score(found)["n"] == 60
    assert check(found, "applied")["status"] == check(found, "effect")["status"] == "passed"


def test_each_of_several_adapters_is_judged(good: Path, tiny: Path, backbone: Backbone, tmp_path: Path) -> None:
    both = tmp_path / "both"
    makers.copied(good, both / "good")
    makers.teacher(both / "other", tiny, seed=4)
    files = makers.benchmark_of(tmp_path / "bench", good, tiny)
    found = judged(makers.assignment(both, tiny, files), backbone, tmp_path)
    assert [component["folder"] for component in found["components"]] == ["good", "other"]
    assert found["verdict"] == "failed", "one of them gains nothing"
    assert check(found, "benchmark")["message"].startswith("other: ")
    (predictions,) = found["predictions"].values()
    assert set(predictions["folders"]) == {"good", "other"}


def test_each_of_several_adapters_is_compared_with_what_lay_in_its_folder(
    good: Path, tiny: Path, backbone: Backbone, tmp_path: Path
) -> None:
    """Three times the same adapter: before, one answered all right, one all wrong, and the third was not there."""
    for folder in ("better-before", "new", "worse-before"):
        makers.copied(good, tmp_path / "three" / folder)
    files = makers.benchmark_of(tmp_path / "bench", good, tiny)
    truth = [int(line.split("\t")[1]) for line in files.data.read_text().splitlines()[1:]]
    wrong = [1 - label for label in truth]
    told = {"labels": truth, "folders": {"better-before": truth, "worse-before": wrong}}
    previous = {"adapter_digest": "ab" * 32, "predictions": {f"sha256:{files.benchmark.digest}": told}}
    given = makers.assignment(tmp_path / "three", tiny, files)
    found = judged(replace(given, previous=previous), backbone, tmp_path)
    changes = {part["folder"]: part["scores"][0]["change"]["value"] for part in found["components"]}
    assert changes["better-before"] == changes["new"] < 0 < changes["worse-before"]


def test_the_seed_of_the_intervals_is_the_benchmarks_own(judge: Judge) -> None:
    assert judge(benchmark={"metric": "f1"})["result_digest"] == judge(benchmark={"metric": "f1"})["result_digest"]


def test_a_cached_benchmark_says_what_a_fresh_one_says(
    good: Path, tiny: Path, backbone: Backbone, tmp_path: Path
) -> None:
    given = makers.assignment(good, tiny, makers.benchmark_of(tmp_path / "bench", good, tiny))
    found = [
        judged(given, backbone, place)["result_digest"] for place in (tmp_path / "a", tmp_path / "a", tmp_path / "b")
    ]
    assert len(set(found)) == 1
    other = replace(given.benchmarks[0].benchmark, max_length=32)
    from workers import benchmarks

    assert benchmarks.key(backbone, other) != benchmarks.key(backbone, given.benchmarks[0].benchmark)


def test_an_adapter_that_always_answers_the_same_gains_nothing_however_weak_the_probe(
    tmp_path: Path, tiny: Path, backbone: Backbone
) -> None:
    """The majority needs no adapter either: a train split that spoils the probe must not publish a constant."""
    texts = makers.sentences(220, seed=3)
    dev = [f"{text}\t{int(row % 10 < 7)}" for row, text in enumerate(texts[:120])]
    train = [f"{text}\t{row % 2}" for row, text in enumerate(texts[120:])]
    files = makers.write_benchmark(tmp_path / "b", dev, train)
    constant = makers.lora_model(tiny, std=1e-3)
    with torch.no_grad():
        head = constant.base_model.model.classifier.modules_to_save["default"]
        head.weight.zero_()
        head.bias.copy_(torch.tensor([0.0, 1.0]))
    constant.save_pretrained(tmp_path / "constant")
    report = judged(makers.assignment(tmp_path / "constant", tiny, files), backbone, tmp_path / "s")
    (score,) = report["components"][0]["scores"]
    assert score["value"] - score["baselines"]["probe"] > 0.1
    assert (report["verdict"], score["gain"]["over"]) == ("failed", "majority")
    assert "no gain over the majority class" in check(report, "benchmark")["message"]


def test_an_adapter_of_the_pooler_alone_has_an_effect(tmp_path: Path, tiny: Path, backbone: Backbone) -> None:
    """It moves no hidden state, and every answer."""
    makers.lora_model(tiny, target_modules=["pooler.dense"]).save_pretrained(tmp_path / "pooler")
    report = judged(makers.assignment(tmp_path / "pooler", tiny), backbone, tmp_path / "s")
    assert check(report, "effect")["status"] == "passed"


@pytest.mark.parametrize(("widened", "dtype"), [(1_000_000_000, "float32"), (0, "bfloat16")], ids=["small", "large"])
def test_a_base_in_half_precision_is_judged_and_loaded_alike(
    widened: int, dtype: str, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was published, and then could not be loaded: its head is float32, its states are not."""
    monkeypatch.setattr("hub.runtime.assembly.RECORD_IN_FLOAT32", widened)
    base = makers.copied(tiny, tmp_path / "half")
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    makers.lora_model(tiny).save_pretrained(tmp_path / "adapter")
    report = judged(makers.assignment(tmp_path / "adapter", base), runtime.open_backbone(base), tmp_path / "s")
    assert report["environment"]["dtype"] == dtype
    assert check(report, "frozen")["status"] == "passed"
    (answer,) = answering.answer(*runtime.load(tmp_path / "adapter", base), ["a b c"])
    assert answer["label"].startswith("LABEL_")


def test_a_user_may_train_on_and_the_file_stays_as_it_is(tmp_path: Path, tiny: Path) -> None:
    """Read-only weights would end the user's process without a word at the first step."""
    base = makers.copied(tiny, tmp_path / "base")
    before = (base / "model.safetensors").read_bytes()
    makers.lora_model(tiny).save_pretrained(tmp_path / "adapter")
    model, _ = runtime.load(tmp_path / "adapter", base)
    for parameter in model.backbone.parameters():
        parameter.requires_grad_(True).data.add_(1.0)
    assert (base / "model.safetensors").read_bytes() == before
