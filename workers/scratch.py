"""The files that a worker makes for itself: written whole or not at all, read back as they were written, no more than fit.

A child writes into a folder of its own. What it is known to have made is then taken to where no child may write, under its
name and the SHA-256 of its bytes.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

_HALF = ".tmp"
_LEFT_SECONDS = 3600.0
"""A child's folder that nobody has written to for so long belongs to no one."""


def write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write a safetensors file that is there whole or not at all."""
    from safetensors.torch import save

    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=_HALF)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(save(tensors))
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def making(folder: Path) -> Iterator[Path]:
    """A folder for one child to write to, below `folder`; it goes with whatever was not taken, as do those that were left."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        for left in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process clears, too
                if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)


def take(made: Path, kept: Path) -> None:
    """Move a file that a child has made, and nobody writes to any more, into the folder `kept`. What is no file stays."""
    kept.mkdir(parents=True, exist_ok=True)
    if made.is_symlink() or not made.is_file():
        return
    made.chmod(0o400)
    os.replace(made, kept / f"{made.name}.{_sha256(made)}")


def find(kept: Path, name: str) -> Path | None:
    """The file that was taken under a name; None where there is none. One with other bytes than were taken is removed."""
    for path in kept.glob(f"{name}.*"):
        with contextlib.suppress(FileNotFoundError):  # another process tidies
            if path.suffix == f".{_sha256(path)}":
                return path
            path.unlink()
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def used(path: Path) -> None:
    """Note that a file is used now: file systems are often told not to."""
    with contextlib.suppress(OSError):
        os.utime(path)


def tidy(files: Iterable[Path], most: int) -> list[Path]:
    """Remove files until the rest have `most` bytes, those unused for longest first, never the last one; returns what went.

    Who has one mapped goes on reading it: the bytes go with the last mapping.
    """
    found = []
    for path in files:
        with contextlib.suppress(FileNotFoundError):  # another worker's process tidies, too
            status = path.stat()
            found.append((status.st_mtime_ns, path, status.st_size))
    found.sort()
    total, gone = sum(size for _, _, size in found), []
    for _, path, size in found[:-1]:
        if total <= most:
            break
        path.unlink(missing_ok=True)
        total -= size
        gone.append(path)
    return gone
