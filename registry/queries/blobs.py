"""Stored bytes: what a manifest holds, what a viewer has a right to."""

import base64
import functools
from collections.abc import Iterable, Iterator, Mapping

from django.conf import settings

from registry.models import ManifestFile
from registry.storage import BlobStore, open_store


def store() -> BlobStore:
    """Return the configured blob store."""
    return open_store(settings.HUB_STORAGE, public_endpoint=settings.HUB_STORAGE_PUBLIC_ENDPOINT or None)


def files_of(digest: str) -> list[ManifestFile]:
    """Return the files of a manifest by path."""
    return list(ManifestFile.objects.filter(manifest=digest).order_by("path"))


def text(digest: str, path: str, limit: int) -> str | None:
    """Return a small text file of a manifest, cut at `limit` bytes; None where it is missing."""
    row = ManifestFile.objects.filter(manifest=digest, path=path).first()
    if row is None:
        return None
    return store().read(row.blob_id, 0, min(row.size, limit)).decode("utf-8", errors="replace")


def inline(rows: Iterable[ManifestFile], *, each: int, together: int) -> dict[str, str]:
    """Return the small files of a manifest by path, in base64: at most `each` bytes a file, `together` in all."""
    found: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: (row.size, row.path)):
        together -= row.size
        if row.size > each or together < 0:
            break
        found[row.path] = base64.b64encode(store().read(row.blob_id)).decode("ascii")
    return found


class StoredSnapshot:
    """A snapshot in the blob store, as `hub.spec.snapshot` describes it."""

    def __init__(self, files: Mapping[str, tuple[str, int]]) -> None:
        self._files = files

    @functools.cached_property
    def files(self) -> dict[str, int]:
        """Return path -> size in bytes."""
        return {path: size for path, (_, size) in self._files.items()}

    def read(self, path: str, start: int, end: int) -> bytes:
        """Return bytes `start:end` of a file, fewer where it ends before."""
        sha256, size = self._files[path]
        return store().read(sha256, start, min(end, size)) if start < size else b""


def chunks(sha256: str, start: int, end: int) -> Iterator[bytes]:
    """Return the bytes `start:end` of a blob, piece by piece."""
    return store().open(sha256, start, end)
