"""Whether a worker's report is about its run, answers its plan and does not contradict itself."""

import math
from typing import Any

from hub.spec import answers as spec
from hub.spec import report as reports
from hub.spec.errors import Collector, SpecError
from registry.errors import Invalid
from registry.models import Component, Run
from registry.queries import runs


def check(run: Run, report: dict[str, Any]) -> None:
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
    for folder, score in scores_in(report):
        where, benchmark = f"{folder} {score['benchmark']}".strip(), benchmarks.get(bare(score["digest"]))
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
        key = (folder, bare(score["digest"]), runtime(score))
        if key in seen:
            collector.problem("report", where, "is there twice", "", "benchmark")
        if not _is_number(score.get("claimed")):
            collector.problem("report", where, "claimed must be null or a number", "", "benchmark")
        seen.add(key)
    collector.finalize()


def scores_in(report: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return every score of a report with the folder of its component."""
    return [(part["folder"], score) for part in report["components"] for score in part["scores"]]


def bare(digest: str) -> str:
    """Return a digest as our tables have it, without `sha256:`."""
    return digest.removeprefix("sha256:")


def runtime(score: dict[str, Any]) -> str:
    """Return what ran the adapter for this score."""
    return str(score.get("runtime") or "reference")[:64]


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))
