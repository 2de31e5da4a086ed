"""What PEFT wrote, with one thing wrong: a tensor less, a shape changed, the name of another method, another base model."""

import json

import pytest

from hub.spec import compatibility
from hub.spec.methods import peft_table
from tests.formats.written import SOME, header, named, read, rewritten

# a prompt fits every model of its width
PROMPTS = {
    "PromptTuningConfig",
    "PromptEncoderConfig",
    "MultitaskPromptTuningConfig",
    "PrefixTuningConfig",
    "CPTConfig",
    "CartridgeConfig",
    "UniLoraConfig",
}


@pytest.mark.parametrize("option", SOME, ids=named)
def test_it_fits_its_own_base_and_no_other(option, write, bases):
    written = write(option)
    family = option[0]
    found = read(written.files, bases[family])
    assert compatibility.check(found, bases[family]).level == "shape_only"
    clashing = {name for name, base in bases.items() if compatibility.check(found, base).level == "incompatible"}
    assert family not in clashing
    if option[1] not in PROMPTS:
        assert len(clashing) >= len(bases) - 2  # two families may call a layer alike and make it alike


@pytest.mark.parametrize("option", SOME, ids=named)
def test_with_a_tensor_less_it_is_refused(option, write, bases):
    written = write(option)
    names = [tensor.name for tensor in header(written.files)][:6]
    refused = 0
    for name in names:
        files = rewritten(
            written.files, lambda table, name=name: {key: value for key, value in table.items() if key != name}
        )
        refused += not read(files, bases[option[0]]).ok
    assert refused >= 1
    if option[1] == "LoraConfig":
        assert refused == len(names)


@pytest.mark.parametrize("option", SOME, ids=named)
def test_with_a_shape_changed_it_is_refused(option, write, bases):
    written = write(option)
    refused = 0
    for tensor in header(written.files)[:6]:
        for axis in range(len(tensor.shape)):
            wrong = (*tensor.shape[:axis], tensor.shape[axis] + 1, *tensor.shape[axis + 1 :])
            files = rewritten(written.files, lambda table, t=tensor, wrong=wrong: table | {t.name: (t.dtype, wrong)})
            refused += not read(files, bases[option[0]]).ok
    assert refused >= 1


@pytest.mark.parametrize("option", SOME, ids=named)
def test_under_the_name_of_another_method_it_is_refused(option, write, bases):
    written = write(option)
    config = json.loads(written.files["adapter_config.json"])
    own = peft_table.TABLE[config["peft_type"]]
    other = "LOHA" if own.type != "LOHA" else "LORA"
    files = written.files | {"adapter_config.json": json.dumps(config | {"peft_type": other}).encode()}
    assert not read(files, bases[option[0]]).ok
