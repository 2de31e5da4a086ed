"""What the home page and the filters of the list show: counts over what the viewer may know of."""

import statistics
from collections import Counter
from typing import TypedDict

from django.conf import settings
from django.db.models import Count

from registry.models import Run, Version
from registry.models.adapters import AdapterQuerySet
from registry.queries import base_models, search, shapes
from registry.queries.viewers import Viewer
from registry.queries.visibility import visible_adapters

SHOWN = 12
SAMPLE = 200
SHORT_LIST = 5


class Figures(TypedDict):
    """The hub in numbers; `median_seconds` from upload to verdict over the last runs, None before the first."""

    adapters: int
    versions: int
    base_models: int
    runs: int
    queued: int
    median_seconds: float | None


class Counted(TypedDict):
    """A value to filter by, and how many adapters have it."""

    value: str
    label: str
    count: int


def figures(viewer: Viewer) -> Figures:
    """Return the hub in numbers, as this viewer may see it."""
    seen = visible_adapters(viewer)
    done = Run.objects.filter(status__in=[Run.Status.PASSED, Run.Status.FAILED])
    times = done.order_by("-finished_at").values_list("created_at", "finished_at")[:SAMPLE]
    seconds = [(end - start).total_seconds() for start, end in times if end is not None]
    return {
        "adapters": seen.count(),
        "versions": Version.objects.published().filter(adapter__in=seen).count(),
        "base_models": base_models.visible(viewer).count(),
        "runs": done.count(),
        "queued": Run.objects.filter(status__in=[Run.Status.QUEUED, Run.Status.LEASED]).count(),
        "median_seconds": statistics.median(seconds) if seconds else None,
    }


def counted(rows: AdapterQuerySet, viewer: Viewer, *columns: str) -> dict[str, list[Counted]]:
    """Return the commonest values of `task`, `method` or `base_fingerprint` among these adapters, by column.

    The adapters are gone through once, whatever they were found by.
    """
    found: dict[str, Counter[str]] = {column: Counter() for column in columns}
    for group in rows.order_by().values(*columns).annotate(count=Count("pk")):
        for column in columns:
            if group[column]:
                found[column][group[column]] += group["count"]
    return {column: _commonest(column, counts, viewer) for column, counts in found.items()}


def _commonest(column: str, counts: Counter[str], viewer: Viewer) -> list[Counted]:
    first = sorted(counts, key=lambda value: (-counts[value], value))[:SHOWN]
    refs = base_models.refs(set(first), viewer) if column == "base_fingerprint" else {}
    names = {key: ref["name"] for key, ref in refs.items()}
    return [{"value": value, "label": names.get(value) or value, "count": counts[value]} for value in first]


def top(sort: str, viewer: Viewer) -> list[shapes.Summary]:
    """Return the first few published adapters in an order of `search.SORTS`."""
    query = search.SearchQuery(status="published", sort=sort, limit=SHORT_LIST)
    return search.search(query, viewer).results


def client_requirement() -> str:
    """Return what stands behind `pip install` to get this hub's own client.

    A file of requirements that names the wheel by its address: with `--extra-index-url` a stranger's `adapter-hub`
    with a higher version in a public index would win.
    """
    return f"-r {settings.HUB_PUBLIC_URL}/client/requirements.txt"
