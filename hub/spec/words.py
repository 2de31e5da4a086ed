"""Words for people: how many there are of a thing, and what an unknown name may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, which takes an s unless it is one: 1 file, 2 files, 3 classes."""
    many = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{'' if number == 1 else many}"


def closest(name: str, names: Iterable[str], limit: int = 3) -> list[str]:
    """Return up to `limit` of `names` that are like `name`, the likest first; case does not count."""
    known = {entry.lower(): entry for entry in names}
    return [known[entry] for entry in difflib.get_close_matches(name.lower(), known, n=limit, cutoff=0.6)]
