"""What an adapter answered row by row: bytes in the store before any row of the database names them.

So a score whose answers are missing cannot be written: a store that fails leaves the lease as it is, and what lies there without a
row that names it does no harm. The same answers are the same blob, whoever gave them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from hub.spec import answers
from registry.queries import blobs
from registry.services import blobs as blob_rows
from registry.storage.base import Stored

Kept = Mapping[tuple[str, str], Stored]
"""(folder, benchmark digest) -> what was answered there."""


def store(predictions: Mapping[str, Any] | None, places: Iterable[tuple[str, str]]) -> Kept:
    """Put what a report says of these (folder, benchmark digest) into the store. In no transaction: the store may take its time."""
    found = {place: answers.of(predictions, place[1], place[0]) for place in places}
    return {place: blobs.store().put(answers.to_lines(given)) for place, given in found.items() if given is not None}


def note(kept: Kept) -> None:
    """Write the rows of these blobs, in an order that no two transactions turn round."""
    for stored in sorted(set(kept.values())):
        blob_rows.keep(stored=stored)
