"""Words for people."""

from hub.spec import words


def test_one_of_a_thing_is_no_plural():
    assert [words.counted(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert [words.counted(number, "class") for number in (1, 2)] == ["1 class", "2 classes"]


def test_names_that_are_alike_are_told_the_likest_first():
    assert words.closest("Sentence", ["label", "sentences", "sentence"]) == ["sentence", "sentences"]
    assert words.closest("text", ["sentence", "label"]) == []
