"""Adapters trained on real data, each with what the library that trained it answers to the dev rows."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import peft
import pytest
import torch
import transformers

from demo.base import base_folder

ROOT = Path(__file__).resolve().parents[2]
TRAIN_HOULSBY = Path(__file__).with_name("train_houlsby.py")
ROWS = 64


@dataclass(frozen=True)
class Trained:
    """An adapter as its library saved it, and that library's own logits [rows, labels] from those files."""

    name: str
    folder: Path
    logits: torch.Tensor
    seconds: float

    @property
    def labels(self) -> list[int]:
        """What the library answers, row by row."""
        return [int(label) for label in self.logits.argmax(-1)]


def lora(data: Path, out: Path, asked: Sequence[str]) -> Trained:
    """The demo's LoRA, trained as a user trains it, and what plain transformers + peft answer."""
    line = [sys.executable, "-m", "demo.train", "--data", str(data), "--out", str(out)]
    seconds = run(line)
    return Trained("lora", out, peft_logits(out, asked), seconds)


def houlsby(data: Path, out: Path, asked: Sequence[str]) -> Trained:
    """A Houlsby adapter, trained by the AdapterHub library in its own environment, and what that library answers."""
    python = adapters_python()
    given = ["--data", str(data), "--base", str(base_folder()), "--out", str(out)]
    seconds = run([python, str(TRAIN_HOULSBY), *given], PYTHONPATH=str(ROOT))
    answered = json.loads((out / "answers.json").read_text())
    assert answered["versions"]["adapters"] == "1.3.0"
    assert len(answered["logits"]) == len(asked)
    return Trained("houlsby", out / "adapter", torch.tensor(answered["logits"]), seconds)


def adapters_python() -> str:
    """The interpreter that has the AdapterHub library; skips where there is none."""
    python = Path(os.environ.get("HUB_TEST_ADAPTERS") or ROOT / ".venv-adapters" / "bin" / "python")
    if not python.exists():
        pytest.skip(f"no AdapterHub library: {python} is not there (`make real` makes it; HUB_TEST_ADAPTERS names one)")
    return str(python)


def peft_logits(folder: Path, asked: Sequence[str]) -> torch.Tensor:
    """Logits [rows, labels] by plain transformers + peft, rows in their order, `ROWS` at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(base_folder())
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(base_folder(), num_labels=2)
    model = peft.PeftModel.from_pretrained(plain, folder).eval()
    found = []
    with torch.inference_mode():
        for at in range(0, len(asked), ROWS):
            rows = list(asked[at : at + ROWS])
            given = tokenizer(rows, truncation=True, max_length=128, padding=True, return_tensors="pt")
            found.append(model(**given).logits)
    return torch.cat(found)


def run(line: list[str], **more: str) -> float:
    """Run a command that has to succeed, without asking a network; seconds.

    With one thread: where others are at work too, two that wait for each other take three times as long.
    """
    started, quiet = time.monotonic(), {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment = os.environ | quiet | more
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return time.monotonic() - started
