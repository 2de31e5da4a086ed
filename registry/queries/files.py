"""Files of a version, as a door serves them."""

import dataclasses
import posixpath
import uuid

from registry.errors import NotFound
from registry.models import ManifestFile, Version
from registry.queries import answers, benchmarks, blobs, runs, versions
from registry.queries.viewers import Viewer


@dataclasses.dataclass(frozen=True)
class Served:
    """Bytes to be served: which, how many, under what name, and for whose eyes."""

    sha256: str
    size: int
    filename: str
    public: bool
    immutable: bool = False
    version_digest: str = ""

    @property
    def url(self) -> str | None:
        """Where the store itself serves the bytes, None where the door must."""
        return blobs.store().download_url(self.sha256, filename=self.filename)


def of_version(namespace: str, name: str, version: str, path: str, viewer: Viewer) -> Served:
    """Return a file of a version. Raises NotFound, for a private adapter as for a missing one."""
    found = versions.get(namespace, name, version, viewer)
    row = ManifestFile.objects.filter(manifest=found.digest, path=path).first() if found.digest else None
    if row is None:
        raise NotFound(f"{versions.ref_of(found)} has no file {path!r}.")
    pinned = version.startswith("sha256:")
    return Served(row.blob_id, row.size, posixpath.basename(path), _is_public(found), pinned, found.digest or "")


def of_answers(namespace: str, name: str, version: str, sha256: str, viewer: Viewer) -> Served:
    """Return what an adapter answered row by row to a benchmark. Raises NotFound, for what is private as for what is missing."""
    found = versions.get(namespace, name, version, viewer)
    blob, path = answers.blob_of(found, sha256)
    filename = path.replace("/", "-")
    return Served(blob.pk, blob.size, filename, _is_public(found), immutable=True, version_digest=found.digest or "")


def of_benchmark(digest: str, name: str, viewer: Viewer) -> Served:
    """Return a data file of a benchmark. Raises NotFound."""
    blob = benchmarks.file_of(digest, name, viewer)
    benchmark = benchmarks.get(f"sha256:{digest.removeprefix('sha256:')}", viewer)
    return Served(blob.pk, blob.size, name, benchmark.visibility == "public", immutable=True)


def of_run(run_id: uuid.UUID, secret: str | None, sha256: str) -> Served:
    """Return a blob that a leased run needs, for the holder of its run token. Raises LeaseLost, NotFound."""
    digest, size = runs.blob_for_worker(run_id, secret, sha256)
    return Served(digest, size, digest, public=False)


def _is_public(version: Version) -> bool:
    return version.adapter.visibility == "public" and version.status in ("published", "hosted")
