"""A base model of a Hugging Face hub by its headers: which tensors there are, and the SHA-256 of the files that hold them.

Read are the configuration and the tokenizer whole, and of the weights the headers: of 140 GB some megabytes.
"""

import hashlib
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub import base_folder, errors
from hub.spec import documents, scan
from hub.spec.errors import SpecError
from hub.spec.located import WeightFile
from hub.transfer import huggingface
from hub.transfer.huggingface import Repository
from hub.transfer.progress import Progress

AT_ONCE = 8
SMALL = 16 << 20
"""Bytes of a file of weights that git itself holds, so that nobody tells its SHA-256; more it does not hold."""


@dataclass(frozen=True)
class Located:
    """What the headers of a repository say. `read`: how many bytes were fetched for it, of the `size` of its weights."""

    source: str
    revision: str
    config: dict[str, Any]
    tensors: list[list[Any]]
    files: tuple[WeightFile, ...]
    tokenizer_digest: str | None
    private: bool
    read: int

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return sum(file.size for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """The body of `POST base-models/located`, but for the name."""
        return {
            "source": self.source,
            "revision": self.revision,
            "config": self.config,
            "tensors": self.tensors,
            "files": [file.to_json() for file in self.files],
            "tokenizer_digest": self.tokenizer_digest,
        }


def kept(repository: Repository) -> Path | None:
    """The folder of this very commit in the cache of Hugging Face's libraries, where all its weights are there."""
    folder = huggingface.in_cache(repository.name, repository.commit)
    if folder is None or folder.name != repository.commit or not base_folder.is_base(folder):
        return None
    whole = all(
        shard.is_file() and shard.stat().st_size == repository.files.files.get(shard.name)
        for shard in base_folder.shards(folder)
    )
    return folder if whole else None


def read(repository: Repository, *, quiet: bool = False) -> Located:
    """Reads the headers of a repository. Raises UsageError, AuthError, NotFound, NetworkError."""
    files, name = repository.files, repository.name
    if "config.json" not in files.files:
        raise errors.UsageError(f"{name} holds no config.json", hint="is it a base model for transformers?")
    with tempfile.TemporaryDirectory(prefix="adapter-hub-") as place:
        folder = Path(place)
        listed = {path for path in files.files if "/" not in path}
        for path in ["config.json", base_folder.INDEX, *base_folder.tokenizer_files(listed)]:
            if path in listed:
                _insist_small(name, path, files.files[path])
                (folder / path).write_bytes(files.read(path, 0, files.files[path]))
        config = base_folder.configuration(folder)
        tokenizer = base_folder.tokenizer_digest(folder)
        shards = base_folder.weight_names(folder, listed, called=name)
    missing = [path for path in shards if path not in listed]
    if missing:
        raise errors.UsageError(f"{name}: {base_folder.INDEX} names {missing[0]}, which is not there")
    with Progress(len(shards), "headers", quiet=quiet, unit="file") as progress, ThreadPoolExecutor(AT_ONCE) as pool:
        tables = list(pool.map(_counted(lambda path: _tensors(repository, path), progress), shards))
        weights = tuple(pool.map(lambda path: _weights(repository, path), shards))
    named: dict[str, list[Any]] = {}
    for path, table in zip(shards, tables, strict=True):
        for tensor in table:
            if named.setdefault(tensor[0], tensor) != tensor:
                raise errors.UsageError(f"{name}/{path}: {tensor[0]} stands in the repository twice, and not alike")
    return Located(
        name, repository.commit, config, list(named.values()), weights, tokenizer, repository.private, files.fetched
    )


def _insist_small(name: str, path: str, size: int) -> None:
    if size > base_folder.MAX_JSON:
        most = base_folder.MAX_JSON >> 20
        raise errors.UsageError(
            f"{name}/{path} has {size} bytes; at most {most} MiB are read of a file beside the weights"
        )


def _counted(work: Callable[[str], Any], progress: Progress) -> Callable[[str], Any]:
    def done(path: str) -> Any:
        found = work(path)
        progress.add(1)
        return found

    return done


def _tensors(repository: Repository, path: str) -> list[list[Any]]:
    try:
        table = scan.header(repository.files, path)
    except SpecError as error:
        message = f"{repository.name}/{path} is not a safetensors file as it should be"
        raise errors.UsageError(message, problems=error.problems) from error
    return [[tensor.name, tensor.dtype, list(tensor.shape)] for tensor in table]


def _weights(repository: Repository, path: str) -> WeightFile:
    size, digest = repository.files.files[path], repository.digests.get(path)
    if digest is None and size <= SMALL:
        digest = hashlib.sha256(repository.files.read(path, 0, size)).hexdigest()
    if not documents.is_digest(digest):
        raise errors.UsageError(
            f"{repository.name}/{path}: nobody tells its SHA-256", hint="fetch it whole: hub base add --download"
        )
    return WeightFile(path, size, str(digest))
