"""On every family of base models an adapter with its head answers as it does in PEFT."""

import copy
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from hub import errors, runtime
from hub.runtime import predict
from hub.spec import families
from tests.engine import families as tiny
from tests.engine.test_parity import same
from workers import probe

CLASSIFIERS = [
    name
    for name in families.RUNS
    if families.of(name).head
    and type(tiny.configuration(name)) in transformers.AutoModelForSequenceClassification._model_mapping
]
SAVED = {"distilbert": ["pre_classifier"], "deberta": ["pooler"], "deberta-v2": ["pooler"]}
"""What has to be saved beside the classifier itself: modules that the base model's files do not hold."""
LINEAR = {"target_modules": "all-linear"}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("LoraConfig", {"r": 4, "lora_alpha": 8, **LINEAR}),
    "dora": ("LoraConfig", {"r": 4, "use_dora": True, **LINEAR}),
    "loha": ("LoHaConfig", {"r": 4, **LINEAR}),
    "lokr": ("LoKrConfig", {"r": 4, **LINEAR}),
    "ia3": ("IA3Config", {}),
    "oft": ("OFTConfig", {"oft_block_size": 4, "r": 0, **LINEAR}),
    "hra": ("HRAConfig", {"r": 4, **LINEAR}),
}
EXPERTS = {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}
"""Of mixtures of experts PEFT's all-linear adapts the fused experts, too."""
PAIRS = [
    *((family, name) for family in ("distilbert", "albert") for name in ("dora", "loha", "lokr", "oft", "hra")),
    *((family, name) for family in ("deberta-v2", "llama", "gpt_neox") for name in METHODS if name != "lora"),
    *(("gpt2", name) for name in ("dora", "ia3")),  # PEFT has no others for Conv1D
    *(("qwen3_moe", name) for name in ("dora", "loha", "lokr", "oft", "hra")),
]
"""Families whose layers lie, share or fuse their weights each in a way of their own; methods that PEFT has there."""


def trained(family: str, folder: Path, method: str = "lora", saved: list[str] | None = None, **more: Any) -> Any:
    """A PEFT model whose every trained number was moved; its base model lies in folder/base, the adapter in folder/adapter."""
    torch.manual_seed(0)
    padded = {"pad_token_id": 0} if families.of(family).decoder else {}
    config = tiny.configuration(family, num_labels=3, **padded)
    plain = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    plain.base_model.save_pretrained(folder / "base")
    transformers.AutoTokenizer.from_pretrained(tiny.TINY).save_pretrained(folder / "base")
    name, settings = METHODS[method]
    settings = {**settings, "task_type": "SEQ_CLS", "modules_to_save": SAVED.get(family) if saved is None else saved}
    settings |= (EXPERTS if families.of(family).experts else {}) | more
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(copy.deepcopy(plain), getattr(peft, name)(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder / "adapter")
    return model


def agrees(family: str, folder: Path, reference: Any) -> None:
    model, _ = runtime.load(folder / "adapter", folder / "base")
    given = tiny.inputs(reference.config.pad_token_id or 0)
    asked = dict(given)
    if not getattr(reference.config, "type_vocab_size", 0):
        asked.pop("token_type_ids")
    with torch.no_grad():
        theirs = reference(**asked).logits
        assert same(model(**given).logits, theirs)
        model.adapter.enabled = False
        assert not same(model(**given).logits, theirs), "the adapter did nothing"


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_lora_and_a_head_of_the_familys_own_equal_peft(family: str, tmp_path: Path) -> None:
    agrees(family, tmp_path, trained(family, tmp_path))


@pytest.mark.parametrize(("family", "method"), PAIRS)
def test_other_methods_do(family: str, method: str, tmp_path: Path) -> None:
    agrees(family, tmp_path, trained(family, tmp_path, method))


def test_a_head_that_was_not_saved_whole_is_refused_with_what_to_save(tmp_path: Path) -> None:
    trained("deberta-v2", tmp_path, saved=[], target_modules=["query_proj"])
    with pytest.raises(errors.HubError, match="the head lacks dense_weight, dense_bias") as raised:
        runtime.load(tmp_path / "adapter", tmp_path / "base")
    assert 'modules_to_save=["pooler", "classifier"]' in str(raised.value)


@pytest.mark.parametrize("side", ["left", "right", "none"])
def test_a_decoders_classifier_reads_the_last_token_on_whichever_side_padding_stands(side: str, tmp_path: Path) -> None:
    reference = trained("llama", tmp_path)
    model, _ = runtime.load(tmp_path / "adapter", tmp_path / "base")
    ids = torch.tensor([[7, 8, 9, 10, 11, 12], [13, 14, 15, 16, 0, 0]])
    if side == "left":
        ids[1] = ids[1].roll(2)
    given = {"input_ids": ids} if side == "none" else {"input_ids": ids, "attention_mask": (ids != 0).long()}
    if side == "none":
        given["input_ids"] = ids[:1]
    with torch.no_grad():
        assert same(model(**given).logits, reference(**given).logits)


def test_a_probe_on_a_decoder_says_that_it_reads_the_last_token(tmp_path: Path) -> None:
    trained("llama", tmp_path)
    backbone = runtime.open_backbone(tmp_path / "base")
    (batch,) = predict.batches([predict.Encoded((7, 8, 9, 10), (0,) * 4)], 0)
    found = probe.named(predict.states(backbone, [batch]), backbone.is_decoder)
    assert set(found) == {"last_token", "mean"}
    assert same(found["last_token"], predict.hidden(backbone, batch)[:, -1])


def test_a_classifier_of_another_familys_form_is_not_run(tmp_path: Path) -> None:
    trained("bert", tmp_path)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    held = load_file(file)
    held["base_model.model.score.weight"] = held.pop("base_model.model.classifier.weight")
    del held["base_model.model.classifier.bias"]
    save_file(held, file, {"format": "pt"})
    with pytest.raises(errors.HubError, match=r"does not run a decoder's head \(score\) on bert"):
        runtime.load(tmp_path / "adapter", tmp_path / "base")


@pytest.mark.parametrize(
    ("rows", "targets"),
    [
        ([3, 4], ["q_proj"]),
        ([3, 4], ["q_proj", "lm_head"]),
        ({"embed_tokens": [3, 4]}, ["q_proj"]),
        ({"embed_tokens": [3], "lm_head": [4, 5]}, ["q_proj"]),
    ],
)
@pytest.mark.parametrize("tied", [True, False])
def test_rows_of_tokens_are_the_tied_heads_too(tied: bool, rows: Any, targets: list[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = tiny.configuration("llama", tie_word_embeddings=tied)
    plain = transformers.AutoModelForCausalLM.from_config(config).eval()
    plain.save_pretrained(tmp_path / "base")
    transformers.AutoTokenizer.from_pretrained(tiny.TINY).save_pretrained(tmp_path / "base")
    settings = {"target_modules": targets, "task_type": "CAUSAL_LM", "trainable_token_indices": rows}
    model = peft.get_peft_model(plain, peft.LoraConfig(**settings)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "trainable_tokens_delta" in name or "lora_B" in name:
                parameter.add_(torch.randn_like(parameter))
    model.save_pretrained(tmp_path / "adapter")
    found, _ = runtime.load(tmp_path / "adapter", tmp_path / "base")
    ids = torch.tensor([[5, 3, 4, 7, 9]])
    with torch.no_grad():
        assert same(found(ids).logits, model(ids).logits)
