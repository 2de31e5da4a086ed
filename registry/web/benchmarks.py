"""The page of a benchmark: what it asks, what was measured on it, and for its owner's side why it could not be run."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from hub.spec import tasks
from registry.queries import benchmarks, search, shapes
from registry.queries.viewers import of_session
from registry.web.pages import page

SHOWN = 20
"""Adapters, and labels, that the page lists."""


@require_safe
@page
def benchmark(request: HttpRequest, name: str) -> HttpResponse:
    """A benchmark by name (the newest of it) or `sha256:<hex>`, with the adapters that score best on it."""
    viewer = of_session(request.user)  # type: ignore[arg-type]
    row = benchmarks.get(name, viewer)
    shown = benchmarks.detail(row, viewer)
    found = search.search(search.SearchQuery(benchmark=shown["digest"], sort="score", limit=SHOWN), viewer)
    context = {
        "benchmark": shown,
        "is_newest": benchmarks.get(row.name, viewer) == row,
        "task": tasks.TASKS[shown["task"]].title if shown["task"] in tasks.TASKS else shown["task"],
        "labels": shown["labels"][:SHOWN],
        "more_labels": len(shown["labels"][SHOWN:]),
        "adapters": [_on(row, shown["digest"]) for row in found.results],
        "more": bool(found.cursor),
        "search": {"q": ""},
    }
    return render(request, "registry/benchmark.html", context)


def _on(row: shapes.Summary, digest: str) -> dict[str, Any]:
    """An adapter of a list with its scores on this benchmark alone: another of its name is another benchmark."""
    latest: Any = row["latest"]
    return {**row, "latest": {**latest, "scores": [score for score in latest["scores"] if score["digest"] == digest]}}
