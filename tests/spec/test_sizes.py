"""Rows that two files share are counted the same however they are read; what may be a copy is found without reading it."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.spec import sizes, validation
from hub.spec.validation import MemorySnapshot
from tests.specimens.spec import builders as make

WORDS = f"{make.PREFIX}bert.embeddings.word_embeddings.weight"


@given(st.lists(st.tuples(st.binary(min_size=6, max_size=6), st.booleans()), max_size=20), st.integers(1, 50))
def test_equal_rows_are_counted_whatever_the_pieces(table, piece):
    first = b"".join(row for row, _ in table)
    second = b"".join(row if same else bytes(255 - byte for byte in row) for row, same in table)

    def pieces(data):
        return (data[at : at + piece] for at in range(0, len(data), piece))

    assert sizes.rows(pieces(first), pieces(second), 6) == 6 * sum(same for _, same in table)


def found(shape, dtype="F32", **config):
    files = MemorySnapshot(
        make.lora({"modules_to_save": ["classifier", "word_embeddings"]} | config, {WORDS: (dtype, shape)})
    )
    base = make.base()
    (component,) = validation.inspect(files, base, to_run=False).components
    return component, files, base


@pytest.mark.parametrize(("shape", "rows", "hashed"), [((11, 8), 11, True), ((13, 8), 11, True), ((5, 8), 5, False)])
def test_a_table_is_compared_as_far_as_the_bases_goes(shape, rows, hashed):
    component, files, base = found(shape)
    (copy,) = sizes.copies(component, files, base)
    assert (copy.end - copy.start, copy.of, copy.row) == (rows * 32, shape[0] * 32, 32)
    assert bool(copy.digest) == hashed, "a table that was cut short has another hash than the base's"
    assert copy.cause == "modules_to_save"


def test_another_number_format_is_no_copy():
    component, files, base = found((11, 8), "F16")
    assert sizes.copies(component, files, base) == ()


def test_a_base_that_nobody_hashed_has_nothing_to_compare_with():
    component, files, base = found((11, 8))
    unknown = dataclasses.replace(base, leaves=tuple(dataclasses.replace(leaf, digest="") for leaf in base.leaves))
    (copy,) = sizes.copies(component, files, unknown)
    assert copy.digest == ""


def test_the_four_sizes_are_all_the_bytes_of_the_weights():
    component, _, base = found((11, 8))
    counted = sizes.of(component, base.parameters)
    assert [counted[kind]["parameters"] for kind in sizes.KINDS] == [128, 18, 88, 0]
    assert sum(one["bytes"] for one in counted.values()) == 4 * (128 + 18 + 88)
    assert all(one["percent"] is None for one in sizes.of(component).values())


def test_nothing_unchanged_is_no_sentence():
    component, files, base = found((11, 8))
    copies = sizes.copies(component, files, base)
    assert sizes.sentence({}) == sizes.sentence(dict.fromkeys(copies, 0)) == ""
    assert sizes.sentence(dict.fromkeys(copies, 320)).startswith(
        "320 bytes of 352 bytes are unchanged copies of the base's embeddings"
    )
