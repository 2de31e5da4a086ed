"""What a weights file says stays the same, whatever its header looks like."""

import hashlib
import json
import struct

import pytest

from hub.spec import contents, tensors

A, B = ("a", [2, 2], bytes(range(16))), ("b", [1], b"\x00\x00\x80?")


def file(*parts, metadata=None, pad=0) -> bytes:
    """A safetensors file with its tensors in this order."""
    header, body = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, shape, data in parts:
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    head = json.dumps(header).encode() + b" " * pad
    return struct.pack("<Q", len(head)) + head + body


def digest(data: bytes, step: int = 3) -> str:
    length = 8 + tensors.header_length(data[:8], len(data))
    body = data[length:]
    pieces = [body[at : at + step] for at in range(0, len(body), step)]
    return contents.digest(contents.entries(tensors.parse_header(data, len(data)), pieces))


def test_metadata_order_and_padding_change_nothing():
    plain = file(A, B)
    for other in (file(B, A), file(A, B, metadata={"format": "pt"}), file(A, B, pad=7)):
        assert other != plain
        assert digest(other) == digest(plain)


@pytest.mark.parametrize("step", [1, 2, 5, 16, 20, 100])
def test_the_pieces_in_which_bytes_come_change_nothing(step):
    assert digest(file(A, B), step) == digest(file(A, B), 3)


@pytest.mark.parametrize(
    "other",
    [
        file(A),
        file(("a", [4], A[2]), B),
        file(("c", [2, 2], A[2]), B),
        file(("a", [2, 2], A[2][::-1]), B),
        file(("a", [1], B[2]), ("b", [2, 2], A[2])),
    ],
    ids=["a tensor less", "another shape", "another name", "other bytes", "bytes exchanged"],
)
def test_a_tensor_that_differs_changes_it(other):
    assert digest(other) != digest(file(A, B))


def test_a_dtype_alone_changes_it():
    one = hashlib.sha256(b"").hexdigest()
    assert contents.digest([("a", "F32", (0,), one)]) != contents.digest([("a", "I32", (0,), one)])


def test_it_is_what_the_module_says():
    entry = ("b", "F32", (1,), hashlib.sha256(B[2]).hexdigest())
    text = '{"contents":1,"tensors":[["b","F32",[1],"' + entry[3] + '"]]}'
    assert contents.digest([entry]) == hashlib.sha256(text.encode()).hexdigest() == digest(file(B))


def test_an_empty_tensor_and_an_empty_file_have_one_too():
    assert digest(file(("a", [0], b""))) != digest(file())


def test_bytes_that_end_early_are_told():
    data = file(A, B)
    with pytest.raises(EOFError):
        list(contents.entries(tensors.parse_header(data, len(data)), [b"12"]))
