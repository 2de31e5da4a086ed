"""Copies of the tiny base model as people make them: in other formats, in shards, packed to four bits, with a tensor changed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from hub import base_folder
from tests.registry import adapters

Tensors = dict[str, torch.Tensor]
KEYS = ("leaves", "config", "tokenizer_digest", "cast_roots", "logical")
WORDS = "embeddings.word_embeddings.weight"
NORM = "encoder.layer.0.output.LayerNorm.weight"


def told(folder: Path) -> dict[str, Any]:
    """Return what a worker sends of the base model in a folder."""
    found = base_folder.read(folder, casts=True).to_json()
    return {key: found[key] for key in KEYS}


def copy(folder: Path, change: Callable[[Tensors], Tensors], **config: Any) -> dict[str, Any]:
    """Write a copy of the tiny base model with other tensors into a folder, and return what a worker sends of it."""
    shutil.copytree(adapters.TINY, folder)
    save_file(change(load_file(adapters.TINY / "model.safetensors")), folder / "model.safetensors")
    known = json.loads((adapters.TINY / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(known | config))
    return told(folder)


def cast(*steps: torch.dtype) -> Callable[[Tensors], Tensors]:
    """Return the change that casts every tensor, step by step."""

    def change(tensors: Tensors) -> Tensors:
        for step in steps:
            tensors = {name: tensor.to(step) for name, tensor in tensors.items()}
        return tensors

    return change


def with_other(name: str, then: Callable[[Tensors], Tensors] = lambda tensors: tensors) -> Callable[[Tensors], Tensors]:
    """Return the change that adds one to a tensor, before another change."""
    return lambda tensors: then(tensors | {name: tensors[name] + 1})


def packed(tensors: Tensors, dtype: torch.dtype = torch.float16) -> Tensors:
    """Pack every linear layer as bitsandbytes does, and cast the rest; the four-bit numbers themselves are all zero."""
    found: Tensors = {}
    for name, tensor in tensors.items():
        if tensor.ndim != 2 or "embeddings" in name:
            found[name] = tensor.to(dtype)
            continue
        state = json.dumps({"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": list(tensor.shape)})
        found[name] = torch.zeros(tensor.numel() // 2, 1, dtype=torch.uint8)
        found[f"{name}.absmax"] = torch.zeros(-(-tensor.numel() // 64))
        found[f"{name}.quant_map"] = torch.zeros(16)
        found[f"{name}.quant_state.bitsandbytes__nf4"] = torch.tensor(list(state.encode()), dtype=torch.uint8)
    return found


PACKED = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}}
