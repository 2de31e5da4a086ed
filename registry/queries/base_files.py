"""The files of base models that the hub itself holds."""

from registry.errors import NotFound
from registry.models import BaseFile, BaseModel, Visibility
from registry.queries import base_models, blobs, shapes, upload_shapes
from registry.queries.files import Served
from registry.queries.viewers import Viewer


def listed(name: str, viewer: Viewer) -> list[shapes.FileShape]:
    """Return the files of a base model whose bytes are all here, by path; none where some are missing. Raises NotFound."""
    rows = list(base_models.get(name, viewer).files.order_by("path"))
    return [_file(row) for row in rows] if whole(rows) else []


def served(name: str, path: str, viewer: Viewer) -> Served:
    """Return a file of a base model for a door to serve. Raises NotFound."""
    base = base_models.get(name, viewer)
    row = base.files.filter(path=path).exclude(blob=None).first()
    if row is None:
        raise NotFound(f"The hub does not hold {path!r} of {name}.", hint="An operator stores it: hub base add --store")
    return Served(row.sha256, row.size, path, base.visibility == Visibility.PUBLIC)


def whole(rows: list[BaseFile]) -> bool:
    """Whether the bytes of all these files are here, and there are any."""
    return bool(rows) and all(row.blob_id is not None for row in rows)


def wanted(base: BaseModel) -> list[upload_shapes.BaseFileWanted]:
    """Return the files whose bytes are still to be sent, and where to; `received` is asked of the store."""
    store = blobs.store()
    found: list[upload_shapes.BaseFileWanted] = []
    for n, row in enumerate(base.files.filter(blob=None).order_by("path")):
        parts = store.upload_urls(row.staging_key, row.size)
        url = _file(row)["url"]
        found.append(
            {
                "n": n,
                "path": row.path,
                "sha256": row.sha256,
                "size": row.size,
                "received": store.staged(row.staging_key),
                "urls": parts,
                "url": None if parts is not None else url,
                "complete_url": url,
            }
        )
    return found


def _file(row: BaseFile) -> shapes.FileShape:
    return {
        "path": row.path,
        "sha256": row.sha256,
        "size": row.size,
        "url": f"/api/v1/base-models/{row.base_id}/files/{row.path}",
    }
