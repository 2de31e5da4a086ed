"""Is every file what its name says, and can none of them run? Judged by content, never by suffix alone."""

from __future__ import annotations

import posixpath

from hub.spec import documents, errors, manifest, snapshot, tensors

MAX_JSON = 32 << 20
MAX_JSON_TOGETHER = 64 << 20
_HEAD = 512
_IMAGES = {
    ".png": (b"\x89PNG",),
    ".jpg": (b"\xff\xd8",),
    ".jpeg": (b"\xff\xd8",),
    ".gif": (b"GIF8",),
    ".webp": (b"RIFF",),
}


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
            collector.problem("files.size", documents.shorten(path), message)
    with collector.collect():
        manifest.check_paths(sorted(sizes)[: manifest.MAX_FILES])


def check_contents(files: snapshot.Snapshot, collector: errors.Collector) -> None:
    """Collect what is wrong inside: code and archives under any name, broken weights, JSON that is none."""
    spent = 0
    for path, size in sorted(files.files.items())[: manifest.MAX_FILES]:
        with collector.collect():
            if path.endswith(".safetensors"):
                header(files, path)
                continue
            _check_head(path, files.read(path, 0, min(size, _HEAD)))
            if path.endswith(".json"):
                spent += size
                _check_json(files, path, spent)


def header(files: snapshot.Snapshot, path: str) -> tuple[tensors.Tensor, ...]:
    """Return the tensors of a weights file from its header alone. Raises SpecError, naming what the bytes are
    instead where they are something else."""
    size = files.files[path]
    first = files.read(path, 0, min(size, _HEAD))
    try:
        length = tensors.header_length(first[:8], size, path)
        return tensors.parse_header(files.read(path, 0, 8 + length), size, path)
    except errors.SpecError:
        # only now: a header of 640 bytes begins like a pickle
        kind = tensors.looks_like(first)
        if kind is None:
            raise
        raise _disguised(path, kind) from None


def _check_head(path: str, head: bytes) -> None:
    kind = tensors.looks_like(head)
    if kind is not None:
        raise _disguised(path, kind)
    signs = _IMAGES.get(posixpath.splitext(path)[1].lower())
    if signs and not head.startswith(signs):
        raise errors.SpecError.of("scan.image", path, "is not the image its name says", "leave it out", "scan")


def _check_json(files: snapshot.Snapshot, path: str, spent: int) -> None:
    if spent > MAX_JSON_TOGETHER:
        message = f"the JSON files are more than {MAX_JSON_TOGETHER} bytes together"
        raise errors.SpecError.of("scan.json_size", path, message, "leave logs out", "scan")
    # a configuration's own faults are told under the check that reads it
    name = posixpath.basename(path)
    check = {"adapter_config.json": "config", "head_config.json": "head", "hub.json": "config"}.get(name, "scan")
    limit = documents.MAX_BYTES if check != "scan" else MAX_JSON
    with errors.as_check(check):
        documents.loads_json(snapshot.whole(files, path, limit), where=path, max_bytes=limit)


def _disguised(path: str, kind: str) -> errors.SpecError:
    hint = "save the weights as safetensors: save_pretrained(..., safe_serialization=True)"
    return errors.SpecError.of("scan.disguised", path, f"the bytes are {kind}", hint, "scan")
