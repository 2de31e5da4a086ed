"""Read a base model's identity from its folder: weights, configuration and tokenizer, no torch.

The files are hashed by `hub.hashing`; names, roots and the fingerprint are the business of `hub.spec.base_model`.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from hub import errors, hashing
from hub.spec import base_model, documents, families, quantised
from hub.spec import casts as rules
from hub.spec.base_model import BaseModel, Leaf
from hub.spec.casts import Steps
from hub.spec.errors import SpecError
from hub.spec.located import WeightFile
from hub.spec.tensors import Tensor

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
MAX_JSON = 64 << 20
"""Bytes of a file beside the weights."""
_MAX_NODES = 5_000_000  # a tokenizer of 250 000 tokens has a million
_BESIDE = (".json", ".txt", ".model")
VOCABULARIES = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)


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
    return [name for name in (*VOCABULARIES, "tokenizer_config.json") if name in listed]


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
    files = {name: _sha256(root / name) for name in VOCABULARIES if (root / name).is_file()}
    if not files:
        return None
    settings = _json(root / "tokenizer_config.json") if (root / "tokenizer_config.json").is_file() else {}
    return _digest_of({"files": files, "do_lower_case": settings.get("do_lower_case")})


def tokenizer_digest_of(table: Mapping[str, Any]) -> str:
    """`tokenizer_digest` of what a tokenizer.json holds."""
    return _digest_of({key: value for key, value in table.items() if key not in {"padding", "truncation"}})


def outline(folder: Path | str) -> BaseModel:
    """A base model by its configuration and the headers of its weights: nothing is hashed.

    Fingerprint, roots and digests are empty: it says which tensors there are, and not which values. Raises UsageError as
    `read` does.
    """
    root = Path(folder)
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
        with hashing.told(shard):
            start, table = hashing.header(shard)
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


def _read_shard(shard: Path, model_type: str, casts: bool, progress: Callable[[int], None] | None) -> list[_Hashed]:
    with hashing.told(shard):
        start, table = hashing.header(shard)
        named = {t: name for t in table if (name := families.canonical_name(t.name, model_type)) is not None}
        digests = hashing.hashes(shard, start, list(named), casts, progress)
        return [
            _Hashed(
                name,
                Leaf(tensor.name, tensor.dtype, tensor.shape, digests[tensor][()]),
                digests[tensor],
                b"".join(hashing.parts(shard, start, tensor)) if _tells_shape(name, tensor) else b"",
            )
            for tensor, name in named.items()
        ]


def _headers(shard: Path) -> list[Leaf]:
    """The tensors of a file without their digests."""
    with hashing.told(shard):
        _, table = hashing.header(shard)
    return [Leaf(tensor.name, tensor.dtype, tensor.shape, "0" * 64) for tensor in table]


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
