"""An adapter that is valid in every respect and too large for the memory a worker gives to a run.

A bottleneck wider than the base model a hundred times, which the format allows: its file is small, what it computes is not.
"""

import json
import random
import shutil
from pathlib import Path

import numpy
from safetensors.numpy import save_file

from tests.system.hubs import ROOT

TEMPLATE = ROOT / "tests" / "specimens" / "adapterhub" / "seq_bn_leave_out"
WIDTH, REDUCTION = 32, 0.01
WIDE = int(WIDTH // REDUCTION)  # as AdapterHub reckons
MEMORY_GB = 0.03
"""Less than the poison asks for where two thousand tokens meet in a batch (26 MB a tensor), more than others need."""
ROWS = 240
"""Rows of eight words that make such a batch: each word is one token, so all rows are equally long."""
WORDS = ["good", "warm", "fine", "fresh", "bad", "cold", "dull", "bland"]


def write_poison(folder: Path, seed: int) -> Path:
    """Write one, in AdapterHub's format; each seed makes other bytes."""
    draw = numpy.random.default_rng(seed)
    folder.mkdir(parents=True)
    for name in ("adapter_config.json", "head_config.json"):
        shutil.copy(TEMPLATE / name, folder / name)
    _edit(folder / "adapter_config.json", reduction_factor=REDUCTION, leave_out=[1])
    _edit(folder / "head_config.json", num_labels=2, label2id={"negative": 0, "positive": 1})
    place = "bert.encoder.layer.0.output.adapters.task"
    weights = {
        f"{place}.adapter_down.0.weight": (WIDE, WIDTH),
        f"{place}.adapter_down.0.bias": (WIDE,),
        f"{place}.adapter_up.weight": (WIDTH, WIDE),
        f"{place}.adapter_up.bias": (WIDTH,),
    }
    head = {
        "heads.task.1.weight": (32, 32),
        "heads.task.1.bias": (32,),
        "heads.task.4.weight": (2, 32),
        "heads.task.4.bias": (2,),
    }
    for file, shapes in {"adapter.safetensors": weights, "model_head.safetensors": head}.items():
        save_file({name: draw.normal(0, 0.1, shape).astype("float32") for name, shape in shapes.items()}, folder / file)
    return folder


def lines(rows: int, seed: int = 0) -> list[str]:
    """Rows `sentence<TAB>label` of equal length, six of ten in the first class."""
    draw = random.Random(seed)
    return [f"{' '.join(draw.choices(WORDS, k=8))}\t{int(row % 10 >= 6)}" for row in range(rows)]


def _edit(path: Path, **changes: object) -> None:
    value = json.loads(path.read_text())
    value["config"] |= changes
    path.write_text(json.dumps(value))
