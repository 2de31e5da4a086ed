"""JSON messages over a pipe: four bytes of length (big endian), then the document."""

import json
import os
import struct
from typing import Any

LARGEST = 32 << 20
"""Bytes of one message; a child that says more is ended."""

_HEAD = struct.Struct(">I")


class TooLarge(ValueError):
    """The other side announces a message beyond `LARGEST`."""


def send(descriptor: int, message: dict[str, Any]) -> None:
    """Write one message whole. Raises `TooLarge`, or BrokenPipeError when nobody reads any more."""
    body = json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
    if len(body) > LARGEST:
        raise TooLarge(f"a message of {len(body)} bytes, allowed are {LARGEST}")
    data = memoryview(_HEAD.pack(len(body)) + body)
    while data:
        data = data[os.write(descriptor, data) :]


class Reader:
    """The receiving end: `read` takes what is there and gives the messages that are complete."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.ended = False
        self._buffer = bytearray()

    def read(self) -> list[dict[str, Any]]:
        """Block until some bytes or the end are there (`.ended`), then give all complete messages."""
        chunk = os.read(self.descriptor, 1 << 20)
        self.ended = not chunk
        self._buffer += chunk
        found = []
        while (message := self._next()) is not None:
            found.append(message)
        return found

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
        return dict(json.loads(body))
