"""Fingerprints: the vectors of docs/fingerprint.md, and what they must not depend on."""

import hashlib
import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.spec import base_model, compatibility, families
from hub.spec.base_model import BaseModel, Leaf
from hub.spec.errors import SpecError
from tests.spec import vectors
from tests.specimens.spec import builders

VECTORS = {title: vector for title, vector in vectors.read("fingerprint.md").items() if "leaves" in vector[0]}


@pytest.mark.parametrize("title", VECTORS)
def test_a_vector_of_the_document_holds(title):
    value, expected = VECTORS[title]
    base = base_model.from_leaves(base_model.parse_leaves(value["leaves"]), {"model_type": value["model_type"]})
    assert " ".join(leaf.name for leaf in base.leaves) == expected.pop("names")
    assert base.fingerprint == expected.pop("fingerprint")
    assert base.roots == expected


ARCHITECTURES = {title: vector for title, vector in vectors.read("fingerprint.md").items() if "table" in vector[0]}


@pytest.mark.parametrize("title", ARCHITECTURES)
def test_an_architecture_of_the_document_holds(title):
    value, expected = ARCHITECTURES[title]
    leaves = [Leaf(name, dtype, tuple(shape), f"{n:064x}") for n, (name, dtype, shape) in enumerate(value["table"])]
    base = base_model.from_leaves(leaves, value["config"], shapes=value.get("told"))
    assert base.architecture == expected["architecture"]


def test_a_packed_copy_has_its_parents_architecture_and_one_of_an_unknown_layout_its_own():
    plain, packed, unknown = (lines["architecture"] for _, lines in ARCHITECTURES.values())
    assert plain == packed != unknown


def test_the_document_has_vectors():
    assert len(VECTORS) >= 5


def test_the_bytes_of_the_document_have_its_blake3():
    blake3 = pytest.importorskip("blake3")
    raw = bytes.fromhex("0000803f000000c00000003f00000000")
    assert blake3.blake3(raw).hexdigest() == VECTORS["One leaf"][0]["leaves"][0][3]


def rfc6962(hashes):
    """The tree, written a second time from the RFC."""
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return hashlib.sha256(b"\x01" + rfc6962(hashes[:k]) + rfc6962(hashes[k:])).digest()


@given(st.integers(1, 40))
def test_the_root_is_the_rfcs(count):
    leaves = [Leaf(f"t{index:03}", "F32", (index,), f"{index:064x}") for index in range(count)]
    hashes = [
        hashlib.sha256(
            b"\0"
            + json.dumps([leaf.name, "F32", list(leaf.shape)], separators=(",", ":")).encode()
            + bytes.fromhex(leaf.digest)
        ).digest()
        for leaf in leaves
    ]
    assert base_model.root(leaves) == rfc6962(hashes).hex()


def test_order_prefix_and_buffers_do_not_matter(base):
    leaves = builders.leaves()
    random.Random(1).shuffle(leaves)
    prefixed = [Leaf(f"bert.{leaf.name}", leaf.dtype, leaf.shape, leaf.digest) for leaf in leaves]
    buffer = Leaf("bert.embeddings.position_ids", "I64", (1, 16), "f" * 64)
    assert base_model.from_leaves([*prefixed, buffer], builders.CONFIG).fingerprint == base.fingerprint
    assert base_model.from_leaves(prefixed, builders.CONFIG).fingerprint == base.fingerprint
    assert base_model.fingerprint(base.leaves) == base.fingerprint


@pytest.mark.parametrize("change", [{"name": "x"}, {"dtype": "BF16"}, {"shape": (64,)}, {"digest": "e" * 64}])
def test_every_fact_of_every_tensor_matters(base, change):
    leaves = builders.leaves()
    changed = [Leaf(**{**vars(leaves[0]), **change}), *leaves[1:]]
    assert base_model.from_leaves(changed, builders.CONFIG).fingerprint != base.fingerprint


def test_a_head_or_a_pooler_does_not_change_the_backbone(base):
    head = [Leaf("classifier.weight", "F32", (2, 8), "a" * 64), Leaf("cls.predictions.bias", "F32", (11,), "b" * 64)]
    other = base_model.from_leaves([*builders.leaves(), *head], builders.CONFIG)
    assert other.fingerprint != base.fingerprint
    assert other.roots["backbone"] == base.roots["backbone"]
    assert "head" in other.roots and "head" not in base.roots
    assert other.architecture == base.architecture


def test_a_tied_copy_counts_once_and_an_untied_one_counts():
    word = next(leaf for leaf in builders.leaves() if "word_embeddings" in leaf.name)
    tied = Leaf("cls.predictions.decoder.weight", word.dtype, word.shape, word.digest)
    untied = Leaf("cls.predictions.decoder.weight", word.dtype, word.shape, "c" * 64)
    alone, with_tied, with_untied = (
        base_model.from_leaves([*builders.leaves(), *more], builders.CONFIG).fingerprint
        for more in ([], [tied], [untied])
    )
    assert with_tied == alone
    assert with_untied != alone


@pytest.mark.parametrize(
    ("name", "model_type", "canonical"),
    [
        ("bert.encoder.layer.0.output.dense.weight", "bert", "encoder.layer.0.output.dense.weight"),
        ("encoder.layer.0.output.dense.weight", "bert", "encoder.layer.0.output.dense.weight"),
        ("roberta.embeddings.LayerNorm.beta", "xlm-roberta", "embeddings.LayerNorm.bias"),
        ("roberta.embeddings.LayerNorm.gamma", None, "embeddings.LayerNorm.weight"),
        ("bert.x.weight", "roberta", "bert.x.weight"),
        ("bert.embeddings.position_ids", "bert", None),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", "llama", None),
        ("cls.predictions.bias", "bert", "cls.predictions.bias"),
    ],
)
def test_a_name_becomes_canonical(name, model_type, canonical):
    assert families.canonical_name(name, model_type) == canonical


def test_canonical_names_stay_as_they_are(base):
    for leaf in base.leaves:
        assert families.canonical_name(leaf.name, "bert") == leaf.name
        assert families.canonical_name(leaf.name, None) == leaf.name


def test_what_the_base_says_of_itself(base):
    assert (base.hidden_size, base.layers, base.model_type) == (8, {0, 1}, "bert")
    assert base.modules["encoder.layer.0.intermediate.dense"].shape == (16, 8)
    assert base.modules["embeddings.word_embeddings"].shape == (11, 8)
    assert "embeddings.word_embeddings" not in base.linears and "pooler.dense" in base.linears
    assert base.tensors["pooler.dense.bias"] == (8,)
    assert base.parameters == sum(math.prod(shape) for shape in builders.base_shapes().values())


@pytest.mark.parametrize("change", [{"_name_or_path": "/home/x"}, {"torch_dtype": "float16"}, {"id2label": {"0": "a"}},
                                    {"hidden_dropout_prob": 0.5}, {"transformers_version": "9"}, {"anything": None}])  # fmt: skip
def test_what_changes_no_number_is_no_architecture(base, change):
    assert builders.base(**change).architecture == base.architecture


@pytest.mark.parametrize(
    "change", [{"hidden_act": "relu"}, {"num_attention_heads": 4}, {"layer_norm_eps": 1e-5}, {"pad_token_id": 7}]
)
def test_what_changes_the_numbers_is_architecture(base, change):
    assert builders.base(**change).architecture != base.architecture


def test_a_base_survives_json(base):
    assert BaseModel.from_json(json.loads(json.dumps(base.to_json()))) == base


def test_a_fingerprint_that_does_not_follow_from_the_leaves_is_refused(base):
    with pytest.raises(SpecError, match="but the leaves give base:"):
        BaseModel.from_json(base.to_json() | {"fingerprint": "base:" + "0" * 64})


@pytest.mark.parametrize(
    "leaves",
    [None, [], [[]], [["a", "F32", [1]]], [["a", "F32", [1], "xyz"]], [["a", "F32", [-1], "0" * 64]], [["", "F32", [1], "0" * 64]],
     [["a", "F32", [True], "0" * 64]], [["a", 4, [1], "0" * 64]], [["a", "F32", 1, "0" * 64]], [["a", "F32", [1], "0" * 63 + "G"]],
     [["a", "F32", [1], "0" * 64], ["a", "F32", [1], "1" * 64]], [["a", "F32", [1], "0" * 64], ["bert.a", "F32", [2], "0" * 64]],
     [["embeddings.position_ids", "I64", [1], "0" * 64]]],
)  # fmt: skip
def test_bad_leaves_are_refused(leaves):
    with pytest.raises(SpecError):
        BaseModel.from_json({"leaves": leaves, "config": {"model_type": "bert"}})


@pytest.mark.parametrize(
    "cast_roots",
    [[], {"bf16": "0" * 64}, {"bf16": {"backbone": "0" * 64}}, {"bf16": {"root": "0" * 63}}, {"b" * 33: {"root": "0" * 64}},
     {"bf16": {"root": "0" * 64, "head": "0" * 64}}, {str(n): {"root": "0" * 64} for n in range(17)}],
)  # fmt: skip
def test_bad_cast_roots_are_refused(base, cast_roots):
    with pytest.raises(SpecError, match="cast_roots"):
        BaseModel.from_json(base.to_json() | {"cast_roots": cast_roots})


def test_cast_roots_survive_json_also_those_of_a_later_edition(base):
    cast_roots = {"bf16": {"root": "1" * 64, "backbone": "2" * 64}, "fp4": {"root": "3" * 64}}
    assert BaseModel.from_json(base.to_json() | {"cast_roots": cast_roots}).cast_roots == cast_roots
    older = {key: value for key, value in base.to_json().items() if key not in {"cast_roots", "logical"}}
    assert BaseModel.from_json(older) == base


def test_the_tensors_that_differ_are_named(base):
    leaves = builders.leaves()
    changed = [Leaf(leaves[0].name, "F32", leaves[0].shape, "e" * 64), *leaves[1:-1]]
    other = base_model.from_leaves(changed, builders.CONFIG)
    assert base_model.differing(base, other) == (leaves[0].name, leaves[-1].name)
    assert base_model.differing(base, base) == ()


def test_one_tensor_is_named_and_of_many_three(base):
    leaves = builders.leaves()
    changed = [Leaf(leaves[0].name, "F32", leaves[0].shape, "e" * 64), *leaves[1:]]
    total = len(leaves)
    told = compatibility.unlike(base_model.from_leaves(changed, builders.CONFIG), base, "tiny")
    assert told == f"{leaves[0].name} differs from that of tiny: 1 of {total} tensors"
    bare = base_model.from_leaves(leaves[:2], builders.CONFIG)
    told = compatibility.unlike(bare, base, "tiny")
    assert f"and {total - 5} more differ from those of tiny: {total - 2} of {total} tensors" in told
    assert compatibility.unlike(base, base, "tiny") == ""


def test_fingerprints_are_recognised():
    assert base_model.is_fingerprint("base:" + "0" * 64)
    assert not base_model.is_fingerprint("0" * 64) and not base_model.is_fingerprint("base:" + "A" * 64)
