"""Reports: what was found out about a version, or how far the finding out has come."""

from typing import Any

from registry.models import Run, Version
from registry.queries import runs, versions
from registry.queries.viewers import Viewer


def get(namespace: str, name: str, version: str, viewer: Viewer, *, predictions: bool = False) -> dict[str, Any]:
    """Return the report of a version, with its ref, status and benchmarks. Raises NotFound.

    While it is being validated, `verdict` is None and `stage` and `queue` say how far it has come. After an error
    of the infrastructure the verdict is `error`: nothing was judged. `predictions` adds the predicted classes.
    """
    return of(versions.get(namespace, name, version, viewer), predictions=predictions)


def of(version: Version, *, predictions: bool = False) -> dict[str, Any]:
    """Return the report of a version that was looked up already; see `get`."""
    scores = list(version.run.scores.select_related("benchmark").order_by("pk")) if version.run else []
    body = {
        **(_judged(version) or _pending(version)),
        "version": versions.ref_of(version),
        "status": version.status,
        "benchmarks": sorted({score.benchmark.name for score in scores}),
    }
    if predictions:
        body["predictions"] = {
            f"sha256:{score.benchmark_id}": score.predictions for score in scores if score.predictions is not None
        }
    return body


def _judged(version: Version) -> dict[str, Any] | None:
    if version.report is not None:
        return dict(version.report)
    run = version.run
    if run is None or run.report is None or version.status == Version.Status.VALIDATING:
        return None
    return dict(run.report)


def _pending(version: Version) -> dict[str, Any]:
    run = version.run
    failed = run is not None and run.status == Run.Status.ERROR
    body: dict[str, Any] = {"verdict": None, "stage": runs.stage_of(version), "queue": runs.place_of(version)}
    if run is not None and failed:
        told = run.report or {}
        body |= {**told, "verdict": "error", "summary": told.get("summary") or f"not judged: {run.error}"}
        body |= {"error": run.error, "attempts": run.attempt, "takeovers": run.takeovers}
    if version.status == Version.Status.HOSTED:
        body["summary"] = "hosted, not validated"
    return body
