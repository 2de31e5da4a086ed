"""What stands behind a score of classes: a table per class, and which classes are taken for which."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from workers import entities, statistics
from workers.statistics import Labels, Values, rounded

MATRIX = 20
"""Classes up to which the whole table of confusions is shown; beyond, the pairs that are confused most."""
PAIRS = 20


def of_classes(truth: Labels, said: Labels, names: Sequence[str]) -> dict[str, Any]:
    """Precision, recall, F1 and support per class, and the confusions (rows are the truth)."""
    table = statistics.confusion(truth, said, len(names))
    counts = (np.diag(table), table.sum(1), table.sum(0))
    return {"classes": _classes(names, *counts)} | _confusions(table, names)


def of_entities(truth: Labels, said: Labels, rows: Labels, names: Sequence[str]) -> dict[str, Any]:
    """The same for words: the table is of entities by their type where labels have types, the confusions are of words."""
    tags = entities.Tags.of(names)
    kinds = [kind for kind in dict.fromkeys(tags.types) if kind]
    if not kinds:
        return of_classes(truth, said, names)
    true, told = entities.find(truth, rows, tags), entities.find(said, rows, tags)
    right = told.kind[entities.agreed(true, told)]
    at = [tags.types.index(kind) for kind in kinds]
    counts = (np.array([(each == place).sum() for place in at], float) for each in (right, true.kind, told.kind))
    return {"classes": _classes(kinds, *counts)} | _confusions(statistics.confusion(truth, said, len(names)), names)


def _classes(names: Sequence[str], right: Values, true: Values, said: Values) -> list[dict[str, Any]]:
    return [
        {
            "label": name,
            "precision": rounded(right[at] / said[at]) if said[at] else 0.0,
            "recall": rounded(right[at] / true[at]) if true[at] else 0.0,
            "f1": rounded(2 * right[at] / (true[at] + said[at])) if true[at] + said[at] else 0.0,
            "support": int(true[at]),
        }
        for at, name in enumerate(names)
    ]


def _confusions(table: Values, names: Sequence[str]) -> dict[str, Any]:
    if len(names) <= MATRIX:
        return {"confusion": {"labels": list(names), "counts": table.astype(int).tolist()}}
    wrong = table - np.diag(np.diag(table))
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    pairs = [divmod(int(at), len(names)) for at in order if wrong.flat[at] > 0]
    return {"confused": [{"truth": names[i], "said": names[j], "rows": int(wrong[i, j])} for i, j in pairs]}
