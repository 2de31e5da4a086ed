"""JSON and YAML that strangers wrote. The specimens lie under tests/specimens/spec by name."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.spec import documents
from hub.spec.errors import SpecError

SPECIMENS = Path(__file__).parents[1] / "specimens" / "spec"
JSON = sorted((SPECIMENS / "json").glob("*"))
YAML = sorted((SPECIMENS / "yaml").glob("*"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc\u00e9\u4e00", max_size=4), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.parametrize("path", JSON, ids=lambda path: path.stem)
def test_a_json_specimen_is_refused_by_name(path):
    with pytest.raises(SpecError) as refused:
        documents.loads_json(path.read_bytes(), where=path.name)
    problem = refused.value.problems[0]
    assert problem.where == path.name
    assert problem.code == path.name.split("~")[0]


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.stem)
def test_a_yaml_specimen_is_refused_by_name(path):
    with pytest.raises(SpecError) as refused:
        documents.loads_yaml(path.read_bytes(), where=path.name)
    assert refused.value.problems[0].code == path.name.split("~")[0]


def test_there_are_specimens():
    assert len(JSON) >= 15 and len(YAML) >= 10


@given(VALUES)
def test_what_is_written_canonically_is_read_back(value):
    assert documents.loads_json(documents.canonical(value), where="x") == value


@given(VALUES)
def test_canonical_bytes_are_canonical(value):
    once = documents.canonical(value)
    assert documents.canonical(json.loads(once)) == once


@given(st.binary(max_size=200))
def test_no_bytes_make_the_json_reader_fail_otherwise(data):
    try:
        documents.loads_json(data, where="x")
    except SpecError as error:
        assert error.problems[0].where == "x"


@given(st.binary(max_size=200) | st.text(st.sampled_from("ab: -[]{}#&*!|>'\"\n%@`?,\t"), max_size=60).map(str.encode))
def test_no_bytes_make_the_yaml_reader_fail_otherwise(data):
    try:
        documents.loads_yaml(data, where="x")
    except SpecError as error:
        assert error.problems[0].where == "x"


def test_keys_are_sorted_by_code_point_and_text_stays_text():
    assert documents.canonical({"b": 1, "a": "é", "B": [1.5, None]}) == '{"B":[1.5,null],"a":"é","b":1}'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": {1, 2}}, "\ud800"])
def test_what_json_cannot_say_has_no_canonical_bytes(value):
    with pytest.raises(SpecError):
        documents.canonical(value)


def test_brackets_inside_text_are_no_depth():
    assert documents.loads_json(json.dumps("[" * 1000 + '\\"{').encode(), where="x").startswith("[")


def test_thirty_two_levels_are_read_and_one_more_is_not():
    assert documents.loads_json(b"[" * 32 + b"]" * 32, where="x")
    with pytest.raises(SpecError, match="deeper than 32"):
        documents.loads_json(b"[" * 33 + b"]" * 33, where="x")
    with pytest.raises(SpecError, match="deeper than 32"):
        documents.loads_yaml(b"[" * 33 + b"]" * 33, where="x")


def test_the_largest_numbers_are_read():
    assert documents.loads_json(b"[9223372036854775807,-9223372036854775808]", where="x") == [2**63 - 1, -(2**63)]


def test_yaml_reads_the_plain_part():
    text = b"""
name: glue/sst2   # a comment
labels: {0: negative, "1": positive, no: maybe}
values: [1, -2, 1.5, 1e3, true, False, null, ~, 0x10, 2024-01-01, "3", yes]
block: |
  two
  lines
"""
    assert documents.loads_yaml(text, where="x") == {
        "name": "glue/sst2",
        "labels": {"0": "negative", "1": "positive", "no": "maybe"},
        "values": [1, -2, 1.5, 1000.0, True, False, None, None, "0x10", "2024-01-01", "3", "yes"],
        "block": "two\nlines\n",
    }


def test_an_empty_yaml_document_is_nothing():
    assert documents.loads_yaml(b"", where="x") is None


def test_a_large_document_is_refused_before_it_is_parsed():
    with pytest.raises(SpecError, match="at most 10"):
        documents.loads_json(b" " * 11, where="x", max_bytes=10)


def test_text_is_shortened_for_one_line():
    assert (
        documents.shorten("a\nb\x1b[31m" + "x" * 100, 10)
        == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}[31mx…"
    )
