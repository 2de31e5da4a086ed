"""A configuration that is served in other words means to PEFT what the sent one meant: the same modules, the same tensors,
the same answers."""

import copy
import json
import logging
import re
import warnings

import peft
import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import check_target_module_exists

from hub.spec.methods import peft_config
from tests.formats.written import GROUPS, SOME, named, read, some_of, told

CONFIG = "adapter_config.json"
# what PEFT writes and a hub does not serve: without a task it names the class of the base model
WRITTEN = {"auto_mapping"}
# rules of PEFT's that are no list of names
RULES = {"target_modules", "exclude_modules", "layers_to_transform"}
TASKED = ("MultitaskPromptTuningConfig", "PolyConfig")
# PEFT hands a task's number on to neither
UNASKED = {("t5", "MultitaskPromptTuningConfig"), ("vit", "PolyConfig")}
TOKENS = torch.tensor([[5, 7, 11, 3]])
INPUTS = {
    "bert": {"input_ids": TOKENS}, "gpt2": {"input_ids": TOKENS}, "llama": {"input_ids": TOKENS},
    "qwen3_moe": {"input_ids": TOKENS}, "t5": {"input_ids": TOKENS, "decoder_input_ids": TOKENS},
    "vit": {"pixel_values": torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8)},
}  # fmt: skip


def config_of(files):
    return json.loads(files[CONFIG])


def with_config(files, config):
    return files | {CONFIG: json.dumps(config).encode()}


def rebuilt(files, base=None):
    """The configuration as it is served, None where it is the sent one."""
    found = read(files, base)
    assert found.ok, told(found)
    return found.rewritten[0].data if found.rewritten else None


def says(key, value):
    return not peft_config.says_nothing(value) and (key, value) != ("megatron_core", "megatron.core")


def meant(config, model):
    """The modules that PEFT adapts under a configuration."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = next(kind for name, kind in PEFT_TYPE_TO_CONFIG_MAPPING.items() if str(name.value) == config["peft_type"])
        held = own.from_peft_type(**config)
    return {name for name, _ in model.named_modules() if check_target_module_exists(held, name) is True
            or isinstance(check_target_module_exists(held, name), re.Match)}  # fmt: skip


def by_pattern(config):
    """The same configuration with its literal names as a pattern."""
    names = "|".join(map(re.escape, config["target_modules"]))
    return config | {"target_modules": rf"(.*\.)?({names})"}


def is_targeted(config):
    return isinstance(config.get("target_modules"), list) and config["target_modules"]


def seeded(config):
    """UniLoRA without its positions has one vector for all modules, and none that tells them."""
    return config["peft_type"] == "UNILORA" and not config["save_indices"]


def can_be_written_out(config):
    """Beside parameters that are named without their module, or tied tables, the tensors do not say what a pattern means;
    LLaMA-Adapter has no patterns."""
    alone = all("." in name for name in config.get("target_parameters") or ())
    return (
        is_targeted(config)
        and alone
        and not seeded(config)
        and config["peft_type"] not in ("ADAPTION_PROMPT", "TRAINABLE_TOKENS")
    )


def loaded(files, model, place):
    for name, data in files.items():
        (place / name).write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            return peft.PeftModel.from_pretrained(copy.deepcopy(model), place).eval()
        finally:
            logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", GROUPS)
def test_what_peft_writes_and_a_pattern_of_its_names_are_served_with_the_same_meaning(name, write, bases, models):
    for option in some_of(GROUPS[name]):  # in one test: PEFT takes a second for ten of them
        files = write(option).files
        keeps_its_meaning(option, files, bases[option[0]], models[option[0]])
        becomes_what_it_meant(option, files, models[option[0]])


def keeps_its_meaning(option, files, base, model):
    made = rebuilt(files)
    assert made == rebuilt(files, base), option
    if made is None:
        return
    sent, served = config_of(files), json.loads(made)
    changed = {key for key, value in (sent | served).items() if sent.get(key) != served.get(key) and says(key, value)}
    assert changed <= WRITTEN | RULES, option
    assert rebuilt(files | {CONFIG: made}) is None, option
    if is_targeted(served):
        assert meant(served, model) == meant(sent, model), option


def becomes_what_it_meant(option, files, model):
    sent = config_of(files)
    if can_be_written_out(sent):
        wanted = meant(sent, model)
        served = json.loads(rebuilt(with_config(files, by_pattern(sent))))
        assert meant(served, model) == set(served["target_modules"]) == wanted, option
    elif seeded(sent):
        found = read(with_config(files, by_pattern(sent)))
        assert [problem.code for problem in found.problems] == ["config.pattern"], option


@pytest.mark.parametrize("option", SOME, ids=named)
def test_it_is_loaded_from_the_served_file_as_from_the_sent_one(option, write, models, tmp_path):
    files = write(option).files
    sent = config_of(files)
    if can_be_written_out(sent):
        sent = by_pattern(sent)
    files = with_config(files, sent | {"inference_mode": False, "auto_mapping": {"base_model_class": "X"}})
    model = models[option[0]]
    before = loaded(files, model, tmp_path)
    after = loaded(files | {CONFIG: rebuilt(files)}, model, tmp_path)
    first, second = before.state_dict(), after.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    if option[0] in INPUTS and option[:2] not in UNASKED:
        tasks = {"task_ids": torch.tensor([0])} if option[1] in TASKED else {}
        inputs = INPUTS[option[0]] | tasks
        with torch.no_grad():
            assert torch.equal(before(**inputs).logits, after(**inputs).logits)


PARAMETERS = {"r": 2, "target_modules": [], "target_parameters": ["q_proj.weight"], "task_type": "CAUSAL_LM"}


@pytest.mark.parametrize("said", ["null", "absent"])
def test_parameters_alone_are_loaded_where_nothing_says_that_no_module_is_adapted(said, write, bases, models, tmp_path):
    """Of itself PEFT would then adapt modules of its own choice, and does not load the file."""
    files = write(("llama", "LoraConfig", PARAMETERS)).files
    sent = config_of(files) | {"target_modules": None}
    if said == "absent":
        del sent["target_modules"]
    wrong = with_config(files, sent)
    with pytest.raises(ValueError, match="not a valid target"):
        loaded(wrong, models["llama"], tmp_path)
    before = loaded(files, models["llama"], tmp_path)
    after = loaded(wrong | {CONFIG: rebuilt(wrong, bases["llama"])}, models["llama"], tmp_path)
    assert before.state_dict().keys() == after.state_dict().keys()
    with torch.no_grad():
        assert torch.equal(before(**INPUTS["llama"]).logits, after(**INPUTS["llama"]).logits)
