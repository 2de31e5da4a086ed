"""The tables of docs/parity.md, each between two marks: tests read them, and whoever measures anew writes them."""

import re
from collections.abc import Iterable
from pathlib import Path

import torch

PAGE = Path(__file__).resolve().parents[2] / "docs" / "parity.md"


def read(name: str) -> list[list[str]]:
    """The cells of each row of the table `name`, without its head."""
    _, _, rows = _cut(name)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def write(name: str, rows: Iterable[str]) -> None:
    """Put rows under the head of the table `name`."""
    mark, head, _ = _cut(name)
    text = "\n".join([f"<!-- {name} -->", *head, *rows, f"<!-- /{name} -->"])
    PAGE.write_text(mark.sub(lambda _: text, PAGE.read_text()))


def apart(ours: torch.Tensor, theirs: torch.Tensor) -> tuple[float, int]:
    """(largest difference in parts of the largest number, rows with another answer) of logits [rows, labels] or of other numbers,
    where nothing is an answer."""
    flipped = int((theirs.argmax(-1) != ours.argmax(-1)).sum()) if theirs.dim() == 2 else 0
    return float((ours - theirs).abs().max() / theirs.abs().max()), flipped


def _cut(name: str) -> tuple[re.Pattern[str], list[str], list[str]]:
    mark = re.compile(f"<!-- {name} -->\n(.*?)<!-- /{name} -->", re.DOTALL)
    found = mark.search(PAGE.read_text())
    assert found, f"{PAGE} has no table {name}"
    lines = found[1].splitlines()
    return mark, lines[:2], lines[2:]
