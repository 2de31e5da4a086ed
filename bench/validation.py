"""What judging adapters costs, beside what a person would do: tables on stderr, JSON on stdout.

    python bench/validation.py [--data DIR] [--rows 128,512] [--each 4] [--rounds 3] [--growth] [--only throughput,...]

Throughput in adapters a minute, two processes of one thread each, LoRA r = 8 on query and value of all-MiniLM-L6-v2, float32:

    fresh     a process per adapter: import, load, attach, tokenise, predict with padding to the longest of 32 rows in file order
    resident  one process: peft's load_adapter, set_adapter, delete_adapter; tokens kept, rows sorted by length
    forward   the plain base model over the same sorted batches: no adapter, no head
    ours      two backbone processes: every check, both passes, the verdict

All sides of a ratio are measured in turn, round by round, in one run; CPU seconds an adapter stand beside them, for machines that have
other work. `methods` tells what ours takes for other methods; `growth` how it goes on with many adapters, base models and rows.
"""

import argparse
import concurrent.futures
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import psutil

from bench import main_job
from demo.base import base_folder
from hub import base_folder as bases
from hub.folder import FolderSnapshot
from hub.spec import policy
from workers.assignment import Assignment, BenchmarkFiles
from workers.process import BackboneProcess

SAMPLE = ROOT / "tests" / "specimens" / "adapterhub" / "double_seq_bn"
PROCESSES = 2
POOL = concurrent.futures.ThreadPoolExecutor(PROCESSES)
"""Kept to the end: a backbone process ends with the thread that started it."""
ASKED = {"fresh": {128: 6.0, 512: 3.7}, "resident": {512: 1.25}, "forward": {512: 1.25}}
TOP_ASKED = 2.3
"""Of the plain forward, for adapters on the upper three layers."""
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


@dataclass(frozen=True)
class Cost:
    """Of one adapter, with `PROCESSES` at work: wall seconds each takes, CPU seconds."""

    wall: float
    cpu: float

    @property
    def a_minute(self) -> float:
        return 60 * PROCESSES / self.wall

    def to_json(self) -> dict[str, float]:
        return {"wall": round(self.wall, 3), "cpu": round(self.cpu, 3), "a_minute": round(self.a_minute, 1)}


def middle(costs: Sequence[Cost]) -> Cost:
    return Cost(statistics.median(cost.wall for cost in costs), statistics.median(cost.cpu for cost in costs))


# --- what is judged ---------------------------------------------------------------------------------------------------
def peft_adapter(folder: Path, base: Path, seed: int, config: Any) -> Path:
    """An adapter with random weights and a random head: what it costs does not hang on what it knows."""
    import peft
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    trained = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            if parameter.requires_grad and "modules_to_save" not in name:
                parameter.copy_(torch.randn_like(parameter) * 0.02 + (1.0 if "ia3" in name else 0.0))
    trained.save_pretrained(folder)
    return folder


def lora(folder: Path, base: Path, seed: int, **more: Any) -> Path:
    import peft

    options = {"task_type": "SEQ_CLS", "r": 8, "target_modules": ["query", "value"], **more}
    return peft_adapter(folder, base, seed, peft.LoraConfig(**options))


def bottleneck(folder: Path, width: int = 384, layers: int = 6, reduction: int = 4) -> Path:
    """AdapterHub's `double_seq_bn` on MiniLM as its library would write it, from the sample's configuration, with random numbers."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    for name in ("adapter_config.json", "head_config.json"):
        said = json.loads((SAMPLE / name).read_text()) | {"hidden_size": width, "model_name": "all-MiniLM-L6-v2"}
        if name == "head_config.json":
            said["config"] |= {"num_labels": 2, "label2id": {"negative": 0, "positive": 1}}
        (folder / name).write_text(json.dumps(said))
    generator, small = torch.Generator().manual_seed(5), width // reduction
    shapes = {
        "down.0.weight": (small, width),
        "down.0.bias": (small,),
        "up.weight": (width, small),
        "up.bias": (width,),
    }
    blocks = {
        f"bert.encoder.layer.{layer}.{place}.adapters.task.adapter_{name}": shape
        for layer in range(layers) for place in ("attention.output", "output") for name, shape in shapes.items()
    }  # fmt: skip
    head = {"1.weight": (width, width), "1.bias": (width,), "4.weight": (2, width), "4.bias": (2,)}
    heads = {f"heads.task.{name}": shape for name, shape in head.items()}
    for file, parts in {"adapter.safetensors": blocks, "model_head.safetensors": heads}.items():
        save_file({key: torch.randn(shape, generator=generator) * 0.02 for key, shape in parts.items()}, folder / file)
    return folder


def methods(folder: Path, base: Path) -> dict[str, Path]:
    """One adapter of several methods each."""
    import peft

    return {
        "LoRA": lora(folder / "lora", base, 1),
        "LoRA on the upper three layers": lora(folder / "top", base, 2, layers_to_transform=[3, 4, 5]),
        "IA3": peft_adapter(folder / "ia3", base, 3, peft.IA3Config(
            task_type="SEQ_CLS", target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"])),
        "prefix of 16": peft_adapter(folder / "prefix", base, 4, peft.PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=16)),
        "bottleneck of 96, two a layer": bottleneck(folder / "bottleneck"),
    }  # fmt: skip


def given(adapter: Path, base: Path, fingerprint: str, files: BenchmarkFiles) -> Assignment:
    return Assignment(
        run="bench",
        snapshot=adapter,
        adapter_digest=f"sha256:{FolderSnapshot(adapter).manifest().adapter_digest}",
        base=base,
        fingerprint=fingerprint,
        benchmarks=(files,),
        plan=policy.plan([files.benchmark.digest], {}),
    )


# --- one round of each ------------------------------------------------------------------------------------------------
def script(code: str, base: Path, data: Path, adapters: Sequence[Path]) -> dict[str, list[float]]:
    line = [sys.executable, "-c", code, str(base), str(data), *map(str, adapters)]
    environment = os.environ | main_job.ONE_THREAD | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def at_once(work: Callable[[int], list[Cost]]) -> Cost:
    """The middle of what `PROCESSES` at the same time give."""
    return middle([cost for costs in POOL.map(work, range(PROCESSES)) for cost in costs])


def fresh(base: Path, data: Path, adapters: Sequence[Path]) -> Cost:
    def work(number: int) -> list[Cost]:
        before = time.perf_counter()
        (cpu,) = script(FRESH, base, data, [adapters[number]])["cpu"]
        return [Cost(time.perf_counter() - before, cpu)]

    return at_once(work)


def resident(code: str, base: Path, data: Path, adapters: Sequence[Path]) -> Cost:
    def work(number: int) -> list[Cost]:
        found = script(code, base, data, adapters)
        return [Cost(*pair) for pair in zip(found["wall"], found["cpu"], strict=True)]

    return at_once(work)


class Ours:
    """Two backbone processes with the benchmark made ready."""

    def __init__(self, folder: Path) -> None:
        self.processes = [BackboneProcess(folder / f"scratch{number}") for number in range(PROCESSES)]

    def judge(self, runs: Sequence[Assignment]) -> Cost:
        def work(number: int) -> list[Cost]:
            process, found = self.processes[number], []
            for run in runs:
                used, before = self._cpu(number), time.perf_counter()
                process.judge(run, lambda stage: None)
                found.append(Cost(time.perf_counter() - before, self._cpu(number) - used))
            return found[1:]

        return at_once(work)

    def _cpu(self, number: int) -> float:
        pid = self.processes[number].pid
        return main_job.cpu_of(pid) if pid else 0.0

    def resident_bytes(self) -> int:
        return sum(psutil.Process(process.pid).memory_full_info().uss for process in self.processes if process.pid)

    def stop(self) -> None:
        for process in self.processes:
            process.stop()


# --- the tables -------------------------------------------------------------------------------------------------------
def throughput(folder: Path, data: Path, counts: list[int], each: int, rounds: int) -> list[dict[str, Any]]:
    base = base_folder()
    fingerprint = bases.fingerprint(base)
    adapters = [lora(folder / f"lora{n}", base, n) for n in range(each + 1)]
    ours, found = Ours(folder), []
    try:
        for count in counts:
            files = main_job.rows_of(data, count, folder / f"rows{count}")
            runs = [given(adapter, base, fingerprint, files) for adapter in adapters]
            ours.judge(runs[:2])  # makes the benchmark ready
            sides: dict[str, list[Cost]] = {}
            for _ in range(rounds):
                sides.setdefault("fresh", []).append(fresh(base, files.data, adapters))
                sides.setdefault("resident", []).append(resident(RESIDENT, base, files.data, adapters))
                sides.setdefault("forward", []).append(resident(FORWARD, base, files.data, adapters))
                sides.setdefault("ours", []).append(ours.judge(runs))
            costs = {name: middle(measured) for name, measured in sides.items()}
            ratios = {n: {k: round(getattr(costs[n], k) / getattr(costs["ours"], k), 2) for k in ("wall", "cpu")}
                      for n in ("fresh", "resident", "forward")}  # fmt: skip
            found.append({"rows": count, "costs": {n: cost.to_json() for n, cost in costs.items()}, "ratios": ratios})
    finally:
        ours.stop()
    return found


def of_methods(folder: Path, data: Path, count: int, each: int) -> dict[str, Any]:
    base = base_folder()
    fingerprint = bases.fingerprint(base)
    files = main_job.rows_of(data, count, folder / f"methods{count}")
    ours, found = Ours(folder / "m"), {}
    try:
        forward = resident(FORWARD, base, files.data, [base] * (each + 1))
        for name, adapter in methods(folder / "methods", base).items():
            run = given(adapter, base, fingerprint, files)
            ours.judge([run] * 4)  # the third time the lower layers' states are there
            cost = ours.judge([run] * (each + 1))
            ratio = {key: round(getattr(forward, key) / getattr(cost, key), 2) for key in ("wall", "cpu")}
            found[name] = cost.to_json() | {"of_forward": ratio}
    finally:
        ours.stop()
    return {"rows": count, "forward": forward.to_json(), "methods": found}


def growth(folder: Path, data: Path) -> dict[str, Any]:
    """How judging goes on: with the number of adapters behind it, of base models in turn, of rows."""
    from safetensors.torch import load_file, save_file

    base = base_folder()
    fingerprint = bases.fingerprint(base)
    files = main_job.rows_of(data, 128, folder / "growth")
    adapters = [lora(folder / f"many{n}", base, n) for n in range(20)]
    ours, found = Ours(folder / "g"), {"adapters": [], "bases": [], "rows": []}
    try:
        runs = [given(adapter, base, fingerprint, files) for adapter in adapters]
        ours.judge(runs[:2])
        for upto in (1, 20, 50, 100, 200):
            done = found["adapters"][-1]["adapters"] if found["adapters"] else 0
            cost = ours.judge([runs[n % 20] for n in range(max(2, upto - done))])
            found["adapters"].append({"adapters": upto} | cost.to_json() | {"bytes": ours.resident_bytes()})
        copies = []
        for number in range(8):
            place = folder / f"base{number}"
            shutil.copytree(base, place)
            weights = place / "model.safetensors"
            tensors = load_file(weights)
            tensors["embeddings.LayerNorm.bias"] = tensors["embeddings.LayerNorm.bias"] + 1e-4 * number
            save_file({k: v.contiguous() for k, v in tensors.items()}, weights, metadata={"format": "pt"})
            copies.append((place, bases.fingerprint(place)))
        for upto in (1, 2, 4, 8):
            turn = [given(adapters[0], *copies[n % upto], files) for n in range(upto)]
            ours.judge(turn + turn[:1])
            cost = ours.judge(turn * max(2, 8 // upto) + turn[:1])
            found["bases"].append({"bases": upto} | cost.to_json() | {"bytes": ours.resident_bytes()})
        for count in (128, 512, 2048, 8192):
            some = main_job.rows_of(data, count, folder / f"growth{count}")
            run = given(adapters[0], base, fingerprint, some)
            ours.judge([run] * 2)
            found["rows"].append({"rows": count} | ours.judge([run] * 3).to_json())
    finally:
        ours.stop()
    return found


def say_all(found: dict[str, Any]) -> None:
    for row in found.get("throughput", []):
        main_job.say(
            f"\n{row['rows']} rows: adapters a minute ({PROCESSES} processes), CPU seconds an adapter, ours is so many times as fast"
        )
        for name, cost in row["costs"].items():
            ratio = row["ratios"].get(name)
            times = f"{ratio['wall']:6.2f} (CPU {ratio['cpu']:.2f})" if ratio else ""
            asked = ASKED.get(name, {}).get(row["rows"])
            main_job.say(
                f"  {name:10} {cost['a_minute']:8.1f} {cost['cpu']:8.2f} {times} {f'asked {asked}' if asked else ''}"
            )
    if "methods" in found:
        main_job.say(
            f"\nmethods over {found['methods']['rows']} rows; the plain forward takes {found['methods']['forward']['cpu']:.2f} CPU seconds"
        )
        for name, cost in found["methods"]["methods"].items():
            main_job.say(
                f"  {name:32} {cost['a_minute']:8.1f} a minute {cost['cpu']:6.2f} s CPU, {cost['of_forward']['cpu']:.2f}x the forward"
            )
    for what, rows in found.get("growth", {}).items():
        main_job.say(f"\ngrowth with {what}")
        for row in rows:
            main_job.say("  " + "  ".join(f"{key} {value}" for key, value in row.items()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "demo" / "reviews", help="folder with dev.tsv, train*.tsv")
    parser.add_argument("--rows", default="128,512")
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="throughput,methods")
    parser.add_argument("--growth", action="store_true")
    asked = parser.parse_args()
    folder, found = Path(tempfile.mkdtemp(prefix="bench-")), {}
    wanted = [*asked.only.split(","), *(["growth"] if asked.growth else [])]
    counts = [int(count) for count in asked.rows.split(",")]
    try:
        if "throughput" in wanted:
            found["throughput"] = throughput(folder, asked.data, counts, asked.each, asked.rounds)
        if "methods" in wanted:
            found["methods"] = of_methods(folder, asked.data, counts[-1], asked.each)
        if "growth" in wanted:
            found["growth"] = growth(folder, asked.data)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say_all(found)
    print(json.dumps(found))
    return 0 if all(met(row) for row in found.get("throughput", [])) else 1


def met(row: dict[str, Any]) -> bool:
    """Whether one number of rows reaches what was asked, by CPU time: other work of the machine does not count."""
    return all(
        row["ratios"][name]["cpu"] >= asked[row["rows"]] for name, asked in ASKED.items() if row["rows"] in asked
    )


if __name__ == "__main__":
    sys.exit(main())
