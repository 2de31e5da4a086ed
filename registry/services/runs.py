"""Runs: lease, keep alive, report, take back.

A worker holds a run by a lease: a run token, a number that only grows, a time by the clock of the database. Only the
holder may write, only while the lease lasts, and each write asks for the lease in the statement that changes the row:
of two workers that believe they hold the same run, at most one is right, and the other changes nothing.

An *attempt* is counted when a worker lived to report that it could not finish (at most 3). A lease that was lost
counts as a *takeover* (at most 20), and so does an error before the adapter was started (`"started": false`), unless the
worker names a benchmark of the plan that cannot be made ready: no other worker would fare better.

A run that is queued again pauses (`not_before`), longer each time: a broken worker that takes whatever comes would
else use up the attempts of every run that waits before anybody has noticed.
"""

import datetime
import math
import uuid
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import DataError, IntegrityError, transaction
from django.db.models.functions import Now

from hub.spec import answers as spec
from hub.spec import report as reports
from hub.spec.errors import Collector, Problem, SpecError
from registry.errors import Conflict, Invalid, LeaseLost, NotFound
from registry.models import BaseModel, Component, Run, Scope, Score, Version
from registry.queries import runs, tokens, viewers
from registry.queries.benchmarks import UNFIT
from registry.queries.viewers import Viewer
from registry.services import answers, events, evidence, outbox, revalidation
from registry.services import tokens as secrets
from registry.services.pauses import pause_after

MAX_ATTEMPTS = 3
MAX_TAKEOVERS = 20
LONGEST_STAGE = 64
LONGEST_WORKER = 200
LONGEST_ERROR = 4000

LET_PASS_SECONDS = 30
"""So long may the head of the queue have waited before runs whose base model lies open no longer go first."""

# SKIP LOCKED: of many workers that ask at once each gets another run, and none waits. `{wanted}` is a key, for the run that a
# message spoke of, `HELD`, or nothing, for the head of the queue: one statement that may be all would read it all.
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
        WHERE {wanted} status = 'queued' AND base_fingerprint = ANY(%(bases)s)
            AND (not_before IS NULL OR not_before <= STATEMENT_TIMESTAMP())
        ORDER BY priority, created_at, id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    RETURNING *
"""
HELD = """
    base_fingerprint = ANY(%(held)s) AND (priority, STATEMENT_TIMESTAMP()) <= (
        SELECT priority, GREATEST(created_at, not_before) + make_interval(secs => %(let_pass)s) FROM registry_run
        WHERE status = 'queued' AND base_fingerprint = ANY(%(bases)s)
            AND (not_before IS NULL OR not_before <= STATEMENT_TIMESTAMP())
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
    held: Sequence[str] = (),
    starting: bool = False,
    run: uuid.UUID | None = None,
) -> tuple[Run, str] | None:
    """Lease the oldest waiting run on one of these bases and return it with its run token; None where none waits.

    `bases` are the fingerprints of the base models that the worker has on its disk; a run on any other base waits for
    a worker that has it. Runs on those of them that it has open, `held`, go first until another one has waited
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
        "held": list(held),
        "let_pass": LET_PASS_SECONDS,
        "run": run,
    }
    found = _take("id = %(run)s AND", values) if run else None
    found = found or (_take(HELD, values) if held else None) or _take("", values)
    return (found, secret) if found else None


def _take(wanted: str, values: dict[str, Any]) -> Run | None:
    return next(iter(Run.objects.raw(CLAIM.format(wanted=wanted), values)), None)


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


def report(*, run_id: uuid.UUID, secret: str | None, report: dict[str, Any]) -> str:
    """Take the report of a leased run and return the status of the run.

    Answers row by row go to the store first, and no transaction waits for it. Verdict, scores, event and the versions that
    wait for them are then written together or not at all. The verdict `error` counts an attempt: the run waits again, or
    ends. The same report, sent again under the same token, changes nothing. Raises LeaseLost, Unauthenticated, and Invalid
    for a report that does not answer its plan or contradicts itself; the lease then stays, as it does where the store fails.
    """
    held, kept = runs.held(run_id, runs.require_token(secret)).first(), None
    if held is not None:
        _check(held, report)
        kept = answers.store(report.get("predictions"), _places(report))
    return _take_report(run_id, secret or "", report, kept)


@transaction.atomic
def _take_report(run_id: uuid.UUID, secret: str, report: dict[str, Any], stored: answers.Kept | None) -> str:
    """Write a report that was checked, with the answers that are `stored`; None where the lease was over when we looked."""
    digest = tokens.digest_of(secret)
    answers.note(stored or {})  # blobs before runs: an ingest locks in this order, too
    run = Run.objects.select_for_update().filter(pk=run_id).first()
    if run is None:
        raise LeaseLost(runs.NO_LEASE, hint=runs.NO_LEASE_HINT)
    kept = {key: value for key, value in report.items() if key != "predictions"}
    if stored is None or not runs.held(run_id, secret).exists():
        if run.report_token_digest == digest and _is_same(run.report or {}, kept):
            return str(run.status)
        raise LeaseLost(runs.NO_LEASE, hint=runs.NO_LEASE_HINT)
    run.report, run.report_token_digest = kept, digest
    try:
        if report["verdict"] == "error":
            _count_attempt(run, report)
        else:
            _judge(run, report, stored)
    except DataError as error:  # a NUL character, a number that no column can hold
        problem = Problem(
            "report", "report", f"holds a value that cannot be kept: {str(error).splitlines()[0]}", "", ""
        )
        raise Invalid("The report does not fit its run.", problems=(problem,)) from None
    return str(run.status)


def _is_same(stored: dict[str, Any], told: dict[str, Any]) -> bool:
    """Whether a report is the one we have. The summary that a report leaves out is written by us (`_judge`)."""
    return {"summary": stored.get("summary"), **told} == {"summary": None, **stored}


def _check(run: Run, report: dict[str, Any]) -> None:
    """Raise Invalid unless the report is about this run, answers its plan and does not contradict itself."""
    try:
        reports.validate(report, run.plan)
        if report["verdict"] != "error":
            _check_subject(run, report)
            _check_components(run, report)
            _check_scores(run, report)
    except SpecError as error:
        raise Invalid.from_spec(error, "The report does not fit its run.") from None


def _check_subject(run: Run, report: dict[str, Any]) -> None:
    """What was judged must be what was asked for. The base is the one that the worker has hashed, not the one it was told."""
    collector = Collector()
    if str(report.get("adapter_digest")).removeprefix("sha256:") != run.adapter_digest:
        collector.problem(
            "report", "adapter_digest", f"is not that of the run, sha256:{run.adapter_digest}", "", "files"
        )
    base = report.get("base_model")
    if not isinstance(base, dict) or base.get("fingerprint") != run.base_fingerprint:
        collector.problem("report", "base_model", f"is not that of the run, {run.base_fingerprint}", "", "frozen")
    collector.finalize()


def _check_components(run: Run, report: dict[str, Any]) -> None:
    """The components are those of the adapter, each once: a pass is about all of them, a failure may have come before some."""
    collector = Collector()
    known = set(Component.objects.filter(manifest=run.manifest_id).values_list("folder", flat=True))
    told = [part["folder"] for part in report["components"]]
    for folder in sorted(set(told) - known):
        collector.problem("report", folder, "is no component of the adapter", "", "files")
    if len(set(told)) != len(told):
        collector.problem("report", "components", "the same component is there twice", "", "files")
    if report["verdict"] == "passed":
        for folder in sorted(known - set(told)):
            collector.problem("report", folder, "is a component of the adapter that was not judged", "", "files")
    collector.finalize()


def _check_scores(run: Run, report: dict[str, Any]) -> None:
    """Name, metric, direction and number of rows are the benchmark's.

    A score that turned its direction round would turn the gates round, one of a single row would be no measurement.
    """
    collector, seen = Collector(), set()
    benchmarks = {benchmark.pk: benchmark for benchmark in runs.benchmarks_of(run)}
    for folder, score in _scores_in(report):
        where, benchmark = f"{folder} {score['benchmark']}".strip(), benchmarks.get(_bare(score["digest"]))
        if benchmark is None:
            collector.problem("report", where, "is a benchmark that this hub does not have", "", "benchmark")
        elif (score["metric"], score["direction"]) != (benchmark.metric, benchmark.direction):
            wanted = f"{benchmark.metric}, {benchmark.direction}"
            collector.problem(
                "report", where, f"has another metric or direction than the benchmark ({wanted})", "", "benchmark"
            )
        elif (score["benchmark"], score["n"]) != (benchmark.name, benchmark.rows):
            wanted = f"{benchmark.name}, {benchmark.rows} rows"
            collector.problem("report", where, f"has another name or number of rows ({wanted})", "", "benchmark")
        given = spec.of(report.get("predictions"), score["digest"], folder)
        if given is not None and len(given) != score["n"]:
            problem = f"has {len(given)} answers to {score['n']} rows"
            collector.problem("report", where, problem, "", "benchmark")
        key = (folder, _bare(score["digest"]), _runtime(score))
        if key in seen:
            collector.problem("report", where, "is there twice", "", "benchmark")
        if not _is_number(score.get("claimed")):
            collector.problem("report", where, "claimed must be null or a number", "", "benchmark")
        seen.add(key)
    collector.finalize()


def _scores_in(report: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(part["folder"], score) for part in report["components"] for score in part["scores"]]


def _places(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Where answers may have been given, as (folder, benchmark digest); nowhere in a report without a verdict."""
    judged = report["verdict"] != "error"
    return [(folder, _bare(score["digest"])) for folder, score in _scores_in(report)] if judged else []


def _bare(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _runtime(score: dict[str, Any]) -> str:
    return str(score.get("runtime") or "reference")[:64]


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))


def _judge(run: Run, report: dict[str, Any], stored: answers.Kept) -> None:
    """Write the verdict, and publish or refuse what waits for it."""
    run.status = Run.Status.PASSED if report["verdict"] == "passed" else Run.Status.FAILED
    run.result_digest = _bare(report["result_digest"])
    run.report = {"summary": reports.summary_line(report), **(run.report or {})}
    run.error = ""
    _end(run)
    scores = [_score(run, folder, score, stored) for folder, score in _scores_in(report)]
    # Without fences the same scores may come again; with them never.
    Score.objects.bulk_create(scores, ignore_conflicts=not settings.HUB_FENCING)
    _observe(run)
    events.record(actor=run.worker, kind=f"run.{run.status}", subject=str(run.pk), lease_no=run.lease_no)
    settle = evidence.settle if run.repeats_id is None else revalidation.settle
    settle(run=run)


def _score(run: Run, folder: str, score: dict[str, Any], stored: answers.Kept) -> Score:
    low, high = score["interval"]
    given = stored.get((folder, _bare(score["digest"])))
    return Score(
        run=run,
        component_folder=folder,
        benchmark_id=_bare(score["digest"]),
        metric=score["metric"],
        direction=score["direction"],
        value=score["value"],
        low=low,
        high=high,
        n=score["n"],
        baselines=score.get("baselines") or {},
        gain=score.get("gain"),
        gates=score["gates"],
        claimed=score.get("claimed"),
        runtime=_runtime(score),
        evidence=score["evidence"],
        answers_id=given.sha256 if given else None,
    )


def _observe(run: Run) -> None:
    """A worker has hashed the base that it loaded, and it is the one: from now on it is known to exist."""
    claimed = BaseModel.objects.filter(pk=run.base_fingerprint, state=BaseModel.State.CLAIMED)
    if claimed.update(state=BaseModel.State.OBSERVED):
        events.record(actor=run.worker, kind="base.observed", subject=run.base_fingerprint, run=str(run.pk))


def _count_attempt(run: Run, report: dict[str, Any]) -> None:
    """A worker tried and could not finish: nothing is known of the adapter. The run waits again, or ends."""
    run.error = str(report.get("error") or report.get("summary") or "the worker gave no reason")[:LONGEST_ERROR]
    unfit = next((row for row in runs.benchmarks_of(run) if row.pk == _bare(str(report.get("benchmark")))), None)
    if report.get("started") is False and unfit is None:
        # Nothing of the adapter has run (its files could not be had): that tells of the hub, not of the adapter.
        _take_back(run)
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
    _end(run)
    Version.objects.filter(run=run, status=Version.Status.VALIDATING).update(stage="error")
    events.record(actor=run.worker, kind="run.error", subject=str(run.pk), lease_no=run.lease_no, error=run.error)


def _end(run: Run) -> None:
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


@transaction.atomic
def release_expired(*, limit: int = 100) -> int:
    """Take back the runs whose workers were not heard of in time; return how many. For the relay."""
    dead = Run.objects.filter(status=Run.Status.LEASED, lease_expires_at__lte=Now()).order_by("lease_expires_at")
    return sum(_take_back(run) for run in dead.select_for_update(skip_locked=True)[:limit])


@transaction.atomic
def release_own(*, worker: str) -> int:
    """Take back what a worker of this name held before it was started again; return how many."""
    own = Run.objects.filter(status=Run.Status.LEASED, worker=worker).order_by("pk")
    # A worker that was restarted is no sign of a fault; one that dies on the same run again is.
    return sum(_take_back(run, pausing=run.takeovers > 0) for run in own.select_for_update())


def _take_back(run: Run, *, pausing: bool = True) -> int:
    run.takeovers += 1
    if run.takeovers >= MAX_TAKEOVERS:
        last = f"; the last fault told: {run.error}" if run.error else ""
        run.error = f"{run.takeovers} workers were lost on it, the last one was {run.worker}{last}"[:LONGEST_ERROR]
        _give_up(run)
    else:
        _queue_again(run, "run.taken_back", pause_after(run.attempt + run.takeovers) if pausing else 0)
    return 1


@transaction.atomic
def requeue(*, viewer: Viewer, run_id: uuid.UUID) -> Run:
    """Let a run that ended in an error wait again, with its counts at zero. For operators; again: nothing happens.

    Raises Forbidden, NotFound, Invalid for a run that was judged, and Conflict where another run has the same question
    by now: its answer settles what waits for this one, too.
    """
    viewers.require_scope(viewer, Scope.ADMIN)
    return again(run_id=run_id, actor=viewer.name)


@transaction.atomic
def again(*, run_id: uuid.UUID, actor: str) -> Run:
    """Let a run wait again, for whom that was granted; see `requeue`. Raises NotFound, Invalid, Conflict."""
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
