"""Weights that no adapter uses are told as what they are: `files.unused` never misleads, and never repeats another reason."""

import io
import json

import pytest
import torch

from hub.spec import validation
from hub.spec.validation import MemorySnapshot
from tests.specimens.spec import builders as make

HEAD = make.safetensors(make.head_shapes())
HEAD_CONFIG = json.dumps(make.head_config()).encode()


def problems(files):
    return validation.inspect(MemorySnapshot(files), None).problems


def unused(files):
    return {problem.where: problem for problem in problems(files) if problem.code == "files.unused"}


def codes(files):
    return {problem.code for problem in problems(files)}


def pickled(shapes):
    stream = io.BytesIO()
    torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, stream)
    return stream.getvalue()


def test_the_head_of_an_adapterhub_adapter_is_used():
    assert not problems(make.bottleneck())


def test_a_head_of_pytorch_is_used_like_one_of_safetensors():
    files = make.without(make.bottleneck(), "model_head.safetensors")
    assert not problems(files | {"pytorch_model_head.bin": pickled(make.head_shapes())})


def test_a_head_in_a_folder_without_an_adapter_is_told_to_be_a_head():
    files = make.bottleneck(**{"second/head_config.json": HEAD_CONFIG, "second/model_head.safetensors": HEAD})
    (problem,) = unused(files).values()
    assert problem.where == "second/model_head.safetensors"
    assert "a head" in problem.message and "no adapter lies beside it" in problem.message
    assert "adapter_model.safetensors" not in problem.hint
    assert "second/" in problem.hint


def test_a_second_head_of_pytorch_is_called_as_it_was_sent():
    files = make.bottleneck(**{
        "second/head_config.json": HEAD_CONFIG, "second/pytorch_model_head.bin": pickled(make.head_shapes())})  # fmt: skip
    assert set(unused(files)) == {"second/pytorch_model_head.bin"}


def test_a_head_of_adapterhub_beside_peft_says_where_peft_keeps_its_own():
    (problem,) = unused(make.lora(**{"head_config.json": HEAD_CONFIG, "model_head.safetensors": HEAD})).values()
    assert "PEFT" in problem.message
    assert "adapter_model.safetensors" in problem.hint and "modules_to_save" in problem.hint


@pytest.mark.parametrize(
    ("files", "other"),
    [
        (make.without(make.bottleneck(), "adapter.safetensors"), "files.weights"),
        (make.bottleneck(**{"adapter_config.json": b"{"}), "json.syntax"),
        (make.bottleneck(**{"adapter_config.json": b'{"peft_type": "NEW"}'}), "method.unknown"),
        (make.lora(**{"adapter_config.json": b'{"peft_type": "NEW"}'}), "method.unknown"),
        (make.without(make.bottleneck(**{"pytorch_adapter.bin": b"no archive"}), "adapter.safetensors"), "torch.zip"),
    ],
    ids=["no weights", "no JSON", "unknown method", "unknown method of PEFT", "unreadable weights"],
)
def test_files_that_another_reason_explains_are_not_told_again(files, other):
    found = codes(files)
    assert any(code.startswith(other.partition(".")[0]) for code in found), found
    assert "files.unused" not in found


def test_weights_of_the_other_library_are_told_with_the_name_that_is_wanted():
    files = make.bottleneck(**{"adapter_model.safetensors": make.safetensors({"x": (1,)})})
    (problem,) = unused(files).values()
    assert "adapter.safetensors" in problem.hint and "AdapterHub" in problem.message


def test_a_fusion_beside_an_adapter_wants_a_folder_of_its_own():
    fusion = json.dumps(make.bottleneck_config(config={}, name="a,b")).encode()
    files = make.bottleneck(**{
        "adapter_fusion_config.json": fusion, "model_adapter_fusion.safetensors": make.safetensors({"x": (1,)})})  # fmt: skip
    (problem,) = unused(files).values()
    assert "fusion" in problem.message and "folder of its own" in problem.hint


def test_other_weights_are_told_what_an_adapters_are_called():
    (problem,) = unused(make.lora(**{"extra.safetensors": make.safetensors({"x": (1,)})})).values()
    assert "belongs to no adapter" in problem.message
    assert "adapter.safetensors, adapter_model.safetensors" in problem.hint
