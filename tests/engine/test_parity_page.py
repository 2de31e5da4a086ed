"""docs/validation.md tells how near each of PEFT's methods comes to PEFT's own answers, as it was measured.

`PYTHONPATH=. python tests/engine/test_parity_page.py` measures anew and writes the table.
"""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from hub import runtime
from hub.spec.methods import peft_table
from hub.spec.methods.peft import RUNS
from tests.engine import test_methods as methods

PAGE = Path(__file__).resolve().parents[2] / "docs" / "validation.md"
HEAD = ("| method | settings | largest difference in parts of the largest logit | other answers |", "|---|---|---|---|")
BOUND = 3e-5
"""The tests' own bound (1e-5 of the largest logit + 1e-6) where that logit is 0.05; no case here has a smaller one."""
ELSEWHERE = {"trainable_tokens", "cpt", "cartridge", "bone"}
"""Run, and compared elsewhere: PEFT saves no head with the first, the next two are for decoders, of the last it writes none now."""


def measured() -> Iterator[str]:
    """A row for each method, over all its settings: the test's own adapters and inputs."""
    found: dict[str, list[tuple[float, int]]] = {}
    with tempfile.TemporaryDirectory() as place:
        base, folder = Path(place) / "base", Path(place) / "adapter"
        plain = methods.tiny_bert(base)
        for _, name, settings in methods.OPTIONS:
            reference = methods.written(plain, folder, name, settings)
            found.setdefault(peft_table.TABLE[methods.method(name)].title, []).append(
                apart(reference, runtime.load(folder, base)[0], methods.asked(settings))
            )
    for title, seen in sorted(found.items(), key=lambda item: item[0].lower()):
        flipped = sum(flips for _, flips in seen)
        rows = len(seen) * len(methods.GIVEN["input_ids"])
        yield f"| {title} | {len(seen)} | {max(share for share, _ in seen):.1e} | {flipped} of {rows} |"


def apart(reference: Any, model: Any, given: dict[str, torch.Tensor]) -> tuple[float, int]:
    """(largest difference in parts of the largest logit, rows with another answer)"""
    with torch.no_grad():
        theirs, ours = reference(**given).logits, model(**given).logits
    flipped = int((theirs.argmax(-1) != ours.argmax(-1)).sum())
    return float((ours - theirs).abs().max() / theirs.abs().max()), flipped


def table() -> list[list[str]]:
    inner = PAGE.read_text().partition("<!-- parity -->")[2].partition("<!-- /parity -->")[0].strip().splitlines()
    assert tuple(inner[:2]) == HEAD
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in inner[2:]]


def test_the_table_has_a_row_for_every_method_that_runs() -> None:
    titles = {row.title for row in peft_table.ROWS if row.name in RUNS - ELSEWHERE}
    assert {row[0] for row in table()} == titles


def test_the_table_counts_the_settings_that_are_compared() -> None:
    counts: dict[str, int] = {}
    for _, name, _ in methods.OPTIONS:
        title = peft_table.TABLE[methods.method(name)].title
        counts[title] = counts.get(title, 0) + 1
    assert {row[0]: int(row[1]) for row in table()} == counts


def test_what_was_measured_keeps_the_bound() -> None:
    for title, _, share, flipped in table():
        assert float(share) <= BOUND, title
        assert flipped.startswith("0 of "), title


if __name__ == "__main__":
    rows = "\n".join(["<!-- parity -->", *HEAD, *measured(), "<!-- /parity -->"])
    PAGE.write_text(re.sub("<!-- parity -->.*<!-- /parity -->", lambda _: rows, PAGE.read_text(), flags=re.DOTALL))
