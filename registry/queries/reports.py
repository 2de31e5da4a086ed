"""Reports: what was found out about a version, or how far the finding out has come.

Who may not see a benchmark does not see what was measured on it, but for the gates and whether they were passed
(`discretion` says more): exact scores tell the answers to its rows one by one to who may push often. Nor does anybody learn the
name of a base model that they may not see.
"""

import json
import re
from typing import Any

from hub.spec import claims
from registry.models import Benchmark, Run, Version
from registry.queries import answers, base_models, benchmarks, discretion, revalidation, runs, versions, viewers
from registry.queries.viewers import Viewer

Words = tuple[str, ...]
_RAISED = re.compile(r"\b\w*(Error|Exception|Interrupt): ")
"""How the text of an exception begins in a fault."""
NO_WORKER = (
    "no worker has had this base model yet: the run waits until its folder lies in HUB_BASES of one (of a hub that "
    "`manage.py up` started: bases/ in its data folder)"
)


def get(namespace: str, name: str, version: str, viewer: Viewer) -> dict[str, Any]:
    """Return the report of a version, with its ref, status and benchmarks. Raises NotFound.

    While it is being validated, `verdict` is None and `stage` and `queue` say how far it has come. After an error
    of the infrastructure the verdict is `error`: nothing was judged.
    """
    return of(versions.get(namespace, name, version, viewer), viewer)


def of(version: Version, viewer: Viewer) -> dict[str, Any]:
    """Return the report of a version that was looked up already; see `get`."""
    hidden = _hidden(version, viewer)
    scores = []
    if version.run:
        rows = version.run.scores.select_related("benchmark", "answers").exclude(benchmark__in=hidden)
        scores = list(rows.order_by("pk"))
    body: dict[str, Any] = {
        **(_judged(version) or _pending(version)),
        "version": versions.ref_of(version),
        "status": version.status,
        "report_url": versions.report_url(version),
        "page_url": versions.page_url(version),
        "benchmarks": sorted({score.benchmark.name for score in scores}),
    }
    if body.get("components"):
        body["components"] = answers.with_answers(version, body["components"], scores)
    parts = versions.components_of(version.digest)
    if claimed := versions.facts_of(parts).get("claims"):
        body["components"] = [_with_claims(part, claimed) for part in body.get("components") or []]
    again = revalidation.newest(version)
    if again is not None:
        body["revalidation"] = again
    body.setdefault("sizes", [part.facts["sizes"] for part in parts if "sizes" in part.facts])
    base = version.base_model if version.base_fingerprint else None
    if isinstance(body.get("base_model"), dict) and base is not None and not base_models.sees(viewer, base):
        body["base_model"] = {**body["base_model"], "name": ""}  # as the worker, or the publisher, knew it
    if not hidden:
        return body
    return _redacted(body, hidden, publishes=viewers.is_member(viewer, version.adapter.namespace))


def _with_claims(part: dict[str, Any], claimed: Any) -> dict[str, Any]:
    """Return a component with what this version's README claims beside each score: other versions with the same evidence may
    claim something else, so the run's own report holds none."""
    scores = part.get("scores") or []
    told = [{**score, "claimed": claims.of(claimed, score["benchmark"], score["metric"])} for score in scores]
    return {**part, "scores": told}


def _hidden(version: Version, viewer: Viewer) -> dict[str, Words]:
    """Return the benchmarks of a version's run that the viewer may not see, digest -> words that tell of one."""
    asked = runs.plan_benchmarks(version.run.plan) if version.run else []
    if not asked:
        return {}
    seen = benchmarks.visible(viewer).filter(pk__in=asked).values("pk")
    rows = Benchmark.objects.filter(pk__in=asked).exclude(pk__in=seen)
    return {row.pk: _telling(row) for row in rows}


def _telling(benchmark: Benchmark) -> Words:
    """Its name, and how every list of its labels begins."""
    labels = benchmarks.to_spec(benchmark).labels
    return (benchmark.name, ", ".join(labels[:2])) if labels else (benchmark.name,)


def _redacted(body: dict[str, Any], hidden: dict[str, Words], *, publishes: bool) -> dict[str, Any]:
    """Return a report without what tells of these benchmarks. Of a score stays, under `hidden`, which gates it passed, and
    for who publishes the adapter a rounded value."""
    told = {**body, "components": [_without(part, hidden, publishes) for part in body.get("components") or []]}
    told["checks"] = [_discreet(check, hidden) for check in body.get("checks") or []]
    if body.get("verdict") in ("passed", "failed"):
        failed = [str(check["name"]) for check in told["checks"] if check.get("status") == "failed"]
        reasons = f" Failed checks: {', '.join(failed)}." if failed else ""
        told["summary"] = f"{body['verdict']}, by a benchmark that is not public, among others.{reasons}"
    elif body.get("verdict") == "error" and _is_secret(hidden, [body.get("error"), body.get("summary")]):
        told["error"] = "the run was ended while a benchmark that is not public was at work"
        told["summary"] = f"not judged: {told['error']}"
    for key in (
        "problems",
        "result_digest",
        "benchmark",
    ):  # exact scores are in the digest: guesses could be tried on it
        told.pop(key, None)
    return told


def _tells(hidden: dict[str, Words], told: list[Any]) -> bool:
    text = json.dumps(told, ensure_ascii=False)
    return any(word in text for words in hidden.values() for word in words)


def _is_secret(hidden: dict[str, Words], fault: list[Any]) -> bool:
    """Whether the words of a fault tell of one of these benchmarks, or are a library's, which may quote a row."""
    return _tells(hidden, fault) or any(_RAISED.search(str(words)) for words in fault)


def _without(part: dict[str, Any], hidden: dict[str, Words], publishes: bool) -> dict[str, Any]:
    scores = part.get("scores") or []
    secret = [score for score in scores if _digest(score) in hidden]
    return {
        **part,
        "scores": [score for score in scores if _digest(score) not in hidden],
        "hidden": [
            {"gates": [_outcome(gate) for gate in score.get("gates") or []]}
            | (discretion.coarse(score) if publishes else {})
            for score in secret
        ],
    }


def _digest(score: dict[str, Any]) -> str:
    return str(score.get("digest")).removeprefix("sha256:")


def _outcome(gate: dict[str, Any]) -> dict[str, Any]:
    return {key: gate.get(key) for key in ("gate", "passed", "decided")}


def _discreet(check: dict[str, Any], hidden: dict[str, Words]) -> dict[str, Any]:
    """Return a check without its words and evidence where they tell of one of these benchmarks."""
    words = [check.get("message"), check.get("hint"), check.get("evidence")]
    if check.get("name") != "benchmark" and not _tells(hidden, words):
        return check
    return {
        "name": check.get("name"),
        "status": check.get("status"),
        "message": "by a benchmark that is not public",
        "hint": "",
    }


def _judged(version: Version) -> dict[str, Any] | None:
    if version.status == Version.Status.VALIDATING:
        return None
    if version.report is not None:
        return dict(version.report)
    run = version.run
    return dict(run.report) if run is not None and run.report is not None else None


def _pending(version: Version) -> dict[str, Any]:
    run = version.run
    failed = run is not None and run.status == Run.Status.ERROR
    body: dict[str, Any] = {"verdict": None, "stage": runs.stage_of(version), "queue": runs.place_of(version)}
    if run is not None and run.status == Run.Status.QUEUED and not run.base_model.observed:
        body["summary"] = NO_WORKER
    if run is not None and failed:
        told = run.report or {}
        body |= {**told, "verdict": "error", "summary": told.get("summary") or f"not judged: {run.error}"}
        body |= {"error": run.error, "attempts": run.attempt, "takeovers": run.takeovers}
    elif version.stage == "error" and version.report is not None:  # the files were never read: see services.ingest
        body |= version.report
    if version.status == Version.Status.HOSTED:
        body["summary"] = "hosted, not validated"
    return body
