"""Sentence similarity: a head with one output says a number that is to go with the benchmark's (STS-B).

Measured by correlation, so scale and offset of the answers say nothing.
"""

from collections.abc import Callable, Sequence

import numpy as np

from hub.runtime.base import Backbone
from hub.runtime.heads import ClassificationHead
from hub.runtime.predict import Pooled
from hub.spec.benchmark import Benchmark
from hub.spec.rows import Text
from workers import comparing, features, labels, opponents, probe, texts
from workers.evaluation import Made, Outcome, Prepared, Previous, Subject
from workers.probe import Named, Probe
from workers.resampling import Numbers
from workers.statistics import Values, kept


def prepare(
    backbone: Backbone,
    benchmark: Benchmark,
    rows: Sequence[Text],
    train: Sequence[Text] | None,
    tell: Callable[[str], None],
) -> Made:
    """See `evaluation.Evaluator`."""

    def fit(known: Named, truth: Values, scored: Named) -> Probe | None:
        return probe.fit_numbers(known, truth, scored, lambda right, said: Numbers(right).value(benchmark.metric, said))

    return texts.prepare(backbone, benchmark, rows, train, tell, truth=_truth, fit=fit)


def score(subject: Subject, prepared: Prepared, previous: Previous | None) -> Outcome:
    """See `evaluation.Evaluator`."""
    truth, head = prepared.tensors["truth"].numpy(), subject.head
    if head.num_labels != 1:
        raise labels.Mismatch(f"the head has {head.num_labels} outputs, a number needs one")
    predicted = np.empty_like(truth)
    for rows, seen in prepared.passes(subject.backbone):
        predicted[rows] = _answers(head, seen)
    off = _answers(head, features.states_of(prepared.tensors))
    baselines = opponents.baselines(prepared, np.full_like(truth, truth.mean()), off)
    former = opponents.former(previous, len(truth), lambda said: np.array(said, dtype=np.float64))
    measured = comparing.compared(prepared.benchmark, Numbers(truth), len(truth), predicted, baselines, former)
    return Outcome(
        measured,
        predicted.tolist(),
        warnings=_warnings(prepared, predicted),
        evidence={"rows": len(truth), **probe.facts_of(prepared.probe)},
    )


def _truth(rows: Sequence[Text]) -> Values:
    return np.array([row.label for row in rows], dtype=np.float64)


def _answers(head: ClassificationHead, states: Pooled) -> Values:
    return kept(texts.logits(head, states)[:, 0].double().numpy())


def _warnings(prepared: Prepared, predicted: Values) -> tuple[str, ...]:
    found = []
    if len(np.unique(predicted)) == 1:
        found.append(f"every row is answered with {predicted[0]:g}")
    return (*found, *opponents.warnings(prepared))
