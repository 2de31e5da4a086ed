"""Benchmarks: what is part of their identity, and what an author may not turn round."""

import pytest

from hub.spec import benchmark, rows
from hub.spec.errors import SpecError

DIGESTS = {"dev.tsv": "a" * 64, "train.tsv": "b" * 64}
DEFINITION = {
    "name": "acme/tone", "task": "text-classification", "data": "dev.tsv", "metric": "accuracy",
    "columns": {"text": "sentence", "label": "label"}, "labels": ["negative", "positive"],
}  # fmt: skip


def parse(**more):
    return benchmark.parse(DEFINITION | more, DIGESTS)


def test_prose_and_who_may_see_it_are_no_part_of_the_identity():
    assert parse(description="of reviews", visibility="private").digest == parse().digest


@pytest.mark.parametrize(
    "change", [{"max_length": 64}, {"train": "train.tsv"}, {"labels": ["positive", "negative"]}, {"metric": "f1"}]
)
def test_everything_that_a_score_depends_on_is(change):
    assert parse(**change).digest != parse().digest


def test_the_identity_of_today_is_that_of_tomorrow():
    """A field that a later edition adds, at its default, must change no digest: every plan and every evidence names them."""
    assert parse().digest == "d4a61d6b019bb4c7dec9b162bea629c4ed5d671a18a5c673529330631d603934"


def test_a_stored_definition_of_another_edition_is_read():
    stored = parse().to_json()
    assert benchmark.from_json(stored | {"invented_later": True}) == parse()
    del stored["description"]
    assert benchmark.from_json(stored) == parse()


def test_a_stored_definition_is_not_judged_again_by_the_rules_of_today():
    assert benchmark.from_json(parse().to_json() | {"metric": "retired"}).metric == "retired"


@pytest.mark.parametrize("value", [None, [], {}, {"name": "x"}, DEFINITION | {"labels": 5}])
def test_what_is_no_stored_definition_is_told(value):
    with pytest.raises(SpecError):
        benchmark.from_json(value)


def test_a_metric_has_its_direction_and_nobody_turns_it_round():
    assert parse().direction == parse(direction="up").direction == "up"
    with pytest.raises(SpecError, match="accuracy gets better going up"):
        parse(direction="down")


def test_labels_that_differ_from_benchmark_to_benchmark_ask_nothing_of_a_head():
    two, three = ("a", "b"), ("a", "b", "c")
    assert benchmark.common_labels([two, two]) == two
    assert benchmark.common_labels([two, three]) is None
    assert benchmark.common_labels([]) is None


def test_the_rows_that_are_scored_are_not_those_that_the_probe_learns_from():
    with pytest.raises(SpecError, match="the very rows that are scored"):
        benchmark.parse(DEFINITION | {"train": "train.tsv"}, DIGESTS | {"train.tsv": DIGESTS["dev.tsv"]})


def test_columns_that_are_not_named_are_told_with_the_ml_tasks_own():
    with pytest.raises(SpecError) as told:
        parse(task="question-answering", labels=None, columns={"text": "sentence"}, data="dev.jsonl", metric="f1")
    found = next(problem for problem in told.value.problems if problem.where == "columns")
    assert "columns of question, context and answers" in found.message
    assert found.hint.startswith("write columns: {question: ..., context: ..., answers: ...}")


ROWS = 60


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("dev.jsonl", b'{"Sentences": "kind", "grade": 1}\n' * ROWS),
        ("dev.tsv", b"Sentences\tgrade\n" + b"kind\t1\n" * ROWS),
    ],
)
def test_a_column_that_is_not_there_is_told_once_with_those_that_are(name: str, data: bytes):
    asked = benchmark.parse(DEFINITION | {"data": name}, {name: "a" * 64})
    with pytest.raises(SpecError) as told:
        rows.read(data, asked, name)
    text, label = told.value.problems
    assert str(text) == (
        f"{name}: has no column 'sentence' (its columns are Sentences, grade; did you mean 'Sentences'?)"
    )
    assert str(label) == f"{name}: has no column 'label' (its columns are Sentences, grade)"


def test_a_column_that_some_rows_lack_is_told_by_row():
    asked = benchmark.parse(DEFINITION | {"data": "dev.jsonl"}, {"dev.jsonl": "a" * 64})
    with pytest.raises(SpecError, match="row 2: 'sentence' is missing or not text"):
        rows.read(b'{"sentence": "kind", "label": 1}\n{"label": 0}\n', asked, "dev.jsonl")
