"""JSON messages over a pipe: four bytes of length (big endian), then the document."""

import json
import os
import struct
from typing import Any

LARGEST = 32 << 20
"""Bytes of one message."""
MOST_VALUES = 4_000_000
"""Brackets and commas of one message: 32 MiB of `[],` would be 700 MB of lists."""
MOST_DEPTH = 64

_HEAD = struct.Struct(">I")


class TooLarge(ValueError):
    """The other side announces a message beyond `LARGEST`, or has said more than it may say in all."""


class Malformed(ValueError):
    """The other side says something that is no message."""


def send(descriptor: int, message: dict[str, Any]) -> None:
    """Write one message whole. Raises `TooLarge`, or BrokenPipeError when nobody reads any more."""
    body = json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
    if len(body) > LARGEST:
        raise TooLarge(f"a message of {len(body)} bytes, allowed are {LARGEST}")
    data = memoryview(_HEAD.pack(len(body)) + body)
    while data:
        data = data[os.write(descriptor, data) :]


class Reader:
    """The receiving end: `read` takes what is there and gives the messages that are complete.

    `most` bounds what it takes in all, for the end of a child that nobody has reason to trust.
    """

    def __init__(self, descriptor: int, most: int | None = None) -> None:
        self.descriptor = descriptor
        self.ended = False
        self._left = most
        self._buffer = bytearray()

    def read(self) -> list[dict[str, Any]]:
        """Block until some bytes or the end are there (`.ended`), then give all complete messages.

        Raises `TooLarge` and `Malformed`.
        """
        chunk = os.read(self.descriptor, 1 << 20)
        self.ended = not chunk
        self._count(len(chunk))
        self._buffer += chunk
        found = []
        while (message := self._next()) is not None:
            found.append(message)
        return found

    def _count(self, received: int) -> None:
        if self._left is None:
            return
        self._left -= received
        if self._left < 0:
            raise TooLarge("more bytes than it may say in all")

    def _next(self) -> dict[str, Any] | None:
        if len(self._buffer) < _HEAD.size:
            return None
        (length,) = _HEAD.unpack_from(self._buffer)
        if length > LARGEST:
            raise TooLarge(f"a message of {length} bytes, allowed are {LARGEST}")
        end = _HEAD.size + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_HEAD.size : end])
        del self._buffer[:end]
        return _parsed(body)


def _parsed(body: bytes) -> dict[str, Any]:
    if sum(body.count(mark) for mark in b"[{,") > MOST_VALUES:
        raise Malformed(f"a message of more than {MOST_VALUES} values")
    try:
        found = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"a message that is no JSON: {str(error)[:200]}") from error
    if not isinstance(found, dict) or _is_deep(found, MOST_DEPTH):
        raise Malformed(f"a message that is no object, or deeper than {MOST_DEPTH}")
    return found


def _is_deep(value: Any, allowed: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return allowed == 0 or any(_is_deep(item, allowed - 1) for item in items)


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number")
