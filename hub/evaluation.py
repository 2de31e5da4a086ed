"""Judging here what a hub would judge: the worker's engine on one folder, and a published report made again.

The engine lies outside of this package, for the client needs no torch: it is looked for by its name when it is asked for.
"""

import hashlib
import importlib
import tempfile
from collections.abc import Mapping, Sequence
from importlib import util
from pathlib import Path
from typing import Any

from hub import errors, registration, retrieval
from hub.folder import FolderSnapshot
from hub.spec import answers, benchmark, differences, policy
from hub.spec.benchmark import Benchmark
from hub.spec.words import counted
from hub.transfer.download import Remote
from hub.transfer.wire import INHERIT, Wire
from hub.verdicts import Report, fetch, version_path

ENGINE = "workers.local"
NEEDED = ("torch", "transformers", "sklearn", "scipy")
"""What the extra `worker` brings and the engine imports."""
ASKED = 50
"""Versions among which the one is looked for that `max_drop` compares with."""

_MADE: list[tempfile.TemporaryDirectory[str]] = []
"""Folders with files that were made of others, until the process ends."""
ON_ROWS = ("benchmark", "effect")
"""Checks whose evidence hangs on the benchmarks' rows."""

Given = Sequence[tuple[Benchmark, Path]]


def engine() -> Any:
    """The module that judges. Raises UsageError, saying what is missing and how to have it."""
    missing = [name for name in NEEDED if util.find_spec(name) is None]
    if missing:
        raise errors.UsageError(
            f"hub eval runs the worker's engine, and this Python has no {', '.join(missing)}",
            hint="install torch first, then adapter-hub[worker] (docs/client.md)",
        )
    try:
        return importlib.import_module(ENGINE)
    except ModuleNotFoundError as error:
        if error.name not in ("workers", ENGINE):
            raise
        raise errors.UsageError(
            "hub eval runs the worker's engine, and its code is not here",
            hint="in a copy of the project, or in /app of a worker's image: python -m hub eval ...",
        ) from None


def read_benchmarks(files: Sequence[str]) -> list[tuple[Benchmark, Path]]:
    """Every benchmark with the folder that its data lies in. Raises UsageError with all problems of a file."""
    found = []
    for name in files:
        source = Path(name).expanduser()
        definition, data = registration.read_benchmark(source)
        digests = {path: hashlib.sha256(content).hexdigest() for path, content in data.items()}
        found.append((benchmark.parse(definition, digests), _place(source, data)))
    return found


def _place(source: Path, data: Mapping[str, bytes]) -> Path:
    """Where the files of a benchmark lie: beside its definition, or where those are put that were made of others."""
    beside = source.resolve().parent
    if all((beside / name).is_file() and (beside / name).read_bytes() == content for name, content in data.items()):
        return beside
    made = tempfile.TemporaryDirectory(prefix="benchmark-")
    _MADE.append(made)
    for name, content in data.items():
        (Path(made.name) / name).write_bytes(content)
    return Path(made.name)


def folder_digest(folder: Path) -> str:
    """The digest of the files that are evidence, as a hub reckons it of the folder as it lies here."""
    return f"sha256:{FolderSnapshot(folder).manifest().adapter_digest}"


def published(wire: Wire, repo: str, version: str) -> Report:
    """The report of a version with every answer that may be seen, as the engine has them in `predictions`. Raises NotFound,
    IntegrityError, UsageError for one without a verdict."""
    report = fetch(wire, repo, version)
    if report.verdict not in ("passed", "failed") or not report.get("policy"):
        raise errors.UsageError(
            f"{report.ref or repo} has no verdict to reproduce (status {report.status})",
            hint="hub eval DIR judges a folder",
        )
    report["predictions"] = _answers(wire, report)
    return report


def _answers(wire: Wire, report: Report) -> dict[str, Any]:
    """What the answers of a report are, fetched and verified."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="answers-") as place:
        retrieval.deliver(wire, map(Remote.of, report.answers), Path(place), token=INHERIT)
        for part in report.get("components") or []:
            for score in part.get("scores") or []:
                if file := score.get("answers"):
                    given = answers.from_lines((Path(place) / file["path"]).read_bytes())
                    answers.put(found, score["digest"], part["folder"], given)
    return found


def previous(wire: Wire, repo: str, plan: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the version that `max_drop` compares with answered; None where the plan compares with none, or it is not there."""
    against = str(((plan.get("gates") or {}).get("max_drop") or {}).get("against") or "").removeprefix("sha256:")
    if not against:
        return None
    versions = wire.request("GET", version_path(repo, "x").rpartition("/")[0]).data["results"]
    for entry in versions[:ASKED]:
        report = fetch(wire, repo, str(entry["number"]))
        if str(report.get("adapter_digest") or "").removeprefix("sha256:") == against:
            return {"adapter_digest": f"sha256:{against}", "predictions": _answers(wire, report)}
    return None


def compare(report: Mapping[str, Any], measured: Mapping[str, Any], given: Given) -> dict[str, Any]:
    """Hold a report made here against the published one.

    {reproduced, result_digest: [published, measured], protocol: [published, measured]: the rules it was judged by,
    differences: [{where, published, measured}], environment: [...],
    left_out: benchmarks of the plan that were not given, uncompared: the names of those among them that have a score,
    scores: how many were compared}. Where some benchmarks were not given only the others' scores are compared.
    """
    known = {f"sha256:{found.digest}" for found, _ in given}
    plan = report.get("policy") or {}
    absent = [
        digest for digest in plan.get("benchmarks") or [] if f"sha256:{digest.removeprefix('sha256:')}" not in known
    ]
    shown = [_narrowed(side, known, whole=not absent) for side in (report, measured)]
    digests = [str(side.get("result_digest") or "").removeprefix("sha256:") for side in (report, measured)]
    found = differences.differences(*shown)
    scores = Report(report).scores
    unknown = [score for score in scores if score.get("digest") not in known]
    return {
        "reproduced": not found and (bool(absent) or digests[0] == digests[1]),
        "result_digest": [f"sha256:{digest}" for digest in digests],
        "protocol": [policy.protocol_of(side.get("policy") or {}) for side in (report, measured)],
        "differences": [difference.to_json() for difference in found],
        "environment": [difference.to_json() for difference in differences.environment(report, measured)],
        "left_out": absent,
        "uncompared": sorted({str(score.get("benchmark")) for score in unknown}),
        "scores": len(scores) - len(unknown),
    }


def lines(compared: Mapping[str, Any]) -> list[str]:
    """The comparison for a person."""
    found = [differences.Difference(**item) for item in compared["differences"]]
    ran = [differences.Difference(**item) for item in compared["environment"]]
    told = ["", _reproduced(compared) if compared["reproduced"] else ""]
    if not compared["reproduced"]:
        told[1] = (
            f"differs from the published report in {counted(len(found), 'field')}" if found else "another result digest"
        )
        told += [f"  {difference}" for difference in found]
    if compared["left_out"]:
        missing = compared["uncompared"] or [counted(len(compared["left_out"]), "benchmark")]
        told.append(f"not compared: {', '.join(missing)} (give the definition with --benchmark)")
    before, now = compared["protocol"]
    told += [f"judged by other rules: protocol {before} published, {now} now"] if before != now else []
    if ran:
        told += ["ran in another environment:", *(f"  {difference}" for difference in ran)]
    return told


def _reproduced(compared: Mapping[str, Any]) -> str:
    """What came out as published: never more than what was compared."""
    if compared["left_out"]:
        scores = f" and {counted(compared['scores'], 'score')}" if compared["scores"] else ""
        return f"what was compared is the published one: the checks that need no benchmark{scores}"
    return "reproduced: every check, score and answer is the published one"


def _narrowed(report: Mapping[str, Any], known: set[str], *, whole: bool) -> dict[str, Any]:
    """A report with the scores of these benchmarks, and what depends on the others only where none is missing."""
    parts = [
        {**part, "scores": [score for score in part.get("scores") or [] if score.get("digest") in known]}
        for part in report.get("components") or []
    ]
    said = {key: value for key, value in (report.get("predictions") or {}).items() if key in known}
    kept = {**report, "components": parts, "predictions": said}
    if whole:
        return kept
    checks = [check for check in report.get("checks") or [] if check.get("name") not in ON_ROWS]
    return {**kept, "verdict": None, "checks": checks}
