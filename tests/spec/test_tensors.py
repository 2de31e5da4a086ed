"""The safetensors header: every way to lie in it, and agreement with the reference parser."""

import json
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.spec import scan, tensors
from hub.spec.errors import SpecError
from tests.specimens.spec import builders
from tests.specimens.spec.builders import framed

SPECIMENS = sorted((Path(__file__).parents[1] / "specimens" / "spec" / "safetensors").glob("*.safetensors"))


def parse(data, where="x.safetensors"):
    length = tensors.header_length(data[:8], len(data), where)
    return tensors.parse_header(data[: 8 + length], len(data), where)


@pytest.mark.parametrize("path", SPECIMENS, ids=lambda path: path.stem)
def test_a_specimen_is_refused_by_name(path):
    with pytest.raises(SpecError) as refused:
        parse(path.read_bytes(), path.name)
    codes = {problem.code for problem in refused.value.problems}
    assert path.stem.split("~")[0] in codes, refused.value
    assert {problem.check for problem in refused.value.problems} == {"scan"}
    assert all(problem.where == path.name for problem in refused.value.problems)


def test_there_are_specimens():
    assert len(SPECIMENS) >= 30


def test_a_good_file_is_read_by_name():
    data = builders.safetensors({"b": (2, 3), "a": ("BF16", (4,))}, metadata={"format": "pt"})
    found = parse(data)
    assert [(t.name, t.dtype, t.shape, t.count, t.nbytes) for t in found] == [
        ("a", "BF16", (4,), 4, 8), ("b", "F32", (2, 3), 6, 24)]  # fmt: skip


def test_a_scalar_and_an_empty_tensor_are_read():
    assert [t.count for t in parse(builders.safetensors({"empty": (0, 3), "scalar": ("F32", ())}))] == [0, 1]


def test_an_empty_header_is_read():
    assert parse(framed({})) == ()


def test_twenty_thousand_tensors_are_read_and_one_more_is_not():
    def many(count):
        return framed({f"{index:x}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for index in range(count)})

    assert len(parse(many(20_000))) == 20_000
    with pytest.raises(SpecError, match="holds 20001 tensors"):
        parse(many(20_001))


def test_a_header_over_two_mebibytes_is_refused_from_eight_bytes():
    with pytest.raises(SpecError, match="announces a header of 2097153 bytes"):
        tensors.header_length(struct.pack("<Q", (2 << 20) + 1), 1 << 40)
    assert tensors.header_length(struct.pack("<Q", 2 << 20), 1 << 40) == 2 << 20


def test_a_hundred_bad_tensors_are_all_counted():
    header = {f"t{index}": {"dtype": "X", "shape": [], "data_offsets": [0, 0]} for index in range(100)}
    with pytest.raises(SpecError) as refused:
        parse(framed(header))
    assert "50 more problems" in str(refused.value)


def test_a_header_of_brackets_is_refused_in_no_time():
    began = time.perf_counter()
    with pytest.raises(SpecError, match="more than 160512 values"):
        parse(framed(b'{"a":' + b"[" * 2_000_000))
    assert time.perf_counter() - began < 2


def mutated(data, cuts):
    out = bytearray(data)
    for at, value in cuts:
        out[at % len(out)] = value
    return bytes(out)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 400))
def test_whatever_passes_here_passes_the_reference_parser_too(cuts, cut):
    safetensors = pytest.importorskip("safetensors")
    data = mutated(builders.safetensors({"a": (2, 3), "b.weight": (4,)}, metadata={"format": "pt"}), cuts)
    data = data[:cut] if cut % 5 == 0 else data
    try:
        found = parse(data)
    except SpecError:
        return
    reference = safetensors.deserialize(data)
    assert sorted(name for name, _ in reference) == [tensor.name for tensor in found]


ENTRY = st.fixed_dictionaries(
    {"dtype": st.sampled_from(["F32", "U8", "F7", 3]), "shape": st.lists(st.integers(-1, 3) | st.just(1 << 62), max_size=3),
     "data_offsets": st.lists(st.integers(-1, 24), min_size=1, max_size=3)}
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.text("ab\0\n ", max_size=3), ENTRY, max_size=3), st.integers(0, 24))
def test_no_header_makes_the_parser_fail_otherwise(header, size):
    safetensors = pytest.importorskip("safetensors")
    data = framed(json.dumps(header).encode(), bytes(size))
    try:
        found = parse(data)
    except SpecError:
        return
    assert len(safetensors.deserialize(data)) == len(found)


@pytest.mark.parametrize("length", [640, 896, 1152, 1408, 8483, 23117, 35615])
def test_a_header_whose_length_looks_like_magic_bytes_is_still_read(length):
    """640 is 0x0280: the file begins like a pickle."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    data = framed(header + b" " * (length - len(header)), bytes(4))
    assert scan.looks_like(data) is not None
    assert len(parse(data)) == 1
