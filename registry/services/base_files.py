"""Base models in the hub's own store: announce the files, send the bytes, have each hashed here. For operators.

The bytes take the way of an adapter's: staging, resumable, and under their digest only when this process has hashed them.
Who fetches a base model hashes its tensors again, and takes it for what its fingerprint says and nothing else.
"""

from typing import Any

from django.conf import settings
from django.db import transaction

from hub.spec import located as rules
from hub.spec.errors import SpecError
from hub.spec.located import WeightFile
from registry.errors import Conflict, Incomplete, Invalid, NotFound, TooLarge
from registry.models import BaseAlias, BaseFile, BaseModel, Blob, Scope
from registry.queries import base_files, base_models, blobs, viewers
from registry.queries.viewers import Viewer
from registry.services import blobs as blob_rows
from registry.services import events, staging
from registry.storage import base as storage


@transaction.atomic
def announce(*, viewer: Viewer, name: str, files: Any) -> BaseModel:
    """Say which files [{path, size, sha256}, ...] a base model has; what the hub lacks is then to be sent. Again: the same.

    Raises Forbidden, NotFound, Invalid, TooLarge.
    """
    viewers.require_scope(viewer, Scope.ADMIN)
    found = base_models.get(name, viewer)
    base = BaseModel.objects.select_for_update().get(pk=found.pk)
    listed = _read(files)
    base.files.exclude(path__in=[file.path for file in listed]).delete()
    for file in listed:
        base.files.filter(path=file.path).exclude(sha256=file.sha256, size=file.size).delete()
        row, made = base.files.get_or_create(
            path=file.path, defaults={"sha256": file.sha256, "size": file.size, "stored_by": viewer.name}
        )
        if made and Blob.objects.live().filter(pk=file.sha256, size=file.size).exists():
            _keep(row)
    _tell(base, viewer)
    return base


def _read(files: Any) -> tuple[WeightFile, ...]:
    try:
        listed = rules.parse_files(files)
    except SpecError as error:
        raise Invalid.from_spec(error) from None
    strange = [file.path for file in listed if not rules.is_kept(file.path)]
    if strange:
        raise Invalid(f"{strange[0]!r} is no file of a base model that is kept.", hint="Weights are *.safetensors.")
    if not {"config.json"} < {file.path for file in listed}:
        raise Invalid("A base model has a config.json and weights.")
    size = sum(file.size for file in listed)
    if size > settings.HUB_MAX_BASE_BYTES:
        raise TooLarge(
            f"{size} bytes in all; this hub keeps base models of {settings.HUB_MAX_BASE_BYTES} at most.",
            hint="HUB_MAX_BASE_BYTES says how much.",
        )
    return listed


def receive(
    *, viewer: Viewer, name: str, path: str, offset: int, stream: storage.Readable, length: int
) -> tuple[int, int]:
    """Take bytes of one file at `offset` and return (received, size). What arrived before a cut is kept.

    Not atomic on purpose, as for an adapter's. Raises Forbidden, NotFound, Conflict, OffsetMismatch, TooLarge.
    """
    row = _wanted(viewer, name, path)
    received = staging.receive(
        path=path, key=row.staging_key, size=row.size, offset=offset, stream=stream, length=length
    )
    return received, row.size


def complete(*, viewer: Viewer, name: str, path: str) -> BaseModel:
    """Hash the bytes of one file and keep them, if they are what was announced. Again: the same.

    Not atomic on purpose: gigabytes are read. Raises Forbidden, NotFound, Incomplete, TooLarge, Invalid.
    """
    viewers.require_scope(viewer, Scope.ADMIN)
    row, store = _row(viewer, name, path), blobs.store()
    if row.blob_id is None:
        try:
            store.finish_staging(row.staging_key, row.size)
            stored = store.ingest(row.staging_key, expected_sha256=row.sha256)
        except (storage.StagingIncomplete, storage.StagingMissing):
            problem = staging.missing(path=path, key=row.staging_key, size=row.size)
            raise Incomplete("Bytes are missing.", hint=problem.hint, problems=(problem,)) from None
        except storage.StagingTooLarge:
            raise staging.more(path, row.size) from None
        except storage.DigestMismatch as error:
            store.discard(row.staging_key)
            raise Invalid(
                f"{path}: the bytes received have SHA-256 {error.found}, announced was {error.expected}.",
                hint="The file changed or was damaged on the way: send it again.",
            ) from None
        _finish(viewer=viewer, row=row, stored=stored)
        store.discard(row.staging_key)
    return row.base


@transaction.atomic
def _finish(*, viewer: Viewer, row: BaseFile, stored: storage.Stored) -> None:
    BaseModel.objects.select_for_update().get(pk=row.base_id)  # two last files at once: one of them sees both
    blob_rows.keep(stored=stored)
    _keep(row)
    _tell(row.base, viewer)


def _keep(row: BaseFile) -> None:
    row.blob_id = row.sha256
    row.save(update_fields=["blob"])


def _wanted(viewer: Viewer, name: str, path: str) -> BaseFile:
    viewers.require_scope(viewer, Scope.ADMIN)
    row = _row(viewer, name, path)
    if row.blob_id is not None:
        raise Conflict(f"{path} is stored already.", code="completed")
    return row


def _row(viewer: Viewer, name: str, path: str) -> BaseFile:
    base = base_models.get(name, viewer)
    row = BaseFile.objects.select_related("base").filter(base=base, path=path).first()
    if row is None:
        raise NotFound(f"{path!r} was not announced.", hint="POST base-models/{name}/files first.")
    return row


def _tell(base: BaseModel, viewer: Viewer) -> None:
    """Let the base model's places say whether the hub holds it, as a whole or not at all."""
    here = base_files.whole(list(base.files.all()))
    known = BaseAlias.objects.filter(base=base, kind=BaseAlias.Kind.STORED).first()
    state = BaseAlias.State.LIVE if here else BaseAlias.State.GONE
    if known is None and here:
        BaseAlias.objects.create(name=base.pk, kind=BaseAlias.Kind.STORED, base=base)
    elif known is not None and known.state != state:
        BaseAlias.objects.filter(pk=known.pk).update(state=state)
    else:
        return
    events.record(actor=viewer.name, kind="base.stored" if here else "base.unstored", subject=base.pk)
