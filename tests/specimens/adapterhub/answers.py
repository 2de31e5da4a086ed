"""Let the AdapterHub library answer with every sample of the zoo, its numbers drawn as drawn.py draws them, and keep the answers.

Runs in an environment of its own (adapters 1.3.0 on transformers 4.57; `make formats` makes it and compares):

    .venv-adapters/bin/python tests/specimens/adapterhub/answers.py [FILE]

Each sample is written as files, read back with `load_adapter`, and asked with the inputs of drawn.py. answers.npz holds its logits
[4, 3], or [4, 3, 48] of its last hidden states; answers.json the reason where the library cannot answer.
"""

import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import drawn  # type: ignore[import-not-found]
import numpy as np

warnings.filterwarnings("ignore")

import adapters  # type: ignore[import-not-found]  # noqa: E402
import adapters.composition as composition  # type: ignore[import-not-found]  # noqa: E402
import torch  # noqa: E402
from adapters import AutoAdapterModel, BertAdapterModel, DiReftConfig  # type: ignore[import-not-found]  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import (  # noqa: E402
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    RobertaConfig,
    RobertaModel,
)

logging.disable(logging.WARNING)


def base(kind, folder):
    made = BertModel(BertConfig(**drawn.TEXT)) if kind == "bert" else RobertaModel(RobertaConfig(**drawn.TEXT))
    table = {
        key: torch.from_numpy(drawn.tensor(f"{kind}/{key}", value.shape)) for key, value in made.named_parameters()
    }
    made.load_state_dict(table, strict=False)
    made.save_pretrained(folder)


def model(family, bases):
    place = bases / family.split()[0]
    if family == "bert of AutoModel":
        return _adapted(BertModel.from_pretrained(place))
    if family == "bert with its own head":
        return _adapted(BertForSequenceClassification.from_pretrained(place, num_labels=3))
    return BertAdapterModel.from_pretrained(place) if family == "bert" else AutoAdapterModel.from_pretrained(place)


def _adapted(made):
    adapters.init(made)
    return made


def write(files, folder):
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        if name.endswith(".json"):
            (folder / name).write_text(json.dumps(content))
            continue
        table = {key: torch.from_numpy(value) for key, value in drawn.weights(content).items()}
        (save_file if name.endswith(".safetensors") else torch.save)(table, folder / name)


def answer(family, files, bases):
    made = model(family, bases)
    with tempfile.TemporaryDirectory() as place:
        write(files, Path(place))
        names = fused(made, files, Path(place)) if is_fused(files) else [loaded(made, family, files, place)]
    for name in names:
        check_complete(made, name, files)
    made.set_active_adapters(composition.Fuse(*names) if is_fused(files) else names[0])
    if is_fused(files):
        made.active_head = ",".join(names)
    given = {key: torch.from_numpy(value) for key, value in drawn.inputs(family.split()[0]).items()}
    with torch.no_grad():
        found = made.eval()(**given)
    if getattr(found, "logits", None) is not None:
        return found.logits.numpy()
    return drawn.seen(found.last_hidden_state.numpy(), given["attention_mask"].numpy())


def loaded(made, family, files, place):
    flat = any(name.endswith(".safetensors") for name in files)
    head = {"with_head": any("head" in name for name in files)} if family != "bert of AutoModel" else {}
    name = made.load_adapter(place, use_safetensors=flat, **head)
    if "model_head.safetensors" in files and family == "bert with its own head":
        made.load_head(place, use_safetensors=True)
    if files["adapter_config.json"]["config"].get("subtract_projection") is False:
        # the library writes the key down nowhere and reads it back nowhere: the answer of the model that was saved
        made.delete_adapter(name)
        made.add_adapter(name, config=DiReftConfig())
        table = drawn.weights(files["adapter.safetensors"])
        made.load_state_dict({key: torch.from_numpy(value) for key, value in table.items()}, strict=False)
    return name


def is_fused(files):
    return any("fusion" in name for name in files)


def fused(made, files, place):
    together = next(name for name in files if "fusion" in name).partition("/")[0]
    names = together.split(",")
    for name in names:
        made.load_adapter(str(place / name), use_safetensors=True)
    made.load_adapter_fusion(str(place / together), use_safetensors=True, with_head=True)
    return names


def check_complete(made, name, files):
    """What the library made up at random is no answer to these files; it tells of that nowhere."""
    there = {key.removeprefix("bert.").removeprefix("roberta.") for content in files.values() for key in content}
    for key, _ in made.base_model.named_parameters():
        if f".{name}." in f".{key}" and key not in there:
            raise ValueError(f"the file lacks {key}, which the library makes up at random")


def main(target=drawn.HERE / "answers"):
    found, refused = {}, {}
    with tempfile.TemporaryDirectory() as place:
        for kind in drawn.PAD:
            base(kind, Path(place) / kind)
        for name, family, files in drawn.samples():
            try:
                found[name] = answer(family, files, Path(place))
                assert np.isfinite(found[name]).all(), "its answers are not finite"
            except Exception as error:  # what the library itself cannot run has no answer
                found.pop(name, None)
                refused[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"
    np.savez_compressed(f"{target}.npz", **found)
    Path(f"{target}.json").write_text(json.dumps(refused, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
