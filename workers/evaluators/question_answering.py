"""Extractive question answering (SQuAD 1.1 and 2.0): the head says where in the context an answer starts and ends.

Long contexts are read in pieces that overlap by `stride` tokens; the likeliest span over all pieces is the answer. Where the
data has questions without an answer (2.0), the answer is empty if the first token as a span (the least likely of all
pieces) outdoes every span, as in the scripts of SQuAD's first models and of transformers.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from hub.runtime.base import Backbone
from hub.runtime.heads import TokenHead
from hub.spec.benchmark import Benchmark
from hub.spec.rows import Question
from workers import comparing, features, labels, opponents, probe, span_probe, spans, squad
from workers.evaluation import Made, Outcome, Prepared, Previous, Subject, finite
from workers.probe import Probe
from workers.resampling import Formula, Tallied
from workers.spans import Pieces
from workers.statistics import Labels, Values

FORMULAS: dict[str, Formula] = {
    "exact_match": lambda sums: np.asarray(sums[..., 0] / sums[..., 2]),
    "f1": lambda sums: np.asarray(sums[..., 1] / sums[..., 2]),
}
SHARES = dict.fromkeys(FORMULAS, (0.0, 1.0))


def prepare(
    backbone: Backbone,
    benchmark: Benchmark,
    rows: Sequence[Question],
    train: Sequence[Question] | None,
    tell: Callable[[str], None],
) -> Made:
    """See `evaluation.Evaluator`."""
    encoded, pieces = spans.cut(backbone, benchmark, rows)

    def measure(of: Pieces, asked: Sequence[Question], said: Labels) -> float:
        texts = of.texts(said, [each.context for each in asked])
        return float(FORMULAS[benchmark.metric](squad.tally(texts, [each.answers for each in asked]).sum(0)))

    def fit(split: Sequence[Question]) -> Probe | None:
        return span_probe.fit(backbone, benchmark, split, (encoded, pieces, len(rows)), measure)

    found = probe.of_split(train, tell, fit)
    places = {context: at for at, context in enumerate(dict.fromkeys(row.context for row in rows))}
    texts = {
        "contexts": list(places),
        "context": [places[row.context] for row in rows],
        "answers": [list(row.answers) for row in rows],
    }
    return Made(encoded, pieces.tensors(), found, texts)


def score(subject: Subject, prepared: Prepared, previous: Previous | None) -> Outcome:
    """See `evaluation.Evaluator`."""
    if subject.head.num_labels != 2:
        raise labels.Mismatch(f"the head has {subject.head.num_labels} outputs, a span needs two")
    pieces, texts = spans.read(prepared.tensors), prepared.texts
    right, contexts = texts["answers"], [texts["contexts"][at] for at in texts["context"]]
    may_be_empty = not all(right)

    def answered() -> list[str]:
        return pieces.texts(spans.best(pieces, _logits(subject, prepared), len(right), may_be_empty), contexts)

    said = answered()
    with subject.plain():
        off = answered()
    others = opponents.baselines(prepared, [""] * len(right), off, lambda answer: pieces.texts(answer, contexts))
    former = opponents.former(previous, len(right), lambda answers: squad.tally(list(map(str, answers)), right))
    yardstick: Tallied[Values] = Tallied(lambda rows: rows, FORMULAS, SHARES)
    baselines = {name: squad.tally(answers, right) for name, answers in others.items()}
    measured = comparing.compared(
        prepared.benchmark, yardstick, len(right), squad.tally(said, right), baselines, former
    )
    return Outcome(
        measured,
        said,
        warnings=_warnings(prepared, said),
        evidence={
            "rows": len(right),
            "pieces": len(pieces.rows),
            "empty": said.count(""),
            "changed_answers": sum(one != other for one, other in zip(said, off, strict=True)),
            **probe.facts_of(prepared.probe),
        },
    )


def _logits(subject: Subject, prepared: Prepared) -> Iterator[tuple[int, Values]]:
    head: TokenHead = subject.head
    for piece, states in features.each(subject.backbone, prepared.batches, head.token_types):
        with torch.inference_mode():
            logits = finite(head(states), "tokens")
        yield piece, logits.double().numpy()


def _warnings(prepared: Prepared, said: Sequence[str]) -> tuple[str, ...]:
    found = []
    if len(set(said)) == 1:
        found.append(f"every question is answered with {said[0]!r}")
    return (*found, *opponents.warnings(prepared))
