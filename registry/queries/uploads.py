"""Uploads under way, as their owner sees them."""

import uuid
from collections.abc import Iterable

from django.db.models import Exists, OuterRef, Q

from registry.errors import NotFound
from registry.models import Blob, ManifestFile, Namespace, Upload, UploadBlob, Version
from registry.models.versions import VersionQuerySet
from registry.queries import blobs, upload_shapes
from registry.queries.viewers import Viewer, require_user
from registry.queries.visibility import visible_adapters


def get(upload_id: str | uuid.UUID, viewer: Viewer) -> Upload:
    """Return an upload of this viewer. Raises NotFound, for somebody else's as for a missing one."""
    rows = Upload.objects.select_related("adapter__namespace", "user")
    upload = rows.filter(pk=upload_id, user=require_user(viewer)).first()
    if upload is None:
        raise NotFound("There is no such upload.", hint="Start one: POST adapters/{namespace}/{name}/uploads.")
    return upload


def blob(upload: Upload, n: int) -> UploadBlob:
    """Return file number `n` of an upload. Raises NotFound."""
    found = upload.blobs.filter(n=n, done=False).first()
    if found is None:
        raise NotFound(f"The upload asks for no file number {n}.")
    return found


def readable_blobs(wanted: Iterable[tuple[str, int]], viewer: Viewer) -> set[str]:
    """Return those of these blobs (digest, size) that the viewer could download already through some version.

    Only these need not be sent again. That a blob is here, in an adapter that the viewer may not know of, is told to
    nobody: its bytes are asked for as if it were not.
    """
    adapters = visible_adapters(viewer)
    served = Version.objects.filter(digest=OuterRef("manifest"), adapter__in=adapters)
    if not viewer.is_admin:
        served = _downloadable(served, viewer)
    sizes = dict(wanted)
    rows = ManifestFile.objects.filter(blob__in=sizes, blob__state=Blob.State.LIVE).filter(Exists(served))
    return {sha256 for sha256, size in rows.values_list("blob", "size") if sizes[sha256] == size}


def _downloadable(rows: VersionQuerySet, viewer: Viewer) -> VersionQuerySet:
    own = Q(adapter__namespace__in=Namespace.objects.of(viewer.person)) if viewer.person else Q(pk=None)
    return rows.filter(Q(status__in=["published", "hosted"], quarantined_at=None) | own)


def shape(upload: Upload) -> upload_shapes.UploadShape:
    """Return an upload with what is still wanted: `received` is asked of the store, not of the table."""
    wanted = list(upload.blobs.filter(done=False).order_by("n"))
    paths = {entry["path"] for entry in upload.manifest["files"]}
    return {
        "id": str(upload.pk),
        "adapter": f"{upload.adapter.namespace.name}/{upload.adapter.name}",
        "digest": f"sha256:{upload.digest}",
        "state": upload.state,
        "expires_at": upload.expires_at,
        "blobs": [_blob(upload, row) for row in wanted] if upload.state == Upload.State.OPEN else [],
        "have": sorted(paths - {row.path for row in wanted}),
        "complete_url": f"/api/v1/uploads/{upload.pk}/complete",
    }


def _blob(upload: Upload, row: UploadBlob) -> upload_shapes.UploadBlobShape:
    store = blobs.store()
    parts = store.upload_urls(row.staging_key, row.size)
    return {
        "n": row.n,
        "path": row.path,
        "sha256": row.sha256,
        "size": row.size,
        "received": store.staged(row.staging_key),
        "urls": parts,
        "url": None if parts is not None else f"/api/v1/uploads/{upload.pk}/blobs/{row.n}",
    }
