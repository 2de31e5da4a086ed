"""Tensors in and out of safetensors files, by this project's own header reader.

Two ways in. `mapped` opens a base model: every tensor is a view of a read-only mapping, so one physical
copy serves all processes and a write in place ends the writer with SIGSEGV. `copied` opens an adapter:
small tensors, copied to aligned memory of their own and widened to float32, as PEFT does when it loads.
"""

import mmap
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hub.spec import tensors as header
from hub.spec.snapshot import Snapshot

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MAGNITUDE = 1e4
"""Largest absolute value accepted in an adapter; trained weights stay below 100."""


@dataclass(frozen=True)
class Unsound:
    """A tensor with values that no training run leaves behind."""

    name: str
    reason: str


def mapped(path: Path, *, writable: bool = False) -> dict[str, torch.Tensor]:
    """Every tensor of a safetensors file as a view of a mapping (the tensors keep it alive).

    Read-only, or `writable`: then a page that is written to becomes this process's own copy. The file never changes.
    """
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        first = file.read(8)
        head = first + file.read(header.header_length(first, size))
        table = header.parse_header(head, size, path.name)
        view = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE if writable else mmap.MAP_SHARED, prot=protection)
    return {t.name: _view(view, len(head) + t.start, t) for t in table}


def read_only(tensor: torch.Tensor) -> torch.Tensor:
    """The same values in memory that cannot be written."""
    data = bytes_of(tensor)
    descriptor = os.memfd_create("buffer")
    # Opened anew for reading: mapped by a descriptor that may write, it could be made writable again by mprotect.
    reading = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    try:
        os.write(descriptor, data)
        view = mmap.mmap(reading, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    finally:
        os.close(descriptor)
        os.close(reading)
    return _tensor(np.frombuffer(view, dtype=np.uint8), tensor.dtype).view(tensor.shape)


def copied(snapshot: Snapshot, path: str, names: Iterable[str] | None = None) -> dict[str, torch.Tensor]:
    """Floating-point tensors of one file of a snapshot, as float32 copies; `names` picks some of them."""
    size = snapshot.files[path]
    length = header.header_length(snapshot.read(path, 0, 8), size)
    table = header.parse_header(snapshot.read(path, 0, 8 + length), size, path)
    wanted = None if names is None else set(names)
    found = {}
    for entry in table:
        if wanted is None or entry.name in wanted:
            raw = snapshot.read(path, 8 + length + entry.start, 8 + length + entry.end)
            found[entry.name] = _copy(raw, entry)
    return found


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """The little-endian bytes of a tensor, without a copy where its memory is contiguous."""
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    return memoryview(flat.numpy())


def unsound(tensors: Mapping[str, torch.Tensor]) -> list[Unsound]:
    """Tensors that hold NaN, infinity or a magnitude beyond `MAGNITUDE`."""
    found = []
    for name, tensor in tensors.items():
        if tensor.numel() == 0 or not tensor.is_floating_point():
            continue
        low, high = (float(bound) for bound in torch.aminmax(tensor))
        if not (np.isfinite(low) and np.isfinite(high)):
            found.append(Unsound(name, "holds NaN or infinite values"))
        elif max(-low, high) > MAGNITUDE:
            found.append(Unsound(name, f"reaches {max(-low, high):.3g}, beyond {MAGNITUDE:g}"))
    return found


def _view(view: mmap.mmap, offset: int, entry: header.Tensor) -> torch.Tensor:
    if not entry.nbytes:
        return torch.zeros(entry.shape, dtype=DTYPES[entry.dtype])
    raw = np.frombuffer(view, dtype=np.uint8, count=entry.nbytes, offset=offset)
    return _tensor(raw, DTYPES[entry.dtype]).view(entry.shape)


def _copy(raw: bytes, entry: header.Tensor) -> torch.Tensor:
    if not raw:
        return torch.zeros(entry.shape, dtype=torch.float32)
    tensor = _tensor(np.frombuffer(raw, dtype=np.uint8).copy(), DTYPES[entry.dtype]).view(entry.shape)
    # A fresh allocation: results of matrix products may depend on how memory is aligned.
    return tensor.to(torch.float32, copy=True) if tensor.is_floating_point() else tensor.clone()


def _tensor(raw: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(raw)
    # uint8 views need an aligned start for wider types; safetensors writers align headers to 8 bytes.
    return tensor.view(dtype)
