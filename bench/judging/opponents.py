"""What a person would do instead of asking a hub: scripts as notebooks have them, each in processes of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.judging.measuring import ONE_THREAD, Cost, at_once

START = """
import json, sys, time, torch
torch.set_num_threads(1)
base, data, names = sys.argv[1], sys.argv[2], sys.argv[3:]
import csv
rows = list(csv.DictReader(open(data, newline=""), delimiter="\\t", quoting=csv.QUOTE_NONE))
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(base)
"""
FRESH = (
    START
    + """
from peft import PeftModel
model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
model = PeftModel.from_pretrained(model, names[0]).eval()
right = 0
with torch.no_grad():
    for at in range(0, len(rows), 32):
        batch = rows[at : at + 32]
        given = tokenizer([row["sentence"] for row in batch], padding=True, truncation=True, max_length=128, return_tensors="pt")
        found = model(**given).logits.argmax(-1).tolist()
        right += sum(label == int(row["label"]) for label, row in zip(found, batch))
print(json.dumps({"cpu": [time.process_time()]}))
"""
)
SORTED = (
    START
    + """
rows.sort(key=lambda row: len(tokenizer(row["sentence"])["input_ids"]))
cut = [
    tokenizer([row["sentence"] for row in rows[at : at + 32]], padding=True, truncation=True, max_length=128, return_tensors="pt")
    for at in range(0, len(rows), 32)
]
"""
)
RESIDENT = (
    SORTED
    + """
from peft import PeftModel
truth = [int(row["label"]) for row in rows]
model = None
found, cpu = [], []
for number, name in enumerate(names):
    before, used = time.perf_counter(), time.process_time()
    if model is None:
        plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
        model = PeftModel.from_pretrained(plain, name, adapter_name="a0").eval()
    else:
        model.load_adapter(name, f"a{number}")
        model.set_adapter(f"a{number}")
        model.delete_adapter(f"a{number - 1}")
        model.eval()
    with torch.inference_mode():
        said = torch.cat([model(**given).logits.argmax(-1) for given in cut])
    right = int((said == torch.tensor(truth)).sum())
    found.append(time.perf_counter() - before)
    cpu.append(time.process_time() - used)
print(json.dumps({"wall": found[1:], "cpu": cpu[1:]}))
"""
)
FORWARD = (
    SORTED
    + """
model = AutoModel.from_pretrained(base).eval()
found, cpu = [], []
for name in names:
    before, used = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        for given in cut:
            model(**given)
    found.append(time.perf_counter() - before)
    cpu.append(time.process_time() - used)
print(json.dumps({"wall": found[1:], "cpu": cpu[1:]}))
"""
)


def fresh(base: Path, data: Path, adapters: Sequence[Path]) -> Cost:
    """A process per adapter, start and end included."""

    def work(number: int) -> list[Cost]:
        before = time.perf_counter()
        (cpu,) = _script(FRESH, base, data, [adapters[number]])["cpu"]
        return [Cost(time.perf_counter() - before, cpu)]

    return at_once(work)


def resident(base: Path, data: Path, adapters: Sequence[Path]) -> Cost:
    """PEFT in a process that stays: all adapters but the first, which pays for the start."""
    return _one_after_the_other(RESIDENT, base, data, adapters)


def forward(base: Path, data: Path, times: int) -> Cost:
    """The plain base model, so many times; all but the first count."""
    return _one_after_the_other(FORWARD, base, data, [base] * times)


def _one_after_the_other(code: str, base: Path, data: Path, adapters: Sequence[Path]) -> Cost:
    def work(number: int) -> list[Cost]:
        found = _script(code, base, data, adapters)
        return [Cost(*pair) for pair in zip(found["wall"], found["cpu"], strict=True)]

    return at_once(work)


def _script(code: str, base: Path, data: Path, adapters: Sequence[Path]) -> dict[str, list[float]]:
    line = [sys.executable, "-c", code, str(base), str(data), *map(str, adapters)]
    environment = os.environ | ONE_THREAD | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found
