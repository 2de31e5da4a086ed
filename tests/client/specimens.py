"""Small adapters made of bytes: a LoRA for tests/specimens/tiny-bert, and its ill relatives."""

import json
import random
from pathlib import Path
from typing import Any

BASE = Path(__file__).parents[1] / "specimens" / "tiny-bert"
HIDDEN, LAYERS, RANK = 32, 2, 2


def lora(
    *, seed: int = 0, hidden: int = HIDDEN, readme: str = "A small adapter.\n", padding: int = 0
) -> dict[str, bytes]:
    """The files of a PEFT LoRA on query and value with a head of two classes; `padding` bytes of prose make it large."""
    noise = random.Random(seed)
    tensors: dict[str, tuple[list[int], bytes]] = {}
    for layer in range(LAYERS):
        for module in ("query", "value"):
            stem = f"base_model.model.bert.encoder.layer.{layer}.attention.self.{module}"
            tensors[f"{stem}.lora_A.weight"] = _tensor([RANK, hidden], noise)
            tensors[f"{stem}.lora_B.weight"] = _tensor([hidden, RANK], noise)
    tensors["base_model.model.classifier.weight"] = _tensor([2, hidden], noise)
    tensors["base_model.model.classifier.bias"] = _tensor([2], noise)
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "r": RANK,
        "lora_alpha": 4,
        "lora_dropout": 0.0,
        "target_modules": ["query", "value"],
        "modules_to_save": ["classifier"],
        "bias": "none",
        "inference_mode": True,
    }
    files = {
        "adapter_config.json": json.dumps(config).encode(),
        "adapter_model.safetensors": safetensors(tensors),
        "README.md": readme.encode() + noise.randbytes(padding // 2).hex().encode(),
    }
    return files


def safetensors(tensors: dict[str, tuple[list[int], bytes]], **metadata: str) -> bytes:
    """A safetensors file of F32 tensors."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for name, (shape, data) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(data for _, data in tensors.values())


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Files on disk."""
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder


def _tensor(shape: list[int], noise: random.Random) -> tuple[list[int], bytes]:
    import struct

    count = 1
    for extent in shape:
        count *= extent
    return shape, struct.pack(f"<{count}f", *(noise.uniform(-0.1, 0.1) for _ in range(count)))
