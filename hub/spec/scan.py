"""Is every file what its name says, and can none of them run? Judged by content, never by suffix alone."""

from __future__ import annotations

import posixpath
import re

from hub.spec import documents, errors, manifest, snapshot, tensors, torch_file

MAX_JSON = 32 << 20
MAX_NODES = 2_000_000
MAX_TEXT = 16 << 20
MAX_TEXT_TOGETHER = 64 << 20
HEAD = 512
"""Bytes that are looked at of a file that is neither weights nor JSON."""
_SAFE = "save the weights as safetensors: save_pretrained(..., safe_serialization=True)"
# what a file begins with that can run code or hide it, whatever its name says
_MAGIC = (
    (b"PK\x03\x04", "a zip archive (PyTorch's pickle format among others)"),
    (b"PK\x05\x06", "a zip archive"),
    (b"\x7fELF", "an executable"),
    (b"#!", "a script"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy file"),
    (b"GGUF", "a GGUF file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"(\xb5/\xfd", "a zstd archive"),
    (b"Rar!\x1a", "a rar archive"),
)
# protocol 2 and later say so; older pickles are plain opcodes: how a dict, a list, an object or a string begins
_PICKLE = re.compile(
    rb"\x80[\x02-\x05]|[\]}]q\x00|\((?:[dl]p[0-9]+\n|[dl]\.)|c[A-Za-z_.]+\n[A-Za-z_.]+\n(?:[(q)]|p[0-9]+\n)|\(S'[^\n]*'\n"
)
_IMAGES = {
    ".png": (b"\x89PNG",),
    ".jpg": (b"\xff\xd8",),
    ".jpeg": (b"\xff\xd8",),
    ".gif": (b"GIF8",),
    ".webp": (b"RIFF",),
}
# a tokenizer in SentencePiece's own format; everything else that is kept is text
_BINARY = (".model", *_IMAGES)
_CHECKS = {"adapter_config.json": "config", "head_config.json": "head", "hub.json": "config", "README.md": "config"}


def check_of(path: str) -> str:
    """Return the check of a report under which a file's own faults are told."""
    return _CHECKS.get(posixpath.basename(path), "scan")


def is_weights(path: str) -> bool:
    """Tell whether a file calls itself safetensors."""
    return path.lower().endswith(".safetensors")


def is_read(path: str) -> bool:
    """Tell whether more of a file matters than its first `HEAD` bytes: of all but pictures and SentencePiece models."""
    return is_weights(path) or not path.lower().endswith(_BINARY)


def check_files(files: snapshot.Snapshot, collector: errors.Collector) -> None:
    """Collect what is wrong with names, kinds, sizes and their number."""
    sizes = files.files
    if not 0 < len(sizes) <= manifest.MAX_FILES:
        message = f"there are {len(sizes)} files; 1 to {manifest.MAX_FILES} are taken"
        collector.problem("files.count", "", message, "leave checkpoints and logs out")
    for path, size in sorted(sizes.items())[: manifest.MAX_FILES]:
        with collector.collect():
            manifest.check_path(path)
            manifest.allowed_path(path)
        if size > manifest.MAX_FILE_BYTES:
            message = f"is {size} bytes; at most {manifest.MAX_FILE_BYTES} are taken"
            collector.problem("files.size", documents.shorten(path), message, "is this a whole model?")
    with collector.collect():
        manifest.check_paths(sorted(sizes)[: manifest.MAX_FILES])


def check_contents(files: snapshot.Snapshot, collector: errors.Collector) -> dict[str, tuple[tensors.Tensor, ...]]:
    """Collect what is wrong inside: code and archives under any name, broken weights, JSON that is none.

    Returns the tensors of each file of weights whose header is right.
    """
    headers = {}
    spent = 0
    with collector.collect():
        torch_file.replaced(sorted(files.files)[: manifest.MAX_FILES])
    for path, size in sorted(files.files.items())[: manifest.MAX_FILES]:
        with collector.collect():
            if is_weights(path):
                headers[path] = header(files, path)
                continue
            if torch_file.is_torch(path):
                torch_file.table(files, path)
                continue
            _check_head(path, files.read(path, 0, min(size, HEAD)))
            if is_read(path):
                spent += size
                _check_text(files, path, size, spent)
    return headers


def header(files: snapshot.Snapshot, path: str) -> tuple[tensors.Tensor, ...]:
    """Return the tensors of a weights file from its header alone. Raises SpecError, naming what the bytes are
    instead where they are something else."""
    size = files.files[path]
    first = files.read(path, 0, min(size, HEAD))
    try:
        length = tensors.header_length(first[:8], size, path)
        return tensors.parse_header(files.read(path, 0, 8 + length), size, path)
    except errors.SpecError:
        # only now: a header of 640 bytes begins like a pickle
        kind = looks_like(first)
        if kind is None:
            raise
        raise _error("scan.disguised", path, f"the bytes are {kind}", _SAFE) from None


def looks_like(head: bytes) -> str | None:
    """Say what a file's first 512 bytes show it to be, where that can run or hide code; None otherwise."""
    for sign, name in _MAGIC:
        if head.startswith(sign):
            return name
    if _PICKLE.match(head):
        return "a pickle"
    if head.startswith(b"MZ") and b"\0" in head:  # two letters alone begin many a text
        return "an executable"
    return "a tar archive" if head[257:262] == b"ustar" else None


def _check_head(path: str, head: bytes) -> None:
    kind = looks_like(head)
    if kind is not None:
        raise _error("scan.disguised", path, f"the bytes are {kind}", _SAFE)
    suffix = posixpath.splitext(path)[1].lower()
    signs = _IMAGES.get(suffix)
    if signs and not head.startswith(signs):
        raise _error("scan.image", path, "is not the image its name says", "leave it out")


def _check_text(files: snapshot.Snapshot, path: str, size: int, spent: int) -> None:
    """JSON has to be JSON, and other text UTF-8 to its end: what is neither may be read by a program that runs it."""
    if spent > MAX_TEXT_TOGETHER:
        message = f"text and JSON are more than {MAX_TEXT_TOGETHER} bytes together"
        raise _error("scan.text_size", path, message, "leave logs out")
    if path.lower().endswith(".json"):
        check = check_of(path)
        limit, nodes = (MAX_JSON, MAX_NODES) if check == "scan" else (documents.MAX_BYTES, documents.MAX_NODES)
        with errors.as_check(check):
            documents.loads_json(snapshot.whole(files, path, limit), where=path, max_bytes=limit, max_nodes=nodes)
        return
    if size > MAX_TEXT:
        raise _error("scan.text_size", path, f"is {size} bytes; at most {MAX_TEXT} of text are taken", "leave it out")
    data = files.read(path, 0, size)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"is no text: byte {error.start} is not UTF-8"
        raise _error("scan.binary", path, message, "leave it out, or save it as UTF-8") from None
    if b"\0" in data:
        raise _error("scan.binary", path, "is no text: it holds NUL bytes", "leave it out, or save it as UTF-8")


def _error(code: str, where: str, message: str, hint: str) -> errors.SpecError:
    return errors.SpecError.of(code, where, message, hint, "scan")
