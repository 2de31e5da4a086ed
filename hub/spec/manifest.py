"""The content of one snapshot: which files, with which bytes.

Two digests are taken over it (docs/manifest.md has test vectors):

    digest          every file: what `@sha256:` pins and what a version is
    adapter_digest  only the files a verdict depends on: a new README keeps its evidence
"""

from __future__ import annotations

import dataclasses
import functools
import posixpath
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from hub.spec import documents, errors

MAX_FILES = 1000
MAX_FILE_BYTES = 5 << 30
MAX_BYTES = 20 << 30
MAX_PATH = 255
MAX_DEPTH = 10
_SHAPE = 'send {"files": [{"path", "sha256", "size"}, ...], "manifest": 1}'
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp")
TOKENIZER_FILES = frozenset(
    {"added_tokens.json", "merges.txt", "sentencepiece.bpe.model", "special_tokens_map.json", "spiece.model",
     "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt"}
)  # fmt: skip
_NAMES = TOKENIZER_FILES | {".gitattributes", ".gitignore"}
_SUFFIXES = (".safetensors", ".json", ".md", ".txt", ".jsonl", ".yaml", ".yml", ".cff", *_IMAGES)
_PROSE = ("readme", "license", "licence", "notice", "copying", "authors", "citation")
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
# Windows opens a device for these, whatever the suffix
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?")
_PICKLE = "holds Python objects that can run code when they are loaded"
_ARCHIVE = "is an archive"
_FOREIGN = "holds weights in a format this hub does not read"
_SAFE = "save the weights as safetensors: save_pretrained(..., safe_serialization=True)"
# what libraries called their weights before safetensors -> what such a file becomes: it is read, never unpickled
CONVERTED = {
    "adapter_model.bin": "adapter_model.safetensors",
    "pytorch_adapter.bin": "adapter.safetensors",
    "pytorch_model_head.bin": "model_head.safetensors",
    "pytorch_model_adapter_fusion.bin": "model_adapter_fusion.safetensors",
}
# suffix -> (what it is, what to do)
_REFUSED: dict[str, tuple[str, str]] = {
    **dict.fromkeys((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz"), (_PICKLE, _SAFE)),
    **dict.fromkeys((".h5", ".hdf5", ".msgpack", ".onnx", ".gguf", ".tflite"), (_FOREIGN, _SAFE)),
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".7z", ".bz2", ".xz", ".rar"), (_ARCHIVE, "add the files in it")),
    **dict.fromkeys((".py", ".pyc", ".sh", ".so", ".dll", ".exe", ".ipynb"), ("is code", "leave the file out")),
}


@dataclasses.dataclass(frozen=True)
class File:
    """One file: its path with forward slashes, the SHA-256 (64 hex) and the size of its bytes."""

    path: str
    sha256: str
    size: int

    def to_json(self) -> dict[str, Any]:
        """{"path", "sha256", "size"}"""
        return {"path": self.path, "sha256": self.sha256, "size": self.size}


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The files of a snapshot, sorted by path."""

    files: tuple[File, ...]

    def __post_init__(self) -> None:
        # by code point, not by locale: the order is part of the digest
        object.__setattr__(self, "files", tuple(sorted(self.files, key=lambda file: file.path)))

    def canonical(self) -> bytes:
        """Return the bytes whose SHA-256 is the digest."""
        return documents.canonical(self.to_json())

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 (64 hex) over every file."""
        return documents.digest(self.to_json())

    @functools.cached_property
    def adapter_digest(self) -> str:
        """SHA-256 (64 hex) over the files a verdict depends on."""
        files = [file.to_json() for file in self.files if is_evidence(file.path)]
        return documents.digest({"adapter": 1, "files": files})

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def get(self, path: str) -> File | None:
        """Return the file with this path, None if there is none."""
        return next((file for file in self.files if file.path == path), None)

    def to_json(self) -> dict[str, Any]:
        """{"files": [...], "manifest": 1}"""
        return {"files": [file.to_json() for file in self.files], "manifest": 1}

    @classmethod
    def from_json(cls, value: Any) -> Manifest:
        """Read a manifest that somebody sent, files in any order. Raises SpecError with every fault."""
        files = value.get("files") if isinstance(value, dict) and set(value) <= {"files", "manifest"} else None
        if not isinstance(files, list) or value.get("manifest", 1) != 1:
            raise _error("manifest.shape", "manifest", "is no manifest of this edition", _SHAPE)
        if not 0 < len(files) <= MAX_FILES:
            message = f"names {len(files)} files; 1 to {MAX_FILES} are allowed"
            raise _error("manifest.count", "manifest", message, "leave checkpoints and logs out")
        collector = errors.Collector()
        parsed = [file for item in files if (file := _file(item, collector))]
        _check_together(parsed, collector)
        collector.finalize()
        return cls(tuple(parsed))


def check_path(path: Any) -> str:
    """Return a path that means the same on every machine, or raise SpecError."""
    reason = path_fault(path) if isinstance(path, str) else "it is not text"
    if reason:
        raise _error("path.syntax", documents.shorten(path), f"is not a path this hub takes: {reason}", "rename it")
    return str(path)


def path_fault(path: str) -> str:
    """Return why no file may have this path; empty where one may."""
    if not 0 < len(path.encode("utf-8", "surrogatepass")) <= MAX_PATH or path.count("/") >= MAX_DEPTH:
        return f"it is empty, longer than {MAX_PATH} bytes or deeper than {MAX_DEPTH} folders"
    if _FORBIDDEN.search(path) or not path.isprintable():
        return 'it has a control character, a backslash or one of < > : " | ? *'
    if unicodedata.normalize("NFC", path) != path:
        return "it is not in Unicode normal form C"
    return next((fault for part in path.split("/") if (fault := _part_fault(part))), "")


def check_paths(paths: Iterable[str]) -> None:
    """Raise SpecError where paths cannot stand side by side on every file system."""
    collector = errors.Collector()
    seen: dict[str, str] = {}
    for path in paths:
        folded = _fold(path)
        if folded not in seen:
            seen[folded] = path
            continue
        message = "is there twice" if path == seen[folded] else f"differs from {seen[folded]!r} only in case"
        collector.problem("path.twice", path, message, "rename one of them")
    for folded, path in seen.items():
        parents = [seen[parent] for parent in _parents(folded) if parent in seen]
        if parents:
            collector.problem("path.clash", path, f"{parents[0]!r} is a file and cannot be a folder", "rename one")
    collector.finalize()


def allowed_path(path: str) -> None:
    """Raise SpecError, with the reason, if files of this name are not kept. What is inside is judged apart."""
    if posixpath.basename(path) in CONVERTED:
        return
    name = posixpath.basename(path).lower()
    stem, suffix = posixpath.splitext(name)
    if name in _NAMES or suffix in _SUFFIXES or (suffix == "" and stem.startswith(_PROSE)):
        return
    if suffix in _REFUSED:
        what, hint = _REFUSED[suffix]
        raise _error("files.refused", path, f"a {suffix} file {what}", hint)
    hint = "leave it out; kept are .safetensors, .json, .md, .txt, .yaml, tokenizer files, licences and images"
    raise _error("files.unknown", path, "this hub does not keep files of this kind", hint)


def is_evidence(path: str) -> bool:
    """Tell whether a verdict depends on this file; prose, licences, git's own files and images do not count.

    Weights and JSON always count, whatever they are called: they are what is judged.
    """
    name = posixpath.basename(path).lower()
    if name.endswith((".safetensors", ".json")):
        return True
    return not name.startswith(("readme", "license", "notice", ".git")) and not name.endswith((".md", *_IMAGES))


def _file(item: Any, collector: errors.Collector) -> File | None:
    with collector.collect():
        if not isinstance(item, dict) or set(item) - {"path", "sha256", "size"}:
            raise _error("manifest.shape", "manifest", f"{documents.shorten(item)} is no file of a manifest", _SHAPE)
        path = check_path(item.get("path"))
        digest, size = item.get("sha256"), item.get("size")
        if not documents.is_digest(digest):
            message = f"{documents.shorten(digest)} is no SHA-256"
            raise _error("manifest.sha256", path, message, "write 64 lower-case hex digits, without sha256:")
        if type(size) is not int or not 0 <= size <= MAX_FILE_BYTES:
            message = f"{documents.shorten(size)} is no size of a file that is taken"
            raise _error("manifest.size", path, message, f"write its bytes, {MAX_FILE_BYTES} at most")
        return File(path, str(digest), size)
    return None


def _check_together(files: list[File], collector: errors.Collector) -> None:
    with collector.collect():
        check_paths(file.path for file in files)
    total = sum(file.size for file in files)
    if total > MAX_BYTES:
        message = f"is {total} bytes in all; at most {MAX_BYTES} are taken"
        collector.problem("manifest.size", "manifest", message, "is this a whole model?")


def _part_fault(part: str) -> str:
    if part in ("", ".", ".."):
        return "it has an empty, '.' or '..' part"
    if part[-1] in ". " or part[0] == " " or _DEVICES.fullmatch(part):
        return "a part of it cannot exist on Windows (a device, or a space or dot at its end)"
    if part.startswith(".") and part.lower() not in _NAMES:
        return "hidden files are not kept"
    return ""


def _fold(path: str) -> str:
    return unicodedata.normalize("NFKC", path).casefold()


def _parents(path: str) -> Iterable[str]:
    while path := posixpath.dirname(path):
        yield path


def _error(code: str, where: str, message: str, hint: str) -> errors.SpecError:
    return errors.SpecError.of(code, where, message, hint, "files")
