"""Leases: a worker claims a run, keeps it alive, and loses it.

A worker holds a run by a lease: a run token, a number that only grows, a time by the clock of the database. Only the
holder may write, only while the lease lasts, and each write asks for the lease in the statement that changes the row:
of two workers that believe they hold the same run, at most one is right, and the other changes nothing.
"""

import datetime
import uuid
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from hub.spec import policy
from registry.errors import LeaseLost
from registry.models import Run, Scope
from registry.queries import runs, tokens, viewers
from registry.queries.viewers import Viewer
from registry.services import attempts
from registry.services import tokens as secrets

LONGEST_STAGE = 64
LONGEST_WORKER = 200

LET_PASS_SECONDS = 30
"""So long may the head of the queue have waited before runs whose base model lies open no longer go first."""

# SKIP LOCKED: of many workers that ask at once each gets another run, and none waits. `{wanted}` is a key, for the run that a
# message spoke of, `HELD`, or nothing, for the head of the queue: one statement that may be all would read it all. `{waits}` is
# the queue as this worker sees it, for the head of it is one that it could take.
CLAIM = """
    UPDATE registry_run SET
        status = 'leased',
        stage = '',
        lease_no = lease_no + 1,
        not_before = NULL,
        lease_token_digest = %(digest)s,
        lease_expires_at = STATEMENT_TIMESTAMP() + make_interval(secs => %(seconds)s),
        worker = %(worker)s,
        started_at = STATEMENT_TIMESTAMP()
    WHERE id = (
        SELECT id FROM registry_run
        WHERE {wanted} {waits}
        ORDER BY priority, created_at, id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    RETURNING *
"""
WAITS = """
    status = 'queued' AND base_fingerprint = ANY(%(bases)s)
    AND COALESCE(plan->>'protocol', %(untold)s) = ANY(%(protocols)s)
    AND (not_before IS NULL OR not_before <= STATEMENT_TIMESTAMP())
"""
HELD = """
    base_fingerprint = ANY(%(held)s) AND (priority, STATEMENT_TIMESTAMP()) <= (
        SELECT priority, GREATEST(created_at, not_before) + make_interval(secs => %(let_pass)s) FROM registry_run
        WHERE {waits}
        ORDER BY priority, created_at, id
        LIMIT 1
    ) AND
"""


@transaction.atomic
def claim(
    *,
    viewer: Viewer,
    worker: str,
    bases: list[str],
    protocols: list[str],
    held: Sequence[str] = (),
    starting: bool = False,
    run: uuid.UUID | None = None,
) -> tuple[Run, str] | None:
    """Lease the oldest waiting run on one of these bases and return it with its run token; None where none waits.

    `bases` are the fingerprints of the base models that the worker has on its disk; a run on any other base waits for
    a worker that has it. `protocols` are the rules by which the worker judges (`policy.PROTOCOL`): a run that was planned
    under others is not for it. Runs on those of them that it has open, `held`, go first until another one has waited
    for `LET_PASS_SECONDS`. `run` is the run that a message spoke of: it is preferred while it waits. `starting` says that the
    worker has just been started: what it held under this name before is taken back first. Raises Forbidden without the
    scope `worker`.
    """
    viewers.require_scope(viewer, Scope.WORKER)
    name = f"{viewer.name}/{worker}"[:LONGEST_WORKER]
    if starting:
        release_own(worker=name)
    secret = secrets.mint(tokens.RUN_PREFIX)
    values = {
        "digest": tokens.digest_of(secret),
        "seconds": settings.HUB_LEASE_SECONDS,
        "worker": name,
        "bases": bases,
        "protocols": protocols,
        "untold": policy.UNTOLD,
        "held": list(held),
        "let_pass": LET_PASS_SECONDS,
        "run": run,
    }
    found = _take("id = %(run)s AND", values) if run else None
    found = found or (_take(HELD, values) if held else None) or _take("", values)
    return (found, secret) if found else None


def _take(wanted: str, values: dict[str, Any]) -> Run | None:
    statement = CLAIM.format(wanted=wanted.format(waits=WAITS), waits=WAITS)
    return next(iter(Run.objects.raw(statement, values)), None)


@transaction.atomic
def heartbeat(*, run_id: uuid.UUID, secret: str | None, stage: str = "", progress: float | None = None) -> None:
    """Extend a lease and note how far the work has come; `progress` from 0 to 1. Raises LeaseLost, Unauthenticated."""
    runs.require_token(secret)
    changes: dict[str, Any] = {"lease_expires_at": _until()}
    if stage:
        done = "" if progress is None else f" {min(max(progress, 0.0), 1.0):.0%}"
        changes["stage"] = stage[: LONGEST_STAGE - len(done)] + done
    alive = runs.held(run_id, secret or "").filter(status=Run.Status.LEASED)
    if not alive.update(**changes):
        raise LeaseLost(runs.NO_LEASE, hint=runs.NO_LEASE_HINT)


def _until() -> Any:
    return Now() + datetime.timedelta(seconds=settings.HUB_LEASE_SECONDS)


@transaction.atomic
def release_expired(*, limit: int = 100) -> int:
    """Take back the runs whose workers were not heard of in time; return how many. For the relay."""
    dead = Run.objects.filter(status=Run.Status.LEASED, lease_expires_at__lte=Now()).order_by("lease_expires_at")
    lost = list(dead.select_for_update(skip_locked=True)[:limit])
    for run in lost:
        attempts.take_back(run)
    return len(lost)


@transaction.atomic
def release_own(*, worker: str) -> int:
    """Take back what a worker of this name held before it was started again; return how many."""
    own = Run.objects.filter(status=Run.Status.LEASED, worker=worker).order_by("pk")
    # A worker that was restarted is no sign of a fault; one that dies on the same run again is.
    held = list(own.select_for_update())
    for run in held:
        attempts.take_back(run, pausing=run.takeovers > 0)
    return len(held)
