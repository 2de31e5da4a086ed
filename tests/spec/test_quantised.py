"""Quantised base models: the logical shapes of each scheme, from layouts made by hand."""

import dataclasses
import json
import struct

import pytest

from hub.spec import base_model, quantised
from hub.spec.base_model import BaseModel, Leaf
from hub.spec.errors import SpecError

OUT, IN = 48, 64
X = "encoder.layer.0.attention.self.query"
PLAIN = {
    "embeddings.word_embeddings.weight": ("F16", (11, IN)),
    f"{X}.bias": ("F16", (OUT,)),
    "pooler.scale": ("F32", (3,)),
}
LOGICAL = {name: shape for name, (_, shape) in PLAIN.items()} | {f"{X}.weight": (OUT, IN)}
STATE = json.dumps(
    {"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": [OUT, IN], "nested_blocksize": 256}
).encode()


def of(method, **more):
    return {"model_type": "bert", "quantization_config": {"quant_method": method} | more}


def bitsandbytes4(storage="U8", width=1, kind="nf4"):
    """Two numbers a byte in tensors of `storage`, the scales quantised again (double quantisation)."""
    return {
        f"{X}.weight": (storage, (OUT * IN // 2 // width, 1)),
        f"{X}.weight.absmax": ("U8", (48,)),
        f"{X}.weight.quant_map": ("F32", (16,)),
        f"{X}.weight.nested_absmax": ("F32", (1,)),
        f"{X}.weight.nested_quant_map": ("F32", (256,)),
        f"{X}.weight.quant_state.bitsandbytes__{kind}": ("U8", (len(STATE),)),
    }


def gptq(bits=4, g_idx=True):
    return {
        f"{X}.qweight": ("I32", (IN * bits // 32, OUT)),
        f"{X}.qzeros": ("I32", (2, OUT * bits // 32)),
        f"{X}.scales": ("F16", (2, OUT)),
    } | ({f"{X}.g_idx": ("I32", (IN,))} if g_idx else {})


def awq(bits=4):
    return {
        f"{X}.qweight": ("I32", (IN, OUT * bits // 32)),
        f"{X}.qzeros": ("I32", (2, OUT * bits // 32)),
        f"{X}.scales": ("F16", (2, OUT)),
    }


def compressed(width=IN):
    return {
        f"{X}.weight_packed": ("I32", (OUT, -(-width * 4 // 32))),
        f"{X}.weight_shape": ("I64", (2,)),
        f"{X}.weight_scale": ("BF16", (OUT, 2)),
    }


INT8 = {f"{X}.weight": ("I8", (OUT, IN)), f"{X}.SCB": ("F32", (OUT,)), f"{X}.weight_format": ("U8", ())}
FP8 = {f"{X}.weight": ("F8_E4M3", (OUT, IN))}
SHAPE = struct.pack("<2q", OUT, IN)
IN4 = of("bitsandbytes", load_in_4bit=True, load_in_8bit=False)
PACKED = of("compressed-tensors", format="pack-quantized")
LAYOUTS = {
    "nf4": ("bitsandbytes-4bit", IN4, bitsandbytes4()),
    "fp4": ("bitsandbytes-4bit", IN4, bitsandbytes4(kind="fp4")),
    "nf4 stored as bfloat16": ("bitsandbytes-4bit", IN4, bitsandbytes4("BF16", 2)),
    "nf4, an old config": ("bitsandbytes-4bit", {"quantization_config": {"load_in_4bit": True}}, bitsandbytes4()),
    "int8": ("bitsandbytes-8bit", of("bitsandbytes", load_in_8bit=True), INT8),
    "gptq": ("gptq", of("gptq", bits=4), gptq()),
    "gptq of 3 bits": ("gptq", of("gptq", bits=3), gptq(3)),
    "gptq, other bits than the config says": ("gptq", of("gptq", bits=4), gptq(8)),
    "gptq without g_idx": ("gptq", of("gptq", bits=8, checkpoint_format="gptq_v2"), gptq(8, g_idx=False)),
    "awq": ("awq", of("awq", bits=4, version="gemm"), awq()),
    "awq of 8 bits": ("awq", of("awq", bits=8), awq(8)),
    "fp8 in blocks": ("fp8", of("fp8"), FP8 | {f"{X}.weight_scale_inv": ("F32", (1, 1))}),
    "fp8": ("fbgemm_fp8", of("fbgemm_fp8"), FP8 | {f"{X}.weight_scale": ("F32", (OUT, 1)), f"{X}.input_scale_ub": ("F32", ())}),
    "pack-quantized": ("compressed-tensors-pack-quantized", PACKED, compressed()),
    "int-quantized": ("compressed-tensors-int-quantized", of("compressed-tensors", format="int-quantized"),
                      {f"{X}.weight": ("I8", (OUT, IN)), f"{X}.weight_scale": ("BF16", (OUT, 1))}),
    "float-quantized": ("compressed-tensors-float-quantized", of("compressed-tensors", format="float-quantized"),
                        FP8 | {f"{X}.weight_scale": ("BF16", (1,)), f"{X}.input_scale": ("BF16", (1,))}),
}  # fmt: skip


def told(name):
    return SHAPE if name.endswith("weight_shape") else STATE


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_weight_has_the_shape_it_had_before_it_was_packed(layout):
    scheme, config, table = LAYOUTS[layout]
    found = quantised.logical(PLAIN | table, config, read=told)
    assert (found.scheme, found.tensors, found.note) == (scheme, LOGICAL, "")


def test_only_the_tensors_that_tell_a_shape_are_read():
    asked = []
    quantised.logical(PLAIN | bitsandbytes4(), IN4, read=lambda name: asked.append(name) or STATE)
    assert asked == [f"{X}.weight.quant_state.bitsandbytes__nf4"]
    assert quantised.tells_shape(asked[0]) and not quantised.tells_shape(f"{X}.weight.absmax")
    assert quantised.tells_shape(f"{X}.weight_shape") and not quantised.tells_shape(f"{X}.weight")


def test_weights_that_are_not_packed_stay_beside_those_that_are():
    table = PLAIN | gptq() | {"lm_head.weight": ("F16", (11, IN)), "other.scales": ("F16", (4,))}
    found = quantised.logical(table, of("gptq", bits=4))
    assert found.tensors == LOGICAL | {"lm_head.weight": (11, IN), "other.scales": (4,)}


def test_a_padded_row_is_told_by_its_weight_shape():
    table = {f"{X}.weight_packed": ("I32", (OUT, 8)), f"{X}.weight_shape": ("I64", (2,))}
    found = quantised.logical(table, PACKED, read=lambda _: struct.pack("<2q", OUT, 61))
    assert found.tensors == {f"{X}.weight": (OUT, 61)}


@pytest.mark.parametrize(
    "config", [{}, {"quantization_config": None}, {"quantization_config": {}}, {"quantization_config": "4bit"}]
)
def test_a_base_without_the_word_is_not_quantised(config):
    assert quantised.logical(PLAIN, config) is None


@pytest.mark.parametrize(
    ("config", "scheme"),
    [
        (of("hqq"), "hqq"),
        (of("awq", version="gemv"), "awq-gemv"),
        (of("gptq", checkpoint_format="marlin"), "gptq-marlin"),
        (of("compressed-tensors", format="nvfp4-pack-quantized"), "compressed-tensors-nvfp4-pack-quantized"),
        (of("\x1b[31m" * 9), "unnamed"),
        ({"quantization_config": {"bits": 4}}, "unnamed"),
    ],
)
def test_a_scheme_without_a_row_is_named_and_left_alone(config, scheme):
    found = quantised.logical(PLAIN | gptq(), config)
    assert (found.scheme, found.tensors) == (scheme, None)
    assert "shapes are those of the file" in found.note


@pytest.mark.parametrize("layout", ["nf4", "pack-quantized"])
def test_bytes_that_nobody_read_are_said_to_be_missing(layout):
    _, config, table = LAYOUTS[layout]
    found = quantised.logical(PLAIN | table, config)
    assert found.tensors is None and X in found.note


@pytest.mark.parametrize(
    "state",
    [b"", b"{", b"[]", b"{}", b'{"shape": null}', b'{"shape": []}', b'{"shape": [48, "64"]}', b'{"shape": [48, -64]}', b'{"shape": [48, 65]}',
     b'{"shape": [true, 3072]}', b'{"shape": [4294967296, 1]}', b'{"shape": ' + b"[" * 99 + b"]" * 99 + b"}"],
)  # fmt: skip
def test_a_state_that_tells_no_shape_that_fits_is_refused_by_name(state):
    with pytest.raises(SpecError, match=X):
        quantised.logical(PLAIN | bitsandbytes4(), IN4, read=lambda _: state)


@pytest.mark.parametrize(
    ("config", "table"),
    [
        (of("gptq", bits=4), gptq() | {f"{X}.g_idx": ("I32", (IN + 1,))}),
        (of("gptq", bits=4), gptq() | {f"{X}.scales": ("F16", (2, OUT + 1))}),
        (of("gptq", bits=4), gptq() | {f"{X}.qweight": ("I32", (4,))}),
        (of("gptq", bits=4), gptq() | {f"{X}.scales": ("F16", ())}),
        (of("awq"), awq() | {f"{X}.scales": ("F16", (2, OUT + 1))}),
        (of("awq"), awq() | {f"{X}.scales": ("F16", ())}),
        (PACKED, compressed() | {f"{X}.weight_packed": ("I32", (OUT, 9))}),
        (PACKED, compressed() | {f"{X}.weight_packed": ("I32", (OUT + 1, 8))}),
    ],
)
def test_packed_bytes_that_cannot_have_the_shape_are_refused_by_name(config, table):
    with pytest.raises(SpecError, match=X):
        quantised.logical(PLAIN | table, config, read=told)


def leaves(table):
    return [
        Leaf(f"bert.{name}", dtype, shape, f"{number:064x}")
        for number, (name, (dtype, shape)) in enumerate(sorted(table.items()))
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_base_tells_its_logical_tensors_and_survives_json(layout):
    scheme, config, table = LAYOUTS[layout]
    config = config | {"model_type": "bert"}
    base = base_model.from_leaves(leaves(PLAIN | table), config, read=told)
    assert (base.quantisation, base.tensors) == (scheme, LOGICAL)
    assert base.parameters == 11 * IN + OUT + 3 + OUT * IN
    assert len(base.leaves) == len(PLAIN | table)
    assert BaseModel.from_json(json.loads(json.dumps(base.to_json()))) == base


def test_a_claimed_shape_is_held_against_the_bytes_that_are_there():
    base = base_model.from_leaves(leaves(PLAIN | bitsandbytes4()), IN4, read=told)
    value = base.to_json()
    without = BaseModel.from_json(value | {"logical": None})
    assert without.logical is None and without.tensors[f"{X}.weight"] == (OUT * IN // 2, 1)
    for shape in ([OUT, IN + 1], "48x64", [OUT, None]):
        with pytest.raises(SpecError, match=X):
            BaseModel.from_json(value | {"logical": value["logical"] | {f"{X}.weight": shape}})
    with pytest.raises(SpecError, match="logical"):
        BaseModel.from_json(value | {"logical": [1]})


def test_shapes_that_are_too_many_too_few_or_others_are_refused_of_who_sends_them():
    base = base_model.from_leaves(leaves(PLAIN | bitsandbytes4()), IN4, read=told)
    shapes = base.to_json()["logical"]
    base_model.check_told(base, shapes)
    base_model.check_told(base, {})
    for wrong in ({f"{X}.weight": [IN, OUT]}, {"no.such": [1]}, {f"{X}.bias": "48"}):
        with pytest.raises(SpecError, match=f"logical: {next(iter(wrong))}"):
            base_model.check_told(base, shapes | wrong)
    plain = base_model.from_leaves(leaves(PLAIN), {"model_type": "bert"})
    for unpacked in (plain, base_model.from_leaves(leaves(PLAIN | bitsandbytes4()), IN4)):
        with pytest.raises(SpecError, match="logical"):
            base_model.check_told(unpacked, shapes)
    with pytest.raises(SpecError, match="cast_roots"):
        base_model.check_told(dataclasses.replace(base, cast_roots={"bf16": {"root": "1" * 64}}), {})


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("unsloth/llama-3-8b-bnb-4bit", True), ("TheBloke/Llama-2-7B-GPTQ", True), ("someone/Qwen-AWQ", True),
        ("neuralmagic/Meta-Llama-3-8B-FP8", True), ("model_int8", True), ("m-8bit", True), ("m.w4a16", True),
        ("bert-base-uncased", False), ("gpt2", False), ("awq/bert", False), ("m-fp16", False), ("audio-24bit", False),
        ("rabbit-4b", False), ("bnbert", False), ("base:" + "4b" * 32, False), ("", False),
    ],
)  # fmt: skip
def test_the_name_of_a_quantised_copy_is_known(name, packed):
    assert quantised.guess(name) is packed


def test_a_claim_changes_nothing_where_the_file_says_it_itself():
    base = base_model.from_leaves(leaves(PLAIN | gptq()), of("gptq", bits=4))
    value = base.to_json()
    assert BaseModel.from_json(value | {"logical": {f"{X}.weight": [1, 2], "y.weight": [9]}}) == base
