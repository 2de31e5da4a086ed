"""Text classification, single sentences and pairs: predictions, baselines, gains, gates."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from hub.runtime import predict
from hub.runtime.base import Backbone
from hub.runtime.heads import ClassificationHead
from hub.runtime.predict import Pooled
from hub.spec import policy
from workers import labels, statistics
from workers.benchmarks import Prepared
from workers.statistics import Labels

DIGITS = 6
NO_TRAIN_SPLIT = (
    "the benchmark has no train split, or one too small to fit a probe on: gain is over the stronger of the majority and "
    "the same head without the adapter, and says nothing about a linear head on the plain base model"
)


@dataclass(frozen=True)
class Previous:
    """What the version behind `latest` answered for the same rows."""

    adapter_digest: str
    predictions: list[int]


@dataclass(frozen=True)
class Outcome:
    """What one component did on one benchmark."""

    score: dict[str, Any]
    predictions: list[int]
    failures: tuple[tuple[str, str], ...] = ()
    """(message, hint) of what is wrong beyond a gate."""
    warnings: tuple[str, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)


def score(
    backbone: Backbone,
    head: ClassificationHead,
    declared: tuple[str, ...] | None,
    prepared: Prepared,
    gates: dict[str, Any],
    previous: Previous | None,
) -> Outcome:
    """Run the adapted backbone over a benchmark and measure it. The adapter is attached and enabled.

    Raises `labels.Mismatch` where the adapter's labels are not the benchmark's, FloatingPointError where the
    logits are not finite.
    """
    mapping = labels.match(declared, head.num_labels, prepared.benchmark.labels)
    place = np.array(mapping.to_benchmark, dtype=np.int64)
    predicted = place[_answers(head, predict.first_tokens(backbone, prepared.batches))]
    off = _answers(head, prepared.base)
    baselines = _baselines(prepared, place[off])
    measured = _measured(prepared, predicted, baselines, previous)
    measured["gates"] = policy.decide(measured, gates)
    return Outcome(
        measured,
        [int(label) for label in predicted],
        _failures(prepared, predicted),
        _warnings(prepared, predicted, mapping),
        {
            "rows": len(predicted),
            "labels": mapping.source,
            "changed_answers": int((predicted != place[off]).sum()),
            **_probe_facts(prepared),
        },
    )


def _answers(head: ClassificationHead, states: Pooled) -> Labels:
    logits = predict.logits(head, states)
    if not bool(torch.isfinite(logits).all()):
        raise FloatingPointError("the head's logits are NaN or infinite for some rows")
    return np.asarray(logits.argmax(-1).numpy(), dtype=np.int64)


def _baselines(prepared: Prepared, adapter_off: Labels) -> dict[str, Labels]:
    """Predictions to compare with; `majority` always answers the most frequent class of the scored rows."""
    frequent = np.bincount(prepared.truth, minlength=len(prepared.benchmark.labels)).argmax()
    found = {"majority": np.full_like(prepared.truth, frequent), "adapter_off": adapter_off}
    return found if prepared.probe is None else found | {"probe": prepared.probe}


def _measured(
    prepared: Prepared, predicted: Labels, baselines: dict[str, Labels], previous: Previous | None
) -> dict[str, Any]:
    benchmark, truth = prepared.benchmark, prepared.truth
    name, classes, seed = benchmark.metric, len(benchmark.labels), statistics.seed_of(benchmark.digest)
    values = {key: statistics.measure(name, truth, other, classes) for key, other in baselines.items()}
    # The strongest of what needs no adapter, the probe first among equals: a probe that a publisher's own train split
    # has spoilt, or a head that does all the work by itself, must not make an adapter look useful.
    over = max((name for name in _STRENGTH if name in baselines), key=lambda name: values[name])
    value = statistics.estimate(name, truth, predicted, classes, seed)
    gain = statistics.difference(name, truth, predicted, baselines[over], classes, seed)
    measured = {
        "benchmark": benchmark.name,
        "digest": f"sha256:{benchmark.digest}",
        "metric": name,
        "direction": benchmark.direction,
        "value": _round(value.value),
        "interval": [_round(value.low), _round(value.high)],
        "n": len(truth),
        "baselines": {key: _round(values[key]) if key in values else None for key in _BASELINES},
        "gain": _difference(gain) | {"over": over},
        "change": None,
        "claimed": None,
        "runtime": "reference",
        "evidence": "ran",
    }
    if previous is not None and len(previous.predictions) == len(truth):
        former = np.array(previous.predictions, dtype=np.int64)
        change = statistics.difference(name, truth, predicted, former, classes, seed)
        measured["change"] = _difference(change) | {"against": previous.adapter_digest}
    return measured


_BASELINES = ("majority", "probe", "adapter_off")
_STRENGTH = ("probe", "majority", "adapter_off")


def _difference(estimate: statistics.Estimate) -> dict[str, Any]:
    return {
        "value": _round(estimate.value),
        "interval": [_round(estimate.low), _round(estimate.high)],
        "method": statistics.METHOD,
    }


def _failures(prepared: Prepared, predicted: Labels) -> tuple[tuple[str, str], ...]:
    names = prepared.benchmark.labels
    seed = statistics.seed_of(prepared.benchmark.digest)
    swap = labels.swapped(prepared.truth, predicted, len(names), seed)
    if swap is None:
        return ()
    moved = ", ".join(f"{names[i]} means {names[j]}" for i, j in enumerate(swap.renamed) if i != j)
    message = (
        f"labels look swapped: accuracy is {swap.as_declared:.3f} as declared and {swap.if_renamed:.3f} "
        f"if {moved} (chosen on one half of the rows, measured on the other; at least {swap.low:.3f} better)"
    )
    return ((message, 'give the order that the head was trained with: "labels" in hub.json, or --labels'),)


def _warnings(prepared: Prepared, predicted: Labels, mapping: labels.LabelMap) -> tuple[str, ...]:
    found = []
    if mapping.source == "assumed":
        order = ", ".join(prepared.benchmark.labels)
        found.append(f"the adapter names no labels; the benchmark's order is assumed ({order})")
    if len(np.unique(predicted)) == 1 < len(np.unique(prepared.truth)):
        found.append(f"every row is answered with {prepared.benchmark.labels[int(predicted[0])]!r}")
    if prepared.probe is None:
        found.append(NO_TRAIN_SPLIT)
    return tuple(found)


def _probe_facts(prepared: Prepared) -> dict[str, Any]:
    return {} if prepared.probe is None else {"probe": prepared.probe_facts}


def _round(value: float) -> float:
    return round(float(value), DIGITS)
