"""The states that a benchmark's rows have where an adapter on upper layers begins: the base model's own, so kept.

Of a base model with L layers an adapter that leaves the lowest k alone then costs (L - k) / L of a pass. A file for each k that runs
have asked for, written by a forked child that holds no upload, mapped read-only by all that read it. The rows lie in the order of
the benchmark's batches, and what is computed on from them has the bits that one whole pass has (tests/engine/test_trunk.py).
"""

from pathlib import Path

import torch

from hub.runtime import encoder, predict, weights
from hub.runtime.base import Backbone
from workers import benchmarks
from workers import scratch as scratch_files
from workers.evaluation import Prepared

_STATES = "states"


def asked(backbone: Backbone) -> int:
    """The layer that an adapter, attached now, would like to begin at; 0 where it would gain nothing."""
    layers = encoder.untouched(backbone)
    return min(layers, int(backbone.model.config.num_hidden_layers) - 1) if layers else 0


def name_of(backbone: Backbone, prepared: Prepared, layer: int) -> str:
    """What the file of the states that enter `layer` is called."""
    return f"{benchmarks.key(backbone, prepared.benchmark)}.layer{layer}.safetensors"


def write(backbone: Backbone, prepared: Prepared, layer: int, made: Path) -> None:
    """Compute the states that enter `layer` and write them to the folder `made`. Nothing may be attached."""
    states = torch.cat([state for cut in prepared.staged for state in predict.climb(backbone, cut, layer)], 1)
    scratch_files.write(made / name_of(backbone, prepared, layer), {_STATES: states[0].clone()})


def read(backbone: Backbone, prepared: Prepared, layer: int, scratch: Path) -> torch.Tensor | None:
    """The states [1, tokens, hidden] that enter `layer`, mapped; None where they are not kept."""
    place = scratch_files.find(benchmarks.folder(scratch), name_of(backbone, prepared, layer))
    if place is None:
        return None
    scratch_files.used(place)
    return weights.mapped(place)[_STATES][None]
