"""The project's prose as pages: links, anchors, and what stands in code spans and code blocks."""

import dataclasses
import functools
import re
from collections import Counter
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
PARSER = MarkdownIt("commonmark").enable("table")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced code block and the language it names."""

    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        """Its lines, those that end in a backslash joined to the next."""
        return re.sub(r"\\\n\s*", " ", self.text).splitlines()


@dataclasses.dataclass(frozen=True)
class Page:
    """A page of Markdown, at a place in the project."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        """How faults call it."""
        return str(self.path.relative_to(ROOT))

    @functools.cached_property
    def tokens(self) -> list[Token]:
        return PARSER.parse(self.text)

    @functools.cached_property
    def inline(self) -> list[Token]:
        """Everything within paragraphs, headings and cells."""
        return [child for token in self.tokens for child in token.children or []]

    @property
    def links(self) -> list[str]:
        """Where links and images lead to."""
        places: list[Any] = [token.attrGet("href") or token.attrGet("src") for token in self.inline]
        return [str(place) for place in places if place]

    @property
    def spans(self) -> list[str]:
        return [token.content for token in self.inline if token.type == "code_inline"]

    @property
    def blocks(self) -> list[Block]:
        return [Block(token.info.strip(), token.content) for token in self.tokens if token.type == "fence"]

    @property
    def code(self) -> list[str]:
        """Every code span and every line of a code block."""
        return self.spans + [line for block in self.blocks for line in block.lines]

    @functools.cached_property
    def anchors(self) -> frozenset[str]:
        """What `#...` may name: a heading in lower case, without signs, with hyphens; `-1` where it is there twice."""
        found, seen = set(), Counter[str]()
        for opening, heading in zip(self.tokens, self.tokens[1:], strict=False):
            if opening.type == "heading_open":
                words = "".join(child.content for child in heading.children or [])
                slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
                found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
                seen[slug] += 1
        return frozenset(found)


@functools.cache
def read(path: Path) -> Page:
    return Page(path, path.read_text())


def every() -> list[Page]:
    """The pages that are checked."""
    return [read(path) for path in [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").rglob("*.md"))]]
