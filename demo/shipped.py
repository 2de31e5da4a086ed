"""What ships with the demo, and how a benchmark is laid out beside its data."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from demo.train import train_file

ROOT = Path(__file__).resolve().parent
REVIEWS = ROOT / "reviews"
ADAPTER = ROOT / "sentiment-bert"


@dataclass(frozen=True)
class Benchmark:
    """A benchmark definition in a file beside its data."""

    name: str
    file: Path


def lay_benchmark(folder: Path, data: Path = REVIEWS) -> Benchmark:
    """Copy `data` (train*.tsv, dev.tsv) to `folder` and write benchmark.yaml beside it (JSON is YAML)."""
    folder.mkdir(parents=True, exist_ok=True)
    train = train_file(data)
    for source in (data / "dev.tsv", train):  # their bytes, not their modes: `data` may be read-only
        shutil.copyfile(source, folder / source.name)
    name = "demo/reviews" if data == REVIEWS else f"demo/{data.resolve().name.lower()}"
    definition = {
        "name": name,
        "task": "text-classification",
        "data": "dev.tsv",
        "train": train.name,
        "columns": {"text": "sentence", "label": "label"},
        "labels": {"0": "negative", "1": "positive"},
        "metric": "accuracy",
        "direction": "up",
        "max_length": 128,
        "visibility": "public",
    }
    (folder / "benchmark.yaml").write_text(json.dumps(definition, indent=2) + "\n")
    return Benchmark(name, folder / "benchmark.yaml")
