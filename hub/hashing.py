"""A safetensors file of a base model, read without torch: its header, its tensors' bytes, and the BLAKE3 of each.

One tensor is hashed over its little-endian bytes as they lie in the file; two threads, because two cores already hash faster
than most disks read. Both cores are kept busy to the end: small tensors are one job each, the largest first; a large one is
hashed by two threads of BLAKE3 itself, or, where casts are wanted, its casts are shared out.
"""

import contextlib
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from hub import casting, errors
from hub.spec import casts as rules
from hub.spec import tensors
from hub.spec.casts import Steps
from hub.spec.errors import SpecError
from hub.spec.tensors import Tensor

THREADS = 2
LARGE = 32 << 20  # bytes of a tensor that is worth both cores
PART = 1 << 20  # bytes that are read at once; whole numbers of every dtype, and little enough for the cache
_buffers = threading.local()


@contextlib.contextmanager
def told(shard: Path) -> Iterator[None]:
    """Say of a file that cannot be read, or is not what it should be, which one it is. Raises UsageError."""
    try:
        yield
    except SpecError as error:
        raise errors.UsageError(
            f"{shard} is not a safetensors file as it should be", problems=error.problems
        ) from error
    except OSError as error:
        raise errors.UsageError(f"{shard} cannot be read: {error.strerror or error}") from error


def header(shard: Path) -> tuple[int, tuple[Tensor, ...]]:
    """(the byte where the tensors begin, the tensors) of a safetensors file. Raises SpecError, OSError."""
    with shard.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        head = stream.read(8)
        head += stream.read(tensors.header_length(head, size))
    return len(head), tensors.parse_header(head, size, shard.name)


def hashes(
    shard: Path, start: int, table: list[Tensor], casts: bool, progress: Callable[[int], None] | None
) -> dict[Tensor, dict[Steps, str]]:
    """The BLAKE3 of every tensor, as it is and with `casts` after each of them; tensors begin at byte `start`."""
    found: dict[Tensor, dict[Steps, str]] = {tensor: {} for tensor in table}

    def work(job: _Job) -> None:
        if job.alone:
            found[job.tensor][()] = _hash_mapped(shard, start, job.tensor)
        elif job.exact:
            hasher = blake3()
            for part in parts(shard, start, job.tensor):
                hasher.update(part)
            found[job.tensor][()] = hasher.hexdigest()
        else:
            found[job.tensor] |= casting.digests(parts(shard, start, job.tensor), job.tensor.dtype, job.ways)
        if progress is not None and () in job.ways:
            progress(job.tensor.nbytes)

    jobs = [job for tensor in sorted(table, key=lambda tensor: -tensor.nbytes) for job in _jobs(tensor, casts)]
    for job in jobs:
        if job.alone:
            work(job)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, [job for job in jobs if not job.alone]))
    return found


def parts(shard: Path, start: int, tensor: Tensor) -> Iterator[memoryview]:
    """A tensor's bytes by and by, in one buffer of this thread: read is faster than mapped, and stays in the cache."""
    if not hasattr(_buffers, "here"):
        _buffers.here = memoryview(bytearray(PART))
    with shard.open("rb", buffering=0) as stream:
        stream.seek(start + tensor.start)
        for left in range(tensor.nbytes, 0, -PART):
            part = _buffers.here[: min(left, PART)]
            filled = 0
            while filled < len(part):
                count = stream.readinto(part[filled:])
                if not count:
                    raise errors.UsageError(f"{shard} became shorter while it was read", hint="wait until it is whole")
                filled += count
            yield part


@dataclass(frozen=True)
class _Job:
    """One tensor and the ways it is hashed; () is as it is."""

    tensor: Tensor
    ways: tuple[Steps, ...]

    @property
    def exact(self) -> bool:
        """True where nothing is cast."""
        return self.ways == ((),)

    @property
    def alone(self) -> bool:
        """True where the job takes all cores."""
        return self.exact and self.tensor.nbytes >= LARGE


def _hash_mapped(shard: Path, start: int, tensor: Tensor) -> str:
    """The BLAKE3 of a large tensor by all cores; they need all of it at once, so it is mapped."""
    with (
        shard.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as whole,
        whole[start + tensor.start : start + tensor.end] as data,
    ):
        return blake3(data, max_threads=THREADS).hexdigest()


def _jobs(tensor: Tensor, casts: bool) -> list[_Job]:
    """A small tensor is cast and hashed in one pass, while it is in the cache; a large one is shared by two."""
    if not casts or tensor.dtype not in rules.FLOATS:
        return [_Job(tensor, ((),))]
    ways = rules.all_steps(tensor.dtype)
    if tensor.nbytes < LARGE:
        return [_Job(tensor, ways)]
    return [_Job(tensor, ways[:2]), _Job(tensor, ways[2:])] if len(ways) > 2 else [_Job(tensor, ways)]
