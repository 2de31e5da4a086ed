"""Text classification, single sentences and pairs: predictions, baselines, gains."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hub.runtime.base import Backbone
from hub.runtime.heads import ClassificationHead
from hub.runtime.predict import Pooled
from hub.spec import policy
from hub.spec.benchmark import Benchmark
from hub.spec.rows import Text
from workers import comparing, details, early, features, labels, opponents, probe, statistics, texts
from workers.evaluation import Made, Outcome, Prepared, Previous, Subject
from workers.probe import Named, Probe
from workers.statistics import Labels


def prepare(
    backbone: Backbone,
    benchmark: Benchmark,
    rows: Sequence[Text],
    train: Sequence[Text] | None,
    tell: Callable[[str], None],
) -> Made:
    """See `evaluation.Evaluator`."""

    def fit(known: Named, truth: Labels, scored: Named) -> Probe | None:
        return probe.fit(
            known,
            truth,
            scored,
            lambda right, said: statistics.measure(benchmark.metric, right, said, len(benchmark.labels)),
        )

    return texts.prepare(backbone, benchmark, rows, train, tell, truth=_truth, fit=fit)


def score(subject: Subject, prepared: Prepared, previous: Previous | None) -> Outcome:
    """See `evaluation.Evaluator`."""
    benchmark, head, truth = prepared.benchmark, subject.head, prepared.tensors["truth"].numpy()
    mapping = labels.match(subject.declared, head.num_labels, benchmark.labels)
    place = np.array(mapping.to_benchmark, dtype=np.int64)
    off = place[_answers(head, features.states_of(prepared.tensors))]
    frequent = np.full_like(truth, np.bincount(truth, minlength=len(benchmark.labels)).argmax())
    baselines = opponents.baselines(prepared, frequent, off)
    former = opponents.former(previous, len(truth), lambda said: np.array(said, dtype=np.int64))
    yardstick = statistics.Classes(truth, len(benchmark.labels))

    def compared(answers: Labels) -> dict[str, Any]:
        return comparing.compared(benchmark, yardstick, len(truth), answers, baselines, former)

    over = comparing.strongest(
        benchmark, {name: yardstick.value(benchmark.metric, said) for name, said in baselines.items()}
    )
    watch = _watch(subject, benchmark, truth, [baselines[over], *([former[1]] if former else [])], compared)
    predicted, answered = np.empty_like(truth), np.zeros(len(truth), dtype=bool)
    for rows, seen in prepared.passes(subject.backbone):
        predicted[rows], answered[rows] = place[_answers(head, seen)], True
        _tell(subject, benchmark, watch, predicted, answered)
    measured = compared(predicted)
    measured["details"] = details.of_classes(truth, predicted, benchmark.labels)
    return Outcome(
        measured,
        [int(label) for label in predicted],
        _failures(benchmark, truth, predicted),
        _warnings(prepared, truth, predicted, mapping),
        {
            "rows": len(predicted),
            "labels": mapping.source,
            "changed_answers": int((predicted != off).sum()),
            **({"decided": watch.told} if watch and watch.told else {}),
            **probe.facts_of(prepared.probe),
        },
    )


def _watch(
    subject: Subject, benchmark: Benchmark, truth: Labels, others: Sequence[Labels], compared: Callable[[Labels], Any]
) -> early.Watch | None:
    """Who sees early what the gates will say; nobody where they are not made of right answers alone."""
    classes = len(benchmark.labels)
    if classes > 2 and benchmark.metric != "accuracy":
        return None
    if not subject.gates or not early.can_be_told(subject.gates, benchmark.metric):
        return None

    def decide(answers: Labels) -> bool:
        return all(gate["passed"] for gate in policy.decide(compared(answers), subject.gates))

    return early.Watch(truth, classes, others, decide, benchmark.metric)


def _tell(subject: Subject, benchmark: Benchmark, watch: early.Watch | None, predicted: Labels, answered: Any) -> None:
    if watch is None or watch.verdict is not None or (verdict := watch.look(predicted, answered)) is None:
        return
    word = "passes" if verdict else "fails"
    subject.tell(
        f"{benchmark.name} {word} by {watch.rows} of {len(answered)} rows{early.COMPLETING if subject.alone else ''}"
    )


def _truth(rows: Sequence[Text]) -> Labels:
    return np.array([row.label for row in rows], dtype=np.int64)


def _answers(head: ClassificationHead, states: Pooled) -> Labels:
    return np.asarray(texts.logits(head, states).argmax(-1).numpy(), dtype=np.int64)


def _failures(benchmark: Benchmark, truth: Labels, predicted: Labels) -> tuple[tuple[str, str], ...]:
    names = benchmark.labels
    swap = labels.swapped(truth, predicted, len(names), statistics.seed_of(benchmark.digest))
    if swap is None:
        return ()
    moved = ", ".join(f"{names[i]} means {names[j]}" for i, j in enumerate(swap.renamed) if i != j)
    message = (
        f"labels look swapped: accuracy is {swap.as_declared:.3f} as declared and {swap.if_renamed:.3f} "
        f"if {moved} (chosen on one half of the rows, measured on the other; McNemar p {swap.p:.1g})"
    )
    return ((message, 'give the order that the head was trained with: "labels" in hub.json, or --labels'),)


def _warnings(prepared: Prepared, truth: Labels, predicted: Labels, mapping: labels.LabelMap) -> tuple[str, ...]:
    found = list(labels.told(mapping, prepared.benchmark.labels))
    if len(np.unique(predicted)) == 1 < len(np.unique(truth)):
        found.append(f"every row is answered with {prepared.benchmark.labels[int(predicted[0])]!r}")
    return (*found, *opponents.warnings(prepared))
