"""What a blob store promises: the interface, its values and its errors.

A store holds two kinds of things. A **blob** is a run of bytes under the SHA-256 of those bytes, written
once and never again with others. A **staging** entry is what a client is sending; it is addressed by a key
that the server made, and nobody but the server can turn it into a blob. The digest of a blob is computed
by this process over the very bytes that it writes: an ETag or a multipart checksum is never believed, and
bytes that are exchanged while they are read can only end in an error.

Stores know nothing of users, adapters or rows: who may read or write a blob is the callers' affair.
"""

import dataclasses
import re
import typing
from collections.abc import Container, Iterator

from registry.storage.errors import (
    BadKey,
    BadRange,
    BlobMissing,
    BlobRotten,
    DigestMismatch,
    OffsetMismatch,
    StagingChanged,
    StagingIncomplete,
    StagingMissing,
    StagingTooLarge,
    StorageError,
    StorageFull,
    StorageUnavailable,
    UnfitStore,
)

__all__ = [
    "BadKey",
    "BadRange",
    "BlobMissing",
    "BlobRotten",
    "BlobStore",
    "Capability",
    "DigestMismatch",
    "OffsetMismatch",
    "Probe",
    "Readable",
    "StagingChanged",
    "StagingIncomplete",
    "StagingMissing",
    "StagingTooLarge",
    "StorageError",
    "StorageFull",
    "StorageUnavailable",
    "Stored",
    "UnfitStore",
    "UploadPart",
]

MIB = 1 << 20
CHUNK = MIB
"""Bytes per read: what one transfer holds in memory, give or take a part of an S3 upload."""
SINGLE_PUT = 8 * MIB
"""Up to this size an upload is one request; above it, parts. Also the smallest part."""
MAX_PARTS = 1000
"""S3 allows 10 000 parts, OpenStack Swift 1000: parts grow before their number does."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_STAGING_KEY = re.compile(r"[a-z0-9][a-z0-9-]{0,63}/[0-9]{1,6}")


class Stored(typing.NamedTuple):
    """A blob that is in the store, durable, and re-checked against its digest."""

    sha256: str
    """64 lower-case hex digits, computed by us."""
    size: int
    """Bytes."""


class UploadPart(typing.TypedDict):
    """One request by which a client sends bytes `offset : offset + size` of a file.

    The client must PUT exactly these bytes to `url` with `Content-Length: size` (no chunked encoding) and no
    other header of meaning. The key, the method, the length and the time of death are signed.
    """

    n: int
    """Part number from 1."""
    url: str
    offset: int
    size: int


@dataclasses.dataclass(frozen=True)
class Capability:
    """One answer of the self-test: what was tried, and what the store really did."""

    name: str
    ok: bool
    detail: str
    required: bool = True

    def __str__(self) -> str:
        mark = "ok" if self.ok else ("FAILED" if self.required else "missing")
        return f"{self.name:<18} {mark:<8} {self.detail}"


@dataclasses.dataclass(frozen=True)
class Probe:
    """The result of a self-test of a store."""

    store: str
    """The address of the store, without credentials."""
    capabilities: tuple[Capability, ...]

    @property
    def ok(self) -> bool:
        """True when nothing that we stand on is missing."""
        return all(found.ok or not found.required for found in self.capabilities)

    def __str__(self) -> str:
        return "\n".join([f"storage {self.store}", *(f"  {found}" for found in self.capabilities)])

    def require(self) -> "Probe":
        """Return self, or raise UnfitStore naming every failed capability."""
        if not self.ok:
            failed = "; ".join(f"{f.name}: {f.detail}" for f in self.capabilities if f.required and not f.ok)
            raise UnfitStore(
                f"The store {self.store} cannot be used ({failed}).",
                "See docs/operations.md for what a store must be able to do.",
            )
        return self


class Readable(typing.Protocol):
    """The part of a binary file that is needed to receive from it (an HTTP request has it, too)."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; empty at the end."""
        ...


class BlobStore(typing.Protocol):
    """Blobs by SHA-256 and the staging area before them. Safe for use by many threads and processes.

    Every method may raise StorageUnavailable. Digests are 64 lower-case hex digits without prefix, sizes
    and offsets are bytes, ranges are half-open as in Python. Staging keys have the form `<upload id>/<n>`
    (lower-case letters, digits and hyphens, then a number); others raise BadKey.

    The life of an upload::

        parts = store.upload_urls(key, size)        # a list: the client sends there; None: it sends to us
        store.put_staging(key, request, offset, limit=size)                  # ... as often as needed
        store.finish_staging(key, size)
        sha256, size = store.ingest(key, expected_sha256=announced)
        store.discard(key)                          # once the rows that need the blob are committed
    """

    address: str
    """What HUB_STORAGE said, without credentials; for logs and error messages."""

    # --- blobs ----------------------------------------------------------------------------------------------

    def size(self, sha256: str) -> int | None:
        """Return the size of a blob, or None when there is none. Reads no content: see `verify`."""
        ...

    def open(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Return the bytes `start:end` of a blob in chunks. An `end` behind the blob's means up to its end.

        The content is not hashed on the way: whoever keeps the bytes checks them against the digest. The
        iterator has `close()`. Raises at once, not at the first chunk: BlobMissing; BadRange when `start`
        lies behind the end (an empty range at the end is allowed).
        """
        ...

    def read(self, sha256: str, start: int = 0, end: int | None = None) -> bytes:
        """Return the bytes `start:end` of a blob in one piece (small files, headers). Raises as `open`."""
        ...

    def download_url(self, sha256: str, *, filename: str, seconds: int = 900) -> str | None:
        """Return a URL that serves the blob for `seconds` as attachment `filename`; None: stream by `open`.

        The store is not asked whether the blob exists. The URL answers Range requests. Treat it as a secret.
        """
        ...

    def put(self, data: bytes, *, expected_sha256: str | None = None) -> Stored:
        """Store bytes that the server itself holds (small files) and return their digest; safe as `ingest`.

        Raises DigestMismatch, BlobRotten, StorageFull.
        """
        ...

    def verify(self, sha256: str) -> bool:
        """Read the whole blob and return whether it is there and hashes to its name. Changes nothing."""
        ...

    # --- staging --------------------------------------------------------------------------------------------

    def upload_urls(self, key: str, size: int, *, seconds: int | None = None) -> list[UploadPart] | None:
        """Return the requests still missing for `size` bytes, or None when bytes come by `put_staging`.

        Ask again at any time: what has arrived is left out (an empty list: all is there) and the URLs are
        fresh. By default they live for 15 minutes plus what the bytes take at 256 KiB/s, at most 12 hours.
        Parts arrive in any order. No URL gives access to a blob's final place, and none changes anything
        after `ingest`.
        """
        ...

    def put_staging(self, key: str, stream: Readable, offset: int, *, limit: int | None = None) -> int:
        """Append what `stream` yields at `offset` and return the new length; durable when it returns.

        `offset` must be what `staged` says, else OffsetMismatch. `limit` is the announced size of the whole
        file: the first byte beyond it raises StagingTooLarge. When the stream itself fails, what it gave so
        far is kept (the client goes on from `staged`) and its exception goes through. StorageFull leaves
        the length as it was.
        """
        ...

    def staged(self, key: str) -> int:
        """Return how many bytes were received under `key`; 0 when nothing was."""
        ...

    def finish_staging(self, key: str, size: int) -> None:
        """Close the upload: exactly `size` bytes must be there. Idempotent. Needed before `ingest`.

        Raises StagingIncomplete, StagingTooLarge.
        """
        ...

    def open_staging(self, key: str) -> Iterator[bytes]:
        """Return the bytes of a finished upload, all of one state, else StagingChanged.

        For a look only. Judge what you publish after `ingest`, by digest. Raises StagingMissing.
        """
        ...

    def ingest(self, key: str, *, expected_sha256: str | None = None) -> Stored:
        """Turn a finished upload into a blob and return its digest and size; durable when it returns.

        The very bytes that are written are hashed. With `expected_sha256` other bytes raise DigestMismatch
        and nothing is published; give it wherever it was announced, it also saves a large upload a second
        reading. A blob that is there already is never overwritten but read and hashed again; if it has
        rotted, its remains are kept aside and these proven bytes take its place (BlobRotten where that
        fails). The staging entry stays: `discard` it after the commit. Idempotent; many at once give one
        blob.

        Raises StagingMissing, StagingChanged, DigestMismatch, BlobRotten, StorageFull.
        """
        ...

    def discard(self, key: str) -> None:
        """Forget everything received under `key`, open part uploads too. Idempotent."""
        ...

    def sweep_staging(self, older_than: float, *, keep: Container[str] = ()) -> int:
        """Discard leftovers untouched for `older_than` seconds (replays, too) and return how many went.

        What was received under the keys in `keep` stays, however old.
        """
        ...

    # --- self-test ------------------------------------------------------------------------------------------

    def make(self) -> bool:
        """Make the folder or bucket where there is none, and return whether it was made. Raises StorageUnavailable."""
        ...

    def probe(self) -> Probe:
        """Try on the live store what this module stands on; raises nothing but StorageUnavailable.

        `probe().require()` refuses to go on with a store that lacks or lies about something. Leaves nothing
        behind but one blob of a fixed text.
        """
        ...


def check_sha256(sha256: str) -> str:
    """Return the digest as it is, or raise BadKey when it is not 64 lower-case hex digits."""
    if not _SHA256.fullmatch(sha256):
        raise BadKey(f"Not a SHA-256 in lower-case hex: {sha256[:80]!r}.")
    return sha256


def check_staging_key(key: str) -> str:
    """Return the staging key as it is, or raise BadKey: only what the server can have made gets through."""
    if not _STAGING_KEY.fullmatch(key):
        raise BadKey(f"Not a staging key (<upload id>/<n>): {key[:80]!r}.")
    return key


def blob_path(sha256: str) -> str:
    """Return where a blob lives below the root of a store: `sha256/ab/abcd...`."""
    return f"sha256/{check_sha256(sha256)[:2]}/{sha256}"


def part_size(size: int) -> int:
    """Return the bytes per part for `size` bytes: whole MiB, at least SINGLE_PUT, at most MAX_PARTS parts."""
    least = -(-size // MAX_PARTS)
    return max(SINGLE_PUT, -(-least // MIB) * MIB)


def check_range(start: int, end: int | None, size: int) -> tuple[int, int]:
    """Return (start, end) cut to a blob of `size` bytes. Raises BadRange."""
    stop = size if end is None else min(end, size)
    if start < 0 or start > stop:
        raise BadRange(start, end, size)
    return start, stop
