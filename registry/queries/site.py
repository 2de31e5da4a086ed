"""What the home page and the filters of the list show: counts over what the viewer may know of."""

import statistics
from typing import Any, TypedDict

from django.conf import settings
from django.db.models import Count, F

from registry.models import Run, Version
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


def counted(column: str, viewer: Viewer) -> list[Counted]:
    """Return the commonest values of `task`, `method` or `base_fingerprint` among the visible adapters."""
    rows = visible_adapters(viewer).exclude(**{f"{column}__isnull": True}).exclude(**{column: ""})
    counts = list(rows.values(value=F(column)).annotate(count=Count("pk")).order_by("-count", "value")[:SHOWN])
    names: dict[str, Any] = {}
    if column == "base_fingerprint":
        found = base_models.refs({row["value"] for row in counts}, viewer)
        names = {key: ref["name"] for key, ref in found.items()}
    return [
        {"value": row["value"], "label": names.get(row["value"]) or row["value"], "count": row["count"]}
        for row in counts
    ]


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
