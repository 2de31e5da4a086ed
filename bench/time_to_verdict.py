"""How long until it is known whether a GLUE adapter passes: a table on stderr, JSON on stdout.

    python bench/time_to_verdict.py [--only sst2-lora,...] [--rounds 1]

Twelve adapters, LoRA and Houlsby on six tasks, trained by `make real`, which keeps them (tests/real/glue_kept.py); every row of the dev files.

    ours   a warm worker's process: from the start of the run until it says which way the gates are decided (workers/early.py), or
           until the record is whole where it does not say so before
    fresh  what a notebook does: a process that imports, loads, attaches and answers every row, 32 at a time in the order of the file,
           padded to the longest, by transformers with peft or with AdapterHub's library

One process of one thread each, in turn; CPU seconds stand beside, for machines that have other work. What is told early has to be what
the whole record says, and both sides have to answer alike.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import psutil

from bench.judging.measuring import ONE_THREAD, Cost, cpu_of, middle, say
from demo.base import base_folder
from tests.engine import makers
from tests.real import glue_kept
from tests.real.glue import TASKS
from tests.real.glue_kept import Kept
from workers.assignment import Assignment, BenchmarkFiles
from workers.process import BackboneProcess

ASKED = 5.0
"""Of the median ratio."""
TOLD = re.compile(r" (passes|fails) by (\d+) of \d+ rows")
FRESH = """
import csv, json, sys, torch
torch.set_num_threads(1)
library, base, adapter, data, text, pair, classes, longest = sys.argv[1:]
from transformers import AutoTokenizer
if library == "peft":
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=int(classes))
    model = PeftModel.from_pretrained(model, adapter)
else:
    from adapters import AutoAdapterModel
    model = AutoAdapterModel.from_pretrained(base)
    model.load_adapter(adapter, set_active=True, use_safetensors=True)
model.eval()
tokenizer = AutoTokenizer.from_pretrained(base)
rows = list(csv.DictReader(open(data, newline=""), delimiter="\\t", quoting=csv.QUOTE_NONE))
found = []
with torch.no_grad():
    for at in range(0, len(rows), 32):
        batch = rows[at : at + 32]
        texts = [[row[name] for row in batch] for name in (text, pair) if name]
        given = tokenizer(*texts, padding=True, truncation=True, max_length=int(longest), return_tensors="pt")
        found += model(**given).logits.tolist()
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Verdict:
    """What a worker's process said of an adapter: the time until it was known and until the record was whole."""

    known: Cost
    whole: Cost
    early: tuple[bool, int] | None
    """(whether it passes, after how many rows), where that was told before the end."""
    report: dict[str, Any]


def cpu_so_far(pid: int) -> float:
    """CPU seconds of a process, of the children that it has waited for and of those that live."""
    return cpu_of(pid) + sum(cpu_of(child.pid) for child in psutil.Process(pid).children(recursive=True))


def ours(process: BackboneProcess, given: Assignment) -> Verdict:
    """Judge an adapter and listen for the moment at which its gates are decided."""
    pid, told = process.pid or 0, list[tuple[Cost, bool, int]]()
    used, before = cpu_so_far(pid), time.perf_counter()

    def now() -> Cost:
        return Cost(time.perf_counter() - before, cpu_so_far(pid) - used)

    def hear(stage: str) -> None:
        if found := TOLD.search(stage):
            told.append((now(), found[1] == "passes", int(found[2])))

    report = process.judge(given, hear)
    whole = now()
    if not told:
        return Verdict(whole, whole, None, report)
    (known, passes, rows), *_ = told
    return Verdict(known, whole, (passes, rows), report)


def fresh(kept: Kept, data: Path) -> tuple[Cost, Any]:
    """What a notebook takes for it, and what it answers."""
    task, columns = kept.task, kept.task.definition["columns"]
    line = [kept.python, "-c", FRESH, kept.library, str(base_folder()), str(kept.adapter)]
    line += [str(data / task.name / task.definition["data"]), columns["text"], columns.get("pair", "")]
    line += [str(len(task.labels) or 1), str(task.definition["max_length"])]
    environment = os.environ | ONE_THREAD | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    used, before = cpu_of(os.getpid()), time.perf_counter()
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    spent = Cost(time.perf_counter() - before, cpu_of(os.getpid()) - used)
    return spent, task.said(json.loads(done.stdout.splitlines()[-1]))


def measure(process: BackboneProcess, kept: Kept, data: Path, files: BenchmarkFiles, rounds: int) -> dict[str, Any]:
    """Both sides of one adapter, in turn."""
    given = makers.assignment(kept.adapter, base_folder(), files)
    verdicts, fresher = list[Verdict](), list[Cost]()
    for _ in range(rounds):
        verdicts.append(ours(process, given))
        spent, said = fresh(kept, data)
        fresher.append(spent)
    last = verdicts[-1]
    (score,) = last.report["components"][0]["scores"]
    (answers,) = (item["labels"] for item in last.report["predictions"].values())
    passed = all(gate["passed"] for gate in score["gates"])
    known, theirs = middle([verdict.known for verdict in verdicts]), middle(fresher)
    return {
        "adapter": kept.name,
        "rows": score["n"],
        "told_by": last.early[1] if last.early else None,
        "passed": passed,
        "agrees": last.early is None or last.early[0] == passed,
        "same_answers": all(abs(one - other) < 1e-3 for one, other in zip(answers, said, strict=True)),
        "known": known.to_json(),
        "whole": middle([verdict.whole for verdict in verdicts]).to_json(),
        "fresh": theirs.to_json(),
        "ratio": theirs.of(known),
    }


def tell(found: list[dict[str, Any]]) -> None:
    """The table, in Markdown."""
    say("| adapter | rows | told by | passes | until known | until whole | fresh process | ratio | of CPU |")
    say("|---|---|---|---|---|---|---|---|---|")
    for row in found:
        cells = [row["adapter"], row["rows"], row["told_by"] or "the whole", "yes" if row["passed"] else "no"]
        cells += [row[side]["wall"] for side in ("known", "whole", "fresh")]
        say("| " + " | ".join(map(str, [*cells, row["ratio"]["wall"], row["ratio"]["cpu"]])) + " |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names such as sst2-lora, with commas between them")
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    data = glue_kept.data_folder()
    adapters = [kept for kept in glue_kept.every() if kept.folder.joinpath("answers.json").is_file()]
    adapters = [kept for kept in adapters if not asked.only or kept.name in asked.only.split(",")]
    if not adapters or glue_kept.missing(data):
        say("no adapters trained on GLUE here: `make real` trains them")
        return 0
    folder, found = Path(tempfile.mkdtemp(prefix="bench-")), list[dict[str, Any]]()
    process = BackboneProcess(glue_kept.work() / "scratch")
    try:
        for task in dict.fromkeys(kept.task.name for kept in adapters):
            files = makers.laid(TASKS[task].lay(data, folder / task))
            of_task = [kept for kept in adapters if kept.task.name == task]
            process.judge(
                makers.assignment(of_task[0].adapter, base_folder(), files), lambda stage: None
            )  # makes it ready
            for kept in of_task:
                found.append(measure(process, kept, data, files, asked.rounds))
                tell(found[-1:])
    finally:
        process.stop()
        shutil.rmtree(folder, ignore_errors=True)
    ratio = statistics.median(row["ratio"]["cpu"] for row in found)
    tell(found)
    say(f"\nmedian ratio of CPU time {ratio:.2f}, asked {ASKED}")
    print(json.dumps({"adapters": found, "median": ratio}))
    return 0 if ratio >= ASKED and all(row["agrees"] and row["same_answers"] for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
