"""Answers row by row: one list has one form in bytes, and is read back as it was."""

import pytest

from hub.spec import answers
from hub.spec.errors import SpecError

LISTS = ([], [1, 0, 2], [0.25, 1.0, 3e-7], ["", "a\u2028b\nc", "né"], [[1, 0], []])


@pytest.mark.parametrize("given", LISTS, ids=repr)
def test_a_list_is_read_back_as_it_was_written(given: list[object]) -> None:
    data = answers.to_lines(given)
    assert data.count(b"\n") == len(given)
    assert answers.from_lines(data) == given


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"{}\n",
        b'{"answer":1,"row":0}',
        b'{"answer":1,"row":1}\n',
        b'{"row":0,"answer":1}\n',
        b'{"answer":NaN,"row":0}\n',
        b'{"answer":1,"row":0}\n\xff\n',
        b'{"answer":1,"row":0}\n{"answer":1',
    ],
)
def test_what_is_cut_or_turned_or_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(SpecError):
        answers.from_lines(data)


def test_of_several_adapters_each_has_its_own_and_a_new_one_is_compared_with_the_first() -> None:
    told: dict[str, dict[str, object]] = {}
    answers.put(told, "ab", "", [1])
    answers.put(told, "sha256:ab", "second", [0])
    assert told == {"sha256:ab": {"labels": [1], "folders": {"second": [0]}}}
    assert [answers.of(told, "ab", folder) for folder in ("", "second", "new")] == [[1], [0], [1]]
    assert answers.of(told, "cd", "") is None
    assert answers.of(None, "ab", "") is None
