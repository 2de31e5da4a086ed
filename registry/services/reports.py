"""Reports: what a worker tells at the end of a run, and what it changes."""

import uuid
from typing import Any

from django.conf import settings
from django.db import DataError, transaction

from hub.spec import report as spec
from hub.spec.errors import Problem
from registry.errors import Invalid, LeaseLost
from registry.models import BaseModel, Run, Score
from registry.queries import runs, tokens
from registry.services import answers, attempts, events, evidence, revalidation
from registry.services.report_rules import bare, check, runtime, scores_in


def take(*, run_id: uuid.UUID, secret: str | None, report: dict[str, Any]) -> str:
    """Take the report of a leased run and return the status of the run.

    Answers row by row go to the store first, and no transaction waits for it. Verdict, scores, event and the versions that
    wait for them are then written together or not at all. The verdict `error` counts an attempt: the run waits again, or
    ends. The same report, sent again under the same token, changes nothing. Raises LeaseLost, Unauthenticated, and Invalid
    for a report that does not answer its plan or contradicts itself; the lease then stays, as it does where the store fails.
    """
    held, kept = runs.held(run_id, runs.require_token(secret)).first(), None
    if held is not None:
        check(held, report)
        kept = answers.store(report.get("predictions"), _places(report))
    return _write(run_id, secret or "", report, kept)


@transaction.atomic
def _write(run_id: uuid.UUID, secret: str, report: dict[str, Any], stored: answers.Kept | None) -> str:
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
            attempts.count(run, report)
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


def _places(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Where answers may have been given, as (folder, benchmark digest); nowhere in a report without a verdict."""
    judged = report["verdict"] != "error"
    return [(folder, bare(score["digest"])) for folder, score in scores_in(report)] if judged else []


def _judge(run: Run, report: dict[str, Any], stored: answers.Kept) -> None:
    """Write the verdict, and publish or refuse what waits for it."""
    run.status = Run.Status.PASSED if report["verdict"] == "passed" else Run.Status.FAILED
    run.result_digest = bare(report["result_digest"])
    run.report = {"summary": spec.summary_line(report), **(run.report or {})}
    run.error = ""
    attempts.end(run)
    scores = [_score(run, folder, score, stored) for folder, score in scores_in(report)]
    # Without fences the same scores may come again; with them never.
    Score.objects.bulk_create(scores, ignore_conflicts=not settings.HUB_FENCING)
    _observe(run)
    events.record(actor=run.worker, kind=f"run.{run.status}", subject=str(run.pk), lease_no=run.lease_no)
    settle = evidence.settle if run.repeats_id is None else revalidation.settle
    settle(run=run)


def _score(run: Run, folder: str, score: dict[str, Any], stored: answers.Kept) -> Score:
    low, high = score["interval"]
    given = stored.get((folder, bare(score["digest"])))
    return Score(
        run=run,
        component_folder=folder,
        benchmark_id=bare(score["digest"]),
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
        runtime=runtime(score),
        evidence=score["evidence"],
        answers_id=given.sha256 if given else None,
    )


def _observe(run: Run) -> None:
    """A worker has hashed the base that it loaded, and it is the one: from now on it is known to exist."""
    claimed = BaseModel.objects.filter(pk=run.base_fingerprint, state=BaseModel.State.CLAIMED)
    if claimed.update(state=BaseModel.State.OBSERVED):
        events.record(actor=run.worker, kind="base.observed", subject=run.base_fingerprint, run=str(run.pk))
