"""Adapters of models that see and write. Transformers 4.52 moved their parts: PEFT renames an old file's tensors when it
loads them, and the hub knows both names for one module."""

import copy
import json
import logging
import warnings

import peft
import pytest
import torch
import transformers as t
from safetensors.torch import load, save

from hub import base_folder
from tests.formats import zoo
from tests.formats.written import read, told

SEES = zoo._VISION
WRITES = zoo._GROUPED
ROPE = {"rope_type": "default", "mrope_section": [1, 1, 1], "rope_theta": 10000.0}
MAKE = {
    "llava": lambda: t.LlavaForConditionalGeneration(
        t.LlavaConfig(
            text_config=t.LlamaConfig(**WRITES).to_dict(),
            vision_config=t.CLIPVisionConfig(**SEES).to_dict(),
            image_token_index=39,
        )
    ),
    "paligemma": lambda: t.PaliGemmaForConditionalGeneration(
        t.PaliGemmaConfig(
            text_config=t.GemmaConfig(head_dim=6, **WRITES).to_dict(),
            vision_config=t.SiglipVisionConfig(**SEES).to_dict(),
            projection_dim=24,
            image_token_index=39,
        )
    ),
    "gemma3": lambda: t.Gemma3ForConditionalGeneration(
        t.Gemma3Config(
            text_config=t.Gemma3TextConfig(head_dim=6, **WRITES).to_dict(),
            vision_config=t.SiglipVisionConfig(**SEES).to_dict(),
            mm_tokens_per_image=4,
        )
    ),
    "qwen2_vl": lambda: t.Qwen2VLForConditionalGeneration(
        t.Qwen2VLConfig(
            text_config=WRITES | {"rope_parameters": ROPE},
            vision_config={"depth": 2, "embed_dim": 24, "num_heads": 4, "hidden_size": 24, "patch_size": 4},
        )
    ),
}
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def made(name):
    torch.manual_seed(0)
    return MAKE[name]().eval()


def quietly(act):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            return act()
        finally:
            logging.disable(logging.NOTSET)


def adapted(model, place, targets):
    """A trained adapter of a model, and its files."""
    config = peft.LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM")
    found = quietly(lambda: peft.get_peft_model(copy.deepcopy(model), config)).eval()
    for parameter in found.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1
    quietly(lambda: found.save_pretrained(place))
    return found, {name: (place / name).read_bytes() for name in (CONFIG, WEIGHTS)}


def old(files, targets):
    """The same files as they were written before the parts moved."""
    tensors = load(files[WEIGHTS])
    renamed = {
        name.replace("model.model.language_model.", "model.language_model.model.").replace(
            "model.model.vision_tower.", "model.vision_tower."
        ): tensor
        for name, tensor in tensors.items()
    }
    config = json.loads(files[CONFIG]) | {"target_modules": targets}
    return {CONFIG: json.dumps(config).encode(), WEIGHTS: save(renamed)}


@pytest.mark.parametrize("name", MAKE)
def test_what_peft_writes_is_read_with_its_base(name, tmp_path):
    model = made(name)
    model.save_pretrained(tmp_path / "base")
    base = base_folder.read(tmp_path / "base")
    written, files = adapted(model, tmp_path / "adapter", ["q_proj", "v_proj"])
    found = read(files, base)
    assert found.ok, told(found)
    (component,) = found.components
    assert component.parameters == written.get_nb_trainable_parameters()[0]
    assert component.generation == "transformers 4.52"
    assert {part.module for part in component.parts} <= base.modules.keys()


@pytest.mark.parametrize("targets", [r".*language_model.*\.(q_proj|v_proj)", "all-linear"])
def test_an_old_file_with_a_pattern_is_served_so_that_it_loads_where_the_parts_have_moved(targets, tmp_path):
    model = made("llava")
    written, files = adapted(model, tmp_path / "adapter", targets)
    files = old(files, targets)
    (rewritten,) = read(files).rewritten
    assert "transformers 4.52" in str(rewritten)
    served = files | {CONFIG: rewritten.data}
    assert read(served).rewritten == ()
    for name, data in served.items():
        (tmp_path / name).write_bytes(data)
    loaded = quietly(lambda: peft.PeftModel.from_pretrained(copy.deepcopy(model), tmp_path)).eval()
    inputs = {"input_ids": torch.tensor([[5, 7, 11, 3]])}
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, written(**inputs).logits)
        assert not torch.equal(loaded(**inputs).logits, model(**inputs).logits)
