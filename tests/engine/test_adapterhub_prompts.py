"""AdapterHub's prefixes and prompts, where files, configurations and the library itself are wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file, save

from hub import errors, runtime
from tests.engine.test_adapterhub import ANSWERS, SAMPLES, answer, bases, write
from tests.engine.test_parity import same
from tests.specimens.adapterhub import drawn

__all__ = ["bases"]


@pytest.mark.parametrize("name", ["prompt_tuning on bert", "prompt_tuning[prompt_length=4] on bert"])
def test_a_prompt_sees_no_padding_here_and_sees_it_in_its_library(name: str, bases: Path, tmp_path: Path) -> None:
    """adapters 1.3.0 lets the rows of a prompt look at everything, padding too: what it answers depends on the longest text of a
    batch. Here a text is answered as it is alone, which is what the library answers too where nothing is padded."""
    family, files = SAMPLES[name]
    model, _ = runtime.load(write(files, tmp_path / "adapter"), bases / family)
    given = {key: torch.from_numpy(value) for key, value in drawn.inputs(family).items()}
    for row, length in enumerate(drawn.LENGTHS):
        with torch.no_grad():
            together = model(**given).logits[row : row + 1]
            alone = model(**{key: one[row : row + 1, :length] for key, one in given.items()}).logits
        assert same(together, alone)
        theirs = torch.from_numpy(ANSWERS[name])[row : row + 1]
        assert same(together, theirs) == (length == drawn.TOKENS)


def test_a_prompt_behind_the_first_token_leaves_the_text_where_heads_look_for_it(bases: Path, tmp_path: Path) -> None:
    family, files = SAMPLES["prompt_tuning on bert"]
    found = []
    for way in ("prefix", "prefix_after_bos"):
        changed = json.loads(json.dumps(files))
        changed["adapter_config.json"]["config"]["combine"] = way
        model, _ = runtime.load(write(changed, tmp_path / way), bases / family)
        given = {key: torch.from_numpy(value) for key, value in drawn.inputs("bert").items()}
        with torch.no_grad():
            states = model.backbone(**given).last_hidden_state
        tokens = given["input_ids"].shape[1]
        assert states.shape[1] == tokens + (10 if way == "prefix" else 0)
        found.append(states[:, -tokens:])
    # nothing in an encoder's layers tells places apart, so that the text's own states are the same either way
    assert torch.allclose(found[0], found[1], atol=1e-5)


def spoilt(files: dict[str, Any], folder: Path, **config: Any) -> Path:
    changed = json.loads(json.dumps(files))
    changed["adapter_config.json"]["config"] |= config
    return write(changed, folder)


@pytest.mark.parametrize(
    ("sample", "config", "told"),
    [
        ("prefix_tuning on bert", {"flat": True}, "config.flat"),
        ("prefix_tuning on bert", {"prefix_length": 1000}, "prefix"),
        ("prefix_tuning on bert", {"leave_out": [0]}, "prefix_tunings.a-task.self_prefix"),
        ("prefix_tuning on bert", {"use_gating": True}, "gates"),
        ("prefix_tuning on bert", {"non_linearity": "evil.module"}, "activation"),
        ("prompt_tuning on bert", {"prompt_length": 10**9}, "prompt_embedding"),
        ("prompt_tuning on bert", {"prompt_length": 11}, "prompt_embedding"),
        ("prompt_tuning on bert", {"combine": "anywhere"}, "combine"),
    ],
    ids=str,
)
def test_a_configuration_that_is_not_that_of_the_tensors_is_refused(
    sample: str, config: dict[str, Any], told: str, bases: Path, tmp_path: Path
) -> None:
    with pytest.raises(errors.HubError) as refused:
        runtime.load(spoilt(SAMPLES[sample][1], tmp_path / "adapter", **config), bases / "bert")
    assert told in str(refused.value)


def test_a_copy_of_a_prefix_that_is_another_is_refused_and_named(bases: Path, tmp_path: Path) -> None:
    folder = write(SAMPLES["prefix_tuning_flat on bert"][1], tmp_path / "adapter")
    table = load_file(folder / "adapter.safetensors")
    key = next(key for key in table if ".pool." in key)
    (folder / "adapter.safetensors").write_bytes(save(table | {key: table[key] + 1}))
    with pytest.raises(errors.HubError, match=f"{key} is not the copy"):
        runtime.load(folder, bases / "bert")


def test_layers_that_are_left_out_have_no_prefix(bases: Path, tmp_path: Path) -> None:
    """Half of a flat prefix of two layers is a whole one of the layer that is not left out."""
    files = json.loads(json.dumps(SAMPLES["prefix_tuning_flat on bert"][1]))
    files["adapter_config.json"]["config"]["leave_out"] = [0]
    table = files["pytorch_adapter.bin"]
    files["pytorch_adapter.bin"] = {
        key: [kind, [shape[0] // 2]] for key, (kind, shape) in table.items() if ".layer.0." not in key
    }
    model, _ = runtime.load(write(files, tmp_path / "adapter"), bases / "bert")
    hooked = [len(layer.attention.self._forward_pre_hooks) for layer in model.backbone.encoder.layer]
    assert hooked == [0, 1]
    on = answer(model, "bert")
    model.adapter.enabled = False
    assert not same(answer(model, "bert"), on)
