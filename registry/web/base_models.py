"""The page of a base model: what it is, where it lies, what fits it."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from registry.models import LocatedBase
from registry.queries import base_models, base_shapes, fits, located, matrix, search
from registry.queries.viewers import Viewer, of_session
from registry.web.pages import page

RELATIONS = {
    ("same_values", "parent"): "a copy in another number format of",
    ("same_values", "child"): "copied in another number format as",
    ("derived", "parent"): "derived from",
    ("derived", "child"): "derived from it is",
    ("quantised", "parent"): "quantised from",
    ("quantised", "child"): "quantised from it is",
}
LEGEND = {
    "validated": "it ran here and passed",
    "same_values": "same values, another format",
    "derived": "ran on a relative",
    "shape_only": "shapes fit, untested",
    "incompatible": "tensors clash",
}
KIN = {"same_backbone": "same backbone", "same_values": "same values", "derived": "derived"}


@require_safe
@page
def base_model(request: HttpRequest, name: str) -> HttpResponse:
    """A base model by fingerprint or name, with the adapters that fit it."""
    viewer = of_session(request.user)  # type: ignore[arg-type]
    base = base_models.find(name, viewer)
    if base is None:
        return _located(request, located.get(name, viewer), viewer)
    words = {key: request.GET.get(key, "") for key in ("level", "task", "method", "cursor")}
    query = search.SearchQuery(**words, base=base.pk, sort="score", limit=20)
    found = search.search(query, viewer)
    table = matrix.of_page(base, found, viewer)
    shown = base_models.shape(base, viewer)
    context = {
        "base": shown,
        "title": shown["name"] or shown["fingerprint"],
        "names": [alias for alias in shown["aliases"] if alias != shown["name"]],
        "relations": [
            {
                **row,
                "words": RELATIONS[row["kind"], row["direction"]],
                "url": base_models.page_of(row["base_model"]),
            }
            for row in shown["relations"]
        ],
        "levels": _levels(request, table["columns"][0]["counts"], query.level),
        "adapters": found.results,
        "search": {"q": ""},
        "next": _link(request, cursor=found.cursor) if found.cursor else None,
        "legend": LEGEND,
        "matrix": _picture(table) if len(table["columns"]) > 1 and table["rows"] else None,
        "first": not query.cursor,
        "own": found.results[0]["ref"] if found.results else "",
    }
    return render(request, "registry/base_model.html", context)


def _located(request: HttpRequest, row: LocatedBase, viewer: Viewer) -> HttpResponse:
    """A base model that is known by its headers, with the adapters whose shapes fit it."""
    shown = located.shape(row)
    cursor = request.GET.get("cursor", "")
    found = search.search(search.SearchQuery(base=shown["name"], sort="score", limit=20, cursor=cursor), viewer)
    context = {
        "base": shown,
        "size": row.size,
        "place": shown["locations"][0],
        "adapters": found.results,
        "search": {"q": ""},
        "next": _link(request, cursor=found.cursor) if found.cursor else None,
    }
    return render(request, "registry/located_base.html", context)


def _link(request: HttpRequest, **changes: str) -> str:
    kept = {key: value for key, value in {**request.GET.dict(), **changes}.items() if value}
    return f"?{urlencode(kept)}" if kept else request.path


def _levels(request: HttpRequest, counts: dict[str, int], chosen: str) -> list[dict[str, Any]]:
    """The levels with their counts, each with the address of the list at that level alone, or of the whole again."""
    return [
        {
            "name": level,
            "count": counts[level],
            "on": level == chosen,
            "url": _link(request, level="" if level == chosen else level, cursor=""),
        }
        for level in fits.LEVELS
    ]


def _picture(table: base_shapes.Matrix) -> dict[str, Any]:
    """The matrix as the page draws it: a head for each base model, a sign for each cell, a row for each component."""
    return {
        "heads": [
            {
                "name": column["base_model"]["name"] or column["base_model"]["fingerprint"],
                "url": base_models.page_of(column["base_model"]),
                "kin": KIN.get(column["relation"], ""),
            }
            for column in table["columns"]
        ],
        "rows": [{**row, "parts": _parts(row)} for row in table["rows"]],
    }


def _parts(row: base_shapes.MatrixRow) -> list[dict[str, Any]]:
    """The components of a row that has several, each with its cells."""
    columns = zip(*(cell.get("components", []) for cell in row["cells"]), strict=True)
    return [{"folder": cells[0]["folder"] or "(root)", "cells": cells} for cells in columns]
