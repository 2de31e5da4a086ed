"""What PEFT itself writes, under more than a thousand settings, is read right: method, modules, shapes, numbers, and no
false refusal, with a base model and without."""

import dataclasses
import json

import pytest
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from hub.spec import families
from hub.spec.methods import peft_config, peft_table
from tests.formats import options
from tests.formats.written import GROUPS, header, read, some_of, told

# stored is what the model uses; the encoder that made it is thrown away
ENCODED = {"PromptEncoderConfig"}
# one B for all layers, written with each; tokens that were not trained, written with the others
WRITTEN_MORE = {"LilyConfig", "CartridgeConfig"}
# what each module takes of the one vector follows from a seed
WITHOUT_MODULES = {"UniLoraConfig"}
OVERLAYS = ("saved", "bias", "copy", "tokens", "")
# a second place of a table of tokens, which PEFT trains along
TIED = {"", "lm_head", "proj_out", "encoder.embed_tokens", "decoder.embed_tokens"}


def test_there_are_more_than_a_thousand_settings_on_nine_families():
    every = list(options.every())
    assert len(every) >= 1000
    assert {family for family, _, _ in every} == set(options.LINEAR)
    assert len({json.dumps(option) for option in every}) == len(every)


@pytest.mark.parametrize("name", GROUPS)
def test_what_peft_writes_is_read_as_peft_means_it(name, write, bases):
    for option in some_of(GROUPS[name]):
        written = write(option)
        family = option[0]
        found = read(written.files, bases[family])
        assert found.ok, (option, told(found))
        without = read(written.files)
        assert without.ok, (option, told(without))
        (component,) = found.components
        config = json.loads(written.files["adapter_config.json"])
        assert component.method == peft_table.TABLE[config["peft_type"]].name
        assert component.checked
        counted = component.parameters + component.head_parameters + component.saved_parameters
        stored = sum(tensor.count for tensor in header(written.files))
        assert counted == (stored if option[1] in ENCODED | WRITTEN_MORE else written.trainable), option
        modules = {part.module for part in component.parts if part.kind not in OVERLAYS}
        wrapped = {families.canonical_path(path, bases[family].model_type) for path in written.wrapped}
        if written.wrapped and not config.get("target_parameters") and option[1] not in WITHOUT_MODULES:
            assert modules - (TIED - set(bases[family].modules)) == wrapped, option


@pytest.mark.parametrize("row", peft_table.ROWS, ids=lambda row: row.type)
def test_a_row_knows_every_key_that_peft_writes(row):
    kinds = {str(kind.value): config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    if row.type not in kinds:
        assert row.type == "BONE"  # of older versions
        return
    if not row.checked and not row.keys:
        return
    knobs = {knob.key for knob in row.knobs} | {knob.pattern for knob in row.knobs}
    known = row.keys | row.aside | knobs | peft_config.COMMON
    assert {field.name for field in dataclasses.fields(kinds[row.type])} <= known


def test_every_method_of_peft_has_a_row():
    assert {str(kind.value) for kind in PEFT_TYPE_TO_CONFIG_MAPPING} <= set(peft_table.TABLE)
