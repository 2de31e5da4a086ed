"""Token classification (named entities, parts of speech): a label for every word, read at its first token.

Entities are counted as conlleval and seqeval do (`workers.entities`). Words beyond `max_length`, and those that the tokenizer
leaves nothing of, are answered with O, or with the most frequent class where there is no O.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from hub.runtime import answers, predict
from hub.runtime.base import Backbone
from hub.runtime.heads import TokenHead
from hub.runtime.predict import Batch, Encoded
from hub.spec.benchmark import Benchmark
from hub.spec.rows import Words
from hub.spec.words import counted
from workers import comparing, details, entities, features, labels, opponents, probe
from workers.evaluation import Made, Outcome, Prepared, Previous, Subject, finite
from workers.resampling import Tallied
from workers.statistics import Labels

OUTSIDE = "O"
PROBED = 20_000
"""Words of the train split that the probe learns from, the first ones."""
FORMULAS = {"f1": entities.f1, "accuracy": entities.accuracy}


def prepare(
    backbone: Backbone,
    benchmark: Benchmark,
    rows: Sequence[Words],
    train: Sequence[Words] | None,
    tell: Callable[[str], None],
) -> Made:
    """See `evaluation.Evaluator`."""
    encoded, places = _encoded(backbone, benchmark, rows)
    base = _at_words(backbone, encoded, places)
    found = probe.of_split(train, tell, lambda split: _probe(backbone, benchmark, split, base))
    if found is not None:
        found = probe.Probe(_spread(found.predictions, places, benchmark, _truth(rows)), found.facts)
    tensors = {"states": base, "places": torch.cat(places), "truth": torch.from_numpy(_truth(rows))}
    tensors["words"] = torch.tensor([len(row.words) for row in rows])
    tensors["tokens"] = torch.tensor([len(row.ids) for row in encoded])
    return Made(encoded, tensors, found)


def score(subject: Subject, prepared: Prepared, previous: Previous | None) -> Outcome:
    """See `evaluation.Evaluator`."""
    benchmark, stored = prepared.benchmark, prepared.tensors
    truth, sizes = stored["truth"].numpy(), stored["words"].tolist()
    mapping = labels.match(subject.declared, subject.head.num_labels, benchmark.labels)
    turned = np.array(mapping.to_benchmark, dtype=np.int64)
    known = list(stored["places"].split(sizes))
    places = _reached(known, prepared)
    states = _collected(subject.backbone, prepared.batches, places)
    predicted, off = (
        _spread(turned[_answers(subject.head, seen)], at, benchmark, truth)
        for seen, at in ((states, places), (stored["states"], known))
    )
    rows = np.repeat(np.arange(len(sizes)), sizes)
    tags = entities.Tags.of(benchmark.labels)
    yardstick: Tallied[Labels] = Tallied(
        lambda said: entities.tally(truth, said, rows, tags), FORMULAS, dict.fromkeys(FORMULAS, (0.0, 1.0))
    )
    baselines = opponents.baselines(prepared, np.full_like(truth, _frequent(truth)), off)
    former = opponents.former(previous, len(sizes), lambda said: _read(said, sizes))
    measured = comparing.compared(benchmark, yardstick, len(sizes), predicted, baselines, former)
    measured["details"] = details.of_entities(truth, predicted, rows, benchmark.labels)
    cut = sum(int((at < 0).sum()) for at in places)
    return Outcome(
        measured,
        [part.tolist() for part in np.split(predicted, np.cumsum(sizes)[:-1])],
        warnings=_warnings(prepared, predicted, mapping, cut),
        evidence={
            "rows": len(sizes),
            "words": len(truth),
            "cut_off": cut,
            "labels": mapping.source,
            "changed_answers": int((predicted != off).sum()),
            **probe.facts_of(prepared.probe),
        },
    )


def _truth(rows: Sequence[Words]) -> Labels:
    return np.array([label for row in rows for label in row.labels], dtype=np.int64)


def _encoded(
    backbone: Backbone, benchmark: Benchmark, rows: Sequence[Words]
) -> tuple[list[Encoded], list[torch.Tensor]]:
    encoded, places = [], []
    for row in rows:
        ids, types, at = answers.word_places(backbone.tokenizer, row.words, features.limit(backbone, benchmark))
        encoded.append(Encoded(tuple(ids), tuple(types)))
        places.append(torch.tensor(at))
    return encoded, places


def _at_words(backbone: Backbone, encoded: Sequence[Encoded], places: Sequence[torch.Tensor]) -> torch.Tensor:
    return _collected(backbone, predict.batches(encoded, features.pad(backbone)), places)


def _collected(backbone: Backbone, batches: Sequence[Batch], places: Sequence[torch.Tensor]) -> torch.Tensor:
    """Last hidden states [words that have a token, hidden], in the rows' order."""
    found = {row: states[places[row][places[row] >= 0]] for row, states in features.each(backbone, batches)}
    return torch.cat([found[row] for row in range(len(places))])


def _reached(places: Sequence[torch.Tensor], prepared: Prepared) -> list[torch.Tensor]:
    """Places without those of rows that were cut off for a prompt's: their last token is a separator now."""
    found, tokens = list(places), prepared.tensors["tokens"].tolist()
    for batch in prepared.batches:
        for row, size in zip(batch.rows, batch.attention_mask.sum(1).tolist(), strict=True):
            if size < tokens[row]:
                found[row] = torch.where(places[row] < size - 1, places[row], -1)
    return found


def _answers(head: TokenHead, states: torch.Tensor) -> Labels:
    with torch.inference_mode():
        logits = finite(head(states), "words")
    return np.asarray(logits.argmax(-1).numpy(), dtype=np.int64)


def _spread(said: Labels, places: Sequence[torch.Tensor], benchmark: Benchmark, truth: Labels) -> Labels:
    """Answers for every word, from those for words that have a token."""
    names = benchmark.labels
    found = np.full_like(truth, names.index(OUTSIDE) if OUTSIDE in names else _frequent(truth))
    found[(torch.cat(list(places)) >= 0).numpy()] = said
    return found


def _frequent(truth: Labels) -> int:
    return int(np.bincount(truth).argmax())


def _probe(backbone: Backbone, benchmark: Benchmark, train: Sequence[Words], base: torch.Tensor) -> probe.Probe | None:
    """A linear head on the plain base's states at the words, chosen by the metric over the words it was fitted without."""
    sizes = np.cumsum([len(row.words) for row in train])
    used = train[: int(np.searchsorted(sizes, PROBED)) + 1]
    encoded, places = _encoded(backbone, benchmark, used)
    there = (torch.cat(places) >= 0).numpy()
    truth, rows = _truth(used)[there], np.repeat(np.arange(len(used)), [len(row.words) for row in used])[there]
    _, rows = np.unique(rows, return_inverse=True)
    tags = entities.Tags.of(benchmark.labels)

    def measure(known: Labels, said: Labels) -> float:
        return float(FORMULAS[benchmark.metric](entities.tally(known, said, rows, tags).sum(0)))

    return probe.fit({"word": _at_words(backbone, encoded, places)}, truth, {"word": base}, measure, rare=True)


def _read(predictions: Sequence[Any], sizes: Sequence[int]) -> Labels | None:
    """Predictions row by row as answers [words]; None where rows have other numbers of words."""
    if [len(row) if isinstance(row, list) else -1 for row in predictions] != list(sizes):
        return None
    return np.array([label for row in predictions for label in row], dtype=np.int64)


def _warnings(prepared: Prepared, predicted: Labels, mapping: labels.LabelMap, cut: int) -> tuple[str, ...]:
    found = list(labels.told(mapping, prepared.benchmark.labels))
    if len(np.unique(predicted)) == 1:
        found.append(f"every word is answered with {prepared.benchmark.labels[int(predicted[0])]!r}")
    if cut:
        found.append(f"{cut} of {counted(len(predicted), 'word')} beyond max_length, or nothing to the tokenizer")
    return (*found, *opponents.warnings(prepared))
