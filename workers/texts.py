"""Benchmarks whose rows are texts, or pairs of them, that are read as a whole: made ready alike, whatever is said of them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from hub.runtime import predict
from hub.runtime.base import Backbone
from hub.runtime.heads import ClassificationHead
from hub.runtime.predict import Pooled
from hub.spec.benchmark import Benchmark
from hub.spec.rows import Text
from workers import features, probe
from workers.evaluation import Made, finite
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

    def fitted(split: Sequence[Text]) -> Probe | None:
        _, known = features.of_texts(backbone, benchmark, split)
        seen, scored = (probe.named(states, backbone.is_decoder) for states in (known, base))
        return fit(seen, truth(split), scored)

    found = probe.of_split(train, tell, fitted)
    return Made(encoded, features.tensors_of(base) | {"truth": torch.from_numpy(truth(rows))}, found)


def logits(head: ClassificationHead, seen: Pooled) -> torch.Tensor:
    """Logits [rows, labels] of a head over texts. Raises FloatingPointError where some are not finite."""
    return finite(predict.logits(head, seen), "rows")
