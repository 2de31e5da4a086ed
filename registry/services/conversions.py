"""PyTorch's weight files, turned into safetensors by a process of their own. The rules: hub.spec.torch_file.

The same bytes always give the same bytes, so a conversion may be begun again at any time and by several at once.
"""

import contextlib
import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from hub.spec import documents, tensors, torch_file
from hub.spec import manifest as manifests
from hub.spec.errors import Collector, Problem, SpecError
from registry.queries import blobs
from registry.services import blobs as blob_rows
from registry.services import torch_child
from registry.storage import base as storage

SECONDS = 60
"""How long one file may take."""
MEMORY = 1 << 30
"""Bytes of address space of the process that reads it."""
MAX_FILES = 64
"""Files that are converted in one snapshot: weights and heads of as many adapters as it may hold."""
_ROOT = str(Path(__file__).resolve().parents[2])
_BEGIN = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from registry.services import torch_child; torch_child.main()"
)
_SAFE = "save the weights as safetensors: save_pretrained(...) does by default"


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A file that was sent, and the file of the manifest that it became. `changes`: what differs, for people, where
    that is more than the format."""

    sent: manifests.File
    kept: manifests.File
    changes: tuple[str, ...] = ()


def convert(
    content: manifests.Manifest, before_each: Callable[[], None]
) -> tuple[manifests.Manifest, tuple[Conversion, ...]]:
    """Return the manifest with every file of PyTorch's converted, and what became what. Its blobs must be stored.

    What comes of them is stored, too. Raises SpecError with what is wrong in every file, and StorageError.
    """
    targets = torch_file.replaced(file.path for file in content.files)
    if not targets:
        return content, ()
    if len(targets) > MAX_FILES:
        message = f"{len(targets)} PyTorch files in one snapshot; at most {MAX_FILES} are converted"
        raise SpecError.of("torch.many", "", message, _SAFE, "scan")
    made: list[Conversion] = []
    collector = Collector()
    for file in content.files:
        if file.path in targets:
            before_each()
            with collector.collect():
                stored = _stored(file)
                made.append(Conversion(file, manifests.File(targets[file.path], stored.sha256, stored.size)))
    collector.finalize()
    kept = [file for file in content.files if file.path not in targets] + [one.kept for one in made]
    return manifests.Manifest.from_json(manifests.Manifest(tuple(kept)).to_json()), tuple(made)


def _stored(file: manifests.File) -> storage.Stored:
    """Convert a stored file and store what comes of it."""
    with _temporary(file.size) as source, _temporary(file.size) as target:
        _fetch(file, source)
        _run(file, source, target)
        stored = _store(target)
    blob_rows.keep(stored=stored)
    return stored


@contextlib.contextmanager
def _temporary(needed: int) -> Iterator[IO[bytes]]:
    """Yield a file without a name. A full disk is a full disk, wherever it is."""
    try:
        with tempfile.TemporaryFile() as file:
            yield file
    except OSError as error:
        if error.errno not in torch_child.NO_ROOM:
            raise
        raise storage.StorageFull(tempfile.gettempdir(), needed) from error


def _fetch(file: manifests.File, target: IO[bytes]) -> None:
    digest = hashlib.sha256()
    for chunk in blobs.store().open(file.sha256):
        digest.update(chunk)
        target.write(chunk)
    target.flush()
    target.seek(0)
    if digest.hexdigest() != file.sha256:
        raise storage.BlobRotten(file.sha256)


def _store(made: IO[bytes]) -> storage.Stored:
    """Store a file as clients' files are stored: staged under a key of its own, hashed while it is written."""
    store, key = blobs.store(), f"{uuid.uuid4()}/0"
    size = made.seek(0, os.SEEK_END)
    made.seek(0)
    try:
        store.put_staging(key, made, 0, limit=size)
        store.finish_staging(key, size)
        return store.ingest(key)
    finally:
        store.discard(key)


def _run(file: manifests.File, source: IO[bytes], target: IO[bytes]) -> None:
    """Have a child convert `source` into `target`. Raises SpecError for what it refuses and for what it cannot bear."""
    most = min(torch_file.MAX_GROWTH * file.size + 2 * tensors.MAX_HEADER, manifests.MAX_FILE_BYTES)
    words = [str(os.getpid()), str(SECONDS), str(MEMORY), str(most), file.path]
    with _temporary(0) as told:
        status = _wait([sys.executable, "-I", "-c", _BEGIN, _ROOT, *words], source, target, told)
        if status == torch_child.REFUSED:
            raise SpecError(_problems(told))
        if status == torch_child.MEMORY:
            raise _error("memory", file.path, f"reading it takes more than {MEMORY >> 20} MiB of memory")
        if status == torch_child.FULL:
            raise storage.StorageFull(tempfile.gettempdir(), file.size)
        if status in (-signal.SIGXCPU, -signal.SIGALRM):
            raise _error("time", file.path, f"reading it takes more than {SECONDS} seconds")
        if status:  # nobody knows why: that is no verdict on the file
            told.seek(0)
            reason = told.read(10_000).decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise RuntimeError(f"the process that converts {file.path} ended with status {status}: {reason[:300]}")


def _wait(command: list[str], source: IO[bytes], target: IO[bytes], told: IO[bytes]) -> int:
    """Run the child to its end, which comes after SECONDS at the latest; return its status (SIGALRM: time was over)."""
    child = subprocess.Popen(  # noqa: S603  our own interpreter, our own words
        command, stdin=source, stdout=target, stderr=told, env={}, cwd="/", close_fds=True, start_new_session=True
    )
    try:
        return child.wait(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return -signal.SIGALRM
    finally:
        child.kill()
        child.wait()


def _problems(told: IO[bytes]) -> tuple[Problem, ...]:
    told.seek(0)
    found: list[dict[str, Any]] = documents.loads_json(told.read(documents.MAX_BYTES), where="what the child says")
    return tuple(Problem.from_json(problem) for problem in found)


def _error(what: str, where: str, message: str) -> SpecError:
    return SpecError.of(f"torch.{what}", where, message, _SAFE, "scan")
