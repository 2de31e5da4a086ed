"""The client as a wheel, made from the `hub` package that this very server runs on: client and server always match.

A wheel of pure Python is a zip of its files with three pages of metadata (PyPA's binary distribution format). It is
made in memory, once a process, and is the same bytes every time. The wheels that an operator laid beside it stay on the
disk: they may be large, and anybody may ask for them.
"""

import base64
import dataclasses
import functools
import hashlib
import importlib.metadata
import io
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings

import hub

NAME = "adapter-hub"
FILE_NAME = "adapter_hub"
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can say
ROOT = Path(hub.__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Wheel:
    """A wheel: its file name, and its bytes in memory or where they lie."""

    filename: str
    content: bytes | Path

    @property
    def sha256(self) -> str:
        """Its SHA-256. A file is read once, and again when its size or time has changed."""
        if isinstance(self.content, bytes):
            return hashlib.sha256(self.content).hexdigest()
        facts = self.content.stat()
        return _digest(self.content, facts.st_size, facts.st_mtime_ns)

    @property
    def project(self) -> str:
        """The normalised name of the project."""
        return self.filename.partition("-")[0].replace("_", "-").lower()

    def open(self) -> BinaryIO:
        """Return its bytes as a file."""
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")


@functools.lru_cache(maxsize=4096)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    """Return the SHA-256 of a file as it was with this size and time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def own() -> Wheel:
    """Return the wheel of the client."""
    facts = _facts()
    folder = f"{FILE_NAME}-{facts['version']}.dist-info"
    files = dict(_sources()) | {
        f"{folder}/METADATA": _metadata(facts),
        f"{folder}/WHEEL": b"Wheel-Version: 1.0\nGenerator: adapter-hub\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{folder}/entry_points.txt": b"[console_scripts]\nhub = hub.cli:main\n",
    }
    record = "".join(f"{name},sha256={_hash(data)},{len(data)}\n" for name, data in sorted(files.items()))
    files[f"{folder}/RECORD"] = f"{record}{folder}/RECORD,,\n".encode()
    return Wheel(f"{FILE_NAME}-{facts['version']}-py3-none-any.whl", _zipped(files))


def requirement(extra: str = "") -> str:
    """Return what a requirements file says of the wheel: name, extra (`torch`) if any, address and SHA-256."""
    wheel, project = own(), f"{NAME}[{extra}]" if extra else NAME
    return f"{project} @ {settings.HUB_PUBLIC_URL}/client/{wheel.filename}#sha256={wheel.sha256}"


def wheels() -> dict[str, Wheel]:
    """Return every wheel that is served, by file name: ours, and what an operator laid beside it. Reads none of them."""
    mine = own()
    return {path.name: Wheel(path.name, path) for path in _beside()} | {mine.filename: mine}


def _beside() -> Iterator[Path]:
    folder = settings.HUB_CLIENT_WHEELS
    return (path for path in Path(folder).glob("*.whl") if path.is_file()) if folder else iter(())


def _sources() -> Iterator[tuple[str, bytes]]:
    for path in sorted(ROOT.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix in (".py", ".typed", ".json"):
            yield path.relative_to(ROOT.parent).as_posix(), path.read_bytes()


def _facts() -> dict[str, Any]:
    """Return name, version and dependencies: of the source tree, else of the installed distribution."""
    source = ROOT.parent / "pyproject.toml"
    if source.exists():
        project = tomllib.loads(source.read_text())["project"]
        extras = project.get("optional-dependencies", {}).get("torch", [])
        return {
            "version": project["version"],
            "summary": project["description"],
            "python": project["requires-python"],
            "requires": project["dependencies"] + [f'{word}; extra == "torch"' for word in extras],
        }
    found = importlib.metadata.distribution(NAME)
    told = found.metadata
    kept = [word for word in found.requires or [] if "extra ==" not in word or '"torch"' in word or "'torch'" in word]
    return {
        "version": found.version,
        "summary": told["Summary"] or "",
        "python": told["Requires-Python"] or ">=3.11",
        "requires": kept,
    }


def _metadata(facts: dict[str, Any]) -> bytes:
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {NAME}",
        f"Version: {facts['version']}",
        f"Summary: {facts['summary']}",
        "License: Apache-2.0",
        f"Requires-Python: {facts['python']}",
        "Provides-Extra: torch",
        *(f"Requires-Dist: {word}" for word in facts["requires"]),
    ]
    return ("\n".join(lines) + "\n").encode()


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return out.getvalue()
