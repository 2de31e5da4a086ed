"""Versions: give the next number, publish, refuse, yank."""

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone

from registry.errors import Conflict, Invalid, LabelExists
from registry.models import Adapter, Run, Tombstone, User, Version
from registry.queries import versions, viewers
from registry.queries.viewers import Viewer
from registry.services import adapters, events

LONGEST_REASON = 2000


def next_number(adapter: Adapter) -> int:
    """Return the number that the adapter's next version gets; a name that was deleted goes on counting."""
    newest = Version.objects.filter(adapter=adapter).aggregate(n=Max("number"))["n"] or 0
    buried = Tombstone.objects.of_adapter(adapter)
    return max(newest, buried.aggregate(n=Max("last_number"))["n"] or 0) + 1


def check_label(adapter: Adapter, label: str) -> None:
    """Raise LabelExists for a label in use, Invalid for digits that are not the number to come."""
    taken = Version.objects.filter(adapter=adapter, label=label).exclude(status=Version.Status.REJECTED).first()
    if taken is not None:
        raise _label_exists(adapter, label, taken.digest)
    number = next_number(adapter)
    if label.isdecimal() and label != str(number):
        raise Invalid(
            f"The label {label!r} is a number, and the next number of {adapter} is {number}.",
            hint="Leave the version away to take the next number, or write it with a dot: 2.0",
        )


def _label_exists(adapter: Adapter, label: str, digest: str | None) -> LabelExists:
    return LabelExists(
        f"{adapter} has a version {label} already (sha256:{digest}).",
        hint="Versions never change: choose another label, or leave it away for the next number.",
    )


def begin(*, adapter: Adapter, author: User, label: str | None, message: str) -> Version:
    """Make the version of a push whose bytes have arrived. The adapter's row must be locked. Raises LabelExists."""
    try:
        with transaction.atomic():
            return Version.objects.create(
                adapter=adapter,
                number=next_number(adapter),
                label=label,
                author=author,
                message=message,
                status=Version.Status.VALIDATING,
                stage="ingest",
            )
    except IntegrityError:
        check_label(adapter, label or "")
        raise


def publish(*, version: Version, run: Run) -> None:
    """Publish a waiting version on a passed run. The database checks that the run is evidence for these very bytes."""
    version.run, version.run_passed, version.base_observed = run, True, True
    _finish(version, Version.Status.PUBLISHED, "published")


def host(*, version: Version) -> None:
    """Serve a version without a verdict."""
    _finish(version, Version.Status.HOSTED, "hosted")


def _finish(version: Version, status: str, kind: str) -> None:
    version.status, version.stage, version.published_at = status, "", timezone.now()
    version.save(update_fields=["run", "run_passed", "base_observed", "status", "stage", "published_at"])
    adapters.refresh(adapter=version.adapter, news=True)
    events.record(
        actor=version.author.username if version.author else "",
        kind=f"version.{kind}",
        subject=versions.ref_of(version),
        digest=version.digest,
        run=str(version.run_id or ""),
    )


def reject(*, version: Version, run: Run | None = None, report: dict[str, Any] | None = None) -> None:
    """Refuse a waiting version: by a failed run, or by the report of the static checks. Its label is free again."""
    version.status, version.stage = Version.Status.REJECTED, ""
    if run is not None:
        version.run, version.run_passed = run, False
    version.report = report
    version.save(update_fields=["status", "stage", "run", "run_passed", "report"])
    adapters.refresh(adapter=version.adapter)
    events.record(
        actor=version.author.username if version.author else "",
        kind="version.rejected",
        subject=versions.ref_of(version),
        run=str(run.pk) if run else "",
    )


@transaction.atomic
def yank(*, viewer: Viewer, namespace: str, name: str, version: str, reason: str) -> Version:
    """Withdraw a version: `latest` skips it, a pull by digest still gets it. Yanking again changes the reason only.

    Raises NotFound for who may not see it, Forbidden for who may not write, Conflict for what was never public.
    """
    found = _writable(viewer, namespace, name, version)
    if not reason.strip():
        raise Invalid("Say why: the reason is shown to everybody who asks for this version.")
    if found.status not in (Version.Status.PUBLISHED, Version.Status.HOSTED):
        raise Conflict(
            f"{versions.ref_of(found)} is not published (its status is {found.status}).", code="not_published"
        )
    found.yanked_at = found.yanked_at or timezone.now()
    found.yank_reason = reason.strip()[:LONGEST_REASON]
    _save_yank(viewer, found, "version.yanked")
    return found


@transaction.atomic
def unyank(*, viewer: Viewer, namespace: str, name: str, version: str) -> Version:
    """Take a yank back. Doing so again changes nothing. Raises as `yank`."""
    found = _writable(viewer, namespace, name, version)
    if found.yanked_at is not None:
        found.yanked_at, found.yank_reason = None, ""
        _save_yank(viewer, found, "version.unyanked")
    return found


def _writable(viewer: Viewer, namespace: str, name: str, version: str) -> Version:
    viewers.require_user(viewer)
    found = versions.get(namespace, name, version, viewer)
    viewers.require_writer(viewer, namespace)
    rows = Version.objects.select_for_update(of=("self",)).select_related(
        "adapter__namespace", "author", "run", "manifest"
    )
    return rows.get(pk=found.pk)


def _save_yank(viewer: Viewer, version: Version, kind: str) -> None:
    version.save(update_fields=["yanked_at", "yank_reason"])
    adapters.refresh(adapter=version.adapter)
    events.record(actor=viewer.name, kind=kind, subject=versions.ref_of(version), reason=version.yank_reason)
