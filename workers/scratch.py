"""The files that a worker makes for itself: written whole or not at all, and no more of them than fit."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import torch

_HALF = ".tmp"
_HALF_SECONDS = 3600.0
"""A file half written that nobody has gone on with for so long belongs to no one."""


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


def clear(folder: Path) -> None:
    """Remove what `write` had begun where its process was ended, unless another worker's may be at it still."""
    for path in folder.glob(f"*{_HALF}"):
        with contextlib.suppress(FileNotFoundError):  # another worker's process clears, too
            if time.time() - path.stat().st_mtime > _HALF_SECONDS:
                path.unlink()


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
