"""Benchmarks whose rows are texts, or pairs of them, that are read as a whole: made ready alike, whatever is said of them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from hub.runtime.base import Backbone
from hub.spec.benchmark import Benchmark
from hub.spec.rows import Text
from workers import features, probe
from workers.evaluation import Made
from workers.probe import Named, Probe

Truth = NDArray[Any]


def prepare(
    backbone: Backbone,
    benchmark: Benchmark,
    rows: Sequence[Text],
    train: Sequence[Text] | None,
    tell: Callable[[str], None],
    *,
    truth: Callable[[Sequence[Text]], Truth],
    fit: Callable[[Named, Truth, Named], Probe | None],
) -> Made:
    """See `evaluation.Evaluator`. `truth` gives what is right for rows [rows], `fit(features, truth, scored)` the probe."""
    encoded, base = features.of_texts(backbone, benchmark, rows)
    found = None
    if train is not None:
        tell("probe")
        _, known = features.of_texts(backbone, benchmark, train)
        seen, scored = (probe.named(states, backbone.is_decoder) for states in (known, base))
        found = fit(seen, truth(train), scored)
    return Made(encoded, features.tensors_of(base) | {"truth": torch.from_numpy(truth(rows))}, found)
