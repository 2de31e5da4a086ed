"""What is told of a report that was made again."""

from hub import evaluation

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
