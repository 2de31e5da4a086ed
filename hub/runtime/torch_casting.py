"""Casts by torch, which has the processor's own conversions: the steps of `hub.casting` in a fraction of their time.

Bit for bit the same, and that is not taken on trust: numbers of every exponent are cast both ways first, and all is left to
numpy where torch (of another edition, on another processor) differs. A piece with a NaN goes to numpy, too: torch's bits for
one are not ours.

No call is of more numbers than torch does in the calling thread: it would share the work among threads of its own, and how
many it has is a setting of the whole process, which is not ours to change.
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch

from hub import casting
from hub.casting import PIECE, Array
from hub.spec.casts import Steps

GRAIN = 1 << 15  # at::internal::GRAIN_SIZE
_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_BELOW = (0, 1, 0x0FFF, 0x1000, 0x1001, 0x3000, 0x7FFF, 0x8000, 0x8001, 0xFFFF)
"""Lower halves of float32 beside which a step is decided: ties of either format, and their neighbours."""


class _Room:
    """Numbers in one format, as torch sees them and in the parts that are cast at once."""

    def __init__(self, numbers: Any) -> None:
        self.numbers, self.parts = numbers, numbers.split(GRAIN)

    def of(self, count: int) -> "_Room":
        """The first so many of them."""
        return self if count == len(self.numbers) else _Room(self.numbers[:count])


class TorchBench(casting.Bench):
    """The buffers of one thread, each one piece long."""

    def __init__(self) -> None:
        super().__init__()
        self._rooms: dict[tuple[Steps, torch.dtype], _Room] = {}

    def cast(self, piece: Array, dtype: str, ways: Sequence[Steps]) -> dict[Steps, Array]:
        """A piece after the steps of each way. The arrays are good until the next call."""
        made = self.by_torch(piece, dtype, ways) if trusted() else None
        return made or super().cast(piece, dtype, ways)

    def by_torch(self, piece: Array, dtype: str, ways: Sequence[Steps]) -> dict[Steps, Array] | None:
        """The same, asked of torch; None for a piece with a NaN."""
        steps = list(dict.fromkeys(way[:count] for way in ways for count in range(1, len(way) + 1)))
        held = piece if piece.flags.writeable else piece.copy()  # torch warns of what it could not write to
        raw = _Room(torch.from_numpy(held.view("<i2") if dtype in ("F16", "BF16") else held).view(_TYPES[dtype]))
        single: dict[Steps, _Room] = {(): raw if dtype == "F32" else self._copied(raw, (), torch.float32)}
        if not single[()].numbers.numpy().max() <= self.numpy.inf:  # nor is a NaN
            return None
        made: dict[Steps, Array] = {(): piece}
        for way in steps:
            room = self._copied(single[way[:-1]], way, _TYPES[way[-1]])
            made[way] = room.numbers.view(torch.int16).numpy().view("<u2")
            if any(longer[:-1] == way for longer in steps):
                single[way] = self._copied(room, way, torch.float32)
        return made

    def _copied(self, source: _Room, way: Steps, kind: torch.dtype) -> _Room:
        """The numbers in another format, in the buffer that is kept for this format after these steps."""
        if (way, kind) not in self._rooms:
            self._rooms[way, kind] = _Room(torch.empty(PIECE, dtype=kind))
        room = self._rooms[way, kind].of(len(source.numbers))
        for target, part in zip(room.parts, source.parts, strict=True):
            target.copy_(part)
        return room


@functools.cache
def trusted() -> bool:
    """Whether torch's casts are those of `hub.casting`, over every upper half of a float32 that is no NaN."""
    bench, ways = TorchBench(), (("BF16",), ("F16",), ("F16", "BF16"))
    for below in _BELOW:
        numbers = (bench.numpy.arange(1 << 16, dtype="<u4") << 16 | below).view("<f4")
        numbers = numbers[~bench.numpy.isnan(numbers)]
        ours, theirs = casting.Bench.cast(bench, numbers, "F32", ways), bench.by_torch(numbers, "F32", ways)
        if theirs is None or any((ours[way] != theirs[way]).any() for way in ways):
            return False
    return True
