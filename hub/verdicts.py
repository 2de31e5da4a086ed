"""Waiting for a verdict, and reading it."""

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from hub import errors
from hub.spec.errors import Problem
from hub.transfer.wire import Wire

FIRST_WAIT = 0.2
LONGEST_WAIT = 3.0
PATIENCE = 3600.0


class Report(dict[str, Any]):
    """A report as the hub gives it (docs/validation.md): a plain JSON object with the words one asks for most."""

    @property
    def verdict(self) -> str | None:
        """passed | failed | error, None while there is none."""
        return self.get("verdict")

    @property
    def status(self) -> str:
        """The version's status: validating | published | rejected | hosted."""
        return str(self.get("status") or "")

    @property
    def ref(self) -> str:
        """The version, with its digest."""
        return str(self.get("version") or "")

    @property
    def summary(self) -> str:
        return str(self.get("summary") or "")

    @property
    def checks(self) -> list[dict[str, Any]]:
        return list(self.get("checks") or [])

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The checks that failed."""
        return [check for check in self.checks if check.get("status") == "failed"]

    @property
    def scores(self) -> list[dict[str, Any]]:
        """Every score of every component."""
        return [score for part in self.get("components") or [] for score in part.get("scores") or []]

    @property
    def answers(self) -> list[dict[str, Any]]:
        """{path, sha256, size, url} of each file of answers row by row: one a score on a benchmark that is public."""
        return [score["answers"] for score in self.scores if score.get("answers")]


def segment(text: str) -> str:
    """One piece of a URL's path, escaped whatever it is."""
    return quote(text, safe=":", errors="replace") if text not in {".", ".."} else text.replace(".", "%2E")


def segment_path(name: str) -> str:
    """A name with slashes as a part of a URL's path."""
    return "/".join(segment(part) for part in name.split("/"))


def version_path(repo: str, version: str) -> str:
    """The API's path of a version: `version` is a label, a number, an alias, `latest` or sha256:<hex>."""
    namespace, name = repo.split("/")
    return f"adapters/{segment(namespace)}/{segment(name)}/versions/{segment(version)}"


def fetch(wire: Wire, repo: str, version: str) -> Report:
    """The report of a version as it stands. Raises NotFound."""
    answer = wire.request("GET", f"{version_path(repo, version)}/report").data
    return Report(answer if isinstance(answer, dict) else {})


def page_of(endpoint: str, told: Mapping[str, Any]) -> str:
    """The address of a report's page, by what a hub tells of its version; empty where it tells none."""
    page = told.get("page_url")
    return f"{endpoint}{page}/report" if isinstance(page, str) and page.startswith("/") else ""


def wait(
    wire: Wire,
    repo: str,
    version: str,
    *,
    timeout: float | None = None,
    tell: Callable[[Report], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Asks until there is a verdict. `tell` hears every change of status, stage or place in the queue.

    Returns the report of a version that may be used; raises Rejected, or NotJudged when the run failed for reasons of
    the infrastructure, the hub stays away, or `timeout` seconds (an hour) are over.
    """
    limit = PATIENCE if timeout is None else timeout
    try:
        return _waited(wire, repo, version, limit, tell, sleep)
    except (errors.Rejected, errors.NotJudged) as error:
        error.page = page_of(wire.endpoint, error.report)
        raise


def _waited(
    wire: Wire, repo: str, version: str, limit: float, tell: Callable[[Report], None], sleep: Callable[[float], None]
) -> Report:
    end, pause, told, report = time.monotonic() + limit, FIRST_WAIT, None, Report()
    while True:
        try:
            report = fetch(wire, repo, version)
        except errors.NetworkError as error:
            if time.monotonic() >= end:
                raise errors.NotJudged(f"{repo}:{version}: no verdict, {error.message}", report=report) from error
        state = (report.status, report.get("stage"), str(report.get("queue")))
        if state != told:
            tell(report)
            told, pause = state, FIRST_WAIT
        if report.verdict is not None or report.status in {"published", "hosted", "rejected"}:
            return judge(report, f"{repo}:{version}")
        if time.monotonic() >= end:
            raise errors.NotJudged(
                f"{repo}:{version}: no verdict after {limit:.0f} seconds (status {report.status or 'unknown'})",
                hint=f"look again with `hub status {repo}:{version} --follow`",
                report=report,
            )
        sleep(min(pause, max(0.0, end - time.monotonic())))
        pause = min(LONGEST_WAIT, pause * 1.4)


def judge(report: Report, ref: str) -> Report:
    """The report itself when the verdict is good; Rejected or NotJudged otherwise."""
    ref = report.ref or ref
    if report.verdict == "error":
        raise errors.NotJudged(
            f"{ref} was not judged: {report.get('error') or report.summary or 'the run could not be finished'}",
            hint="this says nothing about the adapter; once the cause is gone, push again, or ask the owner of the hub to run it again",
            report=report,
        )
    if report.verdict == "failed" or report.status == "rejected":
        raise rejection(report, ref)
    return report


def rejection(report: Report, ref: str) -> errors.Rejected:
    """The error for a report that says no, with every failed check as a problem, and every gate that no check tells of."""
    found = [_problem(str(check.get("name")), check) for check in report.failed]
    told = any(problem.check == "benchmark" for problem in found)
    gates = [] if told else [(gate, score) for score in report.scores for gate in score.get("gates") or []]
    for gate, score in gates:
        if not gate.get("passed"):
            needs = f"needs {gate.get('threshold')}, bound {gate.get('bound')}"
            message = f"gate {gate.get('gate')} was not passed: {needs}"
            found.append(Problem("gate", str(score.get("benchmark")), message, "", "benchmark"))
    return errors.Rejected(f"{ref} was rejected", problems=found, report=report, code="rejected")


def _problem(name: str, check: Mapping[str, Any]) -> Problem:
    return Problem(name, name, str(check.get("message")), str(check.get("hint") or ""), name)
