"""Files that are not what they are called, or that have no business in an adapter."""

import json
import pickle
import shutil
from pathlib import Path

from tests.specimens.spoilt.goods import RECIPES
from tests.specimens.spoilt.kinds import Draft, Kind
from tests.specimens.torch import hostile

PEFTS = tuple(name for name in RECIPES if name not in ("Houlsby", "Pfeiffer"))
ALL = tuple(RECIPES)
SCAN = frozenset({"scan"})
CANARY = Path("/nonexistent/canary")


def pickled(draft: Draft) -> tuple[str, ...]:
    """PyTorch's file with a program in it, in place of the weights."""
    corpus = dict(hostile.names(CANARY))
    chosen = corpus[draft.draw.choice(sorted(corpus))]
    (draft.folder / draft.good.weights).unlink()
    name = "adapter_model.bin" if draft.good.method != "bottleneck" else "pytorch_adapter.bin"
    (draft.folder / name).write_bytes(chosen.data)
    return (name,)


def other_formats(draft: Draft) -> tuple[str, ...]:
    name = draft.draw.choice(
        ("adapter_model.pt", "weights.pth", "model.ckpt", "model.h5", "x.pkl", "x.joblib", "x.npz", "x.gguf", "a.onnx")
    )
    (draft.folder / name).write_bytes(draft.draw.randbytes(draft.draw.randint(1, 200)))
    return (name,)


def code(draft: Draft) -> tuple[str, ...]:
    name = draft.draw.choice(
        (
            "modeling.py",
            "setup.sh",
            "x.so",
            "x.pyc",
            "run.exe",
            "x.dll",
            "x.jar",
            "lib/custom.py",
            "x.js",
            "x.zip",
            "x.tar.gz",
        )
    )
    path = draft.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(draft.draw.randbytes(draft.draw.randint(1, 200)))
    return (name,)


def disguised(draft: Draft) -> tuple[str, ...]:
    """A pickle, an archive or a program by a harmless name."""
    name = draft.draw.choice(
        ("notes.txt", "merges.txt", "tokenizer.json", "vocab.txt", "spiece.model", draft.good.weights)
    )
    value = {"x": [draft.draw.randint(0, 10**6)] * draft.draw.randint(1, 30)}
    data = draft.draw.choice(
        (
            pickle.dumps(value, draft.draw.randint(0, 5)),
            b"PK\x03\x04" + draft.draw.randbytes(99),
            b"\x7fELF" + bytes(99),
            b"#!/bin/sh\n",
        )
    )
    (draft.folder / name).write_bytes(data)
    return (name,)


def unused(draft: Draft) -> tuple[str, ...]:
    """A second file of weights that nobody would have judged."""
    name = draft.draw.choice(
        (
            "more.safetensors",
            "adapter_model-2.safetensors",
            "backup/adapter_model.safetensors",
            "model.safetensors",
            "old.safetensors",
        )
    )
    path = draft.folder / name
    path.parent.mkdir(exist_ok=True)
    shutil.copy(draft.folder / draft.good.weights, path)
    return (name,)


def two(draft: Draft) -> tuple[str, ...]:
    """The configurations, or the weights, of two libraries in one folder."""
    name = draft.draw.choice(
        ("head_config.json", "adapter_fusion_config.json", "adapter.safetensors", "model_head.safetensors")
    )
    if name.endswith(".json"):
        inner = {"head_type": "classification", "num_labels": 2, "layers": 1, "activation_function": "tanh"}
        (draft.folder / name).write_text(
            json.dumps({"config": inner, "hidden_size": 32, "model_type": "bert", "name": "x"})
        )
    else:
        shutil.copy(draft.folder / draft.good.weights, draft.folder / name)
    return (name,)


def unweighted(draft: Draft) -> tuple[str, ...]:
    """The configuration alone."""
    (draft.folder / draft.good.weights).unlink()
    (draft.folder / "config.json").write_text(json.dumps({"seed": draft.draw.random()}))
    return (draft.good.weights,)


KINDS = (
    Kind("a pickle for weights", "scan", "only tensors are read, and nothing is ever called", pickled, ALL),
    Kind(
        "weights in another format",
        "files",
        "can run code when they are loaded|a format this hub does not read",
        other_formats,
        ALL,
        also=SCAN,
    ),
    Kind(
        "code beside it", "files", "file is code|is an archive|does not keep files of this kind", code, ALL, also=SCAN
    ),
    Kind("code by a harmless name", "scan", "the bytes are", disguised, ALL),
    Kind("weights that no configuration uses", "files", "belongs to no adapter of this snapshot", unused, ALL),
    Kind(
        "two libraries in one folder",
        "files",
        "not what the adapter here uses|no adapter here uses|which does not read it",
        two,
        PEFTS,
    ),
    Kind("no weights at all", "files", "the adapter has no weights", unweighted, ALL),
)
