"""Adapters and configurations that strangers made: each read, or refused for a true reason."""

import json

import pytest

from hub.spec import components, documents, errors, methods, validation
from hub.spec.methods import peft_config, peft_table
from hub.spec.snapshot import MemorySnapshot
from tests.specimens.spec import builders

# checkpoint -> (rank, adapter parameters, head parameters, words of the refusal)
CHECKPOINTS = {
    "Hareshjethani__BERT-GPT2-Multitask-Finetuning": (8, 294_912, 1_538, ""),
    "Kuntya__Udacity": (8, 6_192, 595_206, "is a leftover of an old PEFT version"),
    "SARAELSAFTY__Movies-_with_lora": (8, 294_912, 0, ""),
    "Tashu014__lora-imdb-distilbert": (8, 147_456, 592_130, ""),
    "TheSotti__Lightweight-Fine-Tuning-to-FM": (8, 442_368, 2_304, ""),
    "anirudh-ak__peft-gpt2": (8, 294_912, 4_608, ""),
    "dayanidhi04__emotion-classification-distilbert-lora": (8, 147_456, 595_206, ""),
    "guilhermmeabreu__lab_08": (16, 589_824, 0, ""),
    "yoonyerin__be-great": (8, 294_912, 0, ""),
}
# configuration -> (code, words): all others are read without a fault
REFUSED = {
    "Import-Saurabh__Gliner_Finetuning": ("config.import", "'gliner2.inference.engine' names code to import"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_is_read_or_refused_for_a_true_reason(name, real_data):
    folder = real_data / "real-adapters" / "checkpoints" / name
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    found = validation.inspect(MemorySnapshot(files), None, to_run=False)
    (component,) = found.components
    rank, parameters, head, words = CHECKPOINTS[name]
    assert (component.method, component.rank, component.parameters, component.head_parameters) == (
        "lora",
        rank,
        parameters,
        head,
    )
    assert found.ok == (not words), found.problems
    assert all(words in problem.message for problem in found.problems)


def test_every_checkpoint_has_its_line(real_data):
    assert {path.name for path in (real_data / "real-adapters" / "checkpoints").iterdir()} == set(CHECKPOINTS)


def test_every_configuration_is_read_or_refused_for_a_true_reason(real_data):
    folders = sorted((real_data / "real-adapters" / "configs").iterdir())
    assert len(folders) == 37
    for folder in folders:
        config = documents.loads_object((folder / "adapter_config.json").read_bytes(), where="adapter_config.json")
        source = components.Source("", config, "adapter_config.json", "", (), errors.Collector())
        methods.detect(config)
        peft_config.read(source, peft_table.TABLE[config["peft_type"]])
        told = [(problem.code, problem.message) for problem in source.collector.problems]
        code, words = REFUSED.get(folder.name, ("", ""))
        assert [one for one, _ in told] == ([code] if code else []), (folder.name, told)
        assert all(words in message for _, message in told)


def test_a_pattern_that_would_run_for_long_is_served_as_the_modules_that_the_tensors_prove(real_data):
    sent = (real_data / "real-adapters" / "configs" / "guanyuch__colpali_gc" / "adapter_config.json").read_bytes()
    modules = [f"language_model.model.layers.0.self_attn.{name}_proj" for name in "qkv"]
    modules = sorted([*modules, "custom_text_proj"])
    shapes = {f"base_model.model.{module}.lora_{half}.weight": shape for module in modules
              for half, shape in (("A", (32, 64)), ("B", (64, 32)))}  # fmt: skip
    files = {"adapter_config.json": sent, "adapter_model.safetensors": builders.safetensors(shapes)}
    found = validation.inspect(MemorySnapshot(files), None, to_run=False)
    assert found.ok, found.problems
    (served,) = found.rewritten
    config = json.loads(served.data)
    # transformers 4.52 renamed these models' modules: PEFT finds them by the name of either generation
    since = [module.replace("language_model.model.", "language_model.") for module in modules[1:]]
    assert (config["target_modules"], config["base_model_name_or_path"]) == ([*modules, *since], None)
