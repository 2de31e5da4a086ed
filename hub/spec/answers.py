"""What an adapter answered to the rows of a benchmark: within a report, and as bytes that are kept and served.

In the report that a worker sends, `predictions` is {"sha256:<benchmark>": {labels: [answer], folders: {folder: [answer]}}}: `labels`
of the adapter at the root (where none is, of the first), `folders` of each in a folder. An answer is a class number, a number, a
text, or the class numbers of a row's words.

Kept and served they are JSON Lines, a line a row in the order of the data, so that one list has one digest:

    {"answer":1,"row":0}
    {"answer":0,"row":1}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hub.spec import documents, errors


def put(told: dict[str, dict[str, Any]], benchmark: str, folder: str, given: Sequence[Any]) -> None:
    """Add what the adapter in a folder ('' is the root) answered to a benchmark; its neighbours come in the order of folders."""
    kept = told.setdefault(f"sha256:{_bare(benchmark)}", {"labels": list(given)})
    if folder:
        kept.setdefault("folders", {})[folder] = list(given)


def of(told: Mapping[str, Any] | None, benchmark: str, folder: str) -> list[Any] | None:
    """Return what the adapter in a folder answered; of one that is not among `folders`, what stands for all. None for nothing."""
    given = told or {}
    found = given.get(f"sha256:{_bare(benchmark)}", given.get(_bare(benchmark)))
    if found is None:
        return None
    return list((found.get("folders") or {}).get(folder, found["labels"]))


def to_lines(given: Sequence[Any]) -> bytes:
    """Return the bytes that are kept of a list of answers. Raises SpecError for what JSON cannot say."""
    return b"".join(documents.canonical({"row": row, "answer": answer}) + b"\n" for row, answer in enumerate(given))


def from_lines(data: bytes) -> list[Any]:
    """Return the answers of such bytes, in the order of the rows. Raises SpecError for anything that `to_lines` does not write."""
    try:
        lines = [json.loads(line) for line in data.splitlines()]  # of bytes, so at line feeds and carriage returns only
        found = [line["answer"] for line in lines]
    except (ValueError, TypeError, KeyError) as error:
        raise _none() from error
    if to_lines(found) != data:
        raise _none()
    return found


def _bare(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _none() -> errors.SpecError:
    return errors.SpecError.of("answers", "", "is no file of answers, row by row", "", "benchmark")
