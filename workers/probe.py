"""What the task gets without any adapter: a linear head on the frozen base model's features.

Fair to the base means strong for it: which features (first token, pooler, mean over tokens) and how much
regularisation is chosen by cross-validation on the train split, never by looking at the rows that are scored.
On SST-2 (10 000 training rows, all-MiniLM-L6-v2) the mean over tokens reaches 0.80 on the dev rows, the
first token 0.75, the pooler 0.74; a probe held to the first token would flatter every adapter.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from hub.runtime.predict import States
from hub.spec import tasks
from workers.statistics import Labels, Values, rounded

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
PENALTIES = (1e4, 1e3, 1e2, 10.0, 1.0)
FOLDS = 3
ITERATIONS = 300
TOLERANCE = 1e-3

Features = NDArray[np.float64]
Named = Mapping[str, torch.Tensor]
"""Features [rows, width] by name."""
Measure = Callable[[NDArray[Any], NDArray[Any]], float]
"""(truth, answers) -> the benchmark's metric."""
Row = TypeVar("Row")


@dataclass(frozen=True)
class Probe:
    """Predictions of the fitted head for the rows that are scored, and how it was chosen."""

    predictions: NDArray[Any]
    facts: dict[str, Any]


def fit(train: Named, truth: Labels, scored: Named, measure: Measure, rare: bool = False) -> Probe | None:
    """Fit the probe on the train split and predict the scored rows; None where the split cannot carry one.

    `train` and `scored` hold features [rows, width] by name. The probe that is best by `measure(truth, answers)`, which is the
    benchmark's metric, is the one to beat. `rare`: classes with fewer rows than FOLDS are borne.
    """
    from sklearn.linear_model import LogisticRegression

    counts = np.bincount(truth)
    if (counts >= FOLDS).sum() < 2 or (counts[counts > 0].min() < FOLDS and not rare):
        return None
    chosen = max(_candidates(train, truth, measure), key=lambda found: found[0])
    value, name, strength = chosen
    known, asked = _standard(_features(train)[name], _features(scored)[name])
    model = LogisticRegression(C=strength, max_iter=ITERATIONS, tol=TOLERANCE).fit(known, truth)
    facts = {"features": name, "C": strength, "cross_validated": rounded(value), "train_rows": len(truth)}
    return Probe(np.asarray(model.predict(asked), dtype=np.int64), facts)


def fit_numbers(train: Named, truth: Values, scored: Named, measure: Measure) -> Probe | None:
    """Fit a ridge regression on the train split and predict the numbers of the scored rows; None for a split too small.

    Features and penalty are chosen as for classes: by `measure(truth, answers)`, cross-validated.
    """
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import KFold

    if len(truth) < 2 * FOLDS or len(np.unique(truth)) < 2:
        return None
    cuts, best = list(KFold(FOLDS, shuffle=True, random_state=0).split(truth)), None
    for name, found in _features(train).items():
        for penalty in PENALTIES:
            answers = np.empty_like(truth)
            for known, asked in cuts:
                seen, held = _standard(found[known], found[asked])
                answers[asked] = Ridge(alpha=penalty).fit(seen, truth[known]).predict(held)
            value = measure(truth, answers)
            if best is None or value > best[0]:
                best = value, name, penalty
    assert best is not None, "there are always features"
    value, name, penalty = best
    known, asked = _standard(_features(train)[name], _features(scored)[name])
    facts = {"features": name, "alpha": penalty, "cross_validated": rounded(value), "train_rows": len(truth)}
    return Probe(Ridge(alpha=penalty).fit(known, truth).predict(asked), facts)


def of_split(
    train: Sequence[Row] | None, tell: Callable[[str], None], fit: Callable[[Sequence[Row]], Probe | None]
) -> Probe | None:
    """What `fit` makes of a benchmark's train split; None without one. `tell` hears the stage."""
    if train is None:
        return None
    tell("probe")
    return fit(train)


def facts_of(probe: Probe | None) -> dict[str, Any]:
    """Return how a probe was chosen as evidence of a check; empty where there is none."""
    return {} if probe is None else {"probe": probe.facts}


def none(task: tasks.Task) -> str:
    """What has to be said where there is no probe, for a warning."""
    others = "the stronger of the majority and " if task.labelled else ""
    return (
        f"the benchmark has no train split, or one too small to fit a probe on: gain is over {others}"
        "the same head without the adapter, and says nothing about a linear head on the plain base model"
    )


def named(states: States, decoder: bool) -> Named:
    """What there is to read of texts, by name."""
    found = {"last_token" if decoder else "first_token": states.token, "pooler": states.pooler, "mean": states.mean}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _candidates(train: Named, truth: Labels, measure: Measure) -> Iterator[tuple[float, str, float]]:
    """(cross-validated metric, features, strength), weaker heads first: `max` keeps the first of equals."""
    from sklearn.model_selection import StratifiedKFold

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with fewer rows than folds
        cuts = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(truth, truth))
    for name, features in _features(train).items():
        answers = np.empty((len(STRENGTHS), len(truth)), dtype=np.int64)
        for known, asked in cuts:
            answers[:, asked] = _answers(features, truth, known, asked)
        for strength, predicted in zip(STRENGTHS, answers, strict=True):
            yield measure(truth, predicted), name, strength


def _answers(features: Features, truth: Labels, known: Labels, asked: Labels) -> Labels:
    """What each strength answers to one fold, [strengths, asked]; every fit starts where the weaker one ended."""
    from sklearn.linear_model import LogisticRegression

    seen, held = _standard(features[known], features[asked])
    model = LogisticRegression(max_iter=ITERATIONS, tol=TOLERANCE, warm_start=True)
    return np.stack([model.set_params(C=strength).fit(seen, truth[known]).predict(held) for strength in STRENGTHS])


def _features(given: Named) -> dict[str, Features]:
    return {name: tensor.numpy().astype(np.float64) for name, tensor in given.items()}


def _standard(known: Features, asked: Features) -> tuple[Features, Features]:
    """Both with zero mean and unit variance as seen in `known`."""
    middle, spread = known.mean(0), known.std(0)
    spread[spread == 0] = 1.0
    return (known - middle) / spread, (asked - middle) / spread
