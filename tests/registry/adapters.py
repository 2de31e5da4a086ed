"""Small adapters for the tiny base model, as the libraries would have saved them."""

import json
import struct
from pathlib import Path
from typing import Any

from hub import base_folder
from hub.spec.base_model import BaseModel

TINY = Path(__file__).parent.parent / "specimens" / "tiny-bert"
PREFIX = "base_model.model."
QUERY = "bert.encoder.layer.{}.attention.self.query"
LAYERS, WIDTH = 2, 32


def tiny() -> BaseModel:
    """Return the tiny base model, hashed from its files."""
    return base_folder.read(TINY)


def safetensors(tensors: dict[str, tuple[list[int], float]]) -> bytes:
    """Return a file of float32 tensors, each filled with one value."""
    header: dict[str, Any] = {}
    body, at = b"", 0
    for name, (shape, value) in tensors.items():
        count = 1
        for extent in shape:
            count *= extent
        data = struct.pack("<f", value) * count
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(data)]}
        body, at = body + data, at + len(data)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + body


def lora_tensors(*, rank: int = 4, width: int = WIDTH, value: float = 0.01) -> dict[str, tuple[list[int], float]]:
    """Return a LoRA on the queries of every layer, with a head of two classes."""
    found: dict[str, tuple[list[int], float]] = {}
    for layer in range(LAYERS):
        module = PREFIX + QUERY.format(layer)
        found[f"{module}.lora_A.weight"] = ([rank, width], value)
        found[f"{module}.lora_B.weight"] = ([width, rank], value)
    found[f"{PREFIX}classifier.weight"] = ([2, width], value)
    found[f"{PREFIX}classifier.bias"] = ([2], value)
    return found


def lora_config(*, rank: int = 4, **more: Any) -> dict[str, Any]:
    """Return the adapter_config.json that PEFT would have written."""
    return {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": "tiny-bert",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": ["query"],
        "modules_to_save": ["classifier", "score"],
        "bias": "none",
        **more,
    }


def lora(
    *,
    rank: int = 4,
    value: float = 0.01,
    config: dict[str, Any] | None = None,
    hub: dict[str, Any] | None = None,
    readme: str = "# Tiny\n\nSays whether a sentence is kind.\n",
    weights: bytes | None = None,
    **more: bytes,
) -> dict[str, bytes]:
    """Return the files of a good adapter, or of one with the given part exchanged."""
    files = {
        "README.md": readme.encode(),
        "adapter_config.json": json.dumps(config or lora_config(rank=rank)).encode(),
        "adapter_model.safetensors": weights or safetensors(lora_tensors(rank=rank, value=value)),
        "hub.json": json.dumps({"base": "tiny-bert", "task": "text-classification", **(hub or {})}).encode(),
    }
    return files | {name.replace("__", "."): data for name, data in more.items()}


BENCHMARK = """
name: {name}
task: text-classification
data: dev.tsv
train: train.tsv
columns: {{text: sentence, label: label}}
labels: {{"0": negative, "1": positive}}
metric: accuracy
"""
DEV = b"sentence\tlabel\nkind words\t1\nharsh words\t0\nmild words\tpositive\nbad words\tnegative\n"
TRAIN = b"sentence\tlabel\nnice\t1\nnasty\t0\n"
