"""Runs: where one stands in the queue, and what a worker that holds one may read."""

import datetime
import posixpath
import uuid
from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from hub.spec import policy
from registry.errors import LeaseLost, NotFound, Unauthenticated
from registry.models import BaseModel, Benchmark, Blob, Component, ManifestFile, Run, Score, Version, Visibility
from registry.queries import base_models, benchmark_shapes, benchmarks, blobs, run_shapes, shapes, tokens
from registry.queries.viewers import ANYBODY

BARE_STAGES = frozenset({"claimed", "pull", "base", "benchmark", "probe", "checks", "attach", "effect", "frozen"})
"""What a worker says of a run that names no benchmark."""
NO_LEASE = "The run is leased to another worker, or is over."
NO_LEASE_HINT = "Stop working on it and claim the next one."


def stage_of(version: Version) -> str:
    """Return how far a version has come: its run's stage while a run is at work."""
    run = version.run if version.status == "validating" else None
    if run is None:
        return version.stage
    if run.status == Run.Status.ERROR:
        return "error"
    return _discreet(run) or str(run.status)


def _discreet(run: Run) -> str:
    """Return a run's stage; without what a worker adds to it where a benchmark is not public: its name, and after how many rows
    its gates are decided, are not for everybody who sees the version."""
    if run.stage in BARE_STAGES or not run.stage:
        return run.stage
    asked = Benchmark.objects.filter(pk__in=plan_benchmarks(run.plan))
    return "score" if asked.exclude(visibility=Visibility.PUBLIC).exists() else run.stage


def place_of(version: Version) -> shapes.QueuePlace | None:
    """Return where the run of a version stands, None where none is waited for."""
    run = version.run if version.status == "validating" else None
    if run is None:
        return None
    older = Q(created_at__lt=run.created_at) | Q(created_at=run.created_at, pk__lt=run.pk)
    older = Q(priority__lt=run.priority) | Q(older, priority=run.priority)
    ahead = Run.objects.claimable().filter(older).count() if run.status == Run.Status.QUEUED else 0
    return {"position": ahead, "run": str(run.pk), "status": str(run.status)}


def waiting(seconds: int, limit: int) -> list[uuid.UUID]:
    """Return the oldest runs of the queue that may be claimed and were made at least so many seconds ago."""
    old = Run.objects.claimable().filter(created_at__lte=Now() - datetime.timedelta(seconds=seconds))
    return list(old.values_list("pk", flat=True)[:limit])


def outdated(limit: int) -> list[uuid.UUID]:
    """Return the first runs of the queue that were planned under a protocol of before."""
    untold = ~Q(plan__has_key="protocol")
    return list(
        Run.objects.waiting().filter(Q(plan__protocol__in=policy.EARLIER) | untold).values_list("pk", flat=True)[:limit]
    )


def held(run_id: uuid.UUID | str, secret: str) -> QuerySet[Run]:
    """Return the run if this token holds its lease and the lease has not run out by the clock of the database, else nothing."""
    rows = Run.objects.filter(pk=run_id)
    if not settings.HUB_FENCING:
        return rows
    digest = tokens.digest_of(secret)
    return rows.filter(status=Run.Status.LEASED, lease_token_digest=digest, lease_expires_at__gt=Now())


def require_token(secret: str | None) -> str:
    """Return the secret if it can be a run token. Raises Unauthenticated."""
    if secret is None or not tokens.wellformed(secret, tokens.RUN_PREFIX):
        raise Unauthenticated("This needs the token that came with the claim of the run.", hint="POST runs/claim")
    return secret


def leased(run_id: uuid.UUID | str, secret: str | None) -> Run:
    """Return the run whose lease this run token is. Raises Unauthenticated for no run token, LeaseLost for a dead one."""
    run = held(run_id, require_token(secret)).first()
    if run is None:
        raise LeaseLost(NO_LEASE, hint=NO_LEASE_HINT)
    return run


def require_holder(run_id: uuid.UUID | str, secret: str | None) -> None:
    """Raise Unauthenticated or LeaseLost unless this run token holds the run, or held it when its report came in.

    The latter may send its report again. Whether it changes anything is for the service to say.
    """
    digest = tokens.digest_of(require_token(secret))
    if held(run_id, secret or "").exists() or Run.objects.filter(pk=run_id, report_token_digest=digest).exists():
        return
    raise LeaseLost(NO_LEASE, hint=NO_LEASE_HINT)


def blob_for_worker(run_id: uuid.UUID | str, secret: str | None, sha256: str) -> tuple[str, int]:
    """Return digest and size of a blob that this run needs: a file of its manifest, data of its benchmarks, or what the version
    before answered to them.

    Raises LeaseLost, and NotFound for every other blob, there or not.
    """
    run = leased(run_id, secret)
    row = ManifestFile.objects.filter(manifest=run.manifest_id, blob=sha256).first()
    if row is not None:
        return row.blob_id, row.size
    data = any(sha256 in benchmark.files.values() for benchmark in benchmarks_of(run))
    if data or _measured(run, _against(run)).filter(answers=sha256).exists():
        blob = Blob.objects.live().filter(pk=sha256).first()
        if blob is not None:
            return blob.pk, blob.size
    raise NotFound("This run has no such blob.")


def benchmarks_of(run: Run) -> list[Benchmark]:
    """Return the benchmarks of a run's plan, in the plan's order."""
    digests = plan_benchmarks(run.plan)
    found = {row.pk: row for row in Benchmark.objects.filter(pk__in=digests).select_related("owner")}
    return [found[digest] for digest in digests if digest in found]


def plan_benchmarks(plan: dict[str, Any]) -> list[str]:
    """Return the benchmark digests of a plan as bare hex."""
    return [str(digest).removeprefix("sha256:") for digest in plan.get("benchmarks", [])]


def claim(run: Run, secret: str) -> run_shapes.Claim:
    """Return all that a worker needs for a run it has just leased. `secret` opens the files, and nothing else does."""
    base = BaseModel.objects.prefetch_related("aliases__namespace").select_related("owner").get(pk=run.base_fingerprint)
    return {
        "run": _claimed(run),
        "token": secret,
        "files": [_file(run, row.path, row.blob_id, row.size) for row in blobs.files_of(run.manifest_id)],
        "benchmarks": _benchmarks(run),
        "base_model": base_models.shape(base, ANYBODY),
        "facts": _facts(run),
        "previous": previous_answers(run),
    }


def heartbeat() -> run_shapes.Heartbeat:
    """Return what a worker is told whose lease was extended."""
    return {"lease_seconds": settings.HUB_LEASE_SECONDS}


def _claimed(run: Run) -> run_shapes.ClaimedRun:
    return {
        "id": str(run.pk),
        "adapter_digest": f"sha256:{run.adapter_digest}",
        "base_fingerprint": run.base_fingerprint,
        "plan": run.plan,
        "plan_digest": f"sha256:{run.plan_digest}",
        "attempt": run.attempt + 1,
        "lease_no": run.lease_no,
        "lease_seconds": settings.HUB_LEASE_SECONDS,
        "digest": f"sha256:{run.manifest_id}",
    }


def _file(run: Run, path: str, sha256: str, size: int) -> shapes.FileShape:
    """Return a file with the address at which the store itself serves it, else the one that asks for the run token."""
    address = blobs.store().download_url(sha256, filename=posixpath.basename(path))
    return {"path": path, "sha256": sha256, "size": size, "url": address or f"/api/v1/runs/{run.pk}/blobs/{sha256}"}


def _benchmarks(run: Run) -> list[benchmark_shapes.BenchmarkShape]:
    rows = benchmarks_of(run)
    found = [benchmarks.shape(row, sizes=benchmarks.sizes_of(rows)) for row in rows]
    for value in found:
        value["files"] = [_file(run, file["path"], file["sha256"], file["size"]) for file in value["files"]]
    return found


def _facts(run: Run) -> dict[str, Any]:
    """Return what the files say of themselves (task, labels, ...), as ingest read it."""
    component = Component.objects.filter(manifest=run.manifest_id).order_by("folder").first()
    return dict(component.facts.get("facts", {})) if component else {}


def previous_answers(run: Run) -> run_shapes.Previous | None:
    """Return where the answers lie of the adapter that `max_drop` compares with, None where the plan compares with nothing.

    Of several measurements the newest counts. Folder by folder: a component without a predecessor is compared with the first.
    """
    against = _against(run)
    if not against:
        return None
    newest: dict[tuple[str, str], Score] = {}
    for score in _measured(run, against).select_related("answers").order_by("run__finished_at"):
        newest[score.component_folder, score.benchmark_id] = score
    return {
        "adapter_digest": f"sha256:{against}",
        "answers": [_answers(run, n, newest[place]) for n, place in enumerate(sorted(newest))],
    }


def _against(run: Run) -> str:
    gate = run.plan.get("gates", {}).get("max_drop") or {}
    return str(gate.get("against") or "").removeprefix("sha256:")


def _measured(run: Run, against: str) -> QuerySet[Score]:
    passed = Score.objects.filter(run__adapter_digest=against, run__status=Run.Status.PASSED)
    return passed.filter(benchmark__in=plan_benchmarks(run.plan), answers__isnull=False)


def _answers(run: Run, n: int, score: Score) -> run_shapes.PreviousAnswers:
    blob = score.answers
    assert blob is not None, "asked for"
    file = _file(run, f"{n}.jsonl", blob.pk, blob.size)
    return {**file, "folder": score.component_folder, "benchmark": f"sha256:{score.benchmark_id}"}
