"""Blobs in a folder on disk.

    sha256/ab/<hex>      blobs, read-only; a name appears only when its bytes are complete, hashed and on disk
    staging/<upload>/<n> what clients are sending; appended to
    incoming/<random>    what is being hashed on its way to sha256/
    rotten/<hex>.<time>  remains of damaged blobs that were repaired

Staged bytes are copied, never moved: a request that still writes to a staging file then cannot reach the
blob.
"""

import contextlib
import errno
import hashlib
import io
import logging
import os
import time
import uuid
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from registry.storage import base, filesystem_probe

log = logging.getLogger(__name__)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class FileStore:
    """A blob store below one folder, on one file system. See base.BlobStore for every method."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self.address = self.root.as_uri()

    # --- blobs ----------------------------------------------------------------------------------------------

    def size(self, sha256: str) -> int | None:
        path = self._blob(sha256)
        with _told(path):
            try:
                return os.stat(path, follow_symlinks=False).st_size
            except FileNotFoundError:
                return None

    def open(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        path = self._blob(sha256)
        with _told(path):
            try:
                file = _open(path)
            except FileNotFoundError:
                raise base.BlobMissing(sha256) from None
        try:
            return _Slice(file, *base.check_range(start, end, os.fstat(file.fileno()).st_size))
        except base.BadRange:
            file.close()
            raise

    def read(self, sha256: str, start: int = 0, end: int | None = None) -> bytes:
        return b"".join(self.open(sha256, start, end))

    def download_url(self, sha256: str, *, filename: str, seconds: int = 900) -> str | None:
        return None

    def put(self, data: bytes, *, expected_sha256: str | None = None) -> base.Stored:
        return self._store([data], expected_sha256)

    def verify(self, sha256: str) -> bool:
        path = self._blob(sha256)
        with _told(path):
            try:
                return _digest(path) == sha256
            except FileNotFoundError:
                return False

    # --- staging --------------------------------------------------------------------------------------------

    def upload_urls(self, key: str, size: int, *, seconds: int | None = None) -> list[base.UploadPart] | None:
        base.check_staging_key(key)
        return None

    def put_staging(self, key: str, stream: base.Readable, offset: int, *, limit: int | None = None) -> int:
        path = self._staging(key)
        if offset != (received := self.staged(key)):
            raise base.OffsetMismatch(key, received)
        with _told(path, 0 if limit is None else limit - offset):
            _make_folders(path.parent)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            return _receive(descriptor, key, stream, offset, limit, path)
        finally:
            os.close(descriptor)

    def staged(self, key: str) -> int:
        path = self._staging(key)
        with _told(path):
            try:
                return os.stat(path, follow_symlinks=False).st_size
            except FileNotFoundError:
                return 0

    def finish_staging(self, key: str, size: int) -> None:
        if size == 0:
            self.put_staging(key, io.BytesIO(), self.staged(key))
        received = self.staged(key)
        if received < size:
            raise base.StagingIncomplete(key, received, size)
        if received > size:
            raise base.StagingTooLarge(key, size)

    def open_staging(self, key: str) -> Iterator[bytes]:
        path = self._staging(key)
        with _told(path):
            try:
                file = _open(path)
            except FileNotFoundError:
                raise base.StagingMissing(key) from None
        return _steady(file, key)

    def ingest(self, key: str, *, expected_sha256: str | None = None) -> base.Stored:
        return self._store(self.open_staging(key), expected_sha256)

    def discard(self, key: str) -> None:
        path = self._staging(key)
        with _told(path):
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # other files of the upload are still there, or none ever were
                path.parent.rmdir()

    def sweep_staging(self, older_than: float, *, keep: Container[str] = ()) -> int:
        before, gone = time.time() - older_than, 0
        staged = [path for path in self.root.glob("staging/*/*") if f"{path.parent.name}/{path.name}" not in keep]
        for path in [*staged, *self.root.glob("incoming/*")]:
            with contextlib.suppress(FileNotFoundError):
                if path.stat(follow_symlinks=False).st_mtime <= before:
                    path.unlink()
                    gone += 1
        for folder in self.root.glob("staging/*"):
            with contextlib.suppress(OSError):  # not empty, or just gone
                if folder.stat().st_mtime <= before:
                    folder.rmdir()
        return gone

    # --- self-test ------------------------------------------------------------------------------------------

    def make(self) -> bool:
        with _told(self.root):
            is_new = not self.root.is_dir()
            _make_folders(self.root)
            return is_new

    def probe(self) -> base.Probe:
        with _told(self.root):
            _make_folders(self.root / "incoming")
            return base.Probe(self.address, filesystem_probe.capabilities(self.root / "incoming", _no_overwrite))

    # --- how a blob gets its name ---------------------------------------------------------------------------

    def _store(self, chunks: Iterable[bytes], expected: str | None) -> base.Stored:
        """Write `chunks` to a temporary file, hashing what is written, and give it its final name."""
        temporary = self.root / "incoming" / uuid.uuid4().hex
        with _told(self.root), contextlib.ExitStack() as cleanup:
            _make_folders(temporary.parent)
            cleanup.callback(temporary.unlink, missing_ok=True)
            stored = _write(temporary, chunks)
            if expected not in (None, stored.sha256):
                raise base.DigestMismatch(str(expected), stored.sha256)
            self._publish(temporary, stored.sha256)
        return stored

    def _publish(self, temporary: Path, sha256: str) -> None:
        """Give a complete file its final name; a blob that has it already is looked at, not overwritten."""
        path = self._blob(sha256)
        _make_folders(path.parent)
        try:
            _no_overwrite(temporary, path)
        except FileExistsError:
            if _digest(path) != sha256:
                self._repair(temporary, path, sha256)
        _sync_folder(path.parent)
        _sync_folder(path.parent.parent)

    def _repair(self, temporary: Path, path: Path, sha256: str) -> None:
        """Put proven bytes in the place of a damaged blob, and keep what was there."""
        remains = self.root / "rotten" / f"{sha256}.{time.time_ns()}"
        try:
            _make_folders(remains.parent)
            with contextlib.suppress(FileNotFoundError):
                _no_overwrite(path, remains)
            os.replace(temporary, path)
        except OSError as error:
            raise base.BlobRotten(sha256, f"Replacing it failed: {error}.") from error
        log.warning("storage: blob %s was damaged; repaired, remains at %s", sha256, remains)

    def _blob(self, sha256: str) -> Path:
        return self.root / base.blob_path(sha256)

    def _staging(self, key: str) -> Path:
        return self.root / "staging" / base.check_staging_key(key)


class _Slice:
    """The bytes `start:stop` of an open file, in chunks. Closes the file at the end."""

    def __init__(self, file: io.FileIO, start: int, stop: int) -> None:
        self._file, self._left = file, stop - start
        file.seek(start)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = self._file.read(min(base.CHUNK, self._left)) if self._left else b""
        self._left -= len(chunk)
        if not chunk:
            self.close()
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Give the file back before the end."""
        self._file.close()
        self._left = 0


def _steady(file: io.FileIO, key: str) -> Iterator[bytes]:
    """Yield a staging file; StagingChanged when it was written to meanwhile."""
    with file:
        before = os.fstat(file.fileno())
        while chunk := file.read(base.CHUNK):
            yield chunk
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise base.StagingChanged(key)


def _receive(descriptor: int, key: str, stream: base.Readable, offset: int, limit: int | None, path: Path) -> int:
    """Write `stream` at `offset` of a file and return where it ends.

    No lock: a request that hangs must not keep its client from going on by another one. Both write the same
    bytes to the same places, or the digest tells.
    """
    at = offset
    try:
        while chunk := stream.read(base.CHUNK):
            room = len(chunk) if limit is None else min(len(chunk), limit - at)
            with _told(path, room), _undo(descriptor, offset):
                at += _write_all(descriptor, chunk[:room], at)
            if room < len(chunk):
                raise base.StagingTooLarge(key, at)
        return at
    finally:
        with _told(path), _undo(descriptor, offset):
            os.fsync(descriptor)
            _sync_folder(path.parent)


@contextlib.contextmanager
def _undo(descriptor: int, length: int) -> Iterator[None]:
    """Cut a file back to `length` when the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            os.ftruncate(descriptor, length)
        raise


def _write(path: Path, chunks: Iterable[bytes]) -> base.Stored:
    """Write a new file, durable and read-only, and return the digest of what was written."""
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        for chunk in chunks:
            with _told(path, len(chunk)):
                size += _write_all(descriptor, chunk, size)
            digest.update(chunk)
        with _told(path):
            os.fchmod(descriptor, 0o444)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return base.Stored(digest.hexdigest(), size)


def _write_all(descriptor: int, data: bytes, at: int) -> int:
    view, written = memoryview(data), 0
    while written < len(data):
        written += os.pwrite(descriptor, view[written:], at + written)
    return written


def _no_overwrite(source: Path, target: Path) -> None:
    """Let `target` name the file `source`, too. FileExistsError when it names one already."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_without_links(source, target)


def _rename_without_links(source: Path, target: Path) -> None:
    """On file systems without hard links. Two at once may both pass: their bytes have the same digest."""
    if target.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    os.rename(source, target)


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file; empty when the disk cannot read it any more."""
    try:
        with _open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return ""


def _open(path: Path) -> io.FileIO:
    return io.FileIO(os.open(path, _READ), "rb")


def _make_folders(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _told(path: Path, needed: int = 0) -> Iterator[None]:
    """Turn an error of the operating system into one that says where and how to mend it."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise base.StorageFull(str(path), needed) from error
        raise base.StorageUnavailable(
            f"The blob store at {path} failed: {error.strerror or error}.",
            "Check that the folder is mounted and that this user may write to it.",
        ) from error
