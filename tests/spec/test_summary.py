"""The line that a verdict is told in."""

from hub.spec import report


def told(verdict, *checks):
    return report.summary_line({"verdict": verdict, "checks": list(checks)})


def test_a_warning_is_counted_apart_and_named():
    fine, warned = report.check("files", "passed", ""), report.check("benchmark", "warning", "few rows")
    assert told("passed", fine, fine) == "published: 2 of 2 checks passed. It runs; no benchmark was asked of it."
    assert told("passed", fine, warned).startswith("published: 1 of 2 checks passed, 1 warning (benchmark). ")


def test_a_reason_is_its_first_clause_and_ends_within_no_bracket():
    message = "labels look swapped (accuracy is 0.040 as declared; 0.960 the other way round); look at the labels"
    failed = report.check("benchmark", "failed", message)
    assert told("failed", failed) == (
        "rejected: 1 of 1 checks failed. benchmark: labels look swapped "
        "(accuracy is 0.040 as declared; 0.960 the other way round)."
    )
