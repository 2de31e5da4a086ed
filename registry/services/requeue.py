"""Let work that ended in an error be done again, whatever it was: the judgement of a version, or its ingest."""

import contextlib
import uuid

from django.db import transaction

from hub.spec import reference
from hub.spec.errors import SpecError
from registry.errors import Conflict, Invalid, NotFound
from registry.models import Run, Scope, Version
from registry.queries import versions, viewers
from registry.queries.viewers import Viewer
from registry.services import attempts, ingest


@transaction.atomic
def requeue(*, viewer: Viewer, what: str) -> str:
    """Let a run (its id) or what a version (its reference) waits for begin again; return what was found, as a line.

    For operators. What waits or is at work already stays as it is. Raises Forbidden, NotFound, Invalid for what was
    judged, Conflict where another run has the same question.
    """
    viewers.require_scope(viewer, Scope.ADMIN)
    run_id = _run_id(what)
    if run_id is not None:
        return _told(attempts.again(run_id=run_id, actor=viewer.name))
    version = _version(viewer, what)
    if version.run_id is not None:
        return _told(attempts.again(run_id=version.run_id, actor=viewer.name))
    if version.status != Version.Status.VALIDATING:
        raise Invalid(f"{versions.ref_of(version)} is {version.status}: it was judged from its files alone.")
    ingest.again(version=version, actor=viewer.name)
    return f"{versions.ref_of(version)} waits to be ingested"


@transaction.atomic
def push_again(*, version: Version, actor: str) -> None:
    """Let a version that was never judged because of an error begin again: its publisher has pushed the same bytes again.

    Everything else stays as it is. Where another run has the same question by now, its answer settles this version, too.
    """
    if version.status != Version.Status.VALIDATING:
        return
    if version.run is None:
        ingest.again(version=version, actor=actor)
    elif version.run.status == Run.Status.ERROR:
        with contextlib.suppress(Conflict):
            attempts.again(run_id=version.run.pk, actor=actor)


def _told(run: Run) -> str:
    return f"run {run.pk} is {run.status}"


def _run_id(what: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(what)
    except ValueError:
        return None


def _version(viewer: Viewer, what: str) -> Version:
    """Return the version that a reference means; without a version of its own, the adapter's newest."""
    try:
        wanted = reference.parse(what)
    except SpecError as error:
        raise Invalid.from_spec(error, f"{what!r} is neither the id of a run nor a reference.") from None
    if wanted.version or wanted.digest:
        name = wanted.version or f"sha256:{wanted.digest}"
        return versions.get(wanted.namespace, wanted.name, name, viewer)
    found = versions.newest(wanted.namespace, wanted.name, viewer)
    if found is None:
        raise NotFound(f"{wanted.namespace}/{wanted.name} has no version.")
    return found
