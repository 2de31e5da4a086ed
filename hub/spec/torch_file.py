"""PyTorch's weight files, read without PyTorch and never unpickled, and turned into safetensors.

A registry keeps safetensors only. Where a publisher has an older file, `convert` writes the same tensors as
`safetensors.torch.save` would, byte for byte: whoever converts the file gets the same digest.

`torch_archive` says what lies where, `torch_pickle` which tensors there are; here both are held against each other.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import posixpath
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from hub.spec import documents, errors, tensors, torch_archive, torch_pickle
from hub.spec import manifest as manifests
from hub.spec.manifest import CONVERTED
from hub.spec.snapshot import Snapshot
from hub.spec.tensors import Tensor
from hub.spec.torch_archive import SAFE, Archive, Entry
from hub.spec.torch_pickle import View

__all__ = ["CONVERTED", "Converted", "as_kept", "convert", "is_torch", "replaced", "table"]

MAX_GROWTH = 16
"""Tensors that share a storage are written out one by one: at most to so many times the size of their file."""
MAX_GATHERED = 256 << 20
"""Bytes of a tensor that does not lie in one piece, and of the stretch it is gathered from: both are held in memory."""
MAX_STEPS = 1 << 20
"""Stretches that all such tensors of a file are gathered from: time goes by their number."""
_CHUNK = 1 << 20
# the order in which safetensors lays them out: every tensor is aligned to its own width
_ORDER = ("I64", "F64", "F32", "I32", "BF16", "F16", "I16", "I8", "U8", "BOOL")
_CODES: dict[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}


@dataclasses.dataclass(frozen=True)
class _Piece:
    """A tensor, and the storage that holds it."""

    tensor: Tensor
    view: View
    entry: Entry

    @property
    def width(self) -> int:
        """Bytes of an element."""
        return tensors.DTYPE_BYTES[self.tensor.dtype]


@dataclasses.dataclass(frozen=True)
class _Layout:
    """The file that will be written: its head (length and JSON), and where the bytes behind it come from."""

    head: bytes
    pieces: tuple[_Piece, ...]

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return len(self.head) + sum(piece.tensor.nbytes for piece in self.pieces)


def is_torch(path: str) -> bool:
    """Tell whether a file is one of PyTorch's that this hub converts, by its name."""
    return posixpath.basename(path) in CONVERTED


def replaced(paths: Iterable[str]) -> dict[str, str]:
    """Return what each of PyTorch's files among these paths becomes. Raises SpecError where that is there already."""
    known, found, collector = set(paths), {}, errors.Collector()
    for path in sorted(filter(is_torch, known)):
        target = posixpath.join(posixpath.dirname(path), CONVERTED[posixpath.basename(path)])
        if target in known:
            message = f"would become {target}, which is there, too"
            collector.problem("torch.both", path, message, "keep the safetensors file and leave this one out", "scan")
        with collector.collect():
            manifests.check_path(target)
        found[path] = target
    collector.finalize()
    return found


def table(files: Snapshot, path: str) -> tuple[Tensor, ...]:
    """Return the tensors of a file of torch.save, sorted by name; `start` and `end` are their places in the file
    that `convert` writes. Reads no weights. Raises SpecError, naming the opcode, the entry or the tensor.
    """
    return tuple(sorted((piece.tensor for piece in _layout(files, path).pieces), key=lambda tensor: tensor.name))


def convert(files: Snapshot, path: str) -> Iterator[bytes]:
    """Yield the safetensors file with the same tensors, in pieces of at most `MAX_GATHERED` bytes.

    Raises SpecError as `table` does, before the first piece, and where a tensor is too scattered to be gathered.
    """
    layout = _layout(files, path)
    _check_gathered(layout, path)
    return _written(files, path, layout)


class Converted:
    """A snapshot as it will be when every file of PyTorch's is converted. Raises SpecError when it is made.

    For a look at names, headers and small files: what lies deep in a converted file is reached slowly.
    """

    def __init__(self, files: Snapshot) -> None:
        self._files = files
        self._origins = {target: path for path, target in replaced(files.files).items()}
        self._layouts = {target: _layout(files, path) for target, path in self._origins.items()}
        kept = {path: size for path, size in files.files.items() if path not in self._origins.values()}
        made = {target: layout.size for target, layout in self._layouts.items()}
        self.files = dict(sorted({**kept, **made}.items()))

    def read(self, path: str, start: int, end: int) -> bytes:
        """Return the bytes `start` to `end` (exclusive) of a file, fewer where it ends before."""
        if path not in self._layouts:
            return self._files.read(path, start, end)
        layout = self._layouts[path]
        if end <= len(layout.head):
            return layout.head[start:end]
        found, at = [], 0
        for piece in _written(self._files, self._origins[path], layout):
            found.append(piece[max(start - at, 0) : max(end - at, 0)])
            at += len(piece)
            if at >= end:
                break
        return b"".join(found)


def as_kept(files: Snapshot) -> Snapshot:
    """Return the files as the hub will keep them: PyTorch's as safetensors. Where one cannot be converted, as they are:
    an inspection says why."""
    try:
        return Converted(files) if any(map(is_torch, files.files)) else files
    except errors.SpecError:
        return files


def _layout(files: Snapshot, path: str) -> _Layout:
    size = files.files[path]
    archive = torch_archive.read(lambda start, end: files.read(path, start, end), size, path)
    if archive.pickle.size > torch_pickle.MAX_PICKLE:
        message = f"describes its tensors in {archive.pickle.size} bytes; at most {torch_pickle.MAX_PICKLE} are read"
        raise _error("pickle_size", path, message)
    views = torch_pickle.read(files.read(path, archive.pickle.start, archive.pickle.end), path)
    _check_storages(views, archive, path)
    _check_growth(views, size, path)
    pieces = tuple(_pieces(views, archive))
    layout = _Layout(_head(pieces), pieces)
    if len(layout.head) > tensors.MAX_HEADER:
        message = f"needs a header of {len(layout.head)} bytes for its tensors; at most {tensors.MAX_HEADER} are read"
        raise _error("header", path, message)
    tensors.parse_header(layout.head, layout.size, path)  # names, their number, and the header's own limits
    return layout


def _check_storages(views: dict[str, View], archive: Archive, path: str) -> None:
    """Every storage is there, as large as it is said to be, of one dtype; and every one that is there is used."""
    kinds: dict[str, str] = {}
    for name, view in views.items():
        storage, told = view.storage, documents.shorten(name)
        entry = archive.storages.get(storage.key)
        if entry is None:
            raise _error(
                "storage", path, f"tensor {told!r} lies in data/{documents.shorten(storage.key)}, which is missing"
            )
        if entry.size != storage.count * tensors.DTYPE_BYTES[storage.dtype]:
            message = f"data/{storage.key} has {entry.size} bytes, not the {storage.count} elements of {storage.dtype}"
            raise _error("storage", path, f"{message} that tensor {told!r} needs")
        if kinds.setdefault(storage.key, storage.dtype) != storage.dtype:
            raise _error("storage", path, f"data/{storage.key} is read as {storage.dtype} and as {kinds[storage.key]}")
    unused = sorted(set(archive.storages) - set(kinds))
    if unused:
        raise _error("unused", path, f"data/{unused[0]} belongs to no tensor")


def _check_growth(views: dict[str, View], size: int, path: str) -> None:
    needed = sum(math.prod(view.shape) * tensors.DTYPE_BYTES[view.storage.dtype] for view in views.values())
    most = min(MAX_GROWTH * size, manifests.MAX_FILE_BYTES - tensors.MAX_HEADER)
    if needed > most:
        message = f"its tensors are {needed} bytes when they are written one by one; at most {most} are taken"
        raise _error("growth", path, message)


def _pieces(views: dict[str, View], archive: Archive) -> Iterator[_Piece]:
    at = 0
    for name, view in sorted(views.items(), key=lambda item: (_ORDER.index(item[1].storage.dtype), item[0])):
        nbytes = math.prod(view.shape) * tensors.DTYPE_BYTES[view.storage.dtype]
        tensor = Tensor(name, view.storage.dtype, view.shape, at, at + nbytes)
        yield _Piece(tensor, view, archive.storages[view.storage.key])
        at += nbytes


def _head(pieces: tuple[_Piece, ...]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for piece in pieces:
        tensor = piece.tensor
        offsets = [tensor.start, tensor.end]
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _check_gathered(layout: _Layout, path: str) -> None:
    steps = 0
    for piece in layout.pieces:
        if _lies_in_one_piece(piece.view):
            continue
        shape = piece.view.shape
        steps += math.prod(shape) // max(shape)
        stretch = (_reach(piece.view) + 1) * piece.width
        if max(stretch, piece.tensor.nbytes) > MAX_GATHERED or steps > MAX_STEPS:
            message = (
                f"tensor {documents.shorten(piece.tensor.name)!r} does not lie in one piece and is too large for that"
            )
            raise _error("scattered", path, message, "call .contiguous() on it before you save it")


def _written(files: Snapshot, path: str, layout: _Layout) -> Iterator[bytes]:
    yield layout.head
    for piece in layout.pieces:
        start = piece.entry.start + piece.view.offset * piece.width
        if _lies_in_one_piece(piece.view):
            end = start + piece.tensor.nbytes
            for at in range(start, end, _CHUNK):
                yield _exactly(files, path, at, min(at + _CHUNK, end))
        else:
            yield _gathered(_exactly(files, path, start, start + (_reach(piece.view) + 1) * piece.width), piece)


def _exactly(files: Snapshot, path: str, start: int, end: int) -> bytes:
    data = files.read(path, start, end)
    if len(data) != end - start:
        raise _error("cut", path, f"ends within the bytes {start} to {end}")
    return data


def _lies_in_one_piece(view: View) -> bool:
    expected = 1
    for size, stride in reversed(list(zip(view.shape, view.strides, strict=True))):
        if size > 1 and stride != expected:
            return 0 in view.shape
        expected *= size
    return True


def _reach(view: View) -> int:
    """Return how many elements behind its first a tensor's last one lies."""
    return sum(stride * (size - 1) for size, stride in zip(view.shape, view.strides, strict=True))


def _gathered(data: bytes, piece: _Piece) -> bytes:
    """Return a tensor's elements in row-major order, from the stretch of its storage that begins with its first.

    Runs along the longest dimension are copied as one; the others are walked.
    """
    shape, strides, code = piece.view.shape, piece.view.strides, _CODES[piece.width]
    out = bytearray(piece.tensor.nbytes)
    source, target = memoryview(data).cast(code), memoryview(out).cast(code)
    steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    longest = shape.index(max(shape))
    others = [axis for axis in range(len(shape)) if axis != longest]
    read_step, write_step, last = strides[longest], steps[longest], shape[longest] - 1
    for index in itertools.product(*(range(shape[axis]) for axis in others)):
        read = sum(n * strides[axis] for n, axis in zip(index, others, strict=True))
        write = sum(n * steps[axis] for n, axis in zip(index, others, strict=True))
        run = source[read : read + last * read_step + 1 : read_step]
        target[write : write + last * write_step + 1 : write_step] = run
    return bytes(out)


def _error(what: str, where: str, message: str, hint: str = SAFE) -> errors.SpecError:
    return errors.SpecError.of(f"torch.{what}", where, message, hint, "scan")
