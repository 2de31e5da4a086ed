"""A configuration written anew: what its values may be, and what is told of the difference."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from hub.spec import documents, reference

MAX_DEPTH = 3
PLACE = "null: it named a place on somebody's machine"
GONE = "removed"
CHOSEN = "removed: the list of modules says what it chose"
LISTED = "a list"
PROVEN = "the tensors prove"
"""In every change that writes out which modules a pattern, or a rule of a library's, meant."""
UNREAD = "removed: the adapter is the same without it"
CODE = "removed: a library that trusts it would import a stranger's code"
_CODE = ("auto_map", "custom_generate", "custom_pipelines", "trust_remote_code")
"""Keys of the configurations beside an adapter by which transformers finds code in a repository, of this or another name."""
_WORD = re.compile(r"[A-Za-z0-9_.\-]{0,200}")


@dataclasses.dataclass(frozen=True)
class Rewritten:
    """A configuration as a hub serves it, where that is not what was sent: its path, its bytes, and every change in words
    that need no tense: `target_modules: the list of the 24 modules that the tensors prove`. What no loader reads is no news."""

    path: str
    data: bytes
    changes: tuple[str, ...]

    @property
    def news(self) -> tuple[str, ...]:
        """The changes that a publisher should hear of: all but a place on a machine and what no loader reads."""
        return tuple(change for change in self.changes if not change.endswith((PLACE, UNREAD)))

    def __str__(self) -> str:
        """One sentence for a person: the news."""
        return f"{self.path} is written anew by a hub ({'; '.join(self.news)})"


def is_form(change: str) -> bool:
    """Whether a change alters only how a configuration says what it said, so that a reader of the served file misses nothing:
    names for a pattern, a place on a machine, what no loader reads.

    A key is the publisher's own text, so only what stands behind it counts.
    """
    return PROVEN in change.rpartition(": ")[2] or change.endswith((PLACE, UNREAD, CHOSEN, f": {LISTED}"))


def written(path: str, config: dict[str, Any], changes: dict[str, str]) -> Rewritten | None:
    """Return a configuration in its canonical form; None where nothing has changed, so that the sent bytes stay.

    `changes` says by key what became of it.
    """
    if not changes:
        return None
    told = tuple(f"{documents.shorten(key)}: {what}" for key, what in sorted(changes.items()))
    return Rewritten(path, f"{json.dumps(config, indent=2, sort_keys=True)}\n".encode("ascii"), told)


def without_code(path: str, config: Any) -> Rewritten | None:
    """Return a configuration that lies beside an adapter's own without what names code to import; None where nothing does."""
    named = [key for key in _CODE if isinstance(config, dict) and config.get(key)]
    if not named:
        return None
    data = json.dumps({key: value for key, value in config.items() if key not in named}, indent=2)
    return Rewritten(path, f"{data}\n".encode("ascii"), tuple(f"{key}: {CODE}" for key in named))


def is_plain(value: Any, depth: int = MAX_DEPTH) -> bool:
    """Tell whether a value is a number, a switch, a word, or a small structure of these: no path, no code, no text."""
    if isinstance(value, str):
        return _WORD.fullmatch(value) is not None
    if isinstance(value, list | dict):
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        return depth > 0 and all(is_plain(item, depth - 1) for item in inner)
    return value is None or isinstance(value, bool | int | float)


def is_place(name: Any) -> bool:
    """Tell whether a base model is named by what others cannot find: a path rather than `name` or `owner/name`."""
    return not isinstance(name, str) or reference.MODEL_ID.fullmatch(name) is None
