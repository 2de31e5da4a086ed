"""A folder of the user's as the hub sees it: its files, their digests, and its manifest."""

import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from hub import errors
from hub.spec import manifest
from hub.spec.errors import Problem

SIDECAR = ".adapter-hub.json"  # what `hub pull --to` leaves beside the files, so that `hub verify DIR` can compare
_BUFFER = 1 << 20
_LEFT_OUT = frozenset({"__pycache__", "Thumbs.db", "desktop.ini"})
# what a Trainer writes beside an adapter: no part of it, and mostly pickles
_BY_PRODUCTS = re.compile(
    r"training_args\.bin|(optimizer|scheduler|scaler)\.(pt|bin)|rng_state(_\d+)?\.pth|trainer_state\.json|"
    r"events\.out\.tfevents\..*|runs|wandb|global_step\d+|checkpoint-\d+|.*\.log"
)


def is_by_product(name: str) -> bool:
    """Tell whether a file is what a Trainer writes beside an adapter, and no part of it."""
    return _BY_PRODUCTS.fullmatch(name) is not None


class FolderSnapshot:
    """The files of a folder, with `extra` files laid over them; a `hub.spec.snapshot.Snapshot`.

    Links are never followed and are told in `.problems`; hidden files, byte code and what a Trainer leaves beside an
    adapter (its state, logs, checkpoints) are left out and named in `.left_out`.
    """

    def __init__(self, root: Path | str, extra: Mapping[str, bytes] | None = None) -> None:
        self.root = Path(root)
        self.extra = dict(extra or {})
        self.left_out: list[str] = []
        self.problems: list[Problem] = []
        if not self.root.is_dir():
            raise errors.UsageError(
                f"{self.root} is not a folder", hint="name the folder that holds the adapter's files"
            )
        sizes = dict(self._walk(self.root, ""))
        sizes.update({path: len(data) for path, data in self.extra.items()})
        self.files: Mapping[str, int] = dict(sorted(sizes.items()))

    def read(self, path: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive) of one file."""
        with self.open(path) as stream:
            stream.seek(start)
            return stream.read(end - start)

    def open(self, path: str) -> IO[bytes]:
        """One file, opened without following a link."""
        if path in self.extra:
            return io.BytesIO(self.extra[path])
        if path not in self.files:
            raise FileNotFoundError(path)
        return open_plain(self.root.joinpath(*path.split("/")))

    def manifest(self) -> manifest.Manifest:
        """Every file hashed. Names and sizes are judged by whoever uses it (`Manifest.from_json`)."""
        return manifest.Manifest(
            tuple(manifest.File(path, self._digest(path), size) for path, size in self.files.items())
        )

    def _digest(self, path: str) -> str:
        with self.open(path) as stream:
            return digest_of(stream)

    def _walk(self, folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                path = f"{prefix}{entry.name}"
                if entry.name.startswith(".") or entry.name in _LEFT_OUT or is_by_product(entry.name):
                    self.left_out.append(path)
                elif entry.is_dir(follow_symlinks=False):
                    yield from self._walk(Path(entry.path), f"{path}/")
                elif entry.is_file(follow_symlinks=False):
                    yield path, entry.stat(follow_symlinks=False).st_size
                else:
                    kind = "a symbolic link" if entry.is_symlink() else "not a plain file"
                    self.problems.append(Problem("link", path, f"{path} is {kind}", "put a copy of the file there"))


def digest_of(stream: IO[bytes]) -> str:
    """SHA-256 (hex) of what is left of a stream."""
    digest = hashlib.sha256()
    while data := stream.read(_BUFFER):
        digest.update(data)
    return digest.hexdigest()


def file_digest(path: Path) -> str | None:
    """SHA-256 (hex) of a plain file, None when there is none (a link counts as none)."""
    try:
        with open_plain(path) as stream:
            return digest_of(stream)
    except OSError:
        return None


def open_plain(path: Path) -> IO[bytes]:
    """Opens a regular file for reading; a link, a pipe or a device raises OSError."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{path} is not a plain file")
    return os.fdopen(handle, "rb")
