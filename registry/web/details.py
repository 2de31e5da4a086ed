"""What stands behind a score, as a page goes through it: the table per class, and the confusions as a heat map."""

from typing import Any

from registry.templatetags.hub import number
from registry.web.reading import items

SHADES = 9
"""Shades of a cell, from none of a row's examples to all of them (`.heat .h9` in the sheet)."""


def of(score: dict[str, Any]) -> dict[str, Any]:
    """Return {classes, labels, rows, confused} of a score's details, each empty where it holds none; a report of any age may
    hold anything."""
    given = score.get("details")
    found = given if isinstance(given, dict) else {}
    matrix = found.get("confusion")
    labels, counts = (matrix.get("labels"), matrix.get("counts")) if isinstance(matrix, dict) else ([], [])
    return {
        "classes": [row for row in items(found.get("classes")) if isinstance(row, dict)],
        "labels": [str(label) for label in items(labels)],
        "rows": [_row(label, row) for label, row in zip(items(labels), items(counts), strict=False)],
        "confused": [pair for pair in items(found.get("confused")) if isinstance(pair, dict)],
    }


def _row(label: Any, counts: Any) -> dict[str, Any]:
    """A class of the truth: how often it was answered with each class, and in which shade that is shown."""
    cells = [number(count) or 0.0 for count in items(counts)]
    total = sum(cells)
    return {
        "label": str(label),
        "cells": [{"count": int(cell), "shade": round(SHADES * cell / total) if total > 0 else 0} for cell in cells],
    }
