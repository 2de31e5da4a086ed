"""A document with something odd in each of its places, one at a time."""

import copy
from collections.abc import Iterator
from typing import Any

Place = tuple[Any, ...]
"""The keys that lead there."""


def spoilt(good: Any, odd: Any) -> Iterator[tuple[Place, Any]]:
    """(place, a copy of `good` with `odd` there), for every place."""
    for place in _places(good):
        document = inner = copy.deepcopy(good)
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = odd
        yield place, document


def _places(value: Any, path: Place = ()) -> list[Place]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [place for key, inner in items for place in _places(inner, (*path, key))]
