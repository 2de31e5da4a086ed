"""Runs to be judged: so many rows as a benchmark, an adapter on its base model."""

import csv
import hashlib
import itertools
from pathlib import Path

from hub.folder import FolderSnapshot
from hub.spec import benchmark, policy
from workers.assignment import Assignment, BenchmarkFiles


def rows_of(folder: Path, count: int, target: Path) -> BenchmarkFiles:
    """The first `count` rows of a folder's dev.tsv (then of its train files, then again) as a benchmark without a train split."""
    lines: list[str] = []
    for path in (folder / "dev.tsv", *sorted(folder.glob("train*.tsv"))):
        with path.open(newline="") as file:
            found = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            lines += [f"{row['sentence']}\t{row['label']}" for row in found]
    target.mkdir(parents=True)
    data = "\n".join(["sentence\tlabel", *itertools.islice(itertools.cycle(lines), count), ""]).encode()
    (target / "dev.tsv").write_bytes(data)
    definition = {
        "name": f"bench/rows{count}", "task": "text-classification", "data": "dev.tsv", "metric": "accuracy",
        "columns": {"text": "sentence", "label": "label"}, "labels": ["negative", "positive"], "max_length": 128,
    }  # fmt: skip
    parsed = benchmark.parse(definition, {"dev.tsv": hashlib.sha256(data).hexdigest()})
    return BenchmarkFiles(parsed, target / "dev.tsv", None)


def assignment(adapter: Path, base: Path, fingerprint: str, files: BenchmarkFiles) -> Assignment:
    """What a worker would be asked: an adapter, the base model in a folder with its fingerprint, one benchmark, the default gates."""
    return Assignment(
        run="bench",
        snapshot=adapter,
        adapter_digest=f"sha256:{FolderSnapshot(adapter).manifest().adapter_digest}",
        base=base,
        fingerprint=fingerprint,
        benchmarks=(files,),
        plan=policy.plan([files.benchmark.digest], {}),
    )
