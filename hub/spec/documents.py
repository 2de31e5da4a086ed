"""Reading JSON and YAML that a stranger wrote, and writing JSON that always has the same bytes.

Every document that enters the hub goes through here. Refused, because Python, PostgreSQL or a reader down the
way chokes on it: duplicate keys, NaN and infinity, NUL, lone surrogates, bytes that are no UTF-8, integers
beyond 64 bits, deep nesting, YAML aliases and tags.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from hub.spec import errors

MAX_BYTES = 1 << 20
MAX_YAML_BYTES = 1 << 17
MAX_DEPTH = 32
MAX_NODES = 100_000
"""Values in a document. Memory and time go by their number, not by bytes: 8 MiB of `[],` are 400 MiB of lists."""
# Possessive, and an unclosed string ends with the data: a million quotes must not be a million searches.
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_BRACKETS = re.compile(rb"[\[\]{}]")
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_HINTS = {
    "document.encoding": "save the file as UTF-8",
    "document.nul": "remove it: databases and terminals stop at a NUL",
    "document.surrogate": "write the character itself, or both halves of the pair",
    "document.too_large": "leave out what nobody needs to read",
    "json.depth": "write it flatter",
    "json.duplicate_key": "keep one of the two",
    "json.not_canonical": "use objects, lists, text, finite numbers, true, false and null",
    "json.not_finite": "write null or a finite number",
    "json.nodes": "leave out what nobody needs to read",
    "json.number": "write it as text, or smaller",
    "json.object": "write {...} around it",
    "json.syntax": "write the file with a JSON library, as UTF-8 without a byte order mark",
    "yaml.alias": "write the value out where it is used",
    "yaml.depth": "write it flatter",
    "yaml.documents": "keep one document",
    "yaml.key": "use text as key",
    "yaml.syntax": "check indentation and quotes",
    "yaml.tag": "write the plain value",
}
_WORDS: dict[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


def canonical(value: Any) -> bytes:
    """Return the one byte string that stands for a JSON value: UTF-8, keys sorted by code point, no spaces,
    no NaN.

    Every digest in the hub is taken over these bytes. Raises SpecError where the value has no such form.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8")
    except (ValueError, TypeError, RecursionError) as error:
        raise _error("json.not_canonical", "", f"this value cannot be written as JSON: {error}") from error


def digest(value: Any) -> str:
    """Return the SHA-256 (64 hex digits) of the value's canonical bytes."""
    return hashlib.sha256(canonical(value)).hexdigest()


def is_digest(value: Any) -> bool:
    """Tell whether a value is 64 lower-case hex digits."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def loads_json(
    data: bytes,
    *,
    where: str,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    max_nodes: int = MAX_NODES,
) -> Any:
    """Parse JSON strictly. Raises SpecError naming `where`."""
    text = _text(data, where, max_bytes)
    _check_size(_STRING.sub(b"", data), where, max_depth, max_nodes)
    reader = _Reader(where)
    try:
        value = json.loads(
            text, object_pairs_hook=reader.pairs, parse_constant=reader.constant, parse_int=reader.integer,
            parse_float=reader.number,
        )  # fmt: skip
    except json.JSONDecodeError as error:
        message = f"is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise _error("json.syntax", where, message) from error
    except RecursionError as error:  # the byte scan counts brackets outside strings; this is the second fence
        raise _error("json.depth", where, "is nested too deeply") from error
    if b"\\u" in data:  # UTF-8 holds no surrogate and JSON no raw NUL: only an escape can bring one in
        _check_strings(value, where)
    return value


def loads_object(data: bytes, *, where: str, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Parse JSON strictly and insist on an object at the top."""
    value = loads_json(data, where=where, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise _error("json.object", where, f"must be a JSON object, not {kind(value)}")
    return value


def loads_yaml(data: bytes, *, where: str, max_bytes: int = MAX_YAML_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """Parse the plain part of YAML: maps, lists, text, numbers, true/false/null. Keys are always text.

    Scalars follow YAML 1.2 (`no` and `2024-01-01` stay text). Anchors, aliases, tags and several documents
    are refused. Raises SpecError naming `where`.
    """
    text = _text(data, where, max_bytes)
    reader = _Reader(where)
    try:
        value = _YamlReader(text, reader, max_depth).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise _error("yaml.syntax", where, f"is not valid YAML: {error.problem}{place}") from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, errors.SpecError):
            raise
        raise _error("yaml.syntax", where, f"is not valid YAML: {str(error)[:200]}") from error
    _check_strings(value, where)
    return value


def kind(value: Any) -> str:
    """Return what a value is, in words a JSON author knows."""
    if value is None:
        return "null"
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), type(value).__name__)


def shorten(value: Any, limit: int = 80) -> str:
    """Return a value as text that is safe to print in one line of an error."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


class _Reader:
    """The hooks of the JSON parser; each refuses with the file's name."""

    def __init__(self, where: str) -> None:
        self.where = where

    def refuse(self, code: str, message: str) -> NoReturn:
        raise _error(code, self.where, message)

    def pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            self.refuse("json.duplicate_key", f"key {shorten(twice)!r} is there twice")
        return value

    def constant(self, name: str) -> NoReturn:
        self.refuse("json.not_finite", f"{name} is not a JSON number")

    def integer(self, digits: str) -> int:
        # the length is asked first: int() of a million digits takes seconds
        if len(digits) > 20 or not -(1 << 63) <= int(digits) < 1 << 63:
            self.refuse("json.number", f"the number {digits[:20]}... does not fit into 64 bits")
        return int(digits)

    def number(self, digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            self.refuse("json.not_finite", f"the number {digits[:40]} is too large")
        return value


class _YamlReader:
    """Builds a value from parser events, so that nothing is expanded before it is judged."""

    def __init__(self, text: str, reader: _Reader, max_depth: int) -> None:
        self.events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
        self.reader = reader
        self.max_depth = max_depth

    def document(self) -> Any:
        value: Any = None
        seen = False
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if seen:
                    self.reader.refuse("yaml.documents", "holds more than one YAML document")
                seen = True
                value = self.value(next(self.events), 1)
        return value

    def value(self, event: Any, depth: int) -> Any:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            self.reader.refuse("yaml.alias", "uses a YAML anchor or alias")
        if depth > self.max_depth:
            self.reader.refuse("yaml.depth", f"is nested deeper than {self.max_depth} levels")
        if getattr(event, "tag", None) is not None:
            self.reader.refuse("yaml.tag", f"uses the YAML tag {shorten(event.tag)}; only plain values are read")
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(depth)
        return self.scalar(event)

    def mapping(self, depth: int) -> dict[str, Any]:
        pairs: list[tuple[str, Any]] = []
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self.reader.refuse("yaml.key", "uses something other than text as a key")
            self.value(event, depth)
            pairs.append((event.value, self.value(next(self.events), depth + 1)))
        return self.reader.pairs(pairs)

    def sequence(self, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.value(event, depth + 1))
        return items

    def scalar(self, event: Any) -> Any:
        text: str = event.value
        if event.style is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            return self.reader.integer(text)
        if _FLOAT.fullmatch(text):
            return self.reader.number(text)
        if _NOT_FINITE.fullmatch(text):
            self.reader.constant(text)
        return text


def _text(data: bytes, where: str, max_bytes: int) -> str:
    if len(data) > max_bytes:
        raise _error("document.too_large", where, f"is {len(data)} bytes; at most {max_bytes} are read")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _error("document.encoding", where, f"is not UTF-8 text (byte {error.start})") from error


def _check_size(bare: bytes, where: str, max_depth: int, max_nodes: int) -> None:
    """Count values and nested brackets before the recursive parser sees them; `bare` is the text without its strings."""
    if bare.count(b",") + bare.count(b"[") + bare.count(b"{") > max_nodes:
        raise _error("json.nodes", where, f"holds more than {max_nodes} values")
    depth = 0
    for match in _BRACKETS.finditer(bare):
        depth += 1 if match.group() in b"[{" else -1
        if depth > max_depth:
            raise _error("json.depth", where, f"is nested deeper than {max_depth} levels")


def _check_strings(value: Any, where: str) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, str):
            _check_string(item, where)


def _check_string(text: str, where: str) -> None:
    if "\0" in text:
        raise _error("document.nul", where, f"holds a NUL character in {shorten(text)!r}")
    # ASCII text, which is nearly all of it, cannot hold a surrogate
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise _error("document.surrogate", where, f"holds half a surrogate pair in {shorten(text)!r}")


def _error(code: str, where: str, message: str) -> errors.SpecError:
    return errors.SpecError.of(code, where, message, _HINTS[code])
