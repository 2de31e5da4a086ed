"""What fills an adapter's bytes: the adapter, its head, whole modules of the base; and which of them may be the base's own.

Whether a tensor is an unchanged copy, its bytes say; here are the places to look at. Whoever holds the adapter alone compares the
BLAKE3 of a stretch with the base's leaf (`Copy.digest`); whoever holds both compares row by row.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from hub.spec import base_model, components, documents, errors, snapshot, tensors
from hub.spec.snapshot import Snapshot

KINDS = ("adapter", "head", "saved", "copied")
_OVERLAYS = {"saved": "modules_to_save", "copy": "save_embedding_layers", "bias": "bias"}
_TOKENS = "trainable_tokens_delta"
_WITHOUT = {
    "save_embedding_layers": "save_embedding_layers=False",
    "modules_to_save": "leave them out of modules_to_save",
    "bias": 'bias="none"',
    "tokens": "name only tokens that are trained",
}
_POOLER = {"pooler_weight": "pooler.dense.weight", "pooler_bias": "pooler.dense.bias"}


@dataclasses.dataclass(frozen=True)
class Copy:
    """A saved tensor that may repeat one of the base model's.

    `path`, `start`, `end`: the bytes to compare, which are as many as the base's; `of`: bytes of the whole saved tensor, which may
    have more rows; `name`: the base's tensor; `row`: bytes of a row; `cause`: the setting that had it saved; `picked`: which of the
    base's rows these are, where they are not its first ones.
    """

    path: str
    start: int
    end: int
    of: int
    name: str
    digest: str
    row: int
    cause: str
    picked: tuple[int, ...] = ()


def of(component: components.Component, base_parameters: int = 0) -> dict[str, Any]:
    """Return {kind: {"parameters", "bytes", "percent"}} of an adapter, its head, saved and copied modules.

    `percent` is of the base model's parameters; None where these are not known (0).
    """
    copied = sum(components.count(part.shapes) for part in component.parts if part.kind == "copy")
    numbers = (component.parameters, component.head_parameters, component.saved_parameters, copied)
    return {
        kind: {
            "parameters": number,
            "bytes": component.nbytes.get(kind, 0),
            "percent": round(100 * number / base_parameters, 4) if base_parameters else None,
        }
        for kind, number in zip(KINDS, numbers, strict=True)
    }


def places(files: Snapshot, path: str) -> dict[str, tuple[tensors.Tensor, int]]:
    """Return every tensor of a safetensors file with the place of its first byte; nothing where it cannot be read."""
    if path not in files.files or not path.endswith(".safetensors"):
        return {}
    size = files.files[path]
    try:
        length = tensors.header_length(files.read(path, 0, 8), size, path)
        table = tensors.parse_header(files.read(path, 0, 8 + length), size, path)
    except errors.SpecError:
        return {}
    return {tensor.name: (tensor, 8 + length + tensor.start) for tensor in table}


def copies(component: components.Component, files: Snapshot, base: base_model.BaseModel) -> tuple[Copy, ...]:
    """Return the saved tensors that have the shape of the base model's, or its rows and more: none of them is read."""
    leaves = {leaf.name: leaf for leaf in base.leaves}
    found = []
    for path, saved in _saved(component).items():
        where = places(files, path)
        for key, name, cause in saved:
            leaf = leaves.get(name) or _table(base, name)
            if leaf is not None and key in where and (copy := _copy(path, *where[key], leaf, cause)):
                found.append(copy)
    return (*found, *_rows_of_tokens(component, files, leaves))


def sentence(same: Mapping[Copy, int]) -> str:
    """Say how many bytes are unchanged copies (`same`: bytes by tensor), and how to save without them; empty where none is."""
    hit = [copy for copy, count in same.items() if count]
    if not hit:
        return ""
    tables = all(copy.name.endswith("embeddings.weight") or "embed" in copy.name or "wte" in copy.name for copy in hit)
    what = "embeddings" if tables else ", ".join(sorted({copy.name.rpartition(".")[0] for copy in hit})[:3])
    total = sum(copy.of for copy in hit)
    ways = "; ".join(_WITHOUT[cause] for cause in sorted({copy.cause for copy in hit}))
    count = sum(same.values())
    return f"{shown(count)} of {shown(total)} are unchanged copies of the base's {what}; saving without them: {ways}"


def shown(count: int) -> str:
    """Return a number of bytes as a person reads it: 37 MB."""
    number, unit = float(count), "bytes"
    for larger in ("KB", "MB", "GB"):
        if number < 1000:
            break
        number, unit = number / 1000, larger
    return f"{count} bytes" if unit == "bytes" else f"{number:.3g} {unit}" if number < 100 else f"{number:.0f} {unit}"


def rows(first: Iterator[bytes], second: Iterator[bytes], row: int) -> int:
    """Return how many bytes of two streams lie in rows (of `row` bytes) that are equal; both are read once, side by side."""
    same, left, right = 0, b"", b""
    while (more := next(first, b"")) and (other := next(second, b"")):
        left, right = left + more, right + other
        whole = min(len(left), len(right)) // row * row
        if left[:whole] == right[:whole]:
            same += whole
        else:
            same += row * sum(left[at : at + row] == right[at : at + row] for at in range(0, whole, row))
        left, right = left[whole:], right[whole:]
    return same


def _saved(component: components.Component) -> dict[str, list[tuple[str, str, str]]]:
    """File -> (key, the base's name, what had it saved) of every tensor that stands in for one of the base's."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for part in component.parts:
        if part.kind in _OVERLAYS:
            keys = [(key, f"{part.module}.{role}", _OVERLAYS[part.kind]) for role, key in part.tensors.items()]
            found.setdefault(component.weights, []).extend(keys)
    if head := component.head:
        keys = [(head.tensors[role], name, "modules_to_save") for role, name in _POOLER.items() if role in head.tensors]
        found.setdefault(head.weights, []).extend(keys)
    return found


def _rows_of_tokens(
    component: components.Component, files: Snapshot, leaves: Mapping[str, base_model.Leaf]
) -> Iterator[Copy]:
    """Rows of single tokens: the configuration says which of the base's they stand in for."""
    parts = [part for part in component.parts if _TOKENS in part.tensors]
    if not parts:
        return
    named = _token_indices(files, component.folder)
    where = places(files, component.weights)
    for part in parts:
        leaf, key = leaves.get(f"{part.module}.weight"), part.tensors[_TOKENS]
        chosen = next(
            (rows for name, rows in named.items() if f".{part.module}".endswith(f".{name}" if name else "")), None
        )
        if leaf is None or chosen is None or key not in where or len(leaf.shape) != 2:
            continue
        tensor, start = where[key]
        same_form = tensor.dtype == leaf.dtype and tensor.shape == (len(chosen), leaf.shape[1])
        if chosen and same_form and all(type(row) is int and 0 <= row < leaf.shape[0] for row in chosen):
            row = tensor.nbytes // len(chosen)
            yield Copy(
                component.weights,
                start,
                start + tensor.nbytes,
                tensor.nbytes,
                leaf.name,
                "",
                row,
                "tokens",
                tuple(chosen),
            )


def _token_indices(files: Snapshot, folder: str) -> dict[str, list[Any]]:
    """Table -> its rows, as an adapter_config.json names them; "" for whatever table it is."""
    path = snapshot.config_of(folder, files.files)
    try:
        config = documents.loads_object(snapshot.whole(files, path, documents.MAX_BYTES), where=path)
    except errors.SpecError:
        return {}
    value = config.get("trainable_token_indices") or config.get("token_indices")
    table = value if isinstance(value, dict) else {"": value}
    return {name: rows for name, rows in table.items() if isinstance(rows, list)}


def _table(base: base_model.BaseModel, name: str) -> base_model.Leaf | None:
    """The base's table of tokens, where a name is a second place of it (a tied output layer)."""
    if not base_model.is_tied(name) or not base.config.get("tie_word_embeddings", True):
        return None
    rows = base.sizes["vocab"]
    return next((leaf for leaf in base.leaves if len(leaf.shape) == 2 and leaf.shape[0] == rows), None)


def _copy(path: str, tensor: tensors.Tensor, start: int, leaf: base_model.Leaf, cause: str) -> Copy | None:
    if tensor.dtype != leaf.dtype or not tensor.shape or tensor.shape[1:] != leaf.shape[1:] or 0 in tensor.shape:
        return None
    row = tensor.nbytes // tensor.shape[0]
    end = start + row * min(tensor.shape[0], leaf.shape[0])
    # a table that was cut short has no digest of its own
    digest = leaf.digest if tensor.shape[0] >= leaf.shape[0] and leaf.digest.strip("0") else ""
    row = row if len(tensor.shape) > 1 else math.prod(leaf.shape) * row
    return Copy(path, start, end, tensor.nbytes, leaf.name, digest, row, cause)
