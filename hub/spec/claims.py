"""Scores that a publisher claims: the `model-index` of a README, as the Hugging Face Hub has it.

    model-index:
    - results:
      - dataset: {type: glue, name: SST-2, config: sst2}
        metrics: [{type: accuracy, value: 0.93}]

They are shown beside what was measured, and decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hub.spec import tasks

MOST = 100
METRICS = {
    "acc": "accuracy", "matthews_correlation": "matthews", "mcc": "matthews", "pearsonr": "pearson",
    "spearmanr": "spearman", "em": "exact_match", "exact": "exact_match",
}  # fmt: skip
"""What others call a metric -> what it is called here."""


def read(index: Any) -> tuple[dict[str, Any], ...]:
    """Return [{datasets: names in lower case, metric, value}] of a model-index, the first MOST; what cannot be read so is
    left out: nothing hangs on it."""
    found = []
    for result in _each(index, "results"):
        told = result.get("dataset")
        named = {key: str(told[key]).lower()[:100] for key in ("type", "name", "config", "args") if told.get(key)} \
            if isinstance(told, dict) else {}  # fmt: skip
        both = [f"{named['type']}/{named[key]}" for key in ("config", "args") if "type" in named and key in named]
        for metric in _objects(result.get("metrics")):
            value = metric.get("value")
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                continue
            if named and isinstance(metric.get("type"), str):
                name = metric["type"].lower()[:50]
                found.append(
                    {"datasets": [*named.values(), *both], "metric": METRICS.get(name, name), "value": float(value)}
                )
    return tuple(found[:MOST])


def of(claims: Any, benchmark: str, metric: str) -> float | None:
    """Return what is claimed for a benchmark by name (`glue/sst2`, or its last part) and metric, None where nothing is.

    A percentage of a metric that lies between 0 and 1 is one hundredth of itself.
    """
    wanted = {benchmark.lower(), benchmark.lower().rpartition("/")[2]}
    for claim in _objects(claims):
        value = claim.get("value")
        if (
            claim.get("metric") == metric
            and wanted & set(map(str, claim.get("datasets") or ()))
            and type(value) is float
        ):
            known = tasks.METRICS.get(metric)
            return value / 100 if known and known.high == 1 and 1 < abs(value) <= 100 else value
    return None


def _each(index: Any, key: str) -> Iterator[Mapping[str, Any]]:
    for model in _objects(index):
        yield from _objects(model.get(key))


def _objects(value: Any) -> Iterable[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list | tuple) else []
