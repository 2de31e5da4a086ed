"""Prompts and prefixes on base models of other families: each moves positions and masks in its own way."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from hub import errors, runtime
from tests.engine import families as tiny
from tests.engine.makers import on
from tests.engine.test_parity import answer, same

Saved = tuple[Any, Path, Path]
PROMPTED = (
    "mpnet",
    "gpt2",
    "openai-gpt",
    "opt",
    "llama",
    "gemma2",
    "gpt_neox",
    "gpt_neo",
    "bloom",
    "falcon",
    "mixtral",
)
PREFIXED = ("electra", "gpt2", "opt", "llama", "gemma2", "qwen3", "gpt_neox", "gptj", "gpt_bigcode", "mixtral")


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Saved]:
    def saved(family: str, name: str, task: str = "SEQ_CLS", **settings: Any) -> Saved:
        transformers.utils.logging.disable_progress_bar()
        base = tiny.saved(family, tmp_path / "base")
        kind = (
            transformers.AutoModelForSequenceClassification if task == "SEQ_CLS" else transformers.AutoModelForCausalLM
        )
        plain = kind.from_pretrained(base)
        plain.config.pad_token_id, plain.config.use_cache = plain.config.pad_token_id or 0, False
        torch.manual_seed(2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = peft.get_peft_model(plain, getattr(peft, name)(task_type=task, **settings))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.3)
        model.save_pretrained(tmp_path / "adapter")
        return model.eval(), tmp_path / "adapter", base

    return saved


def padded(model: Any, left: bool = True) -> dict[str, torch.Tensor]:
    """Rows padded on one side, and token types where the family has them."""
    given = tiny.inputs(model.config.pad_token_id)
    if left:
        given = {name: tensor.flip(1) for name, tensor in given.items()}
    return {name: tensor for name, tensor in given.items() if name != "token_type_ids" or typed(model)}


def typed(model: Any) -> bool:
    return bool(getattr(model.config, "type_vocab_size", 0))


@pytest.mark.parametrize("family", PROMPTED)
def test_a_prompt_answers_as_it_does_in_peft(family: str, save: Callable[..., Saved]) -> None:
    reference, folder, base = save(family, "PromptTuningConfig", num_virtual_tokens=5)
    model, _ = runtime.load(folder, base)
    given = padded(reference)
    assert same(answer(model, given), answer(reference, given))


@pytest.mark.parametrize("family", PREFIXED)
def test_a_prefix_answers_as_it_does_in_peft(family: str, save: Callable[..., Saved]) -> None:
    reference, folder, base = save(family, "PrefixTuningConfig", num_virtual_tokens=5)
    model, _ = runtime.load(folder, base)
    for left in (True, False):
        given = padded(reference, left)
        assert same(answer(model, given), answer(reference, given))
        whole = {name: tensor[:, :7] if left is False else tensor[:, 5:] for name, tensor in given.items()}
        whole.pop("attention_mask")
        assert same(answer(model, whole), answer(reference, whole))


def test_behind_a_prompt_the_last_token_of_a_text_is_read_and_not_the_padding_behind_it(
    save: Callable[..., Saved],
) -> None:
    """transformers does not find it in what PEFT hands on, and reads the last row whatever stands there."""
    reference, folder, base = save("llama", "PromptTuningConfig", num_virtual_tokens=5)
    model, _ = runtime.load(folder, base)
    given = padded(reference, left=False)
    ours, theirs = answer(model, given), answer(reference, given)
    unpadded = [0, 1, 3]
    assert same(ours[unpadded], theirs[unpadded])
    alone = {name: tensor[2:3, :7] for name, tensor in given.items()}
    assert same(ours[2:3], answer(reference, alone)) and not same(ours[2:3], theirs[2:3])


def test_a_cartridge_is_a_prefix(save: Callable[..., Saved]) -> None:
    reference, folder, base = save("llama", "CartridgeConfig", num_virtual_tokens=5, num_frozen_tokens=2)
    model, _ = runtime.load(folder, base)
    given = padded(reference)
    assert same(answer(model, given), answer(reference, given))


def test_cpt_is_a_prompt(save: Callable[..., Saved]) -> None:
    texts = {"cpt_token_ids": [5, 6, 7], "cpt_mask": [1, 1, 1], "cpt_tokens_type_mask": [1, 2, 3]}
    reference, folder, base = save("llama", "CPTConfig", task="CAUSAL_LM", **texts)
    backbone = runtime.open_backbone(base)
    given = padded(reference)
    with torch.no_grad(), on(backbone, folder, to_run=False):
        ours = backbone.whole(**given).logits
        theirs = reference(**given).logits
    assert same(ours, theirs)


@pytest.mark.parametrize("family", ["gpt_neo", "bloom"])
def test_where_no_prefix_goes_it_is_said(family: str, save: Callable[..., Saved]) -> None:
    _, folder, base = save(family, "PrefixTuningConfig", num_virtual_tokens=5)
    with pytest.raises(errors.HubError, match=f"of a {family}"):
        runtime.load(folder, base)
