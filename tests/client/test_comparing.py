"""What is told of a report that was made again."""

from types import SimpleNamespace
from typing import Any

from hub import evaluation
from hub.spec import report

REPORT = {
    "policy": {"benchmarks": ["ab" * 32]},
    "result_digest": "cd" * 32,
    "checks": [],
    "components": [
        {"folder": "", "scores": [{"benchmark": "demo/reviews", "digest": "sha256:" + "ab" * 32, "value": 0.5}]}
    ],
}


def test_a_score_without_its_benchmark_is_named_and_not_called_reproduced():
    told = "\n".join(
        evaluation.lines(evaluation.compare(REPORT, {**REPORT, "components": [{"folder": "", "scores": []}]}, []))
    )
    assert "what was compared is the published one: the checks that need no benchmark" in told
    assert "not compared: demo/reviews (give the definition with --benchmark)" in told
    assert "reproduced" not in told and "every" not in told


def test_where_nothing_is_left_out_all_of_it_is_reproduced():
    alone = {**REPORT, "policy": {"benchmarks": []}, "components": []}
    assert "reproduced: every check, score and answer is the published one" in evaluation.lines(
        evaluation.compare(alone, alone, [])
    )


def test_other_rules_are_told_and_the_words_on_how_a_difference_was_found_are_none():
    def judged(protocol: str, method: str, gain: float) -> dict[str, Any]:
        score = REPORT["components"][0]["scores"][0] | {
            "gain": {"value": gain, "interval": [0.0, 1.0], "method": method}
        }
        parts = [{"folder": "", "scores": [score]}]
        plan = {"benchmarks": [], "protocol": protocol}
        found = {"policy": plan, "checks": [], "components": parts}
        return found | {"result_digest": report.result_digest(found)}

    given = [(SimpleNamespace(digest="ab" * 32), None)]
    same = evaluation.compare(judged("2", "by lot", 0.5), judged("2", "by rank", 0.5), given)
    assert same["reproduced"] and not any("rules" in line for line in evaluation.lines(same))
    other = evaluation.compare(judged("1", "by lot", 0.5), judged("2", "by lot", 0.25), given)
    assert [found["where"] for found in other["differences"]] == ["components.(root).demo/reviews.gain.value"]
    assert not other["reproduced"], "the control: a figure is no word"
    assert "judged by other rules: protocol 1 published, 2 now" in evaluation.lines(other)
