"""Files of torch.save written by hand, byte by byte and without torch: so that anything in them can be wrong."""

import dataclasses
import math
import struct
from collections.abc import Iterable

ROOT = "archive"
END = b"."
WIDTHS = {
    "Float": 4,
    "Half": 2,
    "BFloat16": 2,
    "Double": 8,
    "Long": 8,
    "Int": 4,
    "Short": 2,
    "Char": 1,
    "Byte": 1,
    "Bool": 1,
}
ORDERED = b"ccollections\nOrderedDict\n)R"
"""An empty OrderedDict."""


# --- the pickle -----------------------------------------------------------------------------------------------------


def text(value: str) -> bytes:
    """Push text."""
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    """Push an integer of any size."""
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def numbers(values: Iterable[int]) -> bytes:
    """Push a tuple of integers."""
    return b"(" + b"".join(number(value) for value in values) + b"t"


def name(module: str, word: str) -> bytes:
    """Push a global, as protocol 2 does."""
    return b"c" + module.encode() + b"\n" + word.encode() + b"\n"


def stack_name(module: str, word: str) -> bytes:
    """Push a global, as protocol 4 does."""
    return text(module) + text(word) + b"\x93"


def call(function: bytes, *arguments: bytes) -> bytes:
    """Call a global with these arguments."""
    return function + b"(" + b"".join(arguments) + b"tR"


def storage(kind: str = "Float", key: str = "0", count: int = 6) -> bytes:
    """Push a storage."""
    return b"(" + text("storage") + name("torch", f"{kind}Storage") + text(key) + text("cpu") + number(count) + b"tQ"


def tensor(
    held: bytes, shape: Iterable[int] = (2, 3), strides: Iterable[int] = (3, 1), offset: int = 0, hooks: bytes = ORDERED
) -> bytes:
    """Push a tensor on a storage."""
    function = name("torch._utils", "_rebuild_tensor_v2")
    return call(function, held, number(offset), numbers(shape), numbers(strides), b"\x89", hooks)


def dictionary(items: dict[str, bytes]) -> bytes:
    """Push a dictionary."""
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def pickled(body: bytes, protocol: int = 2) -> bytes:
    """A whole pickle around what pushes its one value."""
    return b"\x80" + bytes([protocol]) + body + END


GOOD = pickled(dictionary({"w": tensor(storage())}))
"""One tensor `w` of 2 x 3 float32."""


# --- the archive ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Entry:
    """A file of the archive, and what its headers say of it."""

    name: str
    data: bytes
    flags: int = 0
    method: int = 0
    size: int | None = None
    local_name: str | None = None
    comment: bytes = b""
    padding: bytes = b""
    gap: bytes = b""
    encoded: bytes | None = None

    @property
    def raw(self) -> bytes:
        return self.name.encode() if self.encoded is None else self.encoded


def entries(pickle: bytes = GOOD, data: dict[str, bytes] | None = None, root: str = ROOT) -> list[Entry]:
    """The entries of a good file around a pickle."""
    stored = {"0": struct.pack("<6f", *range(6))} if data is None else data
    return [
        Entry(f"{root}/data.pkl", pickle),
        Entry(f"{root}/byteorder", b"little"),
        *(Entry(f"{root}/data/{key}", raw) for key, raw in stored.items()),
        Entry(f"{root}/version", b"3\n"),
    ]


def archive(
    listed: list[Entry],
    *,
    prefix: bytes = b"",
    behind: bytes = b"",
    comment: bytes = b"",
    shift: int = 0,
    count: int = 0,
) -> bytes:
    """A zip archive. `shift` moves where the directory is said to begin, `count` how many entries there are said to be."""
    body, directory = prefix, b""
    for entry in listed:
        at = len(body)
        size = len(entry.data) if entry.size is None else entry.size
        common = struct.pack("<HHIIII", entry.flags, entry.method, 0, 0, len(entry.data), size)
        local = (entry.local_name or entry.name).encode() if entry.encoded is None else entry.encoded
        body += b"PK\3\4" + struct.pack("<H", 20) + common + struct.pack("<HH", len(local), len(entry.padding))
        body += local + entry.padding + entry.data + entry.gap
        directory += b"PK\1\2" + struct.pack("<HH", 20, 20) + common
        directory += struct.pack("<HHHHHII", len(entry.raw), 0, len(entry.comment), 0, 0, 0, at)
        directory += entry.raw + entry.comment
    told = len(listed) + count
    end = struct.pack("<HHHHIIH", 0, 0, told, told, len(directory), (len(body) + shift) & 0xFFFFFFFF, len(comment))
    return body + directory + b"PK\5\6" + end + comment + behind


def saved(body: bytes, data: dict[str, bytes] | None = None, protocol: int = 2) -> bytes:
    """A whole file around what pushes its one value."""
    return archive(entries(pickled(body, protocol), data))


def state(values: dict[str, tuple[list[int], float]]) -> bytes:
    """A file of float32 tensors, each filled with one value: name -> (shape, value)."""
    return raw_state(
        {key: (shape, struct.pack("<f", value) * math.prod(shape)) for key, (shape, value) in values.items()}
    )


def raw_state(values: dict[str, tuple[list[int], bytes]]) -> bytes:
    """A file of float32 tensors: name -> (shape, bytes)."""
    items = {}
    for n, (key, (shape, _)) in enumerate(values.items()):
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        items[key] = tensor(storage("Float", str(n), math.prod(shape)), shape, strides)
    return saved(dictionary(items), {str(n): data for n, (_, data) in enumerate(values.values())})
