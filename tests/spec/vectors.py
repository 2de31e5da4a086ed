"""Test vectors as the documents hold them: a json block, then a text block of `key value` lines."""

import json
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
_VECTOR = re.compile(r"^### (.+?)\n\n```json\n(.+?)\n```\n```text\n(.+?)\n```", re.DOTALL | re.MULTILINE)


def read(name):
    """Title -> (the json value, the lines by their first word)."""
    found = {}
    for title, value, lines in _VECTOR.findall((DOCS / name).read_text("utf-8")):
        found[title] = json.loads(value), dict(line.split(None, 1) for line in lines.split("\n"))
    return found
