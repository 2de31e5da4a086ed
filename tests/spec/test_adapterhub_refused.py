"""Spoilt files of AdapterHub's methods are refused, and the message names the tensor or the key."""

import json

import pytest

from hub.spec import base_model, validation
from hub.spec.snapshot import MemorySnapshot
from tests.specimens.adapterhub import drawn
from tests.specimens.spec import builders

FILES = {name: files for name, family, files in drawn.samples() if family == "bert"}
LAYER = "bert.encoder.layer."


@pytest.fixture(scope="module")
def base():
    """A BERT of the samples' sizes, by its tensors alone."""
    leaves = builders.leaves(builders.base_shapes(hidden=48, inner=96, layers=2))
    return base_model.from_leaves(leaves, builders.CONFIG | drawn.TEXT, "ab" * 32)


def found(name, base, change=None, **said):
    """The problems of a sample with other tensors (`change`: {key: [dtype, shape]} -> the same) and settings."""
    files = json.loads(json.dumps(FILES[f"{name} on bert"]))
    files["adapter_config.json"]["config"] |= said
    table = files.pop("adapter.safetensors")
    table = table if change is None else change(table)
    data = {key: json.dumps(value).encode() for key, value in files.items() if key.endswith(".json")}
    data |= {
        key: builders.safetensors({role: (kind, tuple(shape)) for role, (kind, shape) in content.items()})
        for key, content in (files | {"adapter.safetensors": table}).items() if key.endswith(".safetensors")
    }  # fmt: skip
    return validation.inspect(MemorySnapshot(data), base).problems


def of_fusion(base, change):
    """The problems of a fusion of two, with other files."""
    files = json.loads(json.dumps(FILES["fusion on bert"]))
    change(files)
    data = {
        name: json.dumps(content).encode() if name.endswith(".json") else
        builders.safetensors({key: (kind, tuple(shape)) for key, (kind, shape) in content.items()})
        for name, content in files.items()
    }  # fmt: skip
    return [str(problem) for problem in validation.inspect(MemorySnapshot(data), base).problems]


def test_a_fusion_needs_the_adapters_that_it_fuses(base):
    def take_away(files):
        for name in [name for name in files if name.startswith("b/")]:
            del files[name]

    def move(files):
        files["b/adapter_config.json"]["config"]["leave_out"] = [1]
        table = files["b/adapter.safetensors"]
        files["b/adapter.safetensors"] = {key: value for key, value in table.items() if "layer.1" not in key}

    assert of_fusion(base, lambda files: None) == []
    (told,) = of_fusion(base, take_away)
    assert "the adapter 'b' is not in the snapshot" in told and "save_adapter_setup" in told
    (told,) = of_fusion(base, move)
    assert "encoder.layer.1.output" in told


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("temperature", True, "changes with every call"),
        ("query", False, "without query"),
        ("residual_before", "x", "true or false"),
    ],
)
def test_a_fusion_that_nobody_can_run_alike_is_refused(key, value, said, base):
    def change(files):
        files["a,b/adapter_fusion_config.json"]["config"][key] = value

    assert any(said in told for told in of_fusion(base, change))


def moved(suffix, shape):
    """Give the first tensor whose key ends so another shape."""

    def change(table):
        key = next(key for key in table if key.endswith(suffix))
        return table | {key: ["F32", shape]}

    return change


def renamed(old, new):
    def change(table):
        return {key.replace(old, new): value for key, value in table.items()}

    return change


def without(part):
    def change(table):
        return {key: value for key, value in table.items() if part not in key}

    return change


SPOILT = {
    "a rule that is no cube": ("compacter[reduction_factor=4]", moved("phm_rule", [4, 4, 3]), {}, "phm_rule"),
    "factors of another dimension": ("compacter[reduction_factor=4]", moved("W_left", [3, 16, 1]), {}, "W_left"),
    "a rank that the other factor does not have": ("compacter[reduction_factor=4]", moved("W_right", [4, 2, 3]), {}, "W_right"),
    "no rule": ("compacter[reduction_factor=4]", without("phm_rule"), {}, "phm_rule"),
    "a coupling of odd width": ("seq_bn_inv", moved("G.2.weight", [25, 12]), {}, "G.2.weight"),
    "half a coupling": ("seq_bn_inv", without(".G."), {}, "G.0.weight"),
    "a coupling that nobody named": ("seq_bn_inv", None, {"inv_adapter": None}, "invertible_adapters"),
    "a coupling of no kind": ("seq_bn_inv", None, {"inv_adapter": "exec"}, "inv_adapter"),
    "bottlenecks at a layer that is not there": ("seq_bn", renamed("layer.1", "layer.7"), {}, "layer.7"),
    "LoRA at a layer that is not there": ("lora", renamed("layer.1", "layer.7"), {}, "layer.7"),
    "ReFT at a layer that is not there": ("loreft", renamed("layer.1", "layer.7"), {}, "layer.7"),
    "LoRA without a layer": ("lora", without("layer.0"), {}, "layer.0"),
    "LoRA without a matrix that is named": ("lora", None, {"attn_matrices": ["q", "k", "v"]}, "attention.self.key"),
    "ReFT without a unit": ("loreft", without("units.1"), {}, "units.1"),
    "a negative reduction factor": ("seq_bn", None, {"reduction_factor": -4}, "reduction_factor"),
    "a negative rank": ("lora", None, {"r": -8}, "config.r"),
    "a rank of another size": ("lora", None, {"r": 4}, "r must be"),
    "an alpha beyond all": ("lora", None, {"alpha": 1e30}, "config.alpha"),
    "a mode that is none": ("lora", None, {"composition_mode": "eval"}, "composition_mode"),
    "a vector where a product is said": ("ia3", None, {"composition_mode": "add"}, "composition_mode"),
    "a gate that nobody named": ("lora[use_gating]", None, {"use_gating": False}, "gate.weight"),
    "no gate where one is said": ("seq_bn", None, {"use_gating": True}, "gate_weight"),
    "no norm where one is said": ("seq_bn", None, {"ln_after": True}, "norm_after_weight"),
    "DoRA without its lengths": ("lora", None, {"use_dora": True}, "m.weight"),
    "a free projection that is said to be orthogonal": ("noreft", None, {"orthogonality": True}, "projection"),
    "more positions than there are numbers": ("loreft", None, {"prefix_positions": 1 << 40}, "prefix_positions"),
    "positions before the text": ("loreft", None, {"suffix_positions": -1}, "suffix_positions"),
    "a sharpness of nothing": ("mtl_lora", None, {"weights_sharpness": 0}, "weights_sharpness"),
    "a switch that is a word": ("seq_bn", None, {"is_parallel": "yes"}, "is_parallel"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_adapter_is_refused_by_name(name, base):
    sample, change, said, told = SPOILT[name]
    assert not found(sample, base), "the sample itself is good"
    problems = found(sample, base, change, **said)
    assert problems
    assert any(told in str(problem) for problem in problems), [str(problem) for problem in problems]


@pytest.mark.parametrize(
    "sample", ["par_bn", "seq_bn_inv", "lora", "ia3", "vera", "loreft", "mtl_lora", "union[lora,seq_bn]"]
)
def test_a_tensor_of_the_backbone_is_refused_beside_any_method(sample, base):
    key = f"{LAYER}0.attention.self.query.weight"
    problems = found(sample, base, lambda table: table | {key: ["F32", [48, 48]]})
    assert [problem.code for problem in problems] == ["tensors.backbone"]
    assert key in problems[0].message
