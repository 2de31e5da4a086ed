"""The base models of this machine, each described once: where they lie, and what is known of them without hashing them again."""

import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hub import base_folder, errors
from hub.spec.base_model import BaseModel

LONG = 1 << 30  # bytes of a base model that take longer to hash than a person waits without a word
_READER = 3  # part of the key of the kept description: raise it when reading changes
_MAX_DEPTH = 4
logger = logging.getLogger("hub")


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
    """`base_folder.read`, or the kept description when no file has changed its size or time since."""
    root = Path(folder).absolute()
    if cache is None:
        return base_folder.read(root, casts=casts)
    kept, stamp = _place(cache, root), _stamp(root)
    known = _kept(kept, stamp, casts)
    if known is not None:
        return known
    if base_folder.size(root) >= LONG:
        logger.info("hashing %s once: %.0f GB", root, base_folder.size(root) / 1e9)
    base = base_folder.read(root, casts=casts)
    _keep(kept, {"folder": str(root), "stamp": stamp, "casts": casts, "base": base.to_json()})
    return base


def outline(folder: Path | str, *, cache: Path | None = None) -> BaseModel:
    """`base_folder.outline`, or the kept description, which says more, where there is one."""
    root = Path(folder).absolute()
    known = _kept(_place(cache, root), _stamp(root), False) if cache is not None else None
    return base_folder.outline(root) if known is None else known


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
        if base_folder.is_base(folder):
            yield folder
        elif depth < _MAX_DEPTH:  # four deep: a Hugging Face cache holds models--a--b/snapshots/<commit>
            children = sorted(child for child in folder.iterdir() if child.is_dir() and child.name[:1] != ".")
            waiting += [(child, depth + 1) for child in children]


def _place(cache: Path, root: Path) -> Path:
    """Where the description of a folder is kept."""
    return cache / f"{hashlib.sha256(str(root).encode()).hexdigest()}.json"


def _stamp(root: Path) -> list[Any]:
    names = ["config.json", "tokenizer.json", "tokenizer_config.json", base_folder.INDEX, *base_folder.VOCABULARIES]
    files = [root / name for name in names if (root / name).is_file()] + base_folder.shards(root)
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
