"""What a run says about an adapter, and the rules that make it believable.

A report is a JSON object (docs/validation.md). The registry does not take a worker's word for what it can
compute itself: it checks the shape, decides every gate again and recomputes `result_digest` (`validate`).

A score:  {benchmark, digest ("sha256:..."), metric, direction, value, interval: [low, high], n, baselines:
{majority,
          probe, adapter_off}, gain: {value, interval, method} | null, change: {value, interval, against} |
          null, claimed, gates, runtime, evidence}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hub.spec import differences, documents, errors, policy, tasks, words

CHECKS = (
    "files",
    "config",
    "scan",
    "shapes",
    "load",
    "applied",
    "effect",
    "frozen",
    "head",
    "tokenizer",
    "finite",
    "benchmark",
    "parity",
    "drift",
    "merge",
)
STATUSES = ("passed", "failed", "warning", "skipped")
VERDICTS = ("passed", "failed", "error")
EVIDENCE = ("ran", "rescored", "attested", "claimed")
# without these no adapter has run
REQUIRED = ("files", "config", "scan", "shapes", "applied", "effect", "frozen", "finite")
BASELINES = {"probe": "probe", "majority": "majority class", "adapter_off": "same head without the adapter"}
"""What a score is measured against -> its name in a sentence, after "the"."""
_BASE = ("fingerprint", "architecture", "tokenizer_digest")
MAX_CLASSES = 1000
MAX_MATRIX = 20
_CLAUSE = 300
# parts of a score that may differ between two runs of the same thing, or that a hub adds: the answers themselves are covered
_UNSTABLE = frozenset({"seconds", "host", "claimed", "answers"})


def check(name: str, status: str, message: str, hint: str = "", evidence: Any = None) -> dict[str, Any]:
    """Return one check of a report. `evidence` is a small JSON value that is the same at every replay."""
    if name not in CHECKS or status not in STATUSES:
        raise ValueError(f"no such check or status: {name} {status}")
    return {
        "name": name,
        "status": status,
        "message": message,
        "hint": hint,
        "evidence": {} if evidence is None else evidence,
    }


def result_digest(report: Mapping[str, Any]) -> str:
    """Return the SHA-256 (64 hex) over what was found, leaving out times, hosts and wording.

    Covers the verdict, every check's name, status and evidence, every component's scores, and a digest of
    every list of predictions. A replay on the same machine gives the same one.
    """
    return documents.digest(
        {
            "result": 2,
            "verdict": report.get("verdict"),
            "adapter_digest": str(report.get("adapter_digest", "")).removeprefix("sha256:"),
            "base": [(report.get("base_model") or {}).get(key) for key in _BASE],
            "checks": [[item["name"], item["status"], item.get("evidence")] for item in report.get("checks", [])],
            "components": [_component(item) for item in report.get("components", [])],
            "predictions": {key: documents.digest(item) for key, item in (report.get("predictions") or {}).items()},
        }
    )


def summary_line(report: Mapping[str, Any]) -> str:
    """Return the verdict in one line for a person: whole sentences, the first clause of each reason."""
    checks = report.get("checks", [])
    counted = [item for item in checks if item["status"] != "skipped"]
    failed = [item for item in checks if item["status"] == "failed"]
    if report.get("verdict") == "error":
        return f"not judged: {report.get('error') or 'the run could not be finished'}"
    if report.get("verdict") == "passed":
        return f"published: {_passed(counted)}. {_scores(report)}"
    reasons = " ".join(f"{item['name']}: {_clause(item['message'])}." for item in failed)
    return f"rejected: {len(failed)} of {len(counted)} checks failed. {reasons or 'A gate was not passed.'}"


def over_what(gain: Mapping[str, Any]) -> str:
    """Return what a gain is over, as a sentence says it after "the"; an ML task may have a name of its own for it."""
    if isinstance(called := gain.get("called"), str):
        return called
    return BASELINES.get(str(gain.get("over", "probe")), "baseline")


def against(score: Mapping[str, Any]) -> str:
    """Return the word between a gain and what it is over: less is no gain "over" anything."""
    return "against" if score.get("direction") == "down" else "over"


def validate(report: Any, plan: Mapping[str, Any]) -> None:
    """Raise SpecError unless a report has the right shape, answers its plan and does not contradict
    itself."""
    if not isinstance(report, dict) or report.get("verdict") not in VERDICTS:
        raise _error("verdict", f"must be one of {', '.join(VERDICTS)}")
    documents.canonical(report)  # no NaN, nothing that JSON cannot say
    if report["verdict"] == "error":
        return
    collector = errors.Collector()
    if policy.protocol_of(report) != (wanted := policy.protocol_of(plan)):
        collector.add(_problem("protocol", f"was judged by other rules than those of its plan, protocol {wanted}"))
    for key in ("base_model", "environment"):
        if not isinstance(report.get(key), dict | None):
            collector.add(_problem(key, "must be an object"))
    if report.get("seconds") is not None and not _number(report["seconds"]):
        collector.add(_problem("seconds", "must be a number"))
    _validate_checks(report.get("checks"), collector)
    _validate_components(report.get("components"), plan, collector)
    _validate_predictions(report.get("predictions"), plan, collector)
    collector.finalize()
    _validate_verdict(report, plan, collector)
    if str(report.get("result_digest")).removeprefix("sha256:") != result_digest(report):
        collector.add(_problem("result_digest", "is not the digest of this result"))
    collector.finalize()


def failed_gates(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the gates that were not passed, each with its benchmark and folder."""
    return [
        {**gate, "benchmark": score["benchmark"], "folder": component["folder"]}
        for component in report.get("components", [])
        for score in component.get("scores", [])
        for gate in score.get("gates", [])
        if not gate["passed"]
    ]


def _component(component: Mapping[str, Any]) -> dict[str, Any]:
    scores = [
        {key: differences.unworded(key, value) for key, value in score.items() if key not in _UNSTABLE}
        for score in component.get("scores", [])
    ]
    return {"folder": component.get("folder", ""), "scores": scores}


def _passed(checks: Sequence[Mapping[str, Any]]) -> str:
    """How many checks passed, and which of them warned: a warning is no pass."""
    warned = [item["name"] for item in checks if item["status"] == "warning"]
    passed = sum(item["status"] == "passed" for item in checks)
    told = f", {words.counted(len(warned), 'warning')} ({', '.join(warned)})" if warned else ""
    return f"{passed} of {len(checks)} checks passed{told}"


def _scores(report: Mapping[str, Any]) -> str:
    told = []
    for component in report.get("components", []):
        place = f"{component['folder']}, " if component.get("folder") else ""
        told += [f"{place}{_score(score)}." for score in component.get("scores", [])]
    return " ".join(told) or "It runs; no benchmark was asked of it."


def _score(score: Mapping[str, Any]) -> str:
    gain = score.get("gain")
    less = ", less is better" if score.get("direction") == "down" else ""
    over = f", {gain['value']:+.3f} {against(score)} the {over_what(gain)}{less}" if gain else ""
    return f"{score['benchmark']}: {score['metric']} {score['value']:.3f}{over}"


def _clause(message: str) -> str:
    """The message up to its first semicolon outside of brackets, at most `_CLAUSE` characters of it."""
    parts = message.split("; ")
    ends = (n for n in range(1, len(parts)) if _balanced("; ".join(parts[:n])))
    first = "; ".join(parts[: next(ends, len(parts))])
    return documents.shorten(first, _CLAUSE).rstrip(".")


def _balanced(text: str) -> bool:
    return all(text.count(opened) <= text.count(closed) for opened, closed in ("()", "[]"))


def _validate_checks(checks: Any, collector: errors.Collector) -> None:
    if not isinstance(checks, list):
        collector.add(_problem("checks", "must be a list"))
        return
    for item in checks:
        if not isinstance(item, dict) or item.get("status") not in STATUSES or not isinstance(item.get("name"), str):
            collector.add(_problem("checks", f"{documents.shorten(item)} is no check"))
        elif not isinstance(item.get("message"), str) or not isinstance(item.get("hint", ""), str):
            collector.add(_problem(f"checks.{item['name']}", "message and hint are text"))
    names = [item["name"] for item in checks if isinstance(item, dict) and isinstance(item.get("name"), str)]
    if len(set(names)) != len(names):
        collector.add(_problem("checks", "the same check is there twice"))


def _validate_components(components: Any, plan: Mapping[str, Any], collector: errors.Collector) -> None:
    if not isinstance(components, list):
        collector.add(_problem("components", "must be a list"))
        return
    for component in components:
        if not isinstance(component, dict) or not isinstance(component.get("folder"), str):
            collector.add(_problem("components", "each component has a folder and scores"))
            continue
        where = f"components[{component['folder']!r}]"
        scores = component.get("scores")
        if not isinstance(scores, list):
            collector.add(_problem(where, "scores must be a list"))
            continue
        for score in scores:
            _validate_score(score, where, plan, collector)


def _validate_score(score: Any, where: str, plan: Mapping[str, Any], collector: errors.Collector) -> None:
    if not isinstance(score, dict) or not isinstance(score.get("benchmark"), str):
        collector.add(_problem(where, "a score names its benchmark"))
        return
    where = f"{where} {score['benchmark']}"
    if str(score.get("digest", "")).removeprefix("sha256:") not in plan["benchmarks"]:
        collector.add(_problem(where, "this benchmark is not part of the plan"))
    if score.get("direction") not in ("up", "down") or not isinstance(score.get("metric"), str):
        collector.add(_problem(where, "needs a metric and a direction"))
    if score.get("evidence") not in EVIDENCE or type(score.get("n")) is not int or score["n"] < 1:
        collector.add(_problem(where, "needs n, the number of rows, and the kind of evidence"))
    if not _number(score.get("value")) or not _interval(score.get("interval")):
        collector.add(_problem(where, "needs a value and an interval [low, high]"))
        return
    metric = tasks.METRICS.get(str(score.get("metric")))
    if metric and not all(metric.low <= value <= metric.high for value in (score["value"], *score["interval"])):
        collector.add(_problem(where, f"{score['metric']} lies between {metric.low} and {metric.high}"))
    if not all(_difference(score.get(key)) for key in ("gain", "change")):
        collector.add(_problem(where, "gain and change are null or {value, interval}"))
        return
    if not _baselines(score.get("baselines")):
        collector.add(_problem(where, f"baselines are numbers or null, of {', '.join(BASELINES)}"))
        return
    if not _details(score.get("details")):
        collector.add(_problem(where, "details are tables of at most 1000 classes and 20 by 20 confusions"))
    if not all(isinstance(item, dict) and _number(item.get("value")) for item in score.get("also") or ()):
        collector.add(_problem(where, "also lists metrics with their values"))
    if score.get("gates") != policy.decide(score, plan["gates"]):
        collector.add(_problem(where, "its gates do not follow from its intervals"))
    change = score.get("change")
    against = plan["gates"].get("max_drop", {}).get("against")
    if change and against and str(change.get("against", "")).removeprefix("sha256:") != against:
        collector.add(_problem(where, "compares with another version than the plan says"))


def _validate_predictions(predictions: Any, plan: Mapping[str, Any], collector: errors.Collector) -> None:
    good = predictions is None or isinstance(predictions, dict)
    if not good or any(key.removeprefix("sha256:") not in plan["benchmarks"] for key in predictions or {}):
        collector.add(_problem("predictions", "must map digests of the plan's benchmarks to predictions"))
        return
    for key, found in (predictions or {}).items():
        folders = found.get("folders", {}) if isinstance(found, dict) else None
        lists = (
            [found.get("labels"), *folders.values()]
            if isinstance(found, dict) and isinstance(folders, dict)
            else [None]
        )
        if not all(isinstance(item, list) and all(map(_prediction, item)) for item in lists):
            message = f"{documents.shorten(key)} holds something other than numbers, texts, or lists of class numbers"
            collector.add(_problem("predictions", message))


def _validate_verdict(report: Mapping[str, Any], plan: Mapping[str, Any], collector: errors.Collector) -> None:
    """A pass needs every check that matters, every score of the plan and every gate."""
    status = {item["name"]: item["status"] for item in report["checks"]}
    failed = sorted(name for name, value in status.items() if value == "failed")
    reasons = failed + [gate["gate"] for gate in failed_gates(report)]
    if report["verdict"] == "failed":
        if not reasons:
            collector.add(_problem("verdict", "is failed, but nothing in the report says why"))
        return
    absent = [name for name in REQUIRED if status.get(name) not in ("passed", "warning")]
    if reasons or absent:
        collector.add(_problem("verdict", f"is passed in spite of {', '.join(dict.fromkeys(reasons + absent))}"))
    if not report["components"]:
        collector.add(_problem("components", "a passed run judged at least one component"))
    for component in report["components"]:
        _validate_coverage(component, plan["benchmarks"], collector)


def _validate_coverage(component: Mapping[str, Any], wanted: Sequence[str], collector: errors.Collector) -> None:
    scored = [str(score.get("digest", "")).removeprefix("sha256:") for score in component["scores"]]
    if sorted(scored) != sorted(wanted):
        message = f"{len(set(scored))} of {len(wanted)} benchmarks of the plan were scored once"
        collector.add(_problem(f"components[{component['folder']!r}]", message))


def _prediction(value: Any) -> bool:
    """A class, a number, an answer's text, or the classes of a row's words."""
    if isinstance(value, list):
        return all(type(label) is int for label in value)
    return isinstance(value, str) or _number(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_number, value)) and value[0] <= value[1]


def _difference(value: Any) -> bool:
    if value is None:
        return True
    words = isinstance(value, dict) and all(
        isinstance(value.get(key, ""), str) for key in ("method", "over", "against", "called")
    )
    return words and _number(value.get("value")) and _interval(value.get("interval"))


def _details(value: Any) -> bool:
    """Tables per class: {classes: [{label, precision, recall, f1, support}], confusion: {labels, counts} | confused}."""
    if value is None:
        return True
    classes = value.get("classes", []) if isinstance(value, dict) else None
    if not isinstance(classes, list) or len(classes) > MAX_CLASSES:
        return False
    shares = ("precision", "recall", "f1", "support")
    rows = all(isinstance(row, dict) and isinstance(row.get("label"), str) and all(_number(row.get(key)) for key in shares)
               for row in classes)  # fmt: skip
    matrix = value.get("confusion") or {"labels": [], "counts": []}
    if not rows or not isinstance(matrix, dict) or not isinstance(value.get("confused", []), list):
        return False
    names, counts = matrix.get("labels"), matrix.get("counts")
    if not isinstance(names, list) or not isinstance(counts, list) or not len(names) == len(counts) <= MAX_MATRIX:
        return False
    return all(isinstance(row, list) and len(row) == len(counts) and all(type(n) is int for n in row) for row in counts)


def _baselines(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and set(value) <= set(BASELINES)
        and all(item is None or _number(item) for item in value.values())
    )


def _problem(where: str, message: str) -> errors.Problem:
    return errors.Problem("report", where, message, "", "benchmark")


def _error(where: str, message: str) -> errors.SpecError:
    return errors.SpecError([_problem(where, message)])
