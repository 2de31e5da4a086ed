"""The header of a safetensors file, read strictly and before any library sees the file.

    8 bytes n, little-endian | n bytes of JSON | the tensors' bytes

Stricter than the format's reference parser where that is lenient (measured on safetensors 0.8): duplicate keys, a
million empty tensors in a header of 60 MB, names that no terminal prints. Whatever passes here passes there too.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from hub.spec import documents, errors

MAX_HEADER = 2 << 20
MAX_TENSORS = 20_000
MAX_NAME = 512
MAX_RANK = 8
DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4,
    "I64": 8, "U64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
_SAVE = "save the file again with safetensors.torch.save_file"
_WHOLE = "the file is cut off: send the whole file"


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of a file. `start` and `end` are byte offsets counted from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes."""
        return self.end - self.start


def header_length(first8: bytes, file_size: int, where: str = "weights") -> int:
    """Return the length n of the JSON header from a file's first eight bytes. Raises SpecError."""
    if file_size < 8 or len(first8) < 8:
        raise _error("tensors.truncated", where, f"is {file_size} bytes long, too short for safetensors")
    length = int.from_bytes(first8[:8], "little")
    if length > MAX_HEADER:
        message = f"announces a header of {length} bytes; at most {MAX_HEADER} are read"
        raise _error("tensors.header_size", where, message, "perhaps these are no safetensors bytes at all")
    if 8 + length > file_size:
        message = f"announces a header of {length} bytes, but the file ends after {file_size} bytes"
        raise _error("tensors.truncated", where, message, _WHOLE)
    return length


def parse_header(head: bytes, file_size: int, where: str = "weights") -> tuple[Tensor, ...]:
    """Return the tensors that a header names, sorted by name.

    `head` is the beginning of the file (8 + n bytes at least), `file_size` the whole file's size. The tensors
    must cover the rest of the file exactly, without hole or overlap. Raises SpecError with every fault.
    """
    length = header_length(head, file_size, where)
    raw = head[8 : 8 + length]
    if len(raw) < length:
        raise _error("tensors.truncated", where, f"only {len(raw)} of {length} bytes of the header are there")
    if not raw.startswith(b"{"):
        raise _error("tensors.header", where, "the header does not begin with '{': no safetensors bytes")
    with errors.as_check("scan"):
        header = documents.loads_json(
            raw, where=where, max_bytes=MAX_HEADER, max_depth=4, max_nodes=8 * MAX_TENSORS + MAX_NAME
        )
    _check_metadata(header.pop("__metadata__", {}), where)
    if len(header) > MAX_TENSORS:
        message = f"holds {len(header)} tensors; at most {MAX_TENSORS} are read"
        raise _error("tensors.too_many", where, message, "no adapter, and no base model that is run here, has so many")
    collector = errors.Collector()
    found = [tensor for name, entry in header.items() if (tensor := _tensor(name, entry, where, collector))]
    collector.finalize()
    _check_cover(sorted(found, key=lambda item: (item.start, item.end)), file_size - 8 - length, where)
    return tuple(sorted(found, key=lambda item: item.name))


def _tensor(name: str, entry: Any, where: str, collector: errors.Collector) -> Tensor | None:
    with collector.collect():
        _check_name(name, where)
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            message = f"tensor {name!r} needs exactly dtype, shape and data_offsets"
            raise _error("tensors.entry", where, message)
        dtype, shape = _dtype(name, entry["dtype"], where), _shape(name, entry["shape"], where)
        tensor = Tensor(name, dtype, shape, *_offsets(name, entry["data_offsets"], where))
        _check_size(tensor, where)
        return tensor
    return None


def _check_name(name: str, where: str) -> None:
    if not name or len(name) > MAX_NAME or not name.isprintable():
        message = f"the tensor name {documents.shorten(name)!r} is empty, too long or not printable"
        raise _error("tensors.name", where, message, f"use printable names of at most {MAX_NAME} characters")


def _dtype(name: str, dtype: Any, where: str) -> str:
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        message = f"tensor {name!r} has the unknown dtype {documents.shorten(dtype)!r}"
        raise _error("tensors.dtype", where, message, f"known are {', '.join(DTYPE_BYTES)}")
    return dtype


def _shape(name: str, shape: Any, where: str) -> tuple[int, ...]:
    sizes = shape if isinstance(shape, list) else [None]
    if len(sizes) > MAX_RANK or any(type(size) is not int or size < 0 for size in sizes):
        message = f"tensor {name!r} has the impossible shape {documents.shorten(shape)}"
        raise _error("tensors.shape", where, message)
    return tuple(sizes)


def _offsets(name: str, offsets: Any, where: str) -> tuple[int, int]:
    good = isinstance(offsets, list) and len(offsets) == 2 and all(type(at) is int for at in offsets)
    if not good or not 0 <= offsets[0] <= offsets[1]:
        message = f"tensor {name!r} has the impossible data_offsets {documents.shorten(offsets)}"
        raise _error("tensors.offsets", where, message)
    return offsets[0], offsets[1]


def _check_size(tensor: Tensor, where: str) -> None:
    needed = tensor.count * DTYPE_BYTES[tensor.dtype]
    if needed != tensor.nbytes:
        text = f"tensor {tensor.name!r} of shape {list(tensor.shape)} needs {needed} bytes, but has {tensor.nbytes}"
        raise _error("tensors.size", where, documents.shorten(text, 700))


def _check_cover(found: list[Tensor], size: int, where: str) -> None:
    """The tensors tile the data exactly: a hole could hide a second file."""
    at = 0
    for tensor in found:
        if tensor.start < at:
            raise _error("tensors.overlap", where, f"tensor {tensor.name!r} overlaps the one before it")
        if tensor.start > at:
            message = f"{tensor.start - at} bytes that belong to no tensor lie before {tensor.name!r}"
            raise _error("tensors.hole", where, message)
        at = tensor.end
    if at > size:
        message = f"the tensors need {at} bytes, but only {size} follow the header"
        raise _error("tensors.truncated", where, message, _WHOLE)
    if at < size:
        raise _error("tensors.trailing", where, f"{size - at} bytes follow the last tensor")


def _check_metadata(metadata: Any, where: str) -> None:
    if not isinstance(metadata, dict) or any(not isinstance(value, str) for value in metadata.values()):
        raise _error("tensors.metadata", where, "__metadata__ must map text to text")


def _error(code: str, where: str, message: str, hint: str = _SAVE) -> errors.SpecError:
    return errors.SpecError.of(code, where, message, hint, "scan")
