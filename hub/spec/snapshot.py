"""The files of an adapter as the rules see them: names, sizes, and bytes on request."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from typing import Protocol

CONFIG = "adapter_config.json"
FUSION = "adapter_fusion_config.json"
"""AdapterHub's composition of several adapters, which are in folders of their own."""


class Snapshot(Protocol):
    """A set of files, wherever they lie. Folders on disk and stored blobs implement it outside this room."""

    @property
    def files(self) -> Mapping[str, int]:
        """Size in bytes of every file by path."""
        ...

    def read(self, path: str, start: int, end: int) -> bytes:
        """Return the bytes `start` to `end` (exclusive), fewer where the file ends before."""
        ...


class MemorySnapshot:
    """A snapshot made of bytes in memory. `sizes` are those of the files where only their beginnings are held."""

    def __init__(self, contents: Mapping[str, bytes], sizes: Mapping[str, int] | None = None) -> None:
        self.contents = dict(contents)
        self.files: Mapping[str, int] = sizes or {path: len(data) for path, data in self.contents.items()}

    def read(self, path: str, start: int, end: int) -> bytes:
        """Return the bytes `start` to `end` (exclusive) of a file."""
        return self.contents[path][start:end]


def folders(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the folders that hold an adapter, sorted; '' is the root."""
    return tuple(sorted({posixpath.dirname(path) for path in paths if posixpath.basename(path) in (CONFIG, FUSION)}))


def config_of(folder: str, paths: Iterable[str]) -> str:
    """Return the path of the configuration in a folder that holds an adapter."""
    fusion = posixpath.join(folder, FUSION)
    own = posixpath.join(folder, CONFIG)
    return own if own in paths or fusion not in paths else fusion


def whole(snapshot: Snapshot, path: str, limit: int) -> bytes:
    """Return a small file; one byte more than `limit` at most, so that a parser can tell it is too large."""
    return snapshot.read(path, 0, min(snapshot.files[path], limit + 1))
