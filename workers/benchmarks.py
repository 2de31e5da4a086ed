"""What the base model alone says about a benchmark: worked out once, kept on disk and in memory.

Everything here depends on the base model, its tokenizer and the benchmark, and on no adapter: token ids,
batches, truth, the features that heads read, and the probe, as the evaluator of the ML task makes them. A forked
child writes it to a folder of its own and the backbone process reads it back, so that the process itself never parses a
benchmark's data.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hub.runtime import predict, weights
from hub.runtime.base import Backbone
from hub.runtime.predict import Batch, Encoded
from hub.spec import rows as examples
from hub.spec import tasks
from hub.spec.benchmark import Benchmark
from workers import evaluators, features, statistics
from workers import scratch as scratch_files
from workers.assignment import BenchmarkFiles
from workers.errors import Fault
from workers.evaluation import Prepared
from workers.probe import Probe

EDITION = 9
"""Raised when what is cached, or how it is computed, changes."""
FIRST_ROWS = 8
FIRST_STAGE, LARGEST_STAGE = 64, 256
"""Rows that are answered before the rest: what cannot answer them is not asked for more."""
_ROWS = ("ids", "types", "lengths")
_OWN = "of/"
"""Before the names of an evaluator's own tensors."""


def key(backbone: Backbone, benchmark: Benchmark) -> str:
    """What the cached values depend on, as one hex digest."""
    base = backbone.base
    same = [
        base.fingerprint,
        base.architecture,
        base.tokenizer_digest,
        benchmark.digest,
        features.limit(backbone, benchmark),
    ]
    versions = [torch.__version__, *map(version, ("transformers", "tokenizers", "scikit-learn", "numpy"))]
    return hashlib.sha256(json.dumps([EDITION, *same, *versions]).encode()).hexdigest()


def cached(backbone: Backbone, benchmark: Benchmark, scratch: Path) -> Prepared | None:
    """What an earlier run has written, if it has."""
    path = scratch_files.find(folder(scratch), name_of(backbone, benchmark))
    if path is None:
        return None
    scratch_files.used(path)
    stored = weights.mapped(path)
    facts = json.loads(stored["facts"].numpy().tobytes())
    encoded = _unpack(*(stored[name] for name in _ROWS))
    tensors = {name.removeprefix(_OWN): tensor for name, tensor in stored.items() if name.startswith(_OWN)}
    probed = Probe(stored["probe"].numpy(), facts["probe"]) if "probe" in stored else None
    fill = features.pad(backbone)
    first = predict.one_batch(encoded[:FIRST_ROWS], fill)
    stages = [predict.batches(encoded, fill, chosen) for chosen in _samples(benchmark, len(encoded))]
    batches = tuple(batch for stage in stages for batch in stage)
    ends = tuple(map(len, stages))
    return Prepared(benchmark, batches, first, tensors, probed, facts["texts"], ends)


def prepare(backbone: Backbone, files: BenchmarkFiles, place: Path, tell: Callable[[str], None]) -> None:
    """Work out what `cached` gives, and write it to the folder `place` (`name_of`). `tell` hears the stage."""
    tell("benchmark")
    benchmark = files.benchmark
    rows = _rows(benchmark, files.data, benchmark.data)
    train = None if files.train is None else _rows(benchmark, files.train, benchmark.train or "train")
    made = evaluators.of(benchmark.task).prepare(backbone, benchmark, rows, train, tell)
    facts = {"probe": made.probe.facts if made.probe else {}, "texts": made.texts}
    tensors = _pack(made.encoded) | {f"{_OWN}{name}": tensor for name, tensor in made.tensors.items()}
    tensors["facts"] = torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8)
    if made.probe is not None:
        tensors["probe"] = torch.from_numpy(made.probe.predictions)
    scratch_files.write(place / name_of(backbone, benchmark), tensors)


def _samples(benchmark: Benchmark, count: int) -> list[list[int]]:
    """The rows in stages, each a sample of all: 64, then as many as were before, 256 at most (`workers.early`).

    Drawn by the benchmark's digest, so they are part of the protocol. One stage where answers are not read row by row.
    """
    if not tasks.get(benchmark.task).read_whole:
        return [list(range(count))]
    order = np.random.Generator(np.random.PCG64(statistics.seed_of(benchmark.digest))).permutation(count).tolist()
    ends = [0, FIRST_STAGE]
    while ends[-1] < count:
        ends.append(ends[-1] + min(ends[-1], LARGEST_STAGE))
    return [sorted(order[start:end]) for start, end in itertools.pairwise(ends)]


def folder(scratch: Path) -> Path:
    """Where what is ready lies: no child writes to it."""
    return scratch / "prepared"


def in_memory(backbone: Backbone, texts: Sequence[str]) -> Batch:
    """The first rows where there is no benchmark: any sentences do to see whether an adapter does anything."""
    encoded = predict.tokenise(backbone.tokenizer, texts, None, backbone.max_length)
    return predict.one_batch(encoded, features.pad(backbone))


def _rows(benchmark: Benchmark, path: Path, name: str) -> list[Any]:
    try:
        found = examples.read(path.read_bytes(), benchmark, name)
    except ValueError as error:
        raise Fault(f"benchmark {benchmark.name}: {error}") from error
    return found


def _pack(rows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    return {
        "ids": torch.tensor([i for row in rows for i in row.ids], dtype=torch.int32),
        "types": torch.tensor([t for row in rows for t in row.types], dtype=torch.int32),
        "lengths": torch.tensor([len(row.ids) for row in rows], dtype=torch.int32),
    }


def _unpack(ids: torch.Tensor, types: torch.Tensor, lengths: torch.Tensor) -> list[Encoded]:
    flat, kinds, at, rows = ids.tolist(), types.tolist(), 0, []
    for length in lengths.tolist():
        rows.append(Encoded(tuple(flat[at : at + length]), tuple(kinds[at : at + length])))
        at += length
    return rows


def name_of(backbone: Backbone, benchmark: Benchmark) -> str:
    """What the file is called that `prepare` writes."""
    return f"{key(backbone, benchmark)}.safetensors"
