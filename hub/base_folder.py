"""Read a base model's identity from its folder: safetensors, mapped and hashed, no torch.

One tensor is hashed by BLAKE3 over its little-endian bytes as they lie in the file; two threads, because two cores
already read faster than most disks. Names, roots and the fingerprint are the business of `hub.spec.base_model`.
"""

import hashlib
import json
import logging
import mmap
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from blake3 import blake3

from hub import errors
from hub.spec import base_model, documents, families, tensors
from hub.spec.base_model import BaseModel, Leaf
from hub.spec.errors import SpecError

THREADS = 2
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_READER = 1  # part of the key of the kept description: raise it when reading changes
_MAX_DEPTH = 4
_MAX_JSON = 64 << 20
_MAX_NODES = 5_000_000  # a tokenizer of 250 000 tokens has a million
_VOCABULARIES = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
logger = logging.getLogger("hub")


def read(folder: Path | str, progress: Callable[[int], None] | None = None) -> BaseModel:
    """The base model in a folder, every weight hashed now. `progress` is told bytes as they are hashed.

    Raises UsageError, naming the file, when the folder holds no safetensors weights or they are malformed.
    """
    root = Path(folder)
    config = _config(root)
    found: dict[str, Leaf] = {}
    for shard in shards(root):
        for leaf in _leaves(shard, str(config.get("model_type", "")), progress):
            if found.setdefault(leaf.name, leaf) != leaf:
                raise errors.UsageError(f"{shard}: {leaf.name} stands in the folder twice with different bytes")
    try:
        return base_model.from_leaves(tuple(found.values()), config, tokenizer_digest(root))
    except SpecError as error:
        raise errors.UsageError(f"{root} is no base model that can be read", problems=error.problems) from error


def shards(folder: Path | str) -> list[Path]:
    """The safetensors files that hold the weights: one, or those that the index names."""
    root = Path(folder)
    if not root.is_dir():
        raise errors.UsageError(f"{root} is not a folder", hint="name the folder of a base model")
    if (root / INDEX).is_file():
        table = _json(root / INDEX).get("weight_map")
        names = sorted(set(table.values())) if isinstance(table, dict) else []
        if not names or not all(isinstance(n, str) and n == os.path.basename(n) and n for n in names):
            raise errors.UsageError(f"{root / INDEX}: weight_map does not name files of this folder")
        return [root / name for name in names]
    if (root / SINGLE).is_file():
        return [root / SINGLE]
    pickled = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in root.glob(pattern))
    if pickled:
        raise errors.UsageError(
            f"{root} holds its weights only as {pickled[0]}, a pickle, which is never opened here",
            hint=(
                'convert it once, where you trust it: python -c "from transformers import AutoModel; '
                f"AutoModel.from_pretrained('{root}').save_pretrained('{root}')\""
            ),
        )
    raise errors.UsageError(
        f"{root} holds no {SINGLE} and no {INDEX}", hint="name the folder that a model was saved to"
    )


def fingerprint(folder: Path | str, progress: Callable[[int], None] | None = None) -> str:
    """ "base:<64 hex>" of the base model in a folder."""
    return read(folder, progress).fingerprint


def tokenizer_digest(folder: Path | str) -> str | None:
    """SHA-256 (hex) of what the tokenizer does, None when there is no tokenizer.

    Of tokenizer.json without `padding` and `truncation`, which every use of the tokenizer may write anew, in
    canonical form; where that file is missing, of the vocabulary files and the casing.
    """
    root = Path(folder)
    if (root / "tokenizer.json").is_file():
        table = _json(root / "tokenizer.json")
        kept = {key: value for key, value in table.items() if key not in {"padding", "truncation"}}
        return _digest_of(kept)
    files = {name: _sha256(root / name) for name in _VOCABULARIES if (root / name).is_file()}
    if not files:
        return None
    settings = _json(root / "tokenizer_config.json") if (root / "tokenizer_config.json").is_file() else {}
    return _digest_of({"files": files, "do_lower_case": settings.get("do_lower_case")})


def index(folders: Iterable[Path | str], *, cache: Path | None = None) -> dict[str, Path]:
    """fingerprint -> folder, for every base model in or below `folders` (HUB_BASES).

    With `cache`, a folder whose files have kept their sizes and times is not hashed again.
    """
    return {base.fingerprint: folder for folder, base in catalogue(folders, cache=cache)}


def catalogue(folders: Iterable[Path | str], *, cache: Path | None = None) -> Iterator[tuple[Path, BaseModel]]:
    """Every readable base model in or below `folders`; an unreadable one is told and passed over."""
    for folder in _candidates(folders):
        try:
            yield folder, describe(folder, cache=cache)
        except errors.HubError as error:
            logger.warning("%s is passed over: %s", folder, error.message)


def describe(
    folder: Path | str, *, cache: Path | None = None, progress: Callable[[int], None] | None = None
) -> BaseModel:
    """`read`, or the kept description when no file has changed its size or time since."""
    root = Path(folder).absolute()
    if cache is None:
        return read(root, progress)
    kept = cache / f"{hashlib.sha256(str(root).encode()).hexdigest()}.json"
    stamp = _stamp(root)
    known = _kept(kept, stamp)
    if known is not None:
        return known
    base = read(root, progress)
    _keep(kept, {"folder": str(root), "stamp": stamp, "base": base.to_json()})
    return base


def is_base(folder: Path) -> bool:
    """True for a folder that looks like a base model's."""
    return (folder / "config.json").is_file() and ((folder / SINGLE).is_file() or (folder / INDEX).is_file())


def _leaves(shard: Path, model_type: str, progress: Callable[[int], None] | None) -> list[Leaf]:
    try:
        with shard.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            head = stream.read(8)
            head += stream.read(tensors.header_length(head, size))
            table = tensors.parse_header(head, size, shard.name)
            counted = [t for t in table if families.canonical_name(t.name, model_type) is not None]
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
                return _hashed(view, len(head), counted, progress)
    except SpecError as error:
        raise errors.UsageError(
            f"{shard} is not a safetensors file as it should be", problems=error.problems
        ) from error
    except OSError as error:
        raise errors.UsageError(f"{shard} cannot be read: {error.strerror or error}") from error


def _hashed(
    view: memoryview, start: int, counted: list[tensors.Tensor], progress: Callable[[int], None] | None
) -> list[Leaf]:
    def leaf(tensor: tensors.Tensor) -> Leaf:
        with view[start + tensor.start : start + tensor.end] as data:
            digest = blake3(data).hexdigest()
        if progress is not None:
            progress(tensor.nbytes)
        return Leaf(tensor.name, tensor.dtype, tensor.shape, digest)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(leaf, counted))


def _config(root: Path) -> dict[str, Any]:
    if not (root / "config.json").is_file():
        raise errors.UsageError(f"{root} holds no config.json", hint="name the folder that a model was saved to")
    return _json(root / "config.json")


def _json(path: Path) -> dict[str, Any]:
    try:
        value = documents.loads_json(path.read_bytes(), where=path.name, max_bytes=_MAX_JSON, max_nodes=_MAX_NODES)
    except SpecError as error:
        raise errors.UsageError(f"{path} cannot be read", problems=error.problems) from error
    except OSError as error:
        raise errors.UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    if not isinstance(value, dict):
        raise errors.UsageError(f"{path} is not a JSON object")
    return value


def _digest_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _candidates(folders: Iterable[Path | str]) -> Iterator[Path]:
    seen: set[str] = set()
    waiting = [(Path(folder), 0) for folder in folders]
    while waiting:
        folder, depth = waiting.pop(0)
        real = os.path.realpath(folder)
        if real in seen or not folder.is_dir():
            continue
        seen.add(real)
        if is_base(folder):
            yield folder
        elif depth < _MAX_DEPTH:  # four deep: a Hugging Face cache holds models--a--b/snapshots/<commit>
            children = sorted(child for child in folder.iterdir() if child.is_dir() and child.name[:1] != ".")
            waiting += [(child, depth + 1) for child in children]


def _stamp(root: Path) -> list[Any]:
    names = ["config.json", "tokenizer.json", "tokenizer_config.json", INDEX, *_VOCABULARIES]
    files = [root / name for name in names if (root / name).is_file()] + shards(root)
    try:
        return [_READER, sys.byteorder, *([p.name, s.st_size, s.st_mtime_ns] for p in files for s in [p.stat()])]
    except OSError as error:
        raise errors.UsageError(f"{error.filename} cannot be read: {error.strerror}") from error


def _kept(path: Path, stamp: list[Any]) -> BaseModel | None:
    try:
        value = json.loads(path.read_bytes())
        return BaseModel.from_json(value["base"]) if value["stamp"] == stamp else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(path: Path, value: dict[str, Any]) -> None:
    work = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work.write_text(json.dumps(value))
        os.replace(work, path)
    except OSError as error:  # a description that cannot be kept costs a second hashing, nothing else
        logger.debug("%s cannot be written: %s", path, error)
        work.unlink(missing_ok=True)
