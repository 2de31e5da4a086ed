"""Safetensors files that are not exact to the byte, and what some readers make of them."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from typing import Any

from tests.specimens.spoilt.goods import RECIPES
from tests.specimens.spoilt.kinds import Draft, Kind

ALL = tuple(RECIPES)
Table = dict[str, Any]


def parts(draft: Draft) -> tuple[Table, bytes]:
    """(header, data)"""
    raw = (draft.folder / draft.good.weights).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def write(draft: Draft, head: bytes, data: bytes, length: int | None = None) -> tuple[str, ...]:
    head += b" " * (-len(head) % 8)
    raw = struct.pack("<Q", len(head) if length is None else length) + head + data
    (draft.folder / draft.good.weights).write_bytes(raw)
    return (draft.good.weights,)


def pick(draft: Draft, table: Table) -> str:
    return draft.draw.choice(sorted(key for key in table if key != "__metadata__"))


def with_table(change: Callable[[Draft, Table, bytes], bytes]) -> Callable[[Draft], tuple[str, ...]]:
    """Change the table, and the data with it."""

    def spoil(draft: Draft) -> tuple[str, ...]:
        table, data = parts(draft)
        data = change(draft, table, data)
        return write(draft, json.dumps(table).encode(), data)

    return spoil


def truncated(draft: Draft) -> tuple[str, ...]:
    path = draft.folder / draft.good.weights
    raw = path.read_bytes()
    path.write_bytes(
        raw[
            : draft.draw.choice(
                (draft.draw.randrange(9), draft.draw.randrange(9, 400), draft.draw.randrange(400, len(raw)))
            )
        ]
    )
    return (draft.good.weights,)


def trailing(draft: Draft, table: Table, data: bytes) -> bytes:
    return data + draft.draw.randbytes(draft.draw.randint(1, 300))


def polyglot(draft: Draft) -> tuple[str, ...]:
    """A zip archive to those who read from the end (or the start), weights to those who read from the start."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", draft.draw.randbytes(draft.draw.randint(1, 99)))
    path = draft.folder / draft.good.weights
    raw = path.read_bytes()
    behind = draft.draw.random() < 0.7
    path.write_bytes(raw + packed.getvalue() if behind else packed.getvalue() + raw)
    return (draft.good.weights,)


def twice(draft: Draft) -> tuple[str, ...]:
    """One tensor's name twice in the header: readers differ in which of them counts."""
    table, data = parts(draft)
    name = pick(draft, table)
    entry = json.dumps({name: table[name]})[1:-1]
    return write(draft, (json.dumps(table)[:-1] + f", {entry}}}").encode(), data)


def overlap(draft: Draft, table: Table, data: bytes) -> bytes:
    """Two tensors on the same bytes."""
    names = sorted((key for key in table if key != "__metadata__"), key=lambda key: table[key]["data_offsets"])
    last = names[-1]
    moved = draft.draw.randint(1, table[last]["data_offsets"][0])
    table[last]["data_offsets"] = [place - moved for place in table[last]["data_offsets"]]
    return data[:-moved]


def hole(draft: Draft, table: Table, data: bytes) -> bytes:
    """Bytes between two tensors that belong to none."""
    name = pick(draft, table)
    start, size = table[name]["data_offsets"][0], draft.draw.randint(1, 200)
    for key in table:
        if key != "__metadata__" and table[key]["data_offsets"][0] >= start:
            table[key]["data_offsets"] = [place + size for place in table[key]["data_offsets"]]
    return data[:start] + draft.draw.randbytes(size) + data[start:]


def sizes(draft: Draft, table: Table, data: bytes) -> bytes:
    """A shape that is not the one of its bytes; some overflow 64 bits."""
    name = pick(draft, table)
    shape = table[name]["shape"]
    table[name]["shape"] = draft.draw.choice(
        ([*shape, 2], [2**40, 2**40], [2**63, 2], [draft.draw.randint(300, 999)], [0])
    )
    return data


def negative(draft: Draft, table: Table, data: bytes) -> bytes:
    """Shapes, places and dtypes of no kind."""
    name = pick(draft, table)
    key, value = draft.draw.choice((
        ("shape", [-draft.draw.randint(1, 99)]), ("shape", [1.5]), ("shape", "x"), ("shape", None), ("dtype", f"F{draft.draw.randint(100, 999)}"),
        ("dtype", 7), ("data_offsets", [-1, 3]), ("data_offsets", [draft.draw.randint(0, 9)]), ("data_offsets", [2**70, 2**71]), ("extra", 1),
    ))  # fmt: skip
    table[name][key] = value
    return data


def length(draft: Draft) -> tuple[str, ...]:
    """A length of the header that the file does not have, or that nobody should allocate."""
    table, data = parts(draft)
    wrong = draft.draw.choice(
        (2**63, 2**64 - 1, 10**9, 2**40 + draft.draw.randrange(999), 0, 1, draft.draw.randint(2, 60))
    )
    return write(draft, json.dumps(table).encode(), data, wrong)


KINDS = (
    Kind("cut off", "scan", "too short|but only|the file ends after", truncated, ALL),
    Kind("bytes behind the last tensor", "scan", "follow the last tensor", with_table(trailing), ALL),
    Kind("two file formats in one", "scan", "follow the last tensor|a zip archive", polyglot, ALL),
    Kind("a tensor twice in the header", "scan", "is there twice", twice, ALL),
    Kind("tensors on the same bytes", "scan", "overlaps the one before it", with_table(overlap), ALL),
    Kind("bytes between tensors", "scan", "belong to no tensor", with_table(hole), ALL),
    Kind(
        "a shape that is not that of its bytes",
        "scan",
        "needs [0-9]+ bytes, but has|does not fit into 64 bits",
        with_table(sizes),
        ALL,
    ),
    Kind(
        "an entry of the header that is none",
        "scan",
        "needs exactly dtype, shape and data_offsets|impossible|unknown dtype|does not fit into 64 bits",
        with_table(negative),
        ALL,
    ),
    Kind("a header of another length", "scan", "announces a header|is not valid JSON|does not begin with", length, ALL),
)
