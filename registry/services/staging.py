"""Bytes on their way into the store, of an adapter's file or a base model's: its refusals in the interface's words."""

from hub.spec.errors import Problem
from registry.errors import OffsetMismatch, TooLarge
from registry.queries import blobs
from registry.storage import base as storage


def receive(*, path: str, key: str, size: int, offset: int, stream: storage.Readable, length: int) -> int:
    """Take `length` bytes of a file of `size` at `offset` and return how many are there. What arrived before a cut is kept.

    Raises OffsetMismatch, TooLarge.
    """
    if offset + length > size:
        raise TooLarge(
            f"{path}: {offset + length} bytes, but {size} were announced.",
            hint="The file has grown since: start the upload again.",
        )
    try:
        return blobs.store().put_staging(key, stream, offset, limit=size)
    except storage.OffsetMismatch as error:
        raise OffsetMismatch(error.received) from None
    except storage.StagingTooLarge:
        raise more(path, size) from None


def more(path: str, size: int) -> TooLarge:
    """Return the error for a file of which more arrived than was announced."""
    return TooLarge(f"{path}: more than the {size} bytes that were announced.")


def missing(*, path: str, key: str, size: int) -> Problem:
    """Return what is to be said of a file of which bytes are missing."""
    message = f"{blobs.store().staged(key)} of {size} bytes have arrived"
    return Problem("incomplete", path, message, "send the rest, then complete again")
