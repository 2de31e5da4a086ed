"""The content-addressed cache on the local disk.

    blobs/sha256/ab/<hex>     bytes, named by their digest                 mode 0444
    snapshots/<hex>/...       a manifest's files under their own names     hard links to the blobs, or copies
    manifests/<hex>.json      what a snapshot must hold, and the facts that came with it
    refs/<hex>.json           what a name meant when it was last asked for
    locks/  tmp/  bases/

A path in blobs/, snapshots/ or manifests/ is complete or absent: it is made under tmp/ by one process alone and
renamed. Locks only save a second download; with locks that do nothing (some network file systems) everything stays
right.
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hub import errors, paths
from hub.folder import file_digest
from hub.spec.manifest import File
from hub.transfer.download import disk_error, free_bytes

STALE = 24 * 3600.0
STUCK = 20.0  # seconds without a byte after which the holder of a lock is no longer waited for
_POLL = 0.05


class Cache:
    """One cache folder. Every method may run in many processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tmp = root / "tmp"

    # -- blobs --------------------------------------------------------------------------------------------------

    def blob(self, sha256: str) -> Path:
        """Where the bytes of a digest lie, or would lie."""
        return self.root / "blobs" / "sha256" / sha256[:2] / sha256

    def holds(self, file: File) -> bool:
        """True when the blob is there and its bytes, hashed now, are right; a spoilt one is put away."""
        path = self.blob(file.sha256)
        found = file_digest(path)
        if found is not None and found != file.sha256:
            path.unlink(missing_ok=True)
        return found == file.sha256

    def part(self, sha256: str) -> Path:
        """A new name in tmp/ for the bytes of a digest; nobody else will ever use it."""
        self._make(self._tmp)
        owner = f"{socket.gethostname()[:32]}.{os.getpid()}".replace("/", "_")
        return self._tmp / f"{sha256}.{owner}.{os.urandom(6).hex()}.part"

    def parts(self, sha256: str) -> list[Path]:
        """What others have of it so far, or left behind when they were killed."""
        return list(self._tmp.glob(f"{sha256}.*.part"))

    def admit(self, part: Path, sha256: str) -> bool:
        """Moves verified, synced bytes into their final place; False when somebody swept them away before."""
        target = self.blob(sha256)
        try:
            self._make(target.parent)
            part.chmod(0o444)
            os.replace(part, target)
            sync_folder(target.parent)
        except FileNotFoundError:
            return False
        except OSError as error:
            part.unlink(missing_ok=True)
            raise disk_error(error, target, 0) from error
        for leftover in self.parts(sha256):
            if _owner_is_gone(leftover):
                leftover.unlink(missing_ok=True)
        return True

    def put(self, file: File, data: bytes) -> None:
        """Keeps bytes that came inside an answer. Raises IntegrityError when they are not what the digest says."""
        if len(data) != file.size or hashlib.sha256(data).hexdigest() != file.sha256:
            raise errors.IntegrityError(f"{file.path}: what the hub sent is not what its digest says")
        part = self.part(file.sha256)
        try:
            write_synced(part, data)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise disk_error(error, part, file.size) from error
        self.admit(part, file.sha256)

    def reserve(self, size: int) -> None:
        """Raises StorageError before the first byte when the disk cannot hold `size` more."""
        if free_bytes(self.root) < size:
            raise errors.StorageError(
                f"the disk is full: {size} bytes are needed at {self.root} ({free_bytes(self.root)} are free)",
                hint="make room there, or set HUB_CACHE to a folder on a larger disk",
            )

    @contextlib.contextmanager
    def lock(self, sha256: str) -> Iterator[None]:
        """Waits while another process fetches the same bytes, but never for one that stands still."""
        from filelock import FileLock, Timeout  # 8 ms, only where something is missing

        self._make(self.root / "locks")
        lock = FileLock(self.root / "locks" / f"{sha256}.lock")
        held, size, since = False, -1, time.monotonic()
        while not held and time.monotonic() - since < STUCK:
            try:
                lock.acquire(timeout=0)
                held = True
            except Timeout:
                grown = sum(_size(part) for part in self.parts(sha256))
                if grown != size:
                    size, since = grown, time.monotonic()
                time.sleep(_POLL)
            except (OSError, NotImplementedError):
                break  # a file system without locks: two downloads, both right
        try:
            yield
        finally:
            if held:
                lock.release()

    def sweep(self, now: float | None = None) -> int:
        """Removes temporary files older than a day, and leftovers of dead processes that nobody needs; returns how many."""
        removed = 0
        for path in self._tmp.glob("*") if self._tmp.is_dir() else ():
            with contextlib.suppress(OSError):
                old = (now or time.time()) - path.lstat().st_mtime > STALE
                if old or (_owner_is_gone(path) and self.blob(path.name[:64]).exists()):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                    removed += 1
        return removed

    # -- snapshots ----------------------------------------------------------------------------------------------

    def snapshot(self, digest: str) -> Path:
        """The folder of a manifest (hex digest): complete, or not there."""
        return self.root / "snapshots" / digest

    def spoilt(self, digest: str, files: Iterable[File]) -> list[File]:
        """Files of a snapshot that are missing or whose bytes, hashed now, are not the manifest's."""
        root = self.snapshot(digest)
        return [file for file in files if file_digest(root.joinpath(*file.path.split("/"))) != file.sha256]

    def assemble(self, digest: str, files: Iterable[File]) -> Path:
        """Makes the snapshot folder out of blobs that are all here. Who comes second takes the first one's."""
        files = list(files)
        paths.check((file.path for file in files), source="the manifest")
        final = self.snapshot(digest)
        try:
            work = self._tmp / f"{digest}.{os.getpid()}.{os.urandom(6).hex()}"
            self.lay_out(work, files)
            self._make(final.parent)
            try:
                os.rename(work, final)
            except OSError:
                shutil.rmtree(work, ignore_errors=True)
                if not final.is_dir():
                    raise
            sync_folder(final.parent)
        except OSError as error:
            raise disk_error(error, final, sum(file.size for file in files)) from error
        return final

    def lay_out(self, folder: Path, files: Iterable[File], *, copies: bool = False) -> None:
        """Puts every file of a manifest into a folder that does not exist yet; nothing stays there on failure."""
        try:
            folder.mkdir(parents=True)
            for file in files:
                target = paths.inside(folder, file.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(self.blob(file.sha256), target, copies)
            for parent, _, _ in os.walk(folder, topdown=False):
                sync_folder(Path(parent))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def mend(self, digest: str, spoilt: Iterable[File]) -> None:
        """Replaces single files of a snapshot by rename, so that a reader of the folder never finds one gone."""
        for file in spoilt:
            target = paths.inside(self.snapshot(digest), file.path)
            work = self._tmp / f"{file.sha256}.{os.getpid()}.{os.urandom(6).hex()}.link"
            self._make(self._tmp)
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(self.blob(file.sha256), work, False)
            os.replace(work, target)

    # -- what names meant ---------------------------------------------------------------------------------------

    def remember(self, digest: str, facts: Mapping[str, Any], names: Iterable[str]) -> None:
        """Keeps the facts of a snapshot, and that each of `names` meant it now."""
        self._write(self.root / "manifests" / f"{digest}.json", facts)
        for name in names:
            self._write(self._ref(name), {"name": name, "digest": digest, "ref": facts.get("ref"), "at": time.time()})

    def facts(self, digest: str) -> dict[str, Any] | None:
        """What `remember` kept for a digest."""
        return _load(self.root / "manifests" / f"{digest}.json")

    def meant(self, name: str) -> dict[str, Any] | None:
        """What a name meant when it was last asked for: {"name", "digest", "ref", "at"}."""
        return _load(self._ref(name))

    def known(self) -> list[dict[str, Any]]:
        """Every name that was asked for."""
        return [entry for path in sorted((self.root / "refs").glob("*.json")) if (entry := _load(path))]

    def _ref(self, name: str) -> Path:
        return self.root / "refs" / f"{hashlib.sha256(name.encode()).hexdigest()}.json"

    def _write(self, path: Path, value: Mapping[str, Any]) -> None:
        self._make(self._tmp)
        work = self._tmp / f"json.{os.getpid()}.{os.urandom(6).hex()}"
        try:
            self._make(path.parent)
            write_synced(work, json.dumps(value, sort_keys=True).encode())
            os.replace(work, path)
        except OSError as error:
            work.unlink(missing_ok=True)
            raise disk_error(error, path, 4096) from error

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, folder, 4096) from error


def write_synced(path: Path, data: bytes) -> None:
    """Writes a new file and waits until it is on the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o644)
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Makes a rename in this folder last through a power cut, where the system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _link(blob: Path, target: Path, copy: bool) -> None:
    if not copy:
        with contextlib.suppress(OSError):
            os.link(blob, target)
            return
    shutil.copyfile(blob, target, follow_symlinks=False)
    with target.open("rb") as stream:
        os.fsync(stream.fileno())
    target.chmod(0o644 if copy else 0o444)


def _load(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _owner_is_gone(part: Path) -> bool:
    """True for a leftover of this machine whose process no longer lives. When in doubt, False: the sweep takes it."""
    fields = part.name.rsplit(".", 3)
    if len(fields) != 4 or not fields[0].endswith("." + socket.gethostname()[:32]) or not fields[1].isdigit():
        return False
    try:
        os.kill(int(fields[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
