"""Home and the list: finding adapters."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from registry.queries import base_models, benchmarks, search, site
from registry.queries.viewers import Viewer, of_session
from registry.queries.visibility import visible_adapters
from registry.templatetags.hub import short_digest
from registry.web.pages import page

FILTERS = ("base", "made_for", "task", "benchmark", "method", "status", "namespace")
FACETS = (
    ("Made for", "made_for", "base_fingerprint"),
    ("Task", "task", "task"),
    ("Method", "method", "method"),
)
ORDERS = (
    ("recent", "newest first"),
    ("gain", "largest gain"),
    ("score", "best score"),
    ("pulls", "most pulled"),
    ("name", "by name"),
)


@require_safe
@page
def home(request: HttpRequest) -> HttpResponse:
    """The start page: what this is, where to begin, what is new."""
    viewer = of_session(request.user)  # type: ignore[arg-type]
    newest = site.top("recent", viewer)
    counts = site.counted(visible_adapters(viewer), viewer, "base_fingerprint", "task")
    context = {
        "figures": site.figures(viewer),
        "bases": [
            {"fingerprint": row["value"], "name": row["label"], "adapters": row["count"]}
            for row in counts["base_fingerprint"]
        ],
        "tasks": [{"name": row["value"], "adapters": row["count"]} for row in counts["task"]],
        "newest": newest,
        "gains": site.top("gain", viewer) if len(newest) > 1 else [],
        "client_url": site.client_requirement(),
        "example_ref": newest[0]["ref"].removeprefix("library/") if newest else "sentiment-bert",
    }
    return render(request, "registry/home.html", context)


@require_safe
@page
def adapters(request: HttpRequest) -> HttpResponse:
    """The list, narrowed by the query string; the same words as GET /api/v1/adapters."""
    viewer = of_session(request.user)  # type: ignore[arg-type]
    asked: dict[str, Any] = {key: request.GET.get(key, "") for key in ("q", *FILTERS, "cursor")}
    query = search.SearchQuery(**asked, sort=request.GET.get("sort") or "recent")
    found = search.search(query, viewer)
    context = {
        "section": "adapters",
        "search": query,
        "adapters": found.results,
        "next": link(request, cursor=found.cursor) if found.cursor else None,
        "facets": facets(request, query, viewer),
        "active": active(request, query, viewer),
        "orders": [
            {"label": label, "url": link(request, sort=key, cursor=""), "current": key == query.sort}
            for key, label in ORDERS
        ],
    }
    return render(request, "registry/adapters.html", context)


def link(request: HttpRequest, **changes: str) -> str:
    """Return this list's address with some words of its query changed (an empty one is dropped)."""
    words = {**request.GET.dict(), **changes}
    kept = {key: value for key, value in words.items() if value}
    return f"?{urlencode(kept)}" if kept else "?"


def facets(request: HttpRequest, query: search.SearchQuery, viewer: Viewer) -> list[dict[str, Any]]:
    """Return the columns one can narrow by that are not narrowed yet, each value with its link and how many it lists."""
    open_ = [facet for facet in FACETS if not getattr(query, facet[1])]
    counts = site.counted(search.matching(query, viewer), viewer, *(column for _, _, column in open_))
    return [
        {
            "title": title,
            "values": [
                {
                    "label": row["label"],
                    "count": row["count"],
                    "url": link(request, **{key: row["value"], "cursor": ""}),
                }
                for row in counts[column]
            ],
        }
        for title, key, column in open_
    ]


def active(request: HttpRequest, query: search.SearchQuery, viewer: Viewer) -> list[dict[str, str]]:
    """Return the filters in force, each with the list's address without it."""
    return [
        {
            "label": key.replace("_", " "),
            "value": called(key, getattr(query, key), viewer),
            "without": link(request, **{key: "", "cursor": ""}),
        }
        for key in ("q", *FILTERS)
        if getattr(query, key)
    ]


def called(key: str, value: str, viewer: Viewer) -> str:
    """Return how a filter's value is shown: of a base model, or a benchmark's digest, that the viewer may know of the name."""
    if key == "benchmark" and value.startswith("sha256:"):
        benchmark = benchmarks.find(value, viewer)
        return f"{benchmark.name} ({short_digest(value)})" if benchmark else value
    base = base_models.find(value, viewer) if key in ("base", "made_for") else None
    return (base_models.name_of(base) if base else None) or value
