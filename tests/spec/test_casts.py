"""Cast roots: which leaves a copy in another format has, and what two base models are to each other."""

import dataclasses

import pytest

from hub.spec import base_model, casts
from hub.spec.base_model import Leaf
from tests.specimens.spec import builders


def digests(leaves):
    """Made-up digests after every way: nothing in hub.spec knows bytes."""
    return {leaf.name: {way: f"{hash(way) & 0xFF:02x}{leaf.digest[2:]}" if way else leaf.digest for way in casts.all_steps(leaf.dtype)} for leaf in leaves}  # fmt: skip


def with_dtype(dtype):
    return [dataclasses.replace(leaf, dtype=dtype) for leaf in builders.leaves()]


@pytest.mark.parametrize(
    ("dtype", "bf16", "fp16", "bf16_of_fp16"),
    [
        ("F64", ("BF16",), ("F16",), ("F16", "BF16")),
        ("F32", ("BF16",), ("F16",), ("F16", "BF16")),
        ("F16", ("BF16",), (), ("BF16",)),
        ("BF16", (), ("F16",), ("F16", "BF16")),
        ("I64", (), (), ()),
        ("F8_E4M3", (), (), ()),
    ],
)
def test_a_tensor_goes_through_the_formats_that_are_not_its_own(dtype, bf16, fp16, bf16_of_fp16):
    found = [casts.steps(cast, dtype) for cast in casts.CASTS]
    assert found == [bf16, fp16, bf16_of_fp16]
    assert casts.all_steps(dtype)[0] == () and set(casts.all_steps(dtype)) == {(), *found}


def test_the_root_is_that_of_the_copy(base):
    known = digests(base.leaves)
    found = casts.roots(base.leaves, known)
    assert list(found) == ["bf16", "fp16", "bf16_of_fp16"]
    copy = [Leaf(leaf.name, "F16", leaf.shape, known[leaf.name]["F16",]) for leaf in base.leaves]
    described = base_model.from_leaves(copy, builders.CONFIG)
    parts = {part: described.roots[part] for part in ("backbone", "embeddings")}
    assert found["fp16"] == {"root": described.fingerprint[5:]} | parts


@pytest.mark.parametrize(
    ("dtype", "casts_"),
    [("F32", ["bf16", "fp16", "bf16_of_fp16"]), ("F16", ["bf16"]), ("BF16", ["fp16", "bf16_of_fp16"]), ("I8", [])],
)
def test_a_cast_that_says_nothing_new_is_left_out(dtype, casts_):
    leaves = with_dtype(dtype)
    assert list(casts.roots(leaves, digests(leaves))) == casts_


def test_tensors_that_rounding_makes_equal_count_once():
    shape = (11, 8)
    word, head = Leaf("embeddings.w.weight", "F32", shape, "1" * 64), Leaf("lm_head.weight", "F32", shape, "2" * 64)
    known = {leaf.name: {(): leaf.digest, ("BF16",): "3" * 64, ("F16",): leaf.digest, ("F16", "BF16"): leaf.digest} for leaf in (word, head)}  # fmt: skip
    copy = [Leaf("embeddings.w.weight", "BF16", shape, "3" * 64)]
    assert casts.roots([word, head], known)["bf16"]["root"] == base_model.root(copy)


def test_a_part_without_tensors_has_no_root():
    head = [Leaf("classifier.weight", "F32", (2, 8), "1" * 64)]
    assert all(set(entry) == {"root"} for entry in casts.roots(head, digests(head)).values())


def test_a_copy_is_known_for_what_it_is(base):
    known = digests(base.leaves)
    original = dataclasses.replace(base, cast_roots=casts.roots(base.leaves, known))
    for cast, words in casts.WORDS.items():
        leaves = [Leaf(leaf.name, casts.CASTS[cast][-1], leaf.shape, known[leaf.name][casts.CASTS[cast]]) for leaf in base.leaves]  # fmt: skip
        copy = base_model.from_leaves(leaves, builders.CONFIG)
        assert casts.same_values(copy, original) == f"is the {words} of"
        assert casts.same_values(original, copy) == f"has as its {words}"
        assert casts.same_values(base, copy) is None  # nobody computed its casts


def test_another_pooler_is_the_same_backbone_and_other_weights_are_nothing(base):
    headed = base_model.from_leaves(
        [*builders.leaves(), Leaf("classifier.weight", "F32", (2, 8), "a" * 64)], builders.CONFIG
    )
    assert casts.same_values(base, headed) == "has the same weights as"
    assert casts.same_values(base, builders.other_base()) is None


X = "encoder.layer.0.attention.self.query"
NF4 = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}


def packed(of, **dtypes):
    """A copy of a base model with one weight packed; `dtypes` {name: (dtype, digest)} of what was cast."""
    leaves = []
    for leaf in of.leaves:
        if leaf.name == f"{X}.weight":
            size = leaf.shape[0] * leaf.shape[1] // 2
            leaves += [Leaf(leaf.name, "U8", (size, 1), "7" * 64), Leaf(f"{leaf.name}.absmax", "F32", (1,), "8" * 64)]
        else:
            dtype, digest = dtypes.get(leaf.name, (leaf.dtype, leaf.digest))
            leaves.append(dataclasses.replace(leaf, dtype=dtype, digest=digest))
    shape = next(leaf.shape for leaf in of.leaves if leaf.name == f"{X}.weight")
    return base_model.from_leaves(leaves, of.config | NF4, shapes={f"{X}.weight": shape})


def test_what_the_packer_left_alone_tells_the_parent(base):
    copy = packed(base)
    assert casts.quantised_from(copy, base)
    assert not casts.quantised_from(base, copy) and not casts.quantised_from(copy, copy)
    tables = [leaf.name for leaf in base.leaves if base_model.part_of(leaf.name) == "embeddings"]
    norm = next(leaf.name for leaf in base.leaves if "LayerNorm" in leaf.name and leaf.name not in tables)
    for other in (tables[0], norm):
        assert not casts.quantised_from(packed(base, **{other: ("F32", "9" * 64)}), base), other
    bare = dataclasses.replace(copy, logical=None)
    assert not casts.quantised_from(bare, base)
    assert not casts.quantised_from(copy, dataclasses.replace(base, architecture="0" * 64))


def test_under_a_cast_the_tables_of_embeddings_tell_it(base):
    known = digests(base.leaves)
    cast = {leaf.name: ("F16", known[leaf.name]["F16",]) for leaf in base.leaves}
    copy, original = packed(base, **cast), dataclasses.replace(base, cast_roots=casts.roots(base.leaves, known))
    assert casts.quantised_from(copy, original)
    assert not casts.quantised_from(copy, base), "nobody computed its casts"
