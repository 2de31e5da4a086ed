"""A base model that is known by its headers: which tensors there are, and the SHA-256 of the files that hold them.

Nobody has hashed its tensors yet, so it has no fingerprint. Whoever holds the same files later gives it one.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

from hub.spec import base_model, documents, errors
from hub.spec.base_model import BaseModel, Leaf

MAX_FILES = 2000
_KEPT = re.compile(r"[A-Za-z0-9][\w.-]{0,199}\.(?:safetensors|json|txt|model)", re.ASCII)
_READ = "let `hub base add OWNER/NAME` read the repository"


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """One file of weights: its path in the repository, its bytes, and their SHA-256 (64 hex)."""

    path: str
    size: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """{path, size, sha256}"""
        return dataclasses.asdict(self)


def parse_files(value: Any) -> tuple[WeightFile, ...]:
    """Read [{path, size, sha256}, ...], sorted by path. Raises SpecError."""
    if not isinstance(value, list) or not 0 < len(value) <= MAX_FILES:
        raise _error("files", f"must be a list of 1 to {MAX_FILES} files")
    found = tuple(sorted(map(_file, value), key=lambda file: file.path))
    if len({file.path for file in found}) < len(found):
        raise _error("files", "names a path twice")
    return found


def files_digest(files: Iterable[WeightFile]) -> str:
    """Return the digest (64 hex) over the weights' SHA-256, sorted: what the files are called changes nothing."""
    return documents.digest({"weights": 1, "sha256": sorted(file.sha256 for file in files)})


def is_kept(path: str) -> bool:
    """Tell whether a hub keeps a base model's file of this name, and a client takes it: weights, JSON, text, tokenizers."""
    return _KEPT.fullmatch(path) is not None


def unhashed(tensors: Any) -> Any:
    """Return leaves, for `parse_leaves`, of [[name, dtype, shape], ...]. Each has another digest, that of nothing: with the
    same one for all, a layer would look tied to its like."""
    if not isinstance(tensors, list):
        return tensors
    return [
        [*item, f"{n:064x}"] if isinstance(item, list) and len(item) == 3 else item for n, item in enumerate(tensors)
    ]


def outline(told: Mapping[str, Any]) -> BaseModel:
    """Return what the headers tell, {tensors, config, tokenizer_digest}, as a base model. Its fingerprint and roots mean
    nothing. Raises SpecError."""
    leaves = base_model.parse_leaves(unhashed(told.get("tensors")))
    return base_model.from_leaves(leaves, told.get("config") or {}, told.get("tokenizer_digest"))


def agrees(leaves: Iterable[Leaf], base: BaseModel) -> bool:
    """Tell whether a base model's tensors have the names, dtypes and shapes that these headers tell.

    A header does not tell which tensor is a copy of another one: one more, under a name that copies have, is no difference.
    """
    told = {leaf.name: leaf for leaf in base_model.canonical_leaves(leaves, base.model_type)}
    own = {leaf.name: leaf for leaf in base.leaves}
    return all(
        name in told and (told[name].dtype, told[name].shape) == (leaf.dtype, leaf.shape) for name, leaf in own.items()
    ) and all(base_model.may_be_tied(name) for name in told.keys() - own.keys())


def _file(item: Any) -> WeightFile:
    said = item if isinstance(item, dict) else {}
    path, size, sha256 = said.get("path"), said.get("size"), said.get("sha256")
    if set(said) != {"path", "size", "sha256"} or not isinstance(path, str) or not 0 < len(path) <= 1024:
        raise _error(documents.shorten(path), "each file is {path, size, sha256}")
    if type(size) is not int or not 0 < size < 1 << 53:
        raise _error(path, f"impossible size {documents.shorten(size)}")
    if not isinstance(sha256, str) or not documents.is_digest(sha256):
        raise _error(path, "sha256 must be 64 hex digits")
    return WeightFile(path, size, sha256)


def _error(where: str, message: str) -> errors.SpecError:
    return errors.SpecError.of("located.files", where, message, _READ, "config")
