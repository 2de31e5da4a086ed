"""The zip archive that torch.save writes (PyTorch 1.6 and later), read strictly and by ranges.

    <root>/data.pkl | <root>/byteorder | <root>/data/<key> ... | <root>/version | directory | end records

Only what PyTorch itself writes is read: entries that are stored, side by side, each once, nothing before, between or
behind them. Another archive may mean one thing to one reader and something else to the next.
"""

from __future__ import annotations

import dataclasses
import re
import struct
from collections.abc import Callable, Iterator

from hub.spec import errors, tensors

Read = Callable[[int, int], bytes]
"""Returns the bytes `start` to `end` of the file."""

MAX_DIRECTORY = 8 << 20
MAX_ENTRIES = tensors.MAX_TENSORS + 16
MAX_NAME = 512
SAFE = "load the file where you trust it and save the weights as safetensors: save_pretrained(...) does by default"
_END, _LOCATOR, _END64, _ENTRY, _LOCAL = b"PK\5\6", b"PK\6\7", b"PK\6\6", b"PK\1\2", b"PK\3\4"
_END_SIZE, _LOCATOR_SIZE, _END64_SIZE, _ENTRY_SIZE, _LOCAL_SIZE = 22, 20, 56, 46, 30
_NAMES_ARE_UTF8, _SIZES_FOLLOW = 0x800, 0x8
_DESCRIPTORS = (0, 16, 24)
"""Bytes between an entry and the next: its sizes once more, where the flag says so."""
_DATA = re.compile(r"data/([0-9A-Za-z_.-]{1,64})")
_BOOKKEEPING = frozenset({"version", "byteorder", ".data/serialization_id", ".format_version", ".storage_alignment"})


@dataclasses.dataclass(frozen=True)
class Entry:
    """A stored file of the archive: its bytes lie at `start` to `end` of the archive."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.end - self.start


@dataclasses.dataclass(frozen=True)
class Archive:
    """What is in it: the pickle that describes the tensors, and their storages by key."""

    pickle: Entry
    storages: dict[str, Entry]


@dataclasses.dataclass(frozen=True)
class _Listed:
    """An entry as the directory tells it; `at` is where its local header begins."""

    name: str
    flags: int
    size: int
    at: int


def read(read: Read, size: int, where: str) -> Archive:
    """Return what lies where in an archive of `size` bytes. Raises SpecError, naming the file and the entry."""
    return _Reader(read, size, where).archive()


class _Reader:
    def __init__(self, read: Read, size: int, where: str) -> None:
        self.read, self.size, self.where = read, size, where

    def archive(self) -> Archive:
        if self.read(0, 4) != _LOCAL:
            message = "is no file that torch.save wrote since PyTorch 1.6 (no zip archive)"
            raise self.error("legacy", message)
        entries = self.entries(*self.listed())
        roots = sorted(name.removesuffix("/data.pkl") for name in entries if name.endswith("/data.pkl"))
        if len(roots) != 1 or not roots[0] or "/" in roots[0]:
            raise self.error("entry", f"holds {len(roots)} descriptions <name>/data.pkl at its top; one is due")
        inside = {name.removeprefix(f"{roots[0]}/"): entry for name, entry in entries.items()}
        storages = {found[1]: inside[name] for name in inside if (found := self.kind(name))}
        self.check_bookkeeping(inside)
        return Archive(inside["data.pkl"], storages)

    def kind(self, name: str) -> re.Match[str] | None:
        """Return a match for a storage, None for bookkeeping. Raises SpecError for anything else."""
        if name in ("data.pkl", *_BOOKKEEPING):
            return None
        if not (found := _DATA.fullmatch(name)):
            raise self.error("entry", f"holds {name!r}, which torch.save does not write")
        return found

    def check_bookkeeping(self, inside: dict[str, Entry]) -> None:
        if "version" not in inside:
            raise self.error("entry", "holds no entry 'version'")
        order = inside.get("byteorder")
        if order and (order.size > 16 or self.read(order.start, order.end) != b"little"):
            raise self.error("byteorder", "was written with another byte order than 'little'")

    def listed(self) -> tuple[list[_Listed], int]:
        """Return what the directory lists, and where it begins: it ends where the end records begin."""
        count, length, at, end = self.end()
        if length > MAX_DIRECTORY or count > MAX_ENTRIES:
            message = f"announces {count} entries in a directory of {length} bytes"
            raise self.error("entries", f"{message}; at most {MAX_ENTRIES} in {MAX_DIRECTORY} are read")
        if at + length != end:
            raise self.error("zip", f"its directory ends at byte {at + length}, not at byte {end} before its end")
        found = list(self.directory(self.read(at, end)))
        if len(found) != count:
            raise self.error("zip", f"announces {count} entries and lists {len(found)}")
        return found, at

    def end(self) -> tuple[int, int, int, int]:
        """Return (number of entries, bytes of the directory, where it begins, where it has to end)."""
        at = self.size - _END_SIZE
        raw = self.read(at, self.size) if at >= 0 else b""
        if len(raw) != _END_SIZE or not raw.startswith(_END) or raw[20:] != b"\0\0":
            raise self.error("zip", "does not end as torch.save ends a file: it is cut off, or something follows it")
        disk, first, here, count, length, begins = struct.unpack("<HHHHII", raw[4:20])
        locator = self.read(at - _LOCATOR_SIZE, at) if at >= _LOCATOR_SIZE + _END64_SIZE else b""
        if locator.startswith(_LOCATOR):
            return self.end64(locator, at - _LOCATOR_SIZE)
        if (disk, first) != (0, 0) or here != count:
            raise self.error("zip", "is one of several parts of an archive")
        return count, length, begins, at

    def end64(self, locator: bytes, at: int) -> tuple[int, int, int, int]:
        """The same from the record for large archives, which lies right before its locator."""
        begins_at = at - _END64_SIZE
        raw = self.read(begins_at, at)
        if struct.unpack("<IQI", locator[4:]) != (0, begins_at, 1) or not raw.startswith(_END64):
            raise self.error("zip", "its end records do not lie side by side")
        size, _, _, disk, first, here, count, length, begins = struct.unpack("<QHHIIQQQQ", raw[4:])
        if (size, disk, first, here) != (_END64_SIZE - 12, 0, 0, count):
            raise self.error("zip", "its end record is none that torch.save writes")
        return count, length, begins, begins_at

    def directory(self, raw: bytes) -> Iterator[_Listed]:
        at = 0
        while at < len(raw):
            if raw[at : at + 4] != _ENTRY or at + _ENTRY_SIZE > len(raw):
                raise self.error("zip", f"its directory is broken at byte {at}")
            flags, method = struct.unpack_from("<HH", raw, at + 8)
            packed, size, *lengths, disk = struct.unpack_from("<IIHHHH", raw, at + 20)
            start = struct.unpack_from("<I", raw, at + 42)[0]
            name_end = at + _ENTRY_SIZE + lengths[0]
            name = self.name(raw[at + _ENTRY_SIZE : name_end])
            values = self.large(name, raw[name_end : name_end + lengths[1]], (size, packed, start))
            at = name_end + lengths[1] + lengths[2]
            if at > len(raw):
                raise self.error("zip", "its directory is cut off")
            self.check_listed(name, flags, method, disk, lengths[2], values)
            yield _Listed(name, flags, values[0], values[2])

    def check_listed(
        self, name: str, flags: int, method: int, disk: int, comment: int, values: tuple[int, int, int]
    ) -> None:
        size, packed, _ = values
        inside = name.partition("/")[2]
        if inside.startswith("code/") or inside == "constants.pkl":
            raise self.error("script", f"holds {name!r}: this is TorchScript, a program")
        if flags & ~(_NAMES_ARE_UTF8 | _SIZES_FOLLOW):
            raise self.error("encrypted", f"its entry {name!r} is encrypted or written in an unusual way")
        if method or size != packed:
            raise self.error("compressed", f"its entry {name!r} is compressed; torch.save stores")
        if disk or comment:
            raise self.error("zip", f"its entry {name!r} has a comment or lies in another part")

    def name(self, raw: bytes) -> str:
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            name = "\0"
        if not name.isprintable() or not 0 < len(raw) <= MAX_NAME:
            raise self.error("entry", f"holds an entry of the name {raw[:40]!r}: empty, too long or not printable")
        return name

    def large(self, name: str, extra: bytes, values: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return (size, packed size, place), those that do not fit 32 bits from the extra field."""
        found, at = list(values), 0
        wide = b""
        while at + 4 <= len(extra):
            kind, length = struct.unpack_from("<HH", extra, at)
            wide = extra[at + 4 : at + 4 + length] if kind == 1 else wide
            at += 4 + length
        for n, value in enumerate(values):
            if value == 0xFFFFFFFF:
                if len(wide) < 8:
                    raise self.error("zip", f"the size of its entry {name!r} is missing")
                found[n], wide = int.from_bytes(wide[:8], "little"), wide[8:]
        return found[0], found[1], found[2]

    def entries(self, listed: list[_Listed], ends: int) -> dict[str, Entry]:
        """Hold the directory against what is there: from the first byte, side by side, no name twice."""
        found: dict[str, Entry] = {}
        at = 0
        for item in sorted(listed, key=lambda item: item.at):
            if item.name in found:
                raise self.error("twice", f"holds {item.name!r} twice")
            entry = self.local(item)
            if item.at - at not in _DESCRIPTORS or (at == 0) != (item.at == 0):
                raise self.error("overlap", f"its entry {item.name!r} does not lie right behind the one before it")
            found[item.name], at = entry, entry.end
        if ends - at not in _DESCRIPTORS:
            raise self.error("overlap", f"{ends - at} bytes lie between the last entry and the directory")
        return found

    def local(self, item: _Listed) -> Entry:
        raw = self.read(item.at, min(item.at + _LOCAL_SIZE, self.size))
        if len(raw) != _LOCAL_SIZE or not raw.startswith(_LOCAL):
            raise self.error("zip", f"its entry {item.name!r} is not where the directory says")
        flags, method = struct.unpack_from("<HH", raw, 6)
        name, extra = struct.unpack_from("<HH", raw, 26)
        start = item.at + _LOCAL_SIZE + name + extra
        if (flags, method) != (item.flags, 0) or self.read(item.at + _LOCAL_SIZE, start - extra) != item.name.encode():
            raise self.error("zip", f"its entry {item.name!r} calls itself otherwise than the directory does")
        return Entry(start, start + item.size)

    def error(self, what: str, message: str) -> errors.SpecError:
        return errors.SpecError.of(f"torch.{what}", self.where, message, SAFE, "scan")
