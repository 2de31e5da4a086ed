"""From staged bytes to a version that waits for its run: hash, store, convert, inspect, rewrite, plan.

Runs within the request that completes a small upload, else as a job. It may be killed anywhere and begun again:
bytes that are stored are not read twice (but for what has to be converted or rewritten, which gives the same again),
rows that are there are found, and only the holder of the upload's lease
(numbered by `attempt`) may write the outcome.

What fails is tried again after a pause that grows: for ever where the store or the database is at fault, and at most
MAX_FAULTS times where we are. Then the version stays unjudged, and says so: a mistake of ours is no verdict.

Whoever takes the lease is booked a fault in advance and gets it back by living on: a process that is killed each time
(files that take all memory) tells nobody, and would otherwise be tried for ever.
"""

import contextlib
import dataclasses
import datetime
import logging
import uuid
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F
from django.utils import timezone

from hub.spec import manifest as manifests
from hub.spec import report as reports
from hub.spec.errors import Problem, SpecError
from registry.errors import Rejected
from registry.models import Adapter, Blob, Component, Manifest, ManifestFile, Original, Run, Upload, UploadBlob, Version
from registry.queries import base_models, blobs, inspections, plans, sizes
from registry.queries import versions as version_queries
from registry.queries.inspections import ADD_BASE, Findings
from registry.queries.viewers import Viewer
from registry.services import blobs as blob_rows
from registry.services import commits, contents, conversions, events, evidence, fits, outbox, rewrites, versions
from registry.services.pauses import pause_after
from registry.storage import base as storage

__all__ = ["ADD_BASE", "again", "now", "refusal", "run"]

logger = logging.getLogger(__name__)

MAX_FAULTS = 5
NOT_OURS = (
    *(storage.StorageUnavailable, storage.StorageFull, storage.StagingChanged, storage.BlobRotten),
    *(OperationalError, InterfaceError),
)
"""Faults of the store and of the database. They say nothing of the files and nothing of our code, and pass."""


class _Refused(Exception):
    """The bytes themselves are wrong; nothing of them is kept as a snapshot."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems


class _Overtaken(Exception):
    """Somebody else holds the lease by now: what was found out here does not count."""


def now(*, upload_id: uuid.UUID) -> None:
    """Ingest within a request. A fault of ours leaves the upload to the job, whose message waits in the outbox."""
    try:
        run(upload_id=upload_id)
    except Exception:
        logger.exception("ingest within the request failed; the job will do it", extra={"upload": str(upload_id)})


def run(*, upload_id: str | uuid.UUID) -> bool:
    """Ingest a completed upload; return False where there is nothing to do or somebody else is at it.

    A fault goes through after it was noted: a later message begins again, or the upload has failed (see above).
    """
    upload = _claim(upload_id)
    if upload is None:
        return False
    if upload.faults > MAX_FAULTS:
        with contextlib.suppress(_Overtaken):
            _give_up(upload=upload, what="the process was ended each time")
        return False
    try:
        _take(upload)
        content, made = _convert(upload)
        findings = _inspect(upload, content)
        content, rewritten = _rewrite(content, findings)
        if rewritten:  # what is written down is what the files say that are served
            findings = _inspect(upload, content)
        manifest = _record(content, (*made, *rewritten))
        measured = _derive(upload, manifest, findings)
        _conclude(upload=upload, manifest=manifest, findings=findings, measured=measured)
    except _Refused as refused:
        _refuse(upload=upload, problems=refused.problems)
    except _Overtaken:
        return False
    except NOT_OURS:
        _pause(upload, upload.attempt, faults=upload.faults - 1)
        raise
    except Exception as error:
        _count_fault(upload, error)
        raise
    except BaseException:  # this process is told to end
        _free(upload)
        raise
    _forget_staging(upload)
    return True


def _claim(upload_id: str | uuid.UUID) -> Upload | None:
    """Take the lease in one statement, and book a fault; None where it is held or nothing is to be done."""
    moment = timezone.now()
    rows = Upload.objects.filter(pk=upload_id).stalled(moment)
    if not rows.update(attempt=F("attempt") + 1, faults=F("faults") + 1, lease_expires_at=_lease(moment)):
        return None
    return Upload.objects.select_related("adapter__namespace", "user", "version").get(pk=upload_id)


def _lease(moment: datetime.datetime) -> datetime.datetime:
    return moment + datetime.timedelta(seconds=settings.HUB_INGEST_LEASE_SECONDS)


def _mine(upload: Upload) -> Any:
    return Upload.objects.filter(pk=upload.pk, attempt=upload.attempt, state=Upload.State.INGESTING)


def _renew(upload: Upload) -> None:
    if not _mine(upload).update(lease_expires_at=_lease(timezone.now())):
        raise _Overtaken


def _free(upload: Upload) -> None:
    _mine(upload).update(lease_expires_at=None, faults=upload.faults - 1)


def _pause(upload: Upload, failures: int, **changes: Any) -> None:
    """Let nobody begin again for a while: a lease that nobody holds."""
    until = timezone.now() + datetime.timedelta(seconds=pause_after(failures))
    _mine(upload).update(lease_expires_at=until, **changes)


def _count_fault(upload: Upload, error: Exception) -> None:
    """Let the fault stand: our own code failed. Nothing says that it will do better, so it is tried only a few times."""
    if upload.faults < MAX_FAULTS:
        _pause(upload, upload.faults)
        return
    with contextlib.suppress(_Overtaken):
        _give_up(upload=upload, what=type(error).__name__)


@transaction.atomic
def _give_up(*, upload: Upload, what: str) -> None:
    """Fail an upload that we cannot ingest. Its version stays unjudged; its bytes stay for an operator to try again."""
    version = _locked(upload)
    reason = f"the hub failed {MAX_FAULTS} times to read the files ({what}); the log tells its operator why"
    version.stage = "error"
    version.report = {"verdict": "error", "error": reason, "summary": f"not judged: {reason}"}
    version.save(update_fields=["stage", "report"])
    _mine(upload).update(state=Upload.State.FAILED, faults=MAX_FAULTS, lease_expires_at=None, reserved_bytes=0)
    events.record(
        actor=upload.user.username, kind="ingest.error", subject=version_queries.ref_of(version), upload=str(upload.pk)
    )


@transaction.atomic
def again(*, version: Version, actor: str) -> None:
    """Ingest once more what we gave up on. Again: nothing happens."""
    upload = Upload.objects.select_for_update().filter(version=version, state=Upload.State.FAILED).first()
    if upload is None or version.stage != "error":
        return
    Version.objects.filter(pk=version.pk).update(stage="ingest", report=None)
    Upload.objects.filter(pk=upload.pk).update(state=Upload.State.INGESTING, faults=0, lease_expires_at=None)
    outbox.hint_upload(upload.pk)
    events.record(actor=actor, kind="ingest.requeued", subject=version_queries.ref_of(version), upload=str(upload.pk))


def _take(upload: Upload) -> None:
    """Store every file under its digest, computed here over what is written. Raises _Refused."""
    store, problems = blobs.store(), []
    for row in upload.blobs.filter(done=False).order_by("n"):
        try:
            stored = store.ingest(row.staging_key, expected_sha256=row.sha256)
        except storage.DigestMismatch as error:
            message = f"the bytes received have SHA-256 {error.found}, announced was {error.expected}"
            problems.append(
                Problem("digest", row.path, message, "The file changed or was damaged on the way: push again.")
            )
            continue
        _keep(row, stored)
        _renew(upload)
    problems += _missing(upload)
    if problems:
        raise _Refused(tuple(problems))


@transaction.atomic
def _keep(row: UploadBlob, stored: storage.Stored) -> None:
    blob_rows.keep(stored=stored)
    UploadBlob.objects.filter(pk=row.pk).update(done=True, received=row.size)


def _missing(upload: Upload) -> list[Problem]:
    """Files that were not sent because the publisher could read them here must still be here."""
    sent = set(upload.blobs.values_list("sha256", flat=True))
    problems = []
    for file in _content(upload).files:
        if file.size == 0:
            blob_rows.keep(stored=blobs.store().put(b""))
        elif file.sha256 not in sent and not Blob.objects.live().filter(pk=file.sha256, size=file.size).exists():
            problems.append(Problem("gone", file.path, "is no longer stored here", "Push again: it will be sent."))
    return problems


def _content(upload: Upload) -> manifests.Manifest:
    return manifests.Manifest.from_json(upload.manifest)


def _convert(upload: Upload) -> tuple[manifests.Manifest, tuple[conversions.Conversion, ...]]:
    """Return what the version will hold: what was sent, with PyTorch's files as safetensors. Raises _Refused."""
    try:
        return conversions.convert(_content(upload), lambda: _renew(upload))
    except SpecError as error:
        raise _Refused(error.problems) from None


def _rewrite(
    content: manifests.Manifest, findings: Findings
) -> tuple[manifests.Manifest, tuple[conversions.Conversion, ...]]:
    """Return what the version will hold: configurations of good files as they are served, those of refused ones as sent."""
    return rewrites.rewrite(content, () if findings.problems else findings.inspection.rewritten)


@transaction.atomic
def _record(content: manifests.Manifest, made: tuple[conversions.Conversion, ...]) -> Manifest:
    """Write the manifest, its files and what they were made of, or find them."""
    manifest, new = Manifest.objects.get_or_create(
        digest=content.digest, defaults={"adapter_digest": content.adapter_digest, "size": content.size}
    )
    if new:
        ManifestFile.objects.bulk_create(
            ManifestFile(manifest=manifest, path=file.path, blob_id=file.sha256, size=file.size)
            for file in content.files
        )
    for one in made:
        Original.objects.get_or_create(
            manifest=manifest,
            path=one.sent.path,
            blob_id=one.sent.sha256,
            defaults={"converted": one.kept.path, "changes": list(one.changes)},
        )
    return manifest


def _inspect(upload: Upload, content: manifests.Manifest) -> Findings:
    _renew(upload)
    judged = settings.HUB_VALIDATION == "required"
    return inspections.inspect(content, upload.adapter, Viewer(upload.user, "push"), judged=judged)


def _derive(upload: Upload, manifest: Manifest, findings: Findings) -> list[dict[str, Any]]:
    """Note what is told by the bytes alone, before rows are locked: what the adapters need, what the weights say. Returns what
    fills the bytes, of files that are refused, too: they may be refused for what should not have been saved."""
    parts = findings.inspection.components
    if not findings.problems:
        for part in parts:
            fits.need_of(component=part)
        contents.note(manifest=manifest, beat=lambda: _renew(upload))
    base = base_models.to_spec(findings.base) if findings.base else None
    return sizes.measure(manifest.pk, parts, base, lambda: _renew(upload))


@transaction.atomic
def _conclude(*, upload: Upload, manifest: Manifest, findings: Findings, measured: list[dict[str, Any]]) -> None:
    """Write what the checks found: a rejected version with its report, or one that waits for its run."""
    run = _ask(upload, manifest, findings)  # before the other locks: see evidence.run_for
    version = _locked(upload)
    version.digest, version.adapter_digest = manifest.digest, manifest.adapter_digest
    version.commit = commits.make(
        adapter=version.adapter, manifest=manifest, author=upload.user, message=upload.message
    )
    version.base_fingerprint = findings.base.pk if findings.base else None
    version.save(update_fields=["digest", "adapter_digest", "commit", "base_fingerprint"])
    if findings.problems:
        versions.reject(version=version, report=_report(upload, findings, manifest, measured))
    else:
        _describe(manifest, findings, measured)
        if run is None:
            versions.host(version=version)
        else:
            evidence.wait_for(version=version, run=run)
    _finish(upload, findings.problems)


def _ask(upload: Upload, manifest: Manifest, findings: Findings) -> Run | None:
    """Return the run that will judge the files, None where they are refused already or nothing is judged here."""
    if findings.problems or findings.base is None or settings.HUB_VALIDATION != "required":
        return None
    plan = plans.make(upload.adapter, manifest.adapter_digest, findings.benchmarks, findings.inspection.facts)
    return evidence.run_for(manifest=manifest, base=findings.base, plan=plan)


def _describe(manifest: Manifest, findings: Findings, measured: list[dict[str, Any]]) -> None:
    """Write the components; derived from the files, so that writing them again gives the same."""
    facts = findings.inspection.facts
    for part, size in zip(findings.inspection.components, measured, strict=True):
        Component.objects.update_or_create(
            manifest=manifest,
            folder=part.folder,
            defaults={
                "library": part.library,
                "method": part.method,
                "variant": part.variant,
                "rank": part.rank,
                "parameters": part.parameters,
                "head_parameters": part.head_parameters,
                "head": part.to_json()["head"],
                "base_fingerprint": findings.base.pk if findings.base else None,
                "need": fits.need_of(component=part),
                "facts": {"facts": facts.to_json(), "component": part.to_json(), "sizes": size},
            },
        )


@transaction.atomic
def _refuse(*, upload: Upload, problems: tuple[Problem, ...]) -> None:
    """Reject a version whose bytes are not what was announced, or cannot be converted: there is no snapshot to keep."""
    version = _locked(upload)
    told = [problem.to_json() for problem in problems]
    report = {"checks": _failed(problems), "problems": told, "components": []}
    versions.reject(version=version, report=_finished(report))
    _finish(upload, problems)


def _locked(upload: Upload) -> Version:
    """Return the version of an upload, locked with its adapter, if this attempt still counts. Raises _Overtaken."""
    if _mine(upload).select_for_update().first() is None:
        raise _Overtaken
    adapter = (
        Adapter.objects.select_for_update(of=("self",), no_key=True)
        .select_related("namespace")
        .get(pk=upload.adapter_id)
    )
    rows = Version.objects.select_for_update(of=("self",)).select_related("author")
    version = rows.get(uploads=upload)
    version.adapter = adapter
    if version.status != Version.Status.VALIDATING:
        raise _Overtaken
    return version


def _finish(upload: Upload, problems: tuple[Problem, ...]) -> None:
    _mine(upload).update(
        state=Upload.State.FAILED if problems else Upload.State.DONE,
        problems=[problem.to_json() for problem in problems] or None,
        lease_expires_at=None,
        faults=upload.faults - 1,
        reserved_bytes=0,
    )


def _forget_staging(upload: Upload) -> None:
    for row in upload.blobs.all():
        blobs.store().discard(row.staging_key)


def _report(upload: Upload, findings: Findings, manifest: Manifest, measured: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the report of a version that no worker has to look at."""
    checks = [dict(check) for check in findings.inspection.checks]
    told = {problem.check for problem in findings.inspection.problems}
    more = _failed(tuple(problem for problem in findings.problems if problem.check not in told))
    names = {check["name"] for check in more}
    checks = [check for check in checks if check["name"] not in names] + more
    return _finished(
        {
            "checks": checks,
            "problems": [problem.to_json() for problem in findings.problems],
            "components": [],
            "sizes": measured,
            "base_model": base_models.ref(findings.base, Viewer(upload.user, "push")),
            **({"proposals": list(findings.proposals)} if findings.proposals else {}),
            "adapter_digest": f"sha256:{manifest.adapter_digest}",
        }
    )


def _failed(problems: tuple[Problem, ...]) -> list[dict[str, Any]]:
    """Return one failed check for each that these problems belong to. The first one's hint is the check's."""
    found = []
    for name in dict.fromkeys(problem.check for problem in problems):
        of_it = [problem for problem in problems if problem.check == name]
        told = [dataclasses.replace(of_it[0], hint=""), *of_it[1:]]
        found.append(reports.check(name, "failed", "; ".join(map(str, told)), of_it[0].hint))
    return found


def _finished(report: dict[str, Any]) -> dict[str, Any]:
    body = {"base_model": None, "policy": None, "environment": {}, "seconds": 0.0, **report, "verdict": "failed"}
    body["summary"] = reports.summary_line(body)
    body["result_digest"] = f"sha256:{reports.result_digest(body)}"
    return body


def refusal(upload: Upload, version: Version) -> Rejected:
    """Return the error that tells the publisher what the static checks found."""
    problems = tuple(Problem.from_json(problem) for problem in upload.problems or [])
    return Rejected(
        "\n".join(str(problem) for problem in problems),
        hint=problems[0].hint if problems else "",
        problems=problems,
        version=version_queries.detail(version, Viewer(upload.user, "push")),
        report_url=version_queries.report_url(version),
        proposals=(version.report or {}).get("proposals", []),
    )
