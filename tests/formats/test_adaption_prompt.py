"""LLaMA-Adapter's prompts as PEFT writes them: at the last attention blocks of the base, as wide as what reads them."""

import json

import pytest

from hub.spec import compatibility
from tests.formats.written import header, read, rewritten, told

OPTIONS = {
    "llama": ("llama", "AdaptionPromptConfig", {"adapter_len": 3, "adapter_layers": 1, "task_type": "CAUSAL_LM"}),
    "gpt2": ("gpt2", "AdaptionPromptConfig", {"adapter_len": 3, "adapter_layers": 1, "task_type": "CAUSAL_LM"}),
}


@pytest.fixture(params=sorted(OPTIONS))
def written(request, write):
    return OPTIONS[request.param][0], write(OPTIONS[request.param]).files


def codes(found):
    return {problem.code for problem in found.problems}


def configured(files, **changes):
    config = json.loads(files["adapter_config.json"]) | changes
    return files | {"adapter_config.json": json.dumps(config).encode()}


def renamed(files, old, new):
    return rewritten(files, lambda table: {key.replace(old, new): one for key, one in table.items()})


def test_what_it_needs_names_the_layer_that_reads_the_prompt(written, bases):
    family, files = written
    (component,) = read(files).components
    reader = {"llama": "layers.1.self_attn.k_proj", "gpt2": "h.1.attn.c_attn"}[family]
    assert component.needs == {reader: {"in": 24}}
    levels = {name: compatibility.check([component], base).level for name, base in bases.items()}
    assert levels[family] == "shape_only"
    assert levels["bert"] == levels["t5"] == "incompatible"


def test_a_prompt_of_another_width_is_refused_and_both_shapes_are_told(written, bases):
    family, files = written
    name = next(tensor.name for tensor in header(files) if len(tensor.shape) == 3)
    found = read(rewritten(files, lambda table: table | {name: ("F32", (1, 3, 32))}), bases[family])
    assert codes(found) == {"tensors.shape"}
    assert "[1, 3, 32]" in told(found)[0] and "the base model needs [1, 3, 24]" in told(found)[0]


def test_at_another_block_than_the_last_ones_it_is_refused(written, bases):
    family, files = written
    found = read(renamed(files, ".1.", ".0."), bases[family])
    assert codes(found) == {"tensors.module"}
    assert "none of the last 1 attention blocks" in told(found)[0]
    assert read(renamed(files, ".1.", ".0.")).ok, "without a base nobody knows which block is the last"


def test_at_a_place_that_is_no_attention_block_it_is_refused(written, bases):
    family, files = written
    block = {"llama": "self_attn", "gpt2": "attn"}[family]
    changed = configured(renamed(files, f".{block}.", ".mlp."), target_modules="mlp")
    found = read(changed, bases[family])
    assert "tensors.module" in codes(found)
    assert any("no attention block" in text for text in told(found))


@pytest.mark.parametrize("changes", [{"adapter_layers": 2}, {"adapter_layers": 0}, {"adapter_layers": None}, {"adapter_layers": "1"},
                                     {"adapter_len": 4}])  # fmt: skip
def test_another_number_than_the_tensors_is_refused(changes, written, bases):
    family, files = written
    assert read(files, bases[family]).ok
    assert not read(configured(files, **changes), bases[family]).ok
