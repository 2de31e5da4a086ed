"""An adapter gives here what it gives in the library that trained it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from hub import runtime
from hub.runtime import answering
from tests.engine.makers import SPECIMENS, lora_model, roberta

SENTENCES = [
    "a charming and often affecting journey",
    "dull",
    "the acting is good but the story was awful and the film is very boring",
    "it is not bad",
    "great food",
]
GOLDEN = json.loads((SPECIMENS / "adapterhub" / "expected.json").read_text())


def inputs(folder: Path, texts: list[str] = SENTENCES) -> dict[str, torch.Tensor]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return dict(tokenizer(texts, padding=True, return_tensors="pt"))


def same(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Within rounding: merged and unmerged sum in another order. No answer may turn into another."""
    near = (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max() + 1e-6
    return bool(near) and torch.equal(ours.argmax(-1), theirs.argmax(-1))


def answer(model: Any, given: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return model(**given).logits


LORAS = {
    "query and value": {},
    "every linear layer": {"target_modules": "all-linear", "r": 3, "lora_alpha": 5},
    "rank-stabilised": {"use_rslora": True, "r": 8},
    "rank and alpha by module": {"rank_pattern": {"query": 2}, "alpha_pattern": {"value": 3}},
    "feed-forward": {"target_modules": ["intermediate.dense", "output.dense"]},
    "one layer": {"layers_to_transform": [1]},
    "pooler saved too": {"modules_to_save": ["classifier", "pooler"]},
    "five labels": {"labels": 5},
}


@pytest.mark.parametrize("options", LORAS.values(), ids=LORAS.keys())
def test_lora_equals_peft(options: dict[str, Any], save_lora: Callable[..., Path], tiny: Path) -> None:
    trained = lora_model(tiny, **options)
    model, _ = runtime.load(save_lora(**options), tiny)
    given = inputs(tiny)
    assert same(answer(model, given), answer(trained, given))


def test_lora_on_minilm_equals_what_peft_loads_from_the_same_files(
    save_lora: Callable[..., Path], minilm: Path
) -> None:
    folder = save_lora(base=minilm, std=0.05)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(minilm, num_labels=2)
    reference = peft.PeftModel.from_pretrained(plain, folder).eval()
    model, _ = runtime.load(folder, minilm)
    given = inputs(minilm)
    assert same(answer(model, given), answer(reference, given))


def test_half_precision_files_are_widened_as_peft_widens_them(
    save_lora: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    folder = save_lora()
    trained = lora_model(tiny).to(torch.bfloat16)
    trained.save_pretrained(folder)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(tiny, num_labels=2)
    reference = peft.PeftModel.from_pretrained(plain, folder).eval()
    model, _ = runtime.load(folder, tiny)
    given = inputs(tiny)
    assert same(answer(model, given), answer(reference, given))


@pytest.mark.parametrize("name", GOLDEN["logits"])
def test_bottlenecks_equal_what_adapterhub_computed(name: str, tiny: Path) -> None:
    model, _ = runtime.load(SPECIMENS / "adapterhub" / name, tiny)
    given = {key: torch.tensor(value) for key, value in GOLDEN["inputs"].items()}
    expected = torch.tensor(GOLDEN["logits"][name])
    assert torch.allclose(answer(model, given), expected, atol=1e-5)
    model.adapter.enabled = False
    assert not torch.allclose(answer(model, given), expected, atol=1e-2), "the adapter did nothing"


def test_plain_encoder_equals_transformers_bit_for_bit(minilm: Path) -> None:
    backbone = runtime.open_backbone(minilm)
    plain = transformers.AutoModel.from_pretrained(minilm).eval()
    with torch.no_grad():
        ours, theirs = (model(**inputs(minilm)) for model in (backbone.model, plain))
    assert torch.equal(ours.last_hidden_state, theirs.last_hidden_state)
    assert torch.equal(ours.pooler_output, theirs.pooler_output)


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "camembert"])
def test_roberta_and_its_kin_equal_peft(family: str, tmp_path: Path, save_lora: Callable[..., Path]) -> None:
    base = roberta(tmp_path / family, family)
    torch.manual_seed(3)
    given = {"input_ids": torch.randint(3, 90, (4, 12)), "attention_mask": torch.ones(4, 12, dtype=torch.long)}
    given["input_ids"][2, 7:], given["attention_mask"][2, 7:] = 1, 0
    trained = lora_model(base)
    model, _ = runtime.load(save_lora(base=base), base)
    assert same(answer(model, given), answer(trained, given))
    assert runtime.open_backbone(base).max_length == 64


def test_sentences_are_answered_in_their_order_whatever_their_length(
    save_lora: Callable[..., Path], tiny: Path
) -> None:
    model, tokenizer = runtime.load(save_lora(), tiny)
    texts = SENTENCES * 20
    found = answering.answer(model, tokenizer, texts)
    for text, item in zip(texts, found, strict=True):
        chance = torch.softmax(answer(model, inputs(tiny, [text]))[0], -1)
        assert item["label"] == f"LABEL_{int(chance.argmax())}"
        assert item["score"] == pytest.approx(float(chance.max()), abs=1e-5)


def test_a_sequence_classifier_can_be_trained_no_further_but_gives_a_loss(
    save_lora: Callable[..., Path], tiny: Path
) -> None:
    model, _ = runtime.load(save_lora(), tiny)
    output = model(**inputs(tiny), labels=torch.tensor([0, 1, 0, 1, 0]))
    assert output.loss.item() > 0
    assert not any(parameter.requires_grad for parameter in model.parameters())
