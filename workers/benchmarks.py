"""What the base model alone says about a benchmark: worked out once, kept on disk and in memory.

Everything here depends on the base model, its tokenizer and the benchmark, and on no adapter: token ids,
batches, truth, the features that heads read, and the probe. A forked child writes it to `scratch` and the
backbone process reads it back, so that the process itself never parses a benchmark's data.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hub.runtime import predict, weights
from hub.runtime.base import Backbone
from hub.runtime.predict import Batch, Encoded, States
from hub.spec import benchmark as benchmarks
from hub.spec.benchmark import Benchmark, Row
from workers import features, probe
from workers.assignment import BenchmarkFiles
from workers.errors import Fault
from workers.statistics import Labels

EDITION = 4
"""Raised when what is cached, or how it is computed, changes."""
FIRST_ROWS = 8


@dataclass(frozen=True)
class Prepared:
    """A benchmark made ready for one base model."""

    benchmark: Benchmark
    batches: tuple[Batch, ...]
    first_rows: Batch
    """The benchmark's first rows in one batch, for the check that an adapter does anything."""
    truth: Labels
    base: States
    """Features of the base model without an adapter, by row."""
    probe: Labels | None
    probe_facts: dict[str, Any]


def key(backbone: Backbone, benchmark: Benchmark) -> str:
    """What the cached values depend on, as one hex digest."""
    base = backbone.base
    same = [base.fingerprint, base.architecture, base.tokenizer_digest, benchmark.digest, limit(backbone, benchmark)]
    versions = [torch.__version__, *map(version, ("transformers", "tokenizers", "scikit-learn", "numpy"))]
    return hashlib.sha256(json.dumps([EDITION, *same, *versions]).encode()).hexdigest()


def limit(backbone: Backbone, benchmark: Benchmark) -> int:
    """Tokens per row: what the benchmark says, or what the base model can take if that is less."""
    return min(benchmark.max_length, backbone.max_length)


def cached(backbone: Backbone, benchmark: Benchmark, scratch: Path) -> Prepared | None:
    """What an earlier run has written, if it has."""
    path = _path(backbone, benchmark, scratch)
    if not path.exists():
        return None
    stored = weights.mapped(path)
    facts = json.loads(bytes(stored["facts"].tolist()))
    rows = _unpack(stored["ids"], stored["types"], stored["lengths"])
    base = States(stored["first"], stored.get("pooler"), stored["mean"])
    probed = stored["probe"].numpy() if "probe" in stored else None
    return _prepared(backbone, benchmark, rows, stored["truth"].numpy(), base, probed, facts)


def prepare(backbone: Backbone, files: BenchmarkFiles, scratch: Path, tell: Callable[[str], None]) -> None:
    """Work out what `cached` gives, and write it. `tell` hears the stage."""
    tell("benchmark")
    rows = _rows(files.benchmark, files.data, files.benchmark.data)
    encoded, truth = _encoded(backbone, files.benchmark, rows), _truth(rows)
    base = _states(backbone, encoded)
    found = None
    if files.train is not None:
        tell("probe")
        train = _rows(files.benchmark, files.train, files.benchmark.train or "train")
        known = _states(backbone, _encoded(backbone, files.benchmark, train))
        asked = files.benchmark
        found = probe.fit(known, _truth(train), base, asked.metric, len(asked.labels))
    facts = {} if found is None else found.facts
    tensors = _pack(encoded) | _tensors(base) | {"truth": torch.from_numpy(truth)}
    tensors["facts"] = torch.tensor(list(json.dumps(facts).encode()), dtype=torch.uint8)
    if found is not None:
        tensors["probe"] = torch.from_numpy(found.predictions)
    _write(_path(backbone, files.benchmark, scratch), tensors)


def in_memory(backbone: Backbone, texts: Sequence[str]) -> Batch:
    """The first rows where there is no benchmark: any sentences do to see whether an adapter does anything."""
    encoded = predict.tokenise(backbone.tokenizer, texts, None, backbone.max_length)
    return predict.one_batch(encoded, _pad(backbone))


def _rows(benchmark: Benchmark, path: Path, name: str) -> list[Row]:
    try:
        rows = benchmarks.read_rows(path.read_bytes(), benchmark, name)
    except ValueError as error:
        raise Fault(f"benchmark {benchmark.name}: {error}") from error
    return rows


def _encoded(backbone: Backbone, benchmark: Benchmark, rows: Sequence[Row]) -> list[Encoded]:
    pairs = [row.pair or "" for row in rows] if any(row.pair is not None for row in rows) else None
    return predict.tokenise(backbone.tokenizer, [row.text for row in rows], pairs, limit(backbone, benchmark))


def _truth(rows: Sequence[Row]) -> Labels:
    return np.array([row.label for row in rows], dtype=np.int64)


def _states(backbone: Backbone, encoded: Sequence[Encoded]) -> States:
    return features.states(backbone, predict.batches(encoded, _pad(backbone)))


def _prepared(
    backbone: Backbone,
    benchmark: Benchmark,
    rows: list[Encoded],
    truth: Labels,
    base: States,
    probed: Labels | None,
    facts: dict[str, Any],
) -> Prepared:
    pad = _pad(backbone)
    first = predict.one_batch(rows[:FIRST_ROWS], pad)
    return Prepared(benchmark, tuple(predict.batches(rows, pad)), first, truth, base, probed, facts)


def _pad(backbone: Backbone) -> int:
    return int(backbone.tokenizer.pad_token_id or 0)


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


def _tensors(base: States) -> dict[str, torch.Tensor]:
    found = {"first": base.first, "mean": base.mean}
    return found if base.pooler is None else found | {"pooler": base.pooler}


def _path(backbone: Backbone, benchmark: Benchmark, scratch: Path) -> Path:
    return scratch / "prepared" / f"{key(backbone, benchmark)}.safetensors"


def _write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    from safetensors.torch import save

    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(save(tensors))
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
