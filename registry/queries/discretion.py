"""What a private benchmark tells to whom.

Its owner's side (members of its namespace, operators) sees exact scores. Who publishes an adapter that was measured on it sees
each score rounded to its standard error: answers that a few rows change give the same number, so that pushing often does not
tell the labels one by one (A. Blum and M. Hardt, The Ladder, ICML 2015, rounds likewise). Others see which gates were passed.
Nobody sees an answer to a row; and of other namespaces' adapters only so many a day are measured.
"""

import datetime
import math
from typing import Any

from django.conf import settings
from django.db.models.functions import Now

from hub.spec.errors import Problem
from hub.spec.words import counted
from registry.models import Adapter, Benchmark, Namespace, Run, Visibility
from registry.queries.benchmarks import is_owners
from registry.queries.viewers import Viewer

_Z = 1.959963984540054
_DAY = datetime.timedelta(days=1)


def coarse(score: dict[str, Any]) -> dict[str, Any]:
    """Return {metric, value, step}: the value as the nearest multiple of its standard error, which is taken from the 95 %
    interval and rounded up to one digit."""
    low, high = (float(end) for end in score.get("interval") or (0.0, 1.0))
    error = max((high - low) / (2 * _Z), 1e-3)
    digit = 10.0 ** math.floor(math.log10(error))
    step = math.ceil(round(error / digit, 9)) * digit
    value = round(round(float(score["value"]) / step) * step, 9)
    return {"metric": score.get("metric"), "value": value, "step": round(step, 9)}


def spent(adapter: Adapter, benchmarks: tuple[Benchmark, ...], viewer: Viewer) -> tuple[Problem, ...]:
    """Return a problem where a push would be measured on a private benchmark of others once too often today."""
    private = [row for row in benchmarks if row.visibility == Visibility.PRIVATE and not is_owners(row, viewer)]
    used = max((_today(adapter.namespace, row) for row in private), default=0)
    if used < settings.HUB_PRIVATE_RUNS_PER_DAY:
        return ()
    message = f"{counted(used, 'adapter')} of {adapter.namespace.name} measured on a benchmark that is not public within a day"
    hint = "Push again tomorrow, or ask who owns the benchmark."
    return (Problem("benchmark_limit", "", message, hint, "benchmark"),)


def _today(namespace: Namespace, benchmark: Benchmark) -> int:
    """Runs of a namespace's adapters on a benchmark within a day; what was judged twice counts once."""
    runs = Run.objects.filter(versions__adapter__namespace=namespace, plan__benchmarks__contains=[benchmark.pk])
    return runs.filter(created_at__gte=Now() - _DAY).distinct().count()
