"""Read a base model's identity from its folder: safetensors, read and hashed, no torch.

One tensor is hashed by BLAKE3 over its little-endian bytes as they lie in the file; two threads, because two cores
already hash faster than most disks read. Names, roots and the fingerprint are the business of `hub.spec.base_model`.

Both cores are kept busy to the end: small tensors are one job each, the largest first; a large one is hashed by two
threads of BLAKE3 itself, or, where casts are wanted, its casts are shared out.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import mmap
import os
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from blake3 import blake3

from hub import casting, errors
from hub.spec import base_model, documents, families, quantised, tensors
from hub.spec import casts as rules
from hub.spec.base_model import BaseModel, Leaf
from hub.spec.casts import Steps
from hub.spec.errors import SpecError
from hub.spec.located import WeightFile
from hub.spec.tensors import Tensor

THREADS = 2
LARGE = 32 << 20  # bytes of a tensor that is worth both cores
LONG = 1 << 30  # bytes of a base model that take longer to hash than a person waits without a word
PART = 1 << 20  # bytes that are read at once; whole numbers of every dtype, and little enough for the cache
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_READER = 3  # part of the key of the kept description: raise it when reading changes
_MAX_DEPTH = 4
MAX_JSON = 64 << 20
"""Bytes of a file beside the weights."""
_MAX_NODES = 5_000_000  # a tokenizer of 250 000 tokens has a million
_BESIDE = (".json", ".txt", ".model")
_VOCABULARIES = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
logger = logging.getLogger("hub")
_buffers = threading.local()


def read(folder: Path | str, progress: Callable[[int], None] | None = None, *, casts: bool = False) -> BaseModel:
    """The base model in a folder, every weight hashed now. `progress` is told bytes as they are hashed.

    `casts` computes the cast roots, too, which takes numpy and five times as long; a quantised base model has none.
    Raises UsageError, naming the file, when the folder holds no safetensors weights or they are malformed.
    """
    root = Path(folder)
    config = _config(root)
    wanted = casts and quantised.scheme_of(config) is None
    found: dict[str, _Hashed] = {}
    for shard in shards(root):
        for hashed in _read_shard(shard, str(config.get("model_type", "")), wanted, progress):
            if found.setdefault(hashed.leaf.name, hashed).leaf != hashed.leaf:
                raise errors.UsageError(f"{shard}: {hashed.leaf.name} stands in the folder twice with different bytes")
    try:
        leaves, told = [one.leaf for one in found.values()], {one.name: one.told for one in found.values()}
        base = base_model.from_leaves(leaves, config, tokenizer_digest(root), read=told.__getitem__)
    except SpecError as error:
        raise errors.UsageError(f"{root} is no base model that can be read", problems=error.problems) from error
    if not wanted:
        return base
    digests = {one.name: one.digests for one in found.values()}
    return dataclasses.replace(base, cast_roots=rules.roots(base.leaves, digests))


def shards(folder: Path | str) -> list[Path]:
    """The safetensors files that hold the weights: one, or those that the index names."""
    root = Path(folder)
    if not root.is_dir():
        raise errors.UsageError(f"{root} is not a folder", hint="name the folder of a base model")
    listed = {path.name for path in root.iterdir() if path.is_file()}
    return [root / name for name in weight_names(root, listed, called=str(root))]


def weight_names(root: Path, listed: Collection[str], *, called: str) -> list[str]:
    """The names of the files that hold the weights, of those that are `listed`. The index, where there is one, lies in `root`;
    `called` is what errors call the whole. Raises UsageError."""
    if INDEX in listed:
        table = _json(root / INDEX).get("weight_map")
        names = sorted(set(table.values())) if isinstance(table, dict) else []
        if not names or not all(isinstance(n, str) and n == os.path.basename(n) and n for n in names):
            raise errors.UsageError(f"{called}/{INDEX}: weight_map does not name files of this folder")
        return names
    if SINGLE in listed:
        return [SINGLE]
    pickled = sorted(name for name in listed if name.endswith((".bin", ".pt", ".pth", ".ckpt")))
    if pickled:
        raise errors.UsageError(
            f"{called} holds its weights only as {pickled[0]}, a pickle, which is never opened here",
            hint=(
                'convert it once, where you trust it: python -c "from transformers import AutoModel; '
                f"AutoModel.from_pretrained('{called}').save_pretrained('{called}')\""
            ),
        )
    raise errors.UsageError(
        f"{called} holds no {SINGLE} and no {INDEX}", hint="name the folder that a model was saved to"
    )


def weight_files(folder: Path | str) -> list[WeightFile]:
    """The files that hold the weights with their SHA-256, for a hub that knows such files without having hashed them.

    In a cache of Hugging Face's libraries a file of LFS is named by its SHA-256; every other one is read to its end.
    """
    return [WeightFile(shard.name, shard.stat().st_size, _sha256_of(shard)) for shard in shards(folder)]


def kept_files(folder: Path | str) -> list[WeightFile]:
    """All files that make a base model: weights, configuration and tokenizer, each with its SHA-256."""
    root, weights = Path(folder), weight_files(folder)
    small = sorted(
        path
        for path in root.iterdir()
        if path.is_file() and path.suffix in _BESIDE and path.name[:1].isalnum() and path.stat().st_size <= MAX_JSON
    )
    return [
        *weights,
        *(WeightFile(path.name, path.stat().st_size, _sha256(path)) for path in small if path.stat().st_size),
    ]


def _sha256_of(path: Path) -> str:
    target = path.resolve()
    if path.is_symlink() and target.parent.name == "blobs" and documents.is_digest(target.name):
        return target.name
    return _sha256(path)


def tokenizer_files(listed: Collection[str]) -> list[str]:
    """The names of the files, of those that are `listed`, that `tokenizer_digest` reads."""
    if "tokenizer.json" in listed:
        return ["tokenizer.json"]
    return [name for name in (*_VOCABULARIES, "tokenizer_config.json") if name in listed]


def configuration(folder: Path | str) -> dict[str, Any]:
    """What config.json says. Raises UsageError."""
    return _config(Path(folder))


def size(folder: Path | str) -> int:
    """Number of bytes of the files that hold the weights. Raises UsageError."""
    try:
        return sum(shard.stat().st_size for shard in shards(folder))
    except OSError as error:
        raise errors.UsageError(f"{error.filename} cannot be read: {error.strerror}") from error


def fingerprint(folder: Path | str) -> str:
    """ "base:<64 hex>" of the base model in a folder."""
    return read(folder).fingerprint


def tokenizer_digest(folder: Path | str) -> str | None:
    """SHA-256 (hex) of what the tokenizer does, None when there is no tokenizer.

    Of tokenizer.json without `padding` and `truncation`, which every use of the tokenizer may write anew, in
    canonical form; where that file is missing, of the vocabulary files and the casing.
    """
    root = Path(folder)
    if (root / "tokenizer.json").is_file():
        return tokenizer_digest_of(_json(root / "tokenizer.json"))
    files = {name: _sha256(root / name) for name in _VOCABULARIES if (root / name).is_file()}
    if not files:
        return None
    settings = _json(root / "tokenizer_config.json") if (root / "tokenizer_config.json").is_file() else {}
    return _digest_of({"files": files, "do_lower_case": settings.get("do_lower_case")})


def tokenizer_digest_of(table: Mapping[str, Any]) -> str:
    """`tokenizer_digest` of what a tokenizer.json holds."""
    return _digest_of({key: value for key, value in table.items() if key not in {"padding", "truncation"}})


def index(folders: Iterable[Path | str], *, cache: Path | None = None) -> dict[str, Path]:
    """fingerprint -> folder, for every base model in or below `folders` (HUB_BASES).

    With `cache`, a folder whose files have kept their sizes and times is not hashed again.
    """
    return {base.fingerprint: folder for folder, base in catalogue(folders, cache=cache)}


def catalogue(
    folders: Iterable[Path | str], *, cache: Path | None = None, casts: bool = False
) -> Iterator[tuple[Path, BaseModel]]:
    """Every readable base model in or below `folders`; an unreadable one is told and passed over."""
    for folder in candidates(folders):
        try:
            yield folder, describe(folder, cache=cache, casts=casts)
        except errors.HubError as error:
            logger.warning("%s is passed over: %s", folder, error.message)


def describe(
    folder: Path | str,
    *,
    cache: Path | None = None,
    casts: bool = False,
) -> BaseModel:
    """`read`, or the kept description when no file has changed its size or time since."""
    root = Path(folder).absolute()
    if cache is None:
        return read(root, casts=casts)
    kept, stamp = _place(cache, root), _stamp(root)
    known = _kept(kept, stamp, casts)
    if known is not None:
        return known
    if size(root) >= LONG:
        logger.info("hashing %s once: %.0f GB", root, size(root) / 1e9)
    base = read(root, casts=casts)
    _keep(kept, {"folder": str(root), "stamp": stamp, "casts": casts, "base": base.to_json()})
    return base


def _place(cache: Path, root: Path) -> Path:
    """Where the description of a folder is kept."""
    return cache / f"{hashlib.sha256(str(root).encode()).hexdigest()}.json"


def outline(folder: Path | str, *, cache: Path | None = None) -> BaseModel:
    """A base model by its configuration and the headers of its weights: nothing is hashed.

    With `cache`, the kept description where there is one. Else fingerprint, roots and digests are empty: it says which
    tensors there are, and not which values. Raises UsageError as `read` does.
    """
    root = Path(folder).absolute()
    known = _kept(_place(cache, root), _stamp(root), False) if cache is not None else None
    if known is not None:
        return known
    config = _config(root)
    leaves = [leaf for shard in shards(root) for leaf in _headers(shard)]
    try:
        base = base_model.from_leaves(leaves, config, tokenizer_digest(root))
    except SpecError as error:
        raise errors.UsageError(f"{root} is no base model that can be read", problems=error.problems) from error
    unknown = tuple(dataclasses.replace(leaf, digest="") for leaf in base.leaves)
    return dataclasses.replace(base, fingerprint="", roots={}, leaves=unknown)


def places(folder: Path | str) -> dict[str, tuple[Path, int, int]]:
    """Canonical name -> (file, first byte, the byte behind the last) of every weight in a folder. Raises UsageError."""
    root = Path(folder)
    model_type = str(_config(root).get("model_type", ""))
    found: dict[str, tuple[Path, int, int]] = {}
    for shard in shards(root):
        with _told(shard):
            start, table = _header(shard)
        for tensor in table:
            if (name := families.canonical_name(tensor.name, model_type)) is not None:
                found[name] = (shard, start + tensor.start, start + tensor.end)
    return found


def called(folder: Path) -> str:
    """What people call the base model in a folder: its id where a Hugging Face cache holds it, else the folder's name."""
    cached = re.search(r"models--([^/]+)--([^/]+)/snapshots/", folder.absolute().as_posix())
    return f"{cached[1]}/{cached[2]}" if cached else folder.absolute().name


def hugging_face_cache() -> Path:
    """The folder in which Hugging Face's libraries keep models."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")).expanduser()


def is_base(folder: Path) -> bool:
    """True for a folder that looks like a base model's."""
    return (folder / "config.json").is_file() and ((folder / SINGLE).is_file() or (folder / INDEX).is_file())


@dataclasses.dataclass(frozen=True)
class _Hashed:
    """A tensor under its canonical `name`: its leaf as the file names it, the BLAKE3 after the steps of every cast, and
    its bytes where they tell a shape."""

    name: str
    leaf: Leaf
    digests: dict[Steps, str]
    told: bytes


@dataclasses.dataclass(frozen=True)
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


def _read_shard(shard: Path, model_type: str, casts: bool, progress: Callable[[int], None] | None) -> list[_Hashed]:
    with _told(shard):
        start, table = _header(shard)
        named = {t: name for t in table if (name := families.canonical_name(t.name, model_type)) is not None}
        digests = _hash(shard, start, list(named), casts, progress)
        return [
            _Hashed(
                name,
                Leaf(tensor.name, tensor.dtype, tensor.shape, digests[tensor][()]),
                digests[tensor],
                b"".join(_parts(shard, start, tensor)) if _tells_shape(name, tensor) else b"",
            )
            for tensor, name in named.items()
        ]


def _headers(shard: Path) -> list[Leaf]:
    """The tensors of a file without their digests."""
    with _told(shard):
        _, table = _header(shard)
    return [Leaf(tensor.name, tensor.dtype, tensor.shape, "0" * 64) for tensor in table]


def _header(shard: Path) -> tuple[int, tuple[Tensor, ...]]:
    """(the byte where the tensors begin, the tensors) of a safetensors file. Raises SpecError, OSError."""
    with shard.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        head = stream.read(8)
        head += stream.read(tensors.header_length(head, size))
    return len(head), tensors.parse_header(head, size, shard.name)


@contextlib.contextmanager
def _told(shard: Path) -> Iterator[None]:
    """Say of a file that cannot be read, or is not what it should be, which one it is. Raises UsageError."""
    try:
        yield
    except SpecError as error:
        raise errors.UsageError(
            f"{shard} is not a safetensors file as it should be", problems=error.problems
        ) from error
    except OSError as error:
        raise errors.UsageError(f"{shard} cannot be read: {error.strerror or error}") from error


def _hash(
    shard: Path, start: int, table: list[Tensor], casts: bool, progress: Callable[[int], None] | None
) -> dict[Tensor, dict[Steps, str]]:
    """The BLAKE3 of every tensor, as it is and with `casts` after each of them; tensors begin at byte `start`."""
    found: dict[Tensor, dict[Steps, str]] = {tensor: {} for tensor in table}

    def work(job: _Job) -> None:
        if job.alone:
            found[job.tensor][()] = _hash_mapped(shard, start, job.tensor)
        elif job.exact:
            hasher = blake3()
            for part in _parts(shard, start, job.tensor):
                hasher.update(part)
            found[job.tensor][()] = hasher.hexdigest()
        else:
            found[job.tensor] |= casting.digests(_parts(shard, start, job.tensor), job.tensor.dtype, job.ways)
        if progress is not None and () in job.ways:
            progress(job.tensor.nbytes)

    jobs = [job for tensor in sorted(table, key=lambda tensor: -tensor.nbytes) for job in _jobs(tensor, casts)]
    for job in jobs:
        if job.alone:
            work(job)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, [job for job in jobs if not job.alone]))
    return found


def _parts(shard: Path, start: int, tensor: Tensor) -> Iterator[memoryview]:
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


def _tells_shape(name: str, tensor: Tensor) -> bool:
    return quantised.tells_shape(name) and tensor.nbytes <= quantised.MAX_TOLD


def _config(root: Path) -> dict[str, Any]:
    if not (root / "config.json").is_file():
        raise errors.UsageError(f"{root} holds no config.json", hint="name the folder that a model was saved to")
    return _json(root / "config.json")


def _json(path: Path) -> dict[str, Any]:
    try:
        value = documents.loads_json(path.read_bytes(), where=path.name, max_bytes=MAX_JSON, max_nodes=_MAX_NODES)
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


def candidates(folders: Iterable[Path | str]) -> Iterator[Path]:
    """Every folder at or below these that looks like a base model's."""
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


def _kept(path: Path, stamp: list[Any], casts: bool) -> BaseModel | None:
    try:
        value = json.loads(path.read_bytes())
        known = value["stamp"] == stamp and value["casts"] >= casts
        return BaseModel.from_json(value["base"]) if known else None
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
