"""Fetch one file whose SHA-256 is known: stream to a temporary file of our own, resume, verify, fsync.

The temporary file belongs to this call alone, so that no lock is needed to be right. What an earlier, killed call
left behind is copied, never adopted: its owner may still be alive.
"""

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import httpx2

from hub import errors
from hub.transfer.progress import SILENT, Progress
from hub.transfer.retry import RETRIED
from hub.transfer.wire import INHERIT, Wire, read

MAX_RESTARTS = 5
MAX_RENEWALS = 3
COPY = 1 << 20
SEED_FROM = 64 << 10  # below this a request for the rest costs more than it saves
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True)
class Remote:
    """A file that somebody else holds: its name (for people), digest (bare hex), size in bytes and address."""

    path: str
    sha256: str
    size: int
    url: str

    @classmethod
    def of(cls, file: Mapping[str, Any]) -> Self:
        """A file as the API names it, {path, sha256, size, url}."""
        return cls(str(file["path"]), str(file["sha256"]), int(file["size"]), str(file["url"]))


def disk_error(error: OSError, path: Path, needed: int) -> errors.StorageError:
    """The clear form of a refusal by the local disk, with the path and the bytes that are needed."""
    if error.errno in FULL:
        return errors.StorageError(
            f"the disk is full: {needed} bytes are needed at {path} ({free_bytes(path)} are free)",
            hint="make room there, or set HUB_CACHE to a folder on a larger disk; nothing partial was kept",
        )
    return errors.StorageError(
        f"{path} cannot be written: {error.strerror or error}", hint="HUB_CACHE names the folder of the cache"
    )


def free_bytes(path: Path) -> int:
    """Free bytes on the file system of a path that need not exist yet."""
    while not path.exists() and path != path.parent:
        path = path.parent
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def fetch(
    wire: Wire,
    remote: Remote,
    target: Path,
    *,
    seeds: Iterable[Path] = (),
    progress: Progress = SILENT,
    renew: Callable[[], str] | None = None,
    token: str | None = INHERIT,
) -> None:
    """Makes `target` (which must not exist) hold exactly the bytes of `remote`, synced to disk.

    `seeds` are files that may hold the first part of it; `renew` gives a fresh URL when the old one has expired.
    Raises IntegrityError (file removed), StorageError (file removed) or NetworkError (file kept, to be a seed later).
    """
    try:
        with _Part(target, remote, progress) as part:
            part.seed(seeds)
            _fill(wire, part, renew, token)
            part.sync()
    except OSError as error:
        target.unlink(missing_ok=True)
        raise disk_error(error, target, remote.size) from error
    except errors.IntegrityError:
        target.unlink(missing_ok=True)
        raise


class _Part:
    """The temporary file: bytes so far, and the hash of exactly these."""

    def __init__(self, path: Path, remote: Remote, progress: Progress) -> None:
        self.path, self.remote = path, remote
        self.etag: str | None = None
        self.restarts = 0
        self._progress = progress
        self._hash = hashlib.sha256()
        self.offset = 0
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self._stream = os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    @property
    def full(self) -> bool:
        return self.offset == self.remote.size

    @property
    def good(self) -> bool:
        return self.full and self._hash.hexdigest() == self.remote.sha256

    def write(self, data: bytes) -> None:
        if self.offset + len(data) > self.remote.size:
            raise _Overlong
        view = memoryview(data)
        while view:
            view = view[self._stream.write(view) :]
        self._hash.update(data)
        self.offset += len(data)
        self._progress.add(len(data))

    def restart(self, reason: errors.HubError) -> None:
        """Forgets everything: the server began from the start, or what we hold is wrong. Raises `reason` in the end."""
        self.restarts += 1
        if self.restarts > MAX_RESTARTS:
            raise reason
        self._stream.seek(0)
        self._stream.truncate(0)
        self._progress.add(-self.offset)
        self._hash, self.offset = hashlib.sha256(), 0

    def seed(self, seeds: Iterable[Path]) -> None:
        """Copies the longest of the files that others left; wrong bytes in it only cost a restart later."""
        for path in sorted(seeds, key=_length, reverse=True):
            if not SEED_FROM <= _length(path) <= self.remote.size:
                continue
            with contextlib.suppress(FileNotFoundError, _Overlong), _opened(path) as source:
                while data := source.read(COPY):
                    self.write(data)
                return

    def sync(self) -> None:
        os.fsync(self._stream.fileno())


class _Overlong(Exception):
    """More bytes came than the manifest announces."""


class _Expired(Exception):
    """The address is no longer valid; a fresh one may be."""


def _fill(wire: Wire, part: _Part, renew: Callable[[], str] | None, token: str | None) -> None:
    url, stalls, renewals = part.remote.url, 0, 0
    if wire.is_home(wire.address(url)):
        part.etag = (
            f'"{part.remote.sha256}"'  # the hub's own ETag: a seed from an earlier process is safe to go on from
        )
    while not part.good:
        if part.full:
            part.restart(_mismatch(part))
        before = part.offset
        try:
            _stream(wire, url, part, token)
        except _Overlong:
            part.restart(_mismatch(part))
        except _Expired as error:
            renewals += 1
            if renew is None or renewals > MAX_RENEWALS:
                raise errors.NetworkError(f"{part.remote.path}: its address is no longer valid") from error
            url = renew()
        except errors.NetworkError as error:
            stalls = 0 if part.offset > before else stalls + 1
            if wire.offline or stalls >= wire.retry.attempts:
                raise
            wire.retry.wait(stalls, error.data)


def _mismatch(part: _Part) -> errors.IntegrityError:
    return errors.IntegrityError(
        f"{part.remote.path}: what the hub sends is not what its digest sha256:{part.remote.sha256} says",
        hint="tell the owner of the hub; nothing was kept",
    )


def _stream(wire: Wire, url: str, part: _Part, token: str | None) -> None:
    """One GET for what is missing. Raises NetworkError when it is worth another try."""
    headers = {"Range": f"bytes={part.offset}-"} if part.offset else {}
    if part.offset and part.etag:
        headers["If-Range"] = part.etag  # the file behind the address is another one: send it whole
    with wire.open(url, headers=headers, token=token) as response:
        if not _continues(response, part):
            part.restart(errors.NetworkError(f"{part.remote.path}: the hub does not resume, and keeps breaking off"))
            if response.status_code != 200:
                return
        if response.status_code not in {200, 206}:
            raise _refusal(wire, part, response)
        etag = response.headers.get("etag", "")
        part.etag = etag if etag.startswith('"') else None
        for chunk in response.iter_raw():
            part.write(chunk)
    if not part.full:
        raise errors.NetworkError(f"{part.remote.path}: the connection ended early")


def _continues(response: httpx2.Response, part: _Part) -> bool:
    """False when this answer cannot be put behind what we hold."""
    if response.status_code == 206:
        unit, _, rest = response.headers.get("content-range", "").partition(" ")
        span, _, total = rest.partition("/")
        return unit == "bytes" and span.startswith(f"{part.offset}-") and total in {"*", str(part.remote.size)}
    return not part.offset or response.status_code not in {200, 416}


def _refusal(wire: Wire, part: _Part, response: httpx2.Response) -> Exception:
    status = response.status_code
    if status in {400, 401, 403, 404, 410} and not wire.is_home(str(response.url)):
        return _Expired()
    if status in RETRIED:
        later = {"retry-after": response.headers.get("retry-after", "0")}
        return errors.NetworkError(f"{part.remote.path}: the hub answered {status}", status=status, data=later)
    document = None
    with contextlib.suppress(ValueError, errors.HubError):
        document = read(response).data
    return errors.from_answer(status, document, asked=f"GET {part.remote.path}")


def _length(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return -1


def _opened(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb")
