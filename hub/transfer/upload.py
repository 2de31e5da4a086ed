"""Send files so that a cut connection costs little: the hub knows how far it got, and we go on from there.

Two kinds of destination, as the hub's store has them: a door that takes bytes at an offset, and presigned URLs, one
per part.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from hub import errors
from hub.transfer.progress import SILENT, Progress
from hub.transfer.retry import RETRIED
from hub.transfer.wire import Answer, Wire

STEP = 4 << 20  # one PUT to the door: what a cut connection costs at most
PIECE = 256 << 10


@dataclass(frozen=True)
class Source:
    """Bytes to send: their name (for people), their size, and how to open them."""

    path: str
    size: int
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Destination:
    """What the hub says about one blob of an upload (API: uploads, `blobs`)."""

    n: int
    size: int
    received: int
    url: str | None
    parts: tuple[Mapping[str, Any], ...] | None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Destination":
        parts = value.get("urls")
        return cls(
            n=int(value["n"]),
            size=int(value["size"]),
            received=int(value.get("received") or 0),
            url=value.get("url"),
            parts=tuple(parts) if parts is not None else None,
        )


def send(
    wire: Wire,
    source: Source,
    destination: Destination,
    *,
    look: Callable[[], Destination],
    progress: Progress = SILENT,
) -> None:
    """Sends what the hub does not hold yet. `look` asks the hub again: how far it got, and fresh URLs.

    Raises NetworkError when the way stays bad, UsageError when the file is not what was announced.
    """
    if source.size != destination.size:
        raise errors.UsageError(f"{source.path}: the file changed while it was being pushed", hint="push it again")
    with source.open() as stream:
        if destination.parts is None:
            _to_door(wire, source, stream, destination, look, progress)
        else:
            _to_parts(wire, source, stream, destination, look, progress)


def _to_door(
    wire: Wire,
    source: Source,
    stream: IO[bytes],
    destination: Destination,
    look: Callable[[], Destination],
    progress: Progress,
) -> None:
    url = destination.url
    if url is None:
        raise errors.NetworkError(f"the hub gave no place for {source.path}")
    offset, failures = min(destination.received, source.size), 0
    progress.add(offset)
    while offset < source.size:
        reached = offset
        try:
            size = min(STEP, source.size - offset)
            answer = wire.put(f"{url}?offset={offset}", _pieces(source, stream, offset, size), size)
            reached, trouble = _received(answer, source, offset)
        except errors.NetworkError as error:
            if wire.offline:
                raise
            trouble, answer = error, None
            reached = _ask(look, offset)
        progress.add(reached - offset)
        failures = 0 if reached > offset else failures + 1
        if failures >= wire.retry.attempts:
            raise trouble or errors.NetworkError(f"{source.path}: the hub takes no more bytes at {offset}")
        if trouble is not None or reached <= offset:
            wire.retry.wait(failures, answer.headers if answer else None)
        offset = reached


def _received(answer: Answer, source: Source, offset: int) -> tuple[int, errors.HubError | None]:
    """How far the hub is after an answer, and what there is to say if another try follows. Raises what no try mends."""
    data = answer.data if isinstance(answer.data, dict) else {}
    if answer.status < 300 or (answer.status == 409 and data.get("code") == "offset"):
        received = data.get("received")
        if not isinstance(received, int) or not 0 <= received <= source.size:
            raise errors.NetworkError(f"{source.path}: the hub does not say how much it received")
        return received, None
    error = errors.from_answer(answer.status, answer.data, asked=f"PUT {source.path}")
    if answer.status not in RETRIED:
        raise error
    return offset, error


def _ask(look: Callable[[], Destination], offset: int) -> int:
    try:
        return look().received
    except errors.NetworkError:
        return offset  # the next PUT tells: a wrong offset is answered with the right one


def _to_parts(
    wire: Wire,
    source: Source,
    stream: IO[bytes],
    destination: Destination,
    look: Callable[[], Destination],
    progress: Progress,
) -> None:
    waiting = {int(part["n"]): part for part in destination.parts or ()}
    failures = 0
    while waiting:
        number = min(waiting)
        part = waiting[number]
        trouble = _send_part(wire, source, stream, part)
        if trouble is None:
            del waiting[number]
            progress.add(int(part["size"]))
            failures = 0
            continue
        failures += 1
        if wire.offline or failures >= wire.retry.attempts:
            raise trouble
        wire.retry.wait(failures)
        waiting = _renewed(waiting, look)


def _send_part(wire: Wire, source: Source, stream: IO[bytes], part: Mapping[str, Any]) -> errors.HubError | None:
    """One part to its presigned URL, without our token. Returns what went wrong, None when it is there."""
    offset, size = int(part["offset"]), int(part["size"])
    if offset < 0 or size < 0 or offset + size > source.size:
        raise errors.NetworkError(f"{source.path}: the hub asks for bytes that the file does not have")
    try:
        answer = wire.put(str(part["url"]), _pieces(source, stream, offset, size), size, token=None)
    except errors.NetworkError as error:
        return error
    if answer.status < 300:
        return None
    # The store answers in its own words (XML); an expired URL is a 403 there, and a fresh one mends it.
    refusal = errors.NetworkError(f"{source.path}: the store answered {answer.status} to part {part['n']}")
    if answer.status not in RETRIED | {400, 403, 404}:
        raise refusal
    return refusal


def _renewed(waiting: dict[int, Mapping[str, Any]], look: Callable[[], Destination]) -> dict[int, Mapping[str, Any]]:
    """The parts that the hub still misses, with fresh URLs: what has arrived is not in its list."""
    try:
        parts = look().parts
    except errors.NetworkError:
        return waiting
    return waiting if parts is None else {int(part["n"]): part for part in parts if int(part["n"]) in waiting}


def _pieces(source: Source, stream: IO[bytes], offset: int, size: int) -> Iterator[bytes]:
    stream.seek(offset, os.SEEK_SET)
    while size:
        data = stream.read(min(PIECE, size))
        if not data:
            raise errors.UsageError(f"{source.path}: the file became shorter while it was being pushed")
        size -= len(data)
        yield data
