"""What AdapterHub's library writes answers here as it does there: answers.npz holds what adapters 1.3.0 says of the same files.

`make formats` has the library answer anew, and compares.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as t
from safetensors.numpy import save

from hub import errors, runtime
from hub.runtime import predict
from hub.spec import validation
from hub.spec.components import Component
from tests.engine.makers import SPECIMENS, on
from tests.engine.test_encoder import near
from tests.engine.test_parity import same
from tests.specimens.adapterhub import drawn
from workers.checks import tensors as checks

ANSWERS = dict(np.load(drawn.HERE / "answers.npz"))
REFUSED = json.loads((drawn.HERE / "answers.json").read_text())
SAMPLES = {name: (family, files) for name, family, files in drawn.samples()}
CONVERTED = {"pytorch_adapter.bin": "adapter.safetensors", "pytorch_model_head.bin": "model_head.safetensors"}
RUNS = list(ANSWERS)
MAKE = {"bert": (t.BertModel, t.BertConfig), "roberta": (t.RobertaModel, t.RobertaConfig)}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("bases"))


def made(place: Path) -> Path:
    """A folder with the base models of drawn.py, each with a tokenizer that nobody asks anything."""
    for kind, (model, config) in MAKE.items():
        base = model(config(**drawn.TEXT))
        table = {
            key: torch.from_numpy(drawn.tensor(f"{kind}/{key}", one.shape)) for key, one in base.named_parameters()
        }
        base.load_state_dict(table, strict=False)
        base.save_pretrained(place / kind)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(SPECIMENS / "tiny-bert" / name, place / kind)
    return place


def write(files: dict[str, Any], folder: Path) -> Path:
    """The files of a sample, weights drawn, as a hub keeps them."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        data = json.dumps(content).encode() if name.endswith(".json") else save(drawn.weights(content))
        (folder / name).with_name(CONVERTED.get(Path(name).name, Path(name).name)).write_bytes(data)
    return folder


def folder_of(files: dict[str, Any]) -> str:
    """Where the adapter lies that is asked: the root, or a fusion's own folder."""
    return next((str(Path(name).parent) for name in files if "fusion" in name), "")


def answer(model: Any, kind: str) -> torch.Tensor:
    given = {key: torch.from_numpy(value) for key, value in drawn.inputs(kind).items()}
    with torch.no_grad():
        found = model(**given)
    if "logits" in found:
        return found.logits
    return torch.from_numpy(drawn.seen(found.last_hidden_state.numpy(), given["attention_mask"].numpy()))


def loaded(name: str, bases: Path, folder: Path) -> Any:
    """The model of a sample, its files written to `folder`."""
    family, files = SAMPLES[name]
    return runtime.load(write(files, folder), bases / family.split()[0], component=folder_of(files))[0]


def compared(name: str, model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(ours, the library's) answers to the rows that both read alike: the rows of a prompt see padding in the library, and not
    here (test_adapterhub_prompts.py)."""
    whole = [row for row, length in enumerate(drawn.LENGTHS) if length == drawn.TOKENS or not name.startswith("prompt")]
    return answer(model, SAMPLES[name][0].split()[0])[whole], torch.from_numpy(ANSWERS[name])[whole]


@pytest.mark.parametrize("name", RUNS)
def test_an_adapter_answers_as_it_does_in_its_library(name: str, bases: Path, tmp_path: Path) -> None:
    model = loaded(name, bases, tmp_path / "adapter")
    ours, theirs = compared(name, model)
    assert same(ours, theirs), f"apart by {(ours - theirs).abs().max():.3g} of {theirs.abs().max():.3g}"
    assert model.adapter.consumed >= model.adapter.every - set(model.head.consumed if model.head else ()), "all at work"
    model.adapter.enabled = False
    assert not same(compared(name, model)[0], theirs), "the adapter did nothing"
    model.adapter.enabled = True
    assert torch.equal(compared(name, model)[0], ours), "on again is what it was"
    model.adapter.detach()
    base = bases / SAMPLES[name][0].split()[0]
    assert runtime.rehash(runtime.open_backbone(base)) == model.base.fingerprint


KINDS = [
    "par_bn[use_gating,ln_before,ln_after]", "double_seq_bn[use_gating,ln_before,ln_after]", "seq_bn_inv", "compacter[is_parallel]",
    "lora[use_gating]", "ia3", "loreft[tied_weights,suffix_positions=2]", "union[two bottlenecks]",
]  # fmt: skip
ROWS = [predict.Encoded(tuple((7 * at + i) % 37 + 3 for i in range(length)), (0,) * length)
        for at, length in enumerate((9, 3, 14, 9, 1, 6))]  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_rows_in_one_batch_are_answered_as_each_by_itself(name: str, bases: Path, tmp_path: Path) -> None:
    """And nothing is written: the backbone's memory cannot be, an attempt would end this process."""
    backbone = runtime.open_backbone(bases / "bert")
    with on(backbone, write(SAMPLES[f"{name} on bert"][1], tmp_path / "adapter")):
        ours = predict.for_heads(backbone, predict.batches(ROWS, 0)).token
        with torch.inference_mode():
            alone = [backbone.model(**predict.one_batch([row], 0).inputs).last_hidden_state[0, 0] for row in ROWS]
    assert near(ours, torch.stack(alone))
    assert runtime.rehash(backbone) == backbone.base.fingerprint


@pytest.mark.parametrize("said", ["direft on bert", "noreft on bert"])
def test_noreft_and_direft_are_told_apart_by_the_configuration_alone(said: str, bases: Path, tmp_path: Path) -> None:
    """The library writes the same files for both, and reads both back as NoReFT; `subtract_projection` makes one of them DiReFT."""
    files = SAMPLES[said][1]
    read = runtime.load(write(files, tmp_path / "read"), bases / "bert")[0]
    files = json.loads(json.dumps(files))
    files["adapter_config.json"]["config"]["subtract_projection"] = False
    meant = runtime.load(write(files, tmp_path / "meant"), bases / "bert")[0]
    assert same(answer(read, "bert"), torch.from_numpy(ANSWERS[said]))
    assert same(answer(meant, "bert"), torch.from_numpy(ANSWERS["direft, said on bert"]))
    assert not same(answer(meant, "bert"), answer(read, "bert"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
@pytest.mark.parametrize("role", ["gate.bias", "adapter_norm_after.weight", "adapter_up.bias"])
def test_numbers_that_no_training_leaves_behind_are_refused(
    role: str, value: float, bases: Path, tmp_path: Path
) -> None:
    files = SAMPLES["double_seq_bn[use_gating,ln_before,ln_after] on bert"][1]
    folder = write(files, tmp_path / "adapter")
    table = drawn.weights(files["pytorch_adapter.bin"])
    key = next(key for key in table if key.endswith(role))
    table[key][0] = value
    (folder / "adapter.safetensors").write_bytes(save(table))
    with pytest.raises(errors.HubError, match=key.replace(".", r"\.")):
        runtime.load(folder, bases / "bert")


def test_where_a_text_is_shorter_than_the_positions_all_of_it_is_moved(bases: Path, tmp_path: Path) -> None:
    name = "loreft, more positions than a text has tokens on bert"
    assert "out of bounds" in REFUSED[name], "the library itself stops there"
    files = json.loads(json.dumps(SAMPLES[name][1]))
    many = runtime.load(write(files, tmp_path / "many"), bases / "bert")[0]
    files["adapter_config.json"]["config"]["suffix_positions"] = 5
    enough = runtime.load(write(files, tmp_path / "enough"), bases / "bert")[0]
    text = {"input_ids": torch.arange(5)[None] + 3, "attention_mask": torch.ones(1, 5, dtype=torch.long)}
    with torch.no_grad():
        assert torch.equal(many(**text).logits, enough(**text).logits)
        many.adapter.enabled = False
        assert not torch.equal(many(**text).logits, enough(**text).logits)


def test_a_fusion_is_one_adapter_whose_every_tensor_is_at_work(bases: Path, tmp_path: Path) -> None:
    backbone = runtime.open_backbone(bases / "bert")
    snapshot = runtime.open_snapshot(write(SAMPLES["fusion, of three on bert"][1], tmp_path / "setup"))
    (component,) = validation.inspect(snapshot, backbone.base).components
    assert (component.folder, [item.folder for item in component.fused]) == ("a,b,c", ["a", "b", "c"])
    assert Component.from_json(json.loads(json.dumps(component.to_json()))) == component
    tensors = runtime.tensors_of(snapshot, component)
    _, attached = checks.load(backbone, component, b"", tensors)
    with attached:
        found = checks.applied(component, attached, tensors)
    assert found.status == "passed", found.message
    assert runtime.rehash(backbone) == backbone.base.fingerprint
