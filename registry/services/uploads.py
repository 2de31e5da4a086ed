"""Uploads: announce a snapshot, send the missing bytes, complete. Each step may be repeated without harm."""

import datetime
import hashlib
import uuid
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from hub.spec import card, reference
from hub.spec import manifest as manifests
from hub.spec.errors import Collector, SpecError
from registry.errors import (
    Conflict,
    Gone,
    Incomplete,
    Invalid,
    Rejected,
    TooLarge,
    UnknownBase,
    UnknownBenchmark,
)
from registry.models import Adapter, Upload, UploadBlob, Version
from registry.queries import base_models, benchmarks, blobs, inspections, uploads, viewers
from registry.queries.viewers import Viewer
from registry.services import adapters, ingest, outbox, requeue, staging, versions
from registry.storage import base as storage

EMPTY = hashlib.sha256(b"").hexdigest()


@transaction.atomic
def start(
    *,
    viewer: Viewer,
    namespace: str,
    name: str,
    manifest: dict[str, Any],
    label: str | None = None,
    private: bool = False,
    message: str = "",
    facts: dict[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> tuple[Upload, bool]:
    """Announce a snapshot and return the upload, and whether it is new.

    The same Idempotency-Key with the same content gives the same upload again. Nothing of the manifest is believed
    yet; `facts` (what hub.json says) only lets an unknown base model or benchmark be told before a byte travels.
    Raises Forbidden, Invalid, Rejected (a file of a refused kind), LookAlike, LabelExists, UnknownBase,
    UnknownBenchmark, Conflict.
    """
    home = viewers.require_writer(viewer, namespace)
    content = _read(manifest)
    _check_facts(facts or {}, viewer)
    adapter = adapters.ensure(viewer=viewer, home=home, name=name, private=private)  # its lock: one start at a time
    replay = _replay(viewer, idempotency_key, namespace, name, content.digest, label)
    if replay is not None:
        return replay, False
    done = _same_version(adapter, label, content.digest)
    if label is not None and done is None:
        _check_label(adapter, label)
    _check_open(viewer)
    upload = _make(viewer, adapter, content, label, private, message, idempotency_key, done)
    if done is None:
        _want(upload, content, viewer)
    return upload, True


def _read(manifest: dict[str, Any]) -> manifests.Manifest:
    try:
        content = manifests.Manifest.from_json(manifest)
    except SpecError as error:
        raise Invalid.from_spec(error) from None
    if content.size > settings.HUB_MAX_UPLOAD_BYTES:
        raise TooLarge(f"{content.size} bytes in all; this hub takes {settings.HUB_MAX_UPLOAD_BYTES} at most.")
    collector = Collector()
    for file in content.files:
        with collector.collect():
            manifests.allowed_path(file.path)
        if file.size == 0 and file.sha256 != EMPTY:
            collector.problem("manifest.sha256", file.path, "an empty file has another SHA-256")
    if collector.problems:
        raise Rejected("Some files are not taken.", hint=collector.problems[0].hint, problems=collector.all())
    return content


def _check_facts(facts: dict[str, Any], viewer: Viewer) -> None:
    """Refuse early what ingest would refuse for sure. Anything else in the facts is judged from the files.

    What is no name (empty, a folder of somebody's machine) cannot be looked up; the files tell what it could mean.
    """
    base = facts.get("base")
    if isinstance(base, str) and card.is_base(base) and base_models.find(base, viewer) is None:
        message, hint = inspections.unknown_base(base, viewer)
        raise UnknownBase(f"{message[0].upper()}{message[1:]}.", hint=hint)
    told = facts.get("benchmarks")
    asked = dict.fromkeys(name for name in told if isinstance(name, str)) if isinstance(told, list) else {}
    if len(asked) > card.MAX_BENCHMARKS:
        raise Invalid(f"{len(asked)} benchmarks are asked for.", hint=f"At most {card.MAX_BENCHMARKS}.")
    for name in benchmarks.unknown(asked, viewer):
        raise UnknownBenchmark(
            f"This hub has no benchmark {name!r}.",
            hint="List them: hub benchmark ls. Add one: hub benchmark add FILE.yaml",
        )


def _replay(
    viewer: Viewer, key: str | None, namespace: str, name: str, digest: str, label: str | None
) -> Upload | None:
    """Return the upload that this key started. Raises Conflict where it started another one, Gone where it expired."""
    if not key:
        return None
    if len(key) > 200:
        raise Invalid("The Idempotency-Key is longer than 200 characters.")
    known = (
        Upload.objects.select_related("adapter__namespace", "user")
        .filter(user=viewer.user, idempotency_key=key)
        .first()
    )
    if known is None:
        return None
    same = (known.adapter.namespace.name, known.adapter.name, known.digest, known.label) == (
        namespace,
        name,
        digest,
        label,
    )
    if not same:
        raise Conflict("This Idempotency-Key was used for another upload.", hint="Use a new key for new content.")
    if known.state == Upload.State.EXPIRED:
        raise Gone("The upload of this Idempotency-Key has expired.", hint="Start again with a new key.")
    return known


def _same_version(adapter: Adapter, label: str | None, digest: str) -> Version | None:
    """The same bytes under the same label are there already: a repeated push is no error and makes nothing.

    The same bytes as the version holds, or as it was made of: what was announced is proven when its upload is done.
    """
    if label is None:
        return None
    same = Q(digest=digest) | Q(uploads__digest=digest, uploads__state=Upload.State.DONE)
    rows = Version.objects.filter(same, adapter=adapter, label=label)
    return rows.exclude(status=Version.Status.REJECTED).first()


def _check_label(adapter: Adapter, label: str) -> None:
    try:
        reference.check_label(label)
    except SpecError as error:
        raise Invalid.from_spec(error) from None
    versions.check_label(adapter, label)


def _check_open(viewer: Viewer) -> None:
    under_way = Upload.objects.filter(user=viewer.user, state=Upload.State.OPEN, expires_at__gt=timezone.now()).count()
    if under_way >= settings.HUB_MAX_OPEN_UPLOADS:
        raise Conflict(
            f"You have {under_way} uploads under way.",
            hint="Complete some, or wait until they expire.",
            code="too_many_uploads",
        )


def _make(
    viewer: Viewer,
    adapter: Adapter,
    content: manifests.Manifest,
    label: str | None,
    private: bool,
    message: str,
    key: str | None,
    done: Version | None,
) -> Upload:
    try:
        with transaction.atomic():
            return Upload.objects.create(
                adapter=adapter,
                user=viewers.require_user(viewer),
                manifest=content.to_json(),
                digest=content.digest,
                label=label,
                private=private,
                message=message,
                idempotency_key=key or None,
                expires_at=timezone.now() + datetime.timedelta(hours=settings.HUB_UPLOAD_HOURS),
                state=Upload.State.OPEN if done is None else Upload.State.DONE,
                version=done,
            )
    except IntegrityError:  # the same key for two adapters at the same moment
        raise Conflict("An upload with this Idempotency-Key has just begun.", hint="Ask again.") from None


def _want(upload: Upload, content: manifests.Manifest, viewer: Viewer) -> None:
    """Note which bytes are to be sent: those of files that the viewer cannot read here already, each once."""
    have = uploads.readable_blobs({(file.sha256, file.size) for file in content.files}, viewer)
    wanted: dict[str, manifests.File] = {}
    for file in content.files:
        if file.sha256 not in have and file.size:
            wanted.setdefault(file.sha256, file)
    UploadBlob.objects.bulk_create(
        UploadBlob(
            upload=upload, n=n, path=file.path, sha256=file.sha256, size=file.size, staging_key=f"{upload.pk}/{n}"
        )
        for n, file in enumerate(wanted.values())
    )
    upload.reserved_bytes = sum(file.size for file in wanted.values())
    upload.save(update_fields=["reserved_bytes"])


def receive(
    *, viewer: Viewer, upload_id: str | uuid.UUID, n: int, offset: int, stream: storage.Readable, length: int
) -> tuple[int, int]:
    """Take bytes of one file at `offset` and return (received, size). What arrived before a cut is kept.

    Not atomic on purpose: the bytes may take an hour, and the store is asked how many there are, not the table.
    Raises NotFound, Forbidden, Conflict, OffsetMismatch, TooLarge.
    """
    upload = _writable(viewer, upload_id)
    _require_open(upload)
    blob = uploads.blob(upload, n)
    received = staging.receive(
        path=blob.path, key=blob.staging_key, size=blob.size, offset=offset, stream=stream, length=length
    )
    UploadBlob.objects.filter(pk=blob.pk).update(received=min(received, blob.size))
    return received, blob.size


def _writable(viewer: Viewer, upload_id: str | uuid.UUID) -> Upload:
    """Return an upload of this viewer who still may push there: a role, or a token's scope, is asked for at every step."""
    upload = uploads.get(upload_id, viewer)
    viewers.require_writer(viewer, upload.adapter.namespace.name)
    return upload


def _require_open(upload: Upload) -> None:
    if upload.state == Upload.State.OPEN and upload.expires_at > timezone.now():
        return
    if upload.state in (Upload.State.OPEN, Upload.State.EXPIRED):
        raise Gone("The upload has expired.", hint="Start again.")
    raise Conflict("The upload is complete already.", hint="Ask for its version.", code="completed")


def complete(*, viewer: Viewer, upload_id: str | uuid.UUID) -> Version:
    """Declare an upload complete and return its version; again, the same version.

    A version that was pushed before and never judged because of an error begins again: that is what pushing again asks for.
    Small bodies are ingested and judged at once; larger ones by a job, the version waiting in stage `ingest`. Raises
    Incomplete where bytes are missing, Forbidden for who may not push there any more, and Rejected where the static checks
    refuse the files: the version is kept with its report.
    """
    upload = _writable(viewer, upload_id)
    if upload.state == Upload.State.OPEN:
        _require_open(upload)
        try:
            _check_complete(upload)
        except Incomplete:  # or completed and ingested by the same request, sent twice, and the staged bytes are gone
            if Upload.objects.filter(pk=upload.pk, state=Upload.State.OPEN).exists():
                raise
    upload = _close(viewer=viewer, upload_id=upload_id)
    if upload.version is not None:
        requeue.push_again(version=upload.version, actor=viewer.name)
        upload.refresh_from_db(fields=["state"])
    if upload.state == Upload.State.INGESTING and _is_small(upload):
        ingest.now(upload_id=upload.pk)
    return _outcome(upload_id)


@transaction.atomic
def _close(*, viewer: Viewer, upload_id: str | uuid.UUID) -> Upload:
    """Make the version of an upload whose bytes are all there, and the message of its ingest, in one transaction.

    The right to push is asked for again: looking at the bytes may have taken long.
    """
    upload = Upload.objects.select_for_update(of=("self",)).select_related("user", "version__run").get(pk=upload_id)
    if upload.state in (Upload.State.INGESTING, Upload.State.DONE, Upload.State.FAILED):
        return upload
    _require_open(upload)
    adapter = (
        Adapter.objects.select_for_update(of=("self",), no_key=True)
        .select_related("namespace")
        .get(pk=upload.adapter_id)
    )
    viewers.require_writer(viewer, adapter.namespace.name)
    upload.version = versions.begin(adapter=adapter, author=upload.user, label=upload.label, message=upload.message)
    upload.state = Upload.State.INGESTING
    upload.save(update_fields=["state", "version"])
    outbox.hint_upload(upload.pk)
    return upload


def _check_complete(upload: Upload) -> None:
    """Raise Incomplete unless all bytes are there. Outside of transactions: the store is asked once a file."""
    store, collector = blobs.store(), Collector()
    for row in upload.blobs.order_by("n"):
        try:
            store.finish_staging(row.staging_key, row.size)
        except (storage.StagingIncomplete, storage.StagingMissing):
            collector.add(staging.missing(path=row.path, key=row.staging_key, size=row.size))
        except storage.StagingTooLarge:
            raise staging.more(row.path, row.size) from None
    if collector.problems:
        raise Incomplete("Bytes are missing.", hint="Send the rest, then complete again.", problems=collector.all())


def _is_small(upload: Upload) -> bool:
    return bool(sum(file["size"] for file in upload.manifest["files"]) <= settings.HUB_INLINE_INGEST_BYTES)


def _outcome(upload_id: str | uuid.UUID) -> Version:
    """Return the version of a completed upload, or raise Rejected with what the static checks found."""
    upload = Upload.objects.get(pk=upload_id)
    rows = Version.objects.select_related("adapter__namespace", "author", "run", "manifest")
    version = rows.get(uploads=upload)
    if upload.state == Upload.State.FAILED and version.status == Version.Status.REJECTED:
        raise ingest.refusal(upload, version)
    return version


def expire(*, limit: int = 100) -> int:
    """End the uploads whose time is over and forget their bytes; return how many. For the relay."""
    due = _end(limit=limit)
    for key in UploadBlob.objects.filter(upload__in=due).values_list("staging_key", flat=True):
        blobs.store().discard(key)  # after the commit: what is forgotten here, the sweep finds
    return len(due)


@transaction.atomic
def _end(*, limit: int) -> list[uuid.UUID]:
    rows = Upload.objects.expired(timezone.now()).select_for_update(skip_locked=True)
    due = list(rows.order_by("expires_at").values_list("pk", flat=True)[:limit])
    Upload.objects.filter(pk__in=due).update(state=Upload.State.EXPIRED, reserved_bytes=0)
    return due


def stalled(*, limit: int = 100) -> list[uuid.UUID]:
    """Return the completed uploads whose ingest nobody works on, oldest first. For the relay."""
    rows = Upload.objects.stalled(timezone.now()).order_by("created_at", "pk")
    return list(rows.values_list("pk", flat=True)[:limit])
