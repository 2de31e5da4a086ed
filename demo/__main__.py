"""`make demo`: the main job end to end. Five pushes, five verdicts, the good one pulled in a fresh process.

    python -m demo [--data DIR] [--train] [--keep DIR]

Exit 0 only if each push ended as it should.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from demo.base import BASE_NAME
from demo.hubs import ROOT, Hub, fill, running
from demo.pushes import PUSHES, Push, benchmark_yaml
from demo.train import train_lora

SHIPPED = ROOT / "demo" / "reviews"
ADAPTER = ROOT / "demo" / "sentiment-bert"
SENTENCES = (
    "a charming and often affecting journey",
    "a dull, lifeless mess",
    "the hotel was not bad at all",
)
PREDICT = """
import json, sys, hub
adapter = hub.pull("sentiment-bert")
print(json.dumps({"ref": adapter.ref, "path": str(adapter.path), "predictions": adapter.predict(json.loads(sys.argv[1]))}))
"""


class Story:
    """Tells on stderr what happens, with the time since the start."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    def say(self, text: str) -> None:
        """One line, stamped."""
        print(f"{time.monotonic() - self.start:6.1f} s  {text}", file=sys.stderr, flush=True)


def prepare(data: Path, work: Path, *, train: bool, story: Story) -> tuple[Path, Path]:
    """Lay the benchmark (definition beside its data) and the good adapter in `work`; -> (benchmark file, adapter folder)."""
    bench = work / "benchmark"
    shutil.copytree(data, bench)
    name = "demo/reviews" if data == SHIPPED else f"demo/{data.resolve().name.lower()}"
    (bench / "benchmark.yaml").write_text(benchmark_yaml(bench, name))
    if not train:
        return bench / "benchmark.yaml", ADAPTER
    story.say(f"training a LoRA adapter on {data} ...")
    train_lora(data, work / "trained")
    return bench / "benchmark.yaml", work / "trained"


def push(hub: Hub, item: Push, folder: Path, benchmark: str) -> dict[str, Any]:
    """Push one adapter and wait for the verdict; -> what the CLI printed as JSON, and its exit code."""
    words = [
        "push",
        str(folder),
        item.name,
        "--base",
        BASE_NAME,
        "--benchmark",
        benchmark,
        "--labels",
        ",".join(item.labels),
        "--wait",
        "--json",
    ]
    done = hub.command(*words)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = {}
    return {"exit": done.returncode, "stderr": done.stderr, "answer": answer}


def went_well(item: Push, outcome: dict[str, Any]) -> bool:
    """Did this push end as it has to: the status by exit code (0 published, 7 rejected), and the refusal in the right words?"""
    told = json.dumps(outcome["answer"], ensure_ascii=False) + outcome["stderr"]
    return outcome["exit"] == (0 if item.status == "published" else 7) and all(word in told for word in item.words)


def play(hub: Hub, data: Path, work: Path, *, train: bool, story: Story) -> bool:
    """The five pushes and the pull; True if all went as they should."""
    benchmark_file, adapter = prepare(data, work, train=train, story=story)
    fill(hub, benchmark_file)
    name = json.loads(benchmark_file.read_text())["name"]
    story.say(f"registered base model {BASE_NAME} and benchmark {name}")
    good = True
    for item in PUSHES:
        folder = work / item.name
        item.make(adapter, folder, data)
        outcome = push(hub, item, folder, name)
        well = went_well(item, outcome)
        good = good and well
        story.say(f"{'ok ' if well else 'BAD'} {item.name:<18} {item.status:<10} {item.story}")
        for line in reasons(outcome["answer"], None if well else outcome["stderr"]):
            print(f"            {line}", file=sys.stderr)
    return pull(hub, story) and good


def reasons(answer: dict[str, Any], stderr: str | None) -> list[str]:
    """The score and the reasons of a verdict, a line each; all of stderr where the push did not end as it should."""
    report = answer.get("report") or answer
    lines = [
        f"{score['benchmark']} {score['metric']} {score['value']:.3f} [{score['interval'][0]:.3f}, {score['interval'][1]:.3f}], "
        f"probe {score['baselines'].get('probe', float('nan')):.3f}"
        for component in report.get("components") or []
        for score in component.get("scores") or []
    ]
    lines += [
        f"{check['name']}: {check['message']}" for check in report.get("checks") or [] if check["status"] == "failed"
    ]
    lines += [f"{problem['where']}: {problem['message']}" for problem in (answer.get("problems") or [])[:3]]
    return lines + (stderr.splitlines()[-20:] if stderr else [])


def pull(hub: Hub, story: Story) -> bool:
    """`hub.pull("sentiment-bert")` and three predictions in a fresh process."""
    line = [sys.executable, "-c", PREDICT, json.dumps(SENTENCES)]
    done = subprocess.run(line, cwd=ROOT, env=hub.environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return False
    pulled = json.loads(done.stdout.splitlines()[-1])
    story.say(f"pulled {pulled['ref']} in a fresh process")
    for sentence, prediction in zip(SENTENCES, pulled["predictions"], strict=True):
        print(f"            {prediction['label']:<9}{prediction['score']:.2f}  {sentence}", file=sys.stderr)
    return [prediction["label"] for prediction in pulled["predictions"][:2]] == ["positive", "negative"]


def main() -> int:
    """The command line of `make demo`."""
    parser = argparse.ArgumentParser(
        prog="python -m demo", description="Five pushes, five verdicts, one pull, on a hub of its own."
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="a folder with train*.tsv and dev.tsv (columns sentence, label): train and judge on it",
    )
    parser.add_argument("--train", action="store_true", help="train the shipped data's adapter on the spot")
    parser.add_argument("--keep", type=Path, help="a folder to leave everything in (default: a temporary one)")
    chosen = parser.parse_args()
    data = (chosen.data or SHIPPED).resolve()
    if not (data / "dev.tsv").is_file():
        parser.error(
            f"{data} holds no dev.tsv; needed are train*.tsv and dev.tsv with the columns sentence and label, separated by a tab"
        )
    story = Story()
    with tempfile.TemporaryDirectory(prefix="hub-demo-") as temporary:
        work = chosen.keep or Path(temporary)
        story.say("starting a hub: PostgreSQL, Redis, web, relay, registry jobs, one validation worker")
        with running(work / "hub") as hub:
            story.say(f"ready at {hub.endpoint}")
            good = play(hub, data, work, train=chosen.train or chosen.data is not None, story=story)
            story.say(f"report: {hub.endpoint}/a/library/sentiment-bert   (keep a hub running with `make up`)")
        story.say("all five verdicts as they should be" if good else "NOT as it should be")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
