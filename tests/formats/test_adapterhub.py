"""What the AdapterHub library writes for each of its configurations is read right, from samples that it wrote (zoo.json)."""

import json
from pathlib import Path

import pytest
import transformers as t

from hub import base_folder
from hub.spec import compatibility, validation
from hub.spec.snapshot import MemorySnapshot
from tests.specimens.spec import builders

ZOO = Path(__file__).resolve().parents[1] / "specimens" / "adapterhub" / "zoo.json"
SAMPLES = json.loads(ZOO.read_text())
SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
TEXT = SIZES | {"vocab_size": 40, "max_position_embeddings": 16}
MAKE = {
    "bert": lambda: t.BertModel(t.BertConfig(**TEXT)),
    "roberta": lambda: t.RobertaModel(t.RobertaConfig(**TEXT)),
    "gpt2": lambda: t.GPT2Model(t.GPT2Config(vocab_size=40, n_embd=48, n_layer=2, n_head=4, n_positions=16)),
    "vit": lambda: t.ViTModel(t.ViTConfig(**SIZES, image_size=8, patch_size=4)),
}
# PyTorch's names -> what they become when they are pushed
CONVERTED = {"pytorch_adapter.bin": "adapter.safetensors", "pytorch_model_head.bin": "model_head.safetensors"}
# the library's word for a configuration -> (method, variant) here
METHODS = {
    "seq_bn": ("bottleneck", "pfeiffer"), "double_seq_bn": ("bottleneck", "houlsby"), "par_bn": ("bottleneck", "bottleneck"),
    "scaled_par_bn": ("bottleneck", "bottleneck"), "seq_bn_inv": ("bottleneck", "bottleneck"),
    "double_seq_bn_inv": ("bottleneck", "bottleneck"), "compacter": ("bottleneck", "compacter"),
    "compacter++": ("bottleneck", "compacter"), "lora": ("lora", "lora"), "ia3": ("lora", "ia3"), "dora": ("lora", "dora"),
    "vera": ("lora", "vera"), "prefix_tuning": ("prefix_tuning", "prefix_tuning"),
    "prefix_tuning_flat": ("prefix_tuning", "prefix_tuning"), "prompt_tuning": ("prompt_tuning", "prompt_tuning"),
    "loreft": ("reft", "loreft"), "noreft": ("reft", "reft"), "direft": ("reft", "reft"), "mam": ("union", "union"),
    "unipelt": ("union", "union"), "fusion": ("fusion", "fusion"), "mtl_lora": ("lora", "mtl_lora"), "dvora": ("lora", "dvora"),
    "adapter_plus": ("bottleneck", "bottleneck"), "union": ("union", "union"),
}  # fmt: skip


def named(sample):
    return f"{sample['config']}-{sample['family']}"


@pytest.fixture(scope="session")
def bases(tmp_path_factory):
    place = tmp_path_factory.mktemp("bases")
    for name, make in MAKE.items():
        make().save_pretrained(place / name)
    return {name: base_folder.read(place / name) for name in MAKE}


def files(sample, change=lambda table: table):
    found = {}
    for name, content in sample["files"].items():
        if name.endswith(".json"):
            found[name] = json.dumps(content).encode()
            continue
        table = {key: (dtype, tuple(shape)) for key, (dtype, shape) in content.items()}
        own = "head" not in name
        found[CONVERTED.get(name, name)] = builders.safetensors(change(table) if own else table)
    return found


def read(sample, base=None, change=lambda table: table):
    return validation.inspect(MemorySnapshot(files(sample, change)), base, to_run=False)


def family(sample):
    return sample["family"].split()[0]


@pytest.mark.parametrize("sample", SAMPLES, ids=named)
def test_what_adapterhub_writes_is_read_as_it_means_it(sample, bases):
    found = read(sample, bases[family(sample)])
    assert found.ok, [str(problem) for problem in found.problems]
    (component,) = found.components
    assert (component.method, component.variant) == METHODS[sample["config"].partition("[")[0]] or "[" in sample[
        "config"
    ]
    assert component.parameters == sample["trainable"]
    assert component.head_parameters == sample["head"]
    without = read(sample)
    assert without.ok, [str(problem) for problem in without.problems]


@pytest.mark.parametrize("sample", SAMPLES, ids=named)
def test_it_fits_its_own_base(sample, bases):
    base = bases[family(sample)]
    assert compatibility.check(read(sample, base), base).level == "shape_only"


@pytest.mark.parametrize("sample", SAMPLES, ids=named)
def test_with_a_tensor_of_the_base_beside_it_is_refused(sample, bases):
    base = bases[family(sample)]
    name = next(leaf.name for leaf in base.leaves if leaf.name.endswith("weight") and len(leaf.shape) == 2)
    found = read(sample, base, lambda table: table | {name: ("F32", base.tensors[name])})
    assert {problem.code for problem in found.problems} == {"tensors.backbone"}


@pytest.mark.parametrize("sample", SAMPLES, ids=named)
def test_with_a_wrong_shape_it_is_refused(sample, bases):
    base = bases[family(sample)]

    def change(table):
        key = next(key for key, (_, shape) in table.items() if len(shape) == 2 and ".pool." not in key) if any(
            len(shape) == 2 and ".pool." not in key for key, (_, shape) in table.items()
        ) else next(key for key in table if ".pool." not in key)  # fmt: skip
        dtype, shape = table[key]
        return table | {key: (dtype, (*shape[:-1], shape[-1] + 1))}

    assert not read(sample, base, change).ok


@pytest.mark.parametrize("sample", SAMPLES, ids=named)
def test_it_runs_on_encoders_built_as_bert_is_or_says_why_not(sample, bases):
    (component,) = read(sample, bases[family(sample)]).components
    cannot = "glow" in sample["config"] or named(sample) == "vera-bert of AutoModel"
    runs = family(sample) in ("bert", "roberta") and sample["config"] != "fusion" and not cannot
    assert (component.unrun == ()) == runs, component.unrun
