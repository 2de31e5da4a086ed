"""From a digest to the versions that hold it: of a file, of a file's tensors, of the adapter, or of the whole snapshot."""

from django.db.models import Q, QuerySet

from hub.spec import documents
from registry.errors import BadRequest, NotFound
from registry.models import Content, ManifestFile, Namespace, Version
from registry.queries import shapes, versions
from registry.queries.viewers import Viewer
from registry.queries.visibility import visible_adapters

PAGE = 100


def find(digest: str, viewer: Viewer) -> list[shapes.Held]:
    """Return the versions, of those the viewer may know of, that hold what has this digest. Raises BadRequest, NotFound.

    What nobody has and what is none of the viewer's business look the same.
    """
    digest = digest.removeprefix("sha256:")
    if not documents.is_digest(digest):
        raise BadRequest("A digest is 64 lower-case hex digits.", hint="Such as `sha256sum FILE` prints it.")
    found = [*_whole(digest, viewer), *_files(digest, viewer)][:PAGE]
    if not found:
        raise NotFound(
            f"Nothing here has the digest {digest}.",
            hint="If it is private, log in as somebody who may see it: hub login.",
        )
    return found


def _seen(viewer: Viewer) -> QuerySet[Version]:
    """All versions the viewer may know of: of their own namespaces every one, of others what is served."""
    rows = Version.objects.filter(adapter__in=visible_adapters(viewer).values("pk"))
    if not viewer.is_admin:
        served = Q(pk__in=Version.objects.served().values("pk"))
        own = Namespace.objects.of(viewer.person) if viewer.person else Namespace.objects.none()
        rows = rows.filter(served | Q(adapter__namespace__in=own))
    return rows.select_related("adapter__namespace", "manifest").order_by(
        "adapter__namespace__name", "adapter__name", "-number"
    )


def _whole(digest: str, viewer: Viewer) -> list[shapes.Held]:
    rows = _seen(viewer).filter(Q(digest=digest) | Q(adapter_digest=digest))
    return [_held("manifest" if row.digest == digest else "adapter", None, row) for row in rows[:PAGE]]


def _files(digest: str, viewer: Viewer) -> list[shapes.Held]:
    alike = set(Content.objects.filter(digest=digest).values_list("blob", flat=True)) | {digest}
    files = ManifestFile.objects.filter(blob__in=alike).order_by("path")
    rows = _seen(viewer).filter(digest__in=files.values("manifest"))[:PAGE]
    by_manifest: dict[str, list[ManifestFile]] = {}
    for file in files.filter(manifest__in={row.digest for row in rows}):
        by_manifest.setdefault(file.manifest_id, []).append(file)
    return [
        _held("file" if file.blob_id == digest else "tensors", file.path, row)
        for row in rows
        for file in by_manifest.get(row.digest or "", [])
    ]


def _held(kind: str, path: str | None, version: Version) -> shapes.Held:
    adapter = version.adapter
    return {
        "kind": kind,
        "path": path,
        "adapter": f"{adapter.namespace.name}/{adapter.name}",
        "version": versions.short(version),
    }
