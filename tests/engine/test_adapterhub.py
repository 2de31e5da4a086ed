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

from hub import runtime
from tests.engine.makers import SPECIMENS
from tests.engine.test_parity import same
from tests.specimens.adapterhub import drawn

ANSWERS = dict(np.load(drawn.HERE / "answers.npz"))
REFUSED = json.loads((drawn.HERE / "answers.json").read_text())
SAMPLES = {name: (family, files) for name, family, files in drawn.samples()}
CONVERTED = {"pytorch_adapter.bin": "adapter.safetensors", "pytorch_model_head.bin": "model_head.safetensors"}
WAIT = ("prefix_tuning", "prompt_tuning", "mam", "unipelt")
"""Configurations that the library answers with and this hub does not run yet: it says so (tests/formats)."""
RUNS = [name for name in ANSWERS if not name.startswith(WAIT)]
MAKE = {"bert": (t.BertModel, t.BertConfig), "roberta": (t.RobertaModel, t.RobertaConfig)}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the base models of drawn.py, each with a tokenizer that nobody asks anything."""
    place = tmp_path_factory.mktemp("bases")
    for kind, (model, config) in MAKE.items():
        made = model(config(**drawn.TEXT))
        table = {
            key: torch.from_numpy(drawn.tensor(f"{kind}/{key}", one.shape)) for key, one in made.named_parameters()
        }
        made.load_state_dict(table, strict=False)
        made.save_pretrained(place / kind)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(SPECIMENS / "tiny-bert" / name, place / kind)
    return place


def write(files: dict[str, Any], folder: Path) -> Path:
    """The files of a sample, weights drawn, as a hub keeps them."""
    folder.mkdir()
    for name, content in files.items():
        data = json.dumps(content).encode() if name.endswith(".json") else save(drawn.weights(content))
        (folder / CONVERTED.get(name, name)).write_bytes(data)
    return folder


def answer(model: Any, kind: str) -> torch.Tensor:
    given = {key: torch.from_numpy(value) for key, value in drawn.inputs(kind).items()}
    with torch.no_grad():
        found = model(**given)
    if "logits" in found:
        return found.logits
    return torch.from_numpy(drawn.seen(found.last_hidden_state.numpy(), given["attention_mask"].numpy()))


@pytest.mark.parametrize("name", RUNS)
def test_an_adapter_answers_as_it_does_in_its_library(name: str, bases: Path, tmp_path: Path) -> None:
    family, files = SAMPLES[name]
    base = bases / family.split()[0]
    model, _ = runtime.load(write(files, tmp_path / "adapter"), base)
    theirs = torch.from_numpy(ANSWERS[name])
    ours = answer(model, family.split()[0])
    assert same(ours, theirs), f"apart by {(ours - theirs).abs().max():.3g} of {theirs.abs().max():.3g}"
    assert model.adapter.consumed >= model.adapter.every - set(model.head.consumed if model.head else ()), "all at work"
    model.adapter.enabled = False
    assert not same(answer(model, family.split()[0]), theirs), "the adapter did nothing"
    model.adapter.enabled = True
    assert torch.equal(answer(model, family.split()[0]), ours), "on again is what it was"
    model.adapter.detach()
    assert runtime.rehash(runtime.open_backbone(base)) == model.base.fingerprint
