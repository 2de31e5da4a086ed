"""Hash a tensor as it is and as it would be in bfloat16 and float16, in one pass, with numpy.

The rules: docs/fingerprint.md. A step gives what torch's `.to(dtype)` gives, bit for bit: round to nearest, ties to even,
infinity beyond the range, subnormals kept. One rule is ours: every NaN becomes 7fc0 in BF16 and 7e00 in F16, because
torch's own bits for a NaN differ between processors, and between the middle and the end of a tensor.

numpy converts to float16 without the processor's help (0.4 G a second). Here float addition does the rounding: beside a
power of two whose last place is float16's last place, the sum's low bits are the rounded significand. All work is done
in pieces that stay in the cache (4 MB with all buffers, of each thread), in buffers that are made once per thread.
Where torch is loaded anyway, `hub.runtime.torch_casting` does the same with the processor's help; this is the rule it is held to.
"""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from blake3 import blake3

from hub import errors
from hub.spec.casts import Steps

Array: TypeAlias = Any  # numpy's; numpy is an extra
PIECE = 1 << 18  # numbers; shorter calls would spend their time handing the interpreter's lock to and fro
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<u2", "BF16": "<u2"}
_EXPONENT = 0x7F80  # of float32 and bfloat16, in the upper half
_BEYOND = 142 << 7  # the exponent of 32768: below it nothing is rounded to infinity, and nothing is a NaN
_SMALLEST = 113 << 7  # the exponent of 2**-14: below it float16 is subnormal and its last place stays 2**-24
_NAN = {"BF16": 0x7FC0, "F16": 0x7E00}
_benches = threading.local()


def available() -> bool:
    """True where numpy is installed: the light client comes without it."""
    return importlib.util.find_spec("numpy") is not None


def digests(parts: Iterable[memoryview], dtype: str, ways: Sequence[Steps]) -> dict[Steps, str]:
    """BLAKE3 (64 hex) of a tensor's little-endian bytes after the steps of each way; () is the bytes as they are.

    `parts` are the tensor's bytes one after another, each of whole numbers; `dtype` is one of `hub.spec.casts.FLOATS`.
    A part need not outlive the next. Raises UsageError where numpy is missing.
    """
    bench = _bench()
    hashers = {steps: blake3() for steps in ways}
    for part in parts:
        numbers = bench.numpy.frombuffer(part, _TYPES[dtype])
        for start in range(0, len(numbers), PIECE):
            made = bench.cast(numbers[start : start + PIECE], dtype, ways)
            for steps, hasher in hashers.items():
                hasher.update(made[steps].view("u1"))
    return {steps: hasher.hexdigest() for steps, hasher in hashers.items()}


def use(kind: type[Bench]) -> None:
    """Have the casts made by this kind of bench from now on, in every thread. `hub.runtime` brings torch's, which is faster."""
    global _kind
    _kind = kind


def _bench() -> Bench:
    if not available():
        raise errors.UsageError("cast roots need numpy", hint="pip install numpy, or leave them out (--no-casts)")
    if type(getattr(_benches, "here", None)) is not _kind:
        _benches.here = _kind()
    return _benches.here


class Bench:
    """The buffers of one thread, each one piece long, and what is done in them."""

    def __init__(self) -> None:
        import numpy

        self.numpy = numpy
        self._first, self._second = (numpy.empty(PIECE, "<u4") for _ in range(2))
        self._upper, self._exponent = (numpy.empty(PIECE, "<u2") for _ in range(2))
        # numpy is eight times as fast with two arrays as with an array and a number
        self._floor = numpy.full(PIECE, _SMALLEST, "<u2")
        self._single = numpy.empty(PIECE, "<f4")
        self._index: Array = None
        self._out: dict[Steps, Array] = {}

    def cast(self, piece: Array, dtype: str, ways: Sequence[Steps]) -> dict[Steps, Array]:
        """A piece after the steps of each way. The arrays are good until the next call."""
        made: dict[Steps, Array] = {(): piece}
        with self.numpy.errstate(all="ignore"):  # overflow to infinity is the rule, no accident
            if dtype == "F64":  # by way of float32, as torch goes
                self.numpy.copyto(self._single[: len(piece)], piece, casting="same_kind")
                piece = self._single[: len(piece)]
            if dtype in ("F64", "F32"):
                self._from_single(piece, made, ways)
            for steps in ways:
                for count in range(1, len(steps) + 1):
                    self._look_up(made, dtype, steps[:count])
        return made

    def _look_up(self, made: dict[Steps, Array], dtype: str, steps: Steps) -> None:
        """The last of the steps, from one 16-bit format to the other."""
        if steps not in made:
            source = made[steps[:-1]]
            if self._index is None:  # numpy would make one for every call
                self._index = self.numpy.empty(PIECE, self.numpy.intp)
            index = self._index[: len(source)]
            self.numpy.copyto(index, source)
            table = _table((dtype, *steps)[-2], steps[-1])
            made[steps] = table.take(index, out=self._room(steps, len(source)), mode="clip")

    def _room(self, steps: Steps, count: int) -> Array:
        if steps not in self._out:
            self._out[steps] = self.numpy.empty(PIECE, "<u2")
        return self._out[steps][:count]

    def _from_single(self, piece: Array, made: dict[Steps, Array], ways: Sequence[Steps]) -> None:
        """What can be had from float32 without a table; all of it where every number is below 32768."""
        count, bits = len(piece), piece.view("<u4")
        wide, upper, exponent = self._first[:count], self._upper[:count], self._exponent[:count]
        self.numpy.copyto(upper, self.numpy.right_shift(bits, 16, out=wide), casting="unsafe")
        self.numpy.bitwise_and(upper, _EXPONENT, out=exponent)
        ordinary = int(exponent.max()) < _BEYOND
        first = {steps[0] for steps in ways if steps}
        if "BF16" in first:
            made["BF16",] = self._to_bfloat(bits, wide, self._room(("BF16",), count))
        if "F16" in first and ordinary:
            made["F16",] = self._to_half(bits, self._room(("F16",), count))
            if ("F16", "BF16") in ways:
                made["F16", "BF16"] = self._half_to_bfloat(self._room(("F16", "BF16"), count))
        elif "F16" in first:
            made["F16",] = self._room(("F16",), count)
            self.numpy.copyto(made["F16",].view("<f2"), piece, casting="same_kind")
        if not ordinary:
            for target in first:
                made[target,][self.numpy.isnan(piece)] = _NAN[target]

    def _to_bfloat(self, bits: Array, wide: Array, out: Array) -> Array:
        """The upper half of float32, after adding half of its last place, less one where that is even already."""
        self.numpy.right_shift(bits, 16, out=wide)
        self.numpy.bitwise_and(wide, 1, out=wide)
        self.numpy.add(wide, 0x7FFF, out=wide)
        self.numpy.add(wide, bits, out=wide)
        self.numpy.right_shift(wide, 16, out=wide)
        self.numpy.copyto(out, wide, casting="unsafe")
        return out

    def _to_half(self, bits: Array, out: Array) -> Array:
        """float32 below 32768 -> float16, with its upper half and exponent, which are in the buffers.

        With e the exponent, at least -14, and m the rounded significand in units of 2**(e-10), float16 without its sign
        is (e + 14) * 2**10 + m: a subnormal has e = -14, and a carry of m steps up to the next exponent.
        """
        count = len(bits)
        total, scale = self._first[:count], self._second[:count]
        upper, exponent = self._upper[:count], self._exponent[:count]
        self.numpy.maximum(exponent, self._floor[:count], out=exponent)
        self.numpy.add(exponent, 13 << 7, out=exponent)
        self.numpy.copyto(scale, exponent)
        self.numpy.left_shift(scale, 16, out=scale)  # 2**(e+13), whose last place is 2**(e-10)
        self.numpy.bitwise_and(bits, 0x7FFFFFFF, out=total)
        self.numpy.add(total.view("<f4"), scale.view("<f4"), out=total.view("<f4"))
        self.numpy.copyto(out, total, casting="unsafe")  # the low bits of the sum: m
        self.numpy.left_shift(exponent, 3, out=exponent)  # (e + 127 + 13) << 10, modulo 2**16 as all that follows
        self.numpy.subtract(exponent, (126 << 10) & 0xFFFF, out=exponent)
        self.numpy.add(out, exponent, out=out)
        self.numpy.bitwise_and(upper, 0x8000, out=upper)
        self.numpy.bitwise_or(out, upper, out=out)
        return out

    def _half_to_bfloat(self, out: Array) -> Array:
        """What `_to_half` has just rounded -> bfloat16: the sum less the power of two is the float16, as float32."""
        count = len(out)
        total, scale = self._first[:count], self._second[:count]
        self.numpy.subtract(total.view("<f4"), scale.view("<f4"), out=total.view("<f4"))
        return self.numpy.bitwise_or(self._to_bfloat(total, scale, out), self._upper[:count], out=out)


_kind = Bench


@functools.cache
def _table(before: str, after: str) -> Array:
    """Every number of one 16-bit format in the other: 65536 of them, so they are looked up."""
    import numpy

    every = numpy.arange(1 << 16, dtype="<u4")
    single = every.astype("<u2").view("<f2").astype("<f4") if before == "F16" else (every << 16).view("<f4")
    return Bench().cast(single, "F32", [(after,)])[(after,)].copy()  # they are less than a piece
