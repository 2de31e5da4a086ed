"""Attempts at a run: one that was not judged waits again, or ends.

An *attempt* is counted when a worker lived to report that it could not finish (at most 3). A lease that was lost
counts as a *takeover* (at most 20), and so does an error before the adapter was started (`"started": false`), unless the
worker names a benchmark of the plan that cannot be made ready: no other worker would fare better.

A run that is queued again pauses (`not_before`), longer each time: a broken worker that takes whatever comes would
else use up the attempts of every run that waits before anybody has noticed.

What takes a `run` works within the caller's transaction, on a row that the caller has locked.
"""

import datetime
import uuid
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from registry.errors import Conflict, Invalid, NotFound
from registry.models import Run, Version
from registry.queries import runs
from registry.queries.benchmarks import UNFIT
from registry.services import events, outbox
from registry.services.pauses import pause_after

MAX_ATTEMPTS = 3
MAX_TAKEOVERS = 20
LONGEST_ERROR = 4000


def count(run: Run, report: dict[str, Any]) -> None:
    """A worker tried and could not finish: nothing is known of the adapter. The run waits again, or ends."""
    run.error = str(report.get("error") or report.get("summary") or "the worker gave no reason")[:LONGEST_ERROR]
    named = str(report.get("benchmark")).removeprefix("sha256:")
    unfit = next((row for row in runs.benchmarks_of(run) if row.pk == named), None)
    if report.get("started") is False and unfit is None:
        # Nothing of the adapter has run (its files could not be had): that tells of the hub, not of the adapter.
        take_back(run)
        return
    run.attempt += 1
    if run.attempt >= MAX_ATTEMPTS:
        _give_up(run)
        if unfit is not None:
            events.record(
                actor=run.worker, kind=UNFIT, subject=unfit.name, digest=unfit.pk, run=str(run.pk), error=run.error
            )
    else:
        _queue_again(run, "run.attempt_failed", pause_after(run.attempt + run.takeovers))


def take_back(run: Run, *, pausing: bool = True) -> None:
    """Count a worker that was lost on a run, which waits again, or ends."""
    run.takeovers += 1
    if run.takeovers >= MAX_TAKEOVERS:
        last = f"; the last fault told: {run.error}" if run.error else ""
        run.error = f"{run.takeovers} workers were lost on it, the last one was {run.worker}{last}"[:LONGEST_ERROR]
        _give_up(run)
    else:
        _queue_again(run, "run.taken_back", pause_after(run.attempt + run.takeovers) if pausing else 0)


@transaction.atomic
def again(*, run_id: uuid.UUID, actor: str) -> Run:
    """Let a run that ended in an error wait again, with its counts at zero, for whom that was granted; again: nothing happens.

    Raises NotFound, Invalid for a run that was judged, and Conflict where another run has the same question by now: its
    answer settles what waits for this one, too.
    """
    run = Run.objects.select_for_update().filter(pk=run_id).first()
    if run is None:
        raise NotFound(f"There is no run {run_id}.")
    if run.status in (Run.Status.QUEUED, Run.Status.LEASED):
        return run
    if run.status != Run.Status.ERROR:
        raise Invalid(
            f"The run is {run.status}: it was judged.", hint="Only a run that ended in an error can wait again."
        )
    run.attempt = run.takeovers = 0
    run.finished_at = None
    try:
        with transaction.atomic():
            _queue_again(run, "run.requeued", 0, actor=actor)
    except IntegrityError:
        raise _answered_by_another(run) from None
    Version.objects.filter(run=run, status=Version.Status.VALIDATING).update(stage="queued")
    return run


def _answered_by_another(run: Run) -> Conflict:
    other = Run.objects.evidence_for(run.adapter_digest, run.base_fingerprint, run.plan_digest).first()
    told = f"by the run {other.pk} ({other.status})" if other else "by another run"
    return Conflict(f"The files of the run {run.pk} are being judged already, {told}.", hint="Look at that one.")


def _queue_again(run: Run, kind: str, pause: float, *, actor: str | None = None) -> None:
    """Let a run wait again, for `pause` seconds at least by the clock of the database."""
    run.status, run.stage = Run.Status.QUEUED, ""
    run.not_before = Now() + datetime.timedelta(seconds=pause) if pause else None
    _write(run)
    if not pause:  # else the relay hints when it is time
        outbox.hint_run(run.pk)
    actor = run.worker if actor is None else actor
    events.record(actor=actor, kind=kind, subject=str(run.pk), lease_no=run.lease_no, error=run.error)


def _give_up(run: Run) -> None:
    """End a run that nobody could finish. What waits for it stays unjudged, and says so."""
    run.status = Run.Status.ERROR
    end(run)
    Version.objects.filter(run=run, status=Version.Status.VALIDATING).update(stage="error")
    events.record(actor=run.worker, kind="run.error", subject=str(run.pk), lease_no=run.lease_no, error=run.error)


def end(run: Run) -> None:
    """End a run with the status that it has."""
    run.stage, run.finished_at = "", Now()
    _write(run)


def _write(run: Run) -> None:
    """End the lease, and write whatever else has changed."""
    run.lease_token_digest = run.lease_expires_at = None
    run.save(
        update_fields=[
            *(
                "status",
                "stage",
                "lease_token_digest",
                "lease_expires_at",
                "report_token_digest",
                "attempt",
                "takeovers",
            ),
            *("report", "result_digest", "error", "finished_at", "not_before"),
        ]
    )
