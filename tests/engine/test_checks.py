"""What is looked at before anything is scored: effect and noise, tokenizer, head, merging, drift, the library's own answer."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from hub import runtime
from hub.runtime import predict
from hub.runtime.base import Backbone
from hub.spec import policy, validation
from tests.engine import makers
from tests.engine.makers import check, failed
from workers import benchmarks, engine
from workers.checks import merge, token_rows
from workers.checks.tensors import load

WEIGHTS = "adapter_model.safetensors"
SaveLora = Callable[..., Path]
TEXTS = ("a short one", "a sentence that is somewhat longer than the other one")


@pytest.fixture
def judged(backbone: Backbone, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(folder: Path, **more: Any) -> dict[str, Any]:
        return makers.judged(makers.assignment(folder, makers.TINY, **more), backbone, tmp_path)

    return run


def scaled(folder: Path, which: str, factor: float) -> Path:
    found = load_file(folder / WEIGHTS)
    save_file({key: value * factor if which in key else value for key, value in found.items()}, folder / WEIGHTS)
    return folder


def head_of(folder: Path, fill: Callable[[torch.Tensor, str], None]) -> Path:
    found = load_file(folder / WEIGHTS)
    for key, tensor in found.items():
        if "classifier" in key:
            fill(tensor, key)
    save_file(found, folder / WEIGHTS)
    return folder


# effect


def test_an_effect_is_told_beside_the_base_models_own_noise(save_lora: SaveLora, judged: Any) -> None:
    found = check(judged(save_lora()), "effect")
    assert found["status"] == "passed"
    assert 0 < found["evidence"]["noise"] < 1e-4 < found["evidence"]["hidden"]
    assert "own noise" in found["message"]


def test_what_moves_less_than_the_noise_is_told_and_refused_only_by_a_policy(save_lora: SaveLora, judged: Any) -> None:
    faint = scaled(save_lora(), "lora_B", 2e-7)
    told = check(judged(faint), "effect")
    assert told["status"] == "warning" and "cannot be told from noise" in told["message"]
    assert 0 < told["evidence"]["hidden"] < 10 * told["evidence"]["noise"]
    gates = policy.parse({"gates": {"min_effect": {"value": 10, "undecided": "fail"}}}).resolve()
    assert failed(judged(faint, gates=gates)) == ["effect"]
    assert failed(judged(save_lora("other"), gates=gates)) == []


def test_zero_in_some_modules_is_no_fault(save_lora: SaveLora, judged: Any) -> None:
    found = check(judged(scaled(save_lora(), "layer.0.attention.self.query.lora_B", 0.0)), "effect")
    assert found["status"] == "passed"


def test_the_words_that_an_adapter_waits_for_are_put_behind_each_row(backbone: Backbone) -> None:
    batch = benchmarks.in_memory(backbone, TEXTS)
    plain, asked = (
        list(token_rows.alone(batch)),
        list(token_rows.alone(token_rows.invoked(backbone, batch, {"invocation": "now"}))),
    )
    words = backbone.tokenizer("now", add_special_tokens=False)["input_ids"]
    for (before, _), (after, types) in zip(plain, asked, strict=True):
        assert after == [*before[:-1], *words, before[-1]] and len(types) == len(after)
    assert token_rows.invoked(backbone, batch, {}) is batch
    long = benchmarks.in_memory(backbone, [" ".join(["word"] * 500)])
    assert (
        max(len(ids) for ids, _ in token_rows.alone(token_rows.invoked(backbone, long, {"invocation": "now"})))
        == backbone.max_length
    )


# tokenizer


def with_tokenizer(folder: Path, *tokens: str) -> Path:
    found = transformers.AutoTokenizer.from_pretrained(makers.TINY)
    found.add_tokens(list(tokens))
    found.save_pretrained(folder)
    return folder


def test_the_base_models_own_tokenizer_is_known_again(save_lora: SaveLora, judged: Any) -> None:
    found = check(judged(with_tokenizer(save_lora())), "tokenizer")
    assert (found["status"], found["evidence"]["same"]) == ("passed", True)


def test_tokens_beyond_the_table_are_refused_by_name(save_lora: SaveLora, judged: Any) -> None:
    found = judged(with_tokenizer(save_lora(), "<new-one>", "<new-two>"))
    assert failed(found) == ["tokenizer"]
    told = check(found, "tokenizer")
    assert "2 tokens without a row in the table of 164: <new-one>, <new-two>" in told["message"]
    assert "save_embedding_layers" in told["hint"]


def test_a_list_of_added_tokens_alone_is_looked_at_too(save_lora: SaveLora, judged: Any) -> None:
    folder = save_lora()
    (folder / "added_tokens.json").write_text(json.dumps({"<far>": 4000}))
    assert "<far>" in check(judged(folder), "tokenizer")["message"]


def renamed(folder: Path, old: str, new: str) -> Path:
    """The base model's tokenizer with one token under another name: as many rows, one of them new."""
    table = json.loads((makers.TINY / "tokenizer.json").read_text())
    table["model"]["vocab"][new] = table["model"]["vocab"].pop(old)
    (folder / "tokenizer.json").write_text(json.dumps(table))
    return folder


def test_new_tokens_that_nobody_trained_are_told(save_lora: SaveLora, judged: Any) -> None:
    word = makers.sentences(1)[0].split()[0]
    found = check(judged(renamed(save_lora(), word, "brandnew")), "tokenizer")
    assert found["status"] == "warning" and "no row of the table was trained: brandnew" in found["message"]


def test_new_tokens_whose_rows_were_trained_pass_with_a_word_on_the_tokenizer(save_lora: SaveLora, judged: Any) -> None:
    word = makers.sentences(1)[0].split()[0]
    trained = save_lora(trainable_token_indices={"word_embeddings": [5, 9]})
    found = check(judged(renamed(trained, word, "brandnew")), "tokenizer")
    assert found["status"] == "warning" and "is another than the base model's" in found["message"]


# head


@pytest.mark.parametrize(
    ("fill", "looks"),
    [
        (lambda tensor, key: tensor.zero_() if "bias" in key else tensor.normal_(std=0.2), "normal"),
        (lambda tensor, key: tensor.uniform_(-(32**-0.5), 32**-0.5), "uniform"),
    ],
    ids=["as transformers draws it", "as torch draws it"],
)
def test_a_head_that_nobody_trained_is_told(fill: Any, looks: str, save_lora: SaveLora, judged: Any) -> None:
    torch.manual_seed(0)
    found = judged(head_of(save_lora(), fill))
    assert check(found, "head")["status"] == "warning"
    assert "looks untrained" in check(found, "head")["message"] and looks in check(found, "head")["message"]
    assert found["verdict"] == "passed", "the score is to say whether it is any good"


def test_a_trained_head_is_not_told_of(save_lora: SaveLora, judged: Any) -> None:
    def step(tensor: torch.Tensor, key: str) -> None:
        tensor.zero_() if "bias" in key else tensor.normal_(std=0.2)
        tensor.add_(torch.randn_like(tensor).sign() * 1e-3)  # the first step of Adam

    assert check(judged(head_of(save_lora(), step)), "head")["status"] == "passed"


# merging and drift


def test_the_size_of_every_layers_delta_is_what_the_matrices_say(save_lora: SaveLora, judged: Any) -> None:
    folder = save_lora()
    layers = check(judged(folder), "merge")["evidence"]["layers"]
    found, plain = load_file(folder / WEIGHTS), load_file(makers.TINY / "model.safetensors")
    assert len(layers) == 4
    for layer in layers:
        key = f"base_model.model.bert.{layer['module']}"
        delta = found[f"{key}.lora_B.weight"] @ found[f"{key}.lora_A.weight"] * 2
        weight = next(value for name, value in plain.items() if name.endswith(f"{layer['module']}.weight"))
        assert layer["ratio"] == pytest.approx(float(delta.norm() / weight.norm()), rel=1e-3)
        kept = weight.bfloat16().float()
        lost = (kept + delta).bfloat16().float() - kept - delta
        assert layer["lost"] == pytest.approx(float(lost.norm() / delta.norm()), rel=1e-2)


def test_a_delta_that_bfloat16_would_swallow_is_told(save_lora: SaveLora, judged: Any) -> None:
    assert check(judged(save_lora("large")), "merge")["status"] == "passed"
    small = check(judged(scaled(save_lora("small"), "lora_B", 1e-3)), "merge")
    assert small["status"] == "warning" and "rounded away" in small["message"]
    assert 0.5 < small["evidence"]["lost"] <= 1
    gone = check(judged(scaled(save_lora("gone"), "lora_B", 1e-6)), "merge")
    assert gone["evidence"]["lost"] == pytest.approx(1, abs=1e-3), "all of it, and never more than that"


def test_what_is_hooked_in_has_no_merged_layers(copy_of: Callable[[str], Path], judged: Any) -> None:
    found = check(judged(copy_of("adapterhub/double_seq_bn")), "merge")
    assert (found["status"], found["message"]) == ("skipped", "nothing of this adapter is merged into weights")


def test_drift_grows_with_the_adapter_and_refuses_nothing(save_lora: SaveLora, judged: Any) -> None:
    weak, strong = (check(judged(scaled(save_lora(str(by)), "lora_B", by)), "drift") for by in (0.01, 10.0))
    assert weak["status"] == strong["status"] == "passed"
    assert weak["evidence"]["moved"] < 0.1 < strong["evidence"]["moved"]
    assert weak["evidence"]["cosine"] > 0.99 > strong["evidence"]["cosine"]


def test_what_the_base_model_says_is_the_same_whether_it_was_ready_or_not(
    save_lora: SaveLora, tiny: Path, tmp_path: Path
) -> None:
    """The second run finds the base model's answers ready, the first in a process has to work them out."""
    from workers.checks import plain

    given = makers.assignment(save_lora(), tiny)
    plain._known.clear()
    cold = makers.judged(given, runtime.open_backbone(tiny), tmp_path)
    backbone = runtime.open_backbone(tiny)
    engine.warm(backbone)
    assert makers.judged(given, backbone, tmp_path)["result_digest"] == cold["result_digest"]


def test_layers_are_told_alike_with_the_adapter_on_and_off(save_lora: SaveLora, backbone: Backbone) -> None:
    snapshot = engine.in_memory(save_lora())
    (component,) = validation.inspect(snapshot, backbone.base).components
    _, attached = load(backbone, component, b"", runtime.tensors_of(snapshot, component))
    with attached:
        on = merge.merge(backbone, attached)
        attached.enabled = False
        assert merge.merge(backbone, attached) == on


# the library's own answer


@pytest.mark.parametrize(
    "options",
    [{}, {"use_dora": True}, {"bias": "all"}, {"task_type": "FEATURE_EXTRACTION", "modules_to_save": None}],
    ids=str,
)
def test_peft_answers_the_same_and_the_backbone_stays_as_it_is(
    options: dict[str, Any], save_lora: SaveLora, judged: Any
) -> None:
    found = judged(save_lora(**options), parity=True)
    told = check(found, "parity")
    assert told["status"] == "passed", told["message"]
    assert told["evidence"]["rows"] == 2 and "PEFT 0." in told["message"]
    assert check(found, "frozen")["status"] == "passed"


def test_a_difference_from_peft_is_told_and_refuses_nothing(
    save_lora: SaveLora, judged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = predict.outputs

    def wrong(backbone: Backbone, batch: Any) -> predict.Outputs:
        said = right(backbone, batch)
        return dataclasses.replace(said, hidden=said.hidden + 1e-3, read=said.read + 1e-3, pooler=said.pooler + 1e-3)

    monkeypatch.setattr("workers.engine.predict.outputs", wrong)
    found = judged(save_lora(), parity=True)
    assert check(found, "parity")["status"] == "warning" and found["verdict"] == "passed"


def test_where_nothing_can_be_compared_the_report_says_why(
    save_lora: SaveLora, judged: Any, copy_of: Callable[[str], Path]
) -> None:
    assert "HUB_PARITY" in check(judged(save_lora()), "parity")["message"]
    told = check(judged(copy_of("adapterhub/double_seq_bn"), parity=True), "parity")
    assert (told["status"], told["message"]) == (
        "skipped",
        "what the library adapters writes is compared with no library here",
    )
