"""`make demo`: the main job end to end. Five pushes, five verdicts, the good one pulled in a fresh process.

    python -m demo [--data DIR] [--train] [--keep DIR]

Exit 0 only if each push ended as it should.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from demo.base import BASE_NAME
from demo.hubs import ROOT, Hub, fill, running
from demo.pushes import PUSHES, Outcome, Push, push
from demo.shipped import ADAPTER, REVIEWS, lay_benchmark
from demo.train import train_lora

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

    def detail(self, text: str) -> None:
        """A line below it, wrapped to the terminal."""
        width = shutil.get_terminal_size((110, 24)).columns
        indent = " " * 12
        print(textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent + "  "), file=sys.stderr)


def play(hub: Hub, data: Path, work: Path, *, train: bool, story: Story) -> bool:
    """The five pushes and the pull; True if all went as they should."""
    benchmark = lay_benchmark(work / "benchmark", data)
    adapter = ADAPTER
    if train:
        story.say(f"training a LoRA adapter on {data} ...")
        train_lora(data, adapter := work / "trained")
    # A process of its own makes the adapters while the hub is busy with those before.
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as maker:
        made = {item: maker.submit(item.make, adapter, work / item.name, data) for item in PUSHES}
        fill(hub, benchmark.file)
        story.say(f"registered base model {BASE_NAME} and benchmark {benchmark.name}")
        good = True
        for item in PUSHES:
            made[item].result()
            outcome = push(hub, item, work / item.name, BASE_NAME, benchmark.name)
            good &= told(item, outcome, story)
    return pull(hub, story) and good


def told(item: Push, outcome: Outcome, story: Story) -> bool:
    """Tell how a push ended; True if that is as it should be."""
    well = outcome.is_as_it_should_be(item)
    story.say(f"{'ok ' if well else 'BAD'} {item.name:<18} {item.status:<10} {item.story}")
    for line in outcome.lines() + ([] if well else outcome.stderr.splitlines()[-20:]):
        story.detail(line)
    return well


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
        story.detail(f"{prediction['label']:<9}{prediction['score']:.2f}  {sentence}")
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
    data = (chosen.data or REVIEWS).resolve()
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
