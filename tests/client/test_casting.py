"""Casts, bit for bit: the vectors of docs/fingerprint.md, and torch; by numpy, and by torch in numpy's place."""

import struct

import pytest
from blake3 import blake3

from hub import casting, errors
from hub.runtime import torch_casting as by_runtime
from hub.spec import base_model, casts
from hub.spec.base_model import Leaf
from tests.spec import vectors

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
WAYS = {"numpy": casting.Bench, "torch": by_runtime.TorchBench}
VECTORS = vectors.read("fingerprint.md")
TORCH = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
NAN = {"F16": 0x7E00, "BF16": 0x7FC0}
HALVES = np.arange(0x7C00, dtype="<u2").view("<f2").astype("<f8")  # every finite float16 that is not negative
BRAINS = (np.arange(0x7F80, dtype="<u4") << 16).view("<f4").astype("<f8")


@pytest.fixture(autouse=True, params=WAYS)
def way(request: pytest.FixtureRequest):
    """Everything here holds, whoever makes the casts."""
    before = casting._kind
    casting.use(WAYS[request.param])
    yield request.param
    casting.use(before)


def by_torch(data: bytes, dtype: str, steps: casts.Steps) -> bytes:
    """The bytes after the steps, with our bits for NaN."""
    if not data:
        return data
    tensor = torch.frombuffer(bytearray(data), dtype=TORCH[dtype])
    for step in steps:
        tensor = tensor.to(TORCH[step])
    if steps:
        bits = tensor.view(torch.int16).numpy().view("<u2").copy()
        bits[tensor.isnan().numpy()] = NAN[steps[-1]]
        return bits.tobytes()
    return data


def agrees(data: bytes, dtype: str) -> bool:
    ways = casts.all_steps(dtype)
    expected = {steps: blake3(by_torch(data, dtype, steps)).hexdigest() for steps in ways}
    return casting.digests([memoryview(data)], dtype, ways) == expected


def test_the_numbers_of_the_document_hold():
    value, expected = VECTORS["Numbers, cast"]
    data = b"".join(struct.pack("<I", int(number, 16)) for number in value["F32"].split())
    found = casting.digests([memoryview(data)], "F32", casts.all_steps("F32"))
    for cast, numbers in expected.items():
        raw = b"".join(struct.pack("<H", int(number, 16)) for number in numbers.split())
        assert found[casts.CASTS[cast]] == blake3(raw).hexdigest(), cast
        assert by_torch(data, "F32", casts.CASTS[cast]) == raw, cast


def test_the_cast_roots_of_the_document_hold():
    value, expected = VECTORS["Cast roots of a base model"]
    leaves, digests = [], {}
    for name, dtype, shape, data in value["tensors"]:
        raw = bytes.fromhex(data)
        leaves.append(Leaf(name, dtype, tuple(shape), blake3(raw).hexdigest()))
        if dtype in casts.FLOATS:
            digests[name] = casting.digests([memoryview(raw)], dtype, casts.all_steps(dtype))
    expected, base = dict(expected), base_model.from_leaves(leaves, {"model_type": value["model_type"]})
    assert expected.pop("exact") == f"{base.fingerprint.removeprefix('base:')} {base.roots['backbone']}"
    found = casts.roots(base.leaves, digests)
    assert {cast: f"{entry['root']} {entry['backbone']}" for cast, entry in found.items()} == expected


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_every_16_bit_number_becomes_what_torch_makes_of_it(dtype):
    assert agrees(np.arange(1 << 16, dtype="<u2").tobytes(), dtype)


@pytest.mark.parametrize("grid", [HALVES, BRAINS], ids=["F16", "BF16"])
@pytest.mark.parametrize("sign", [1, -1])
def test_every_tie_goes_to_the_even_neighbour_and_what_is_beside_it_to_the_nearer(grid, sign):
    ties = (sign * (grid[1:] + grid[:-1]) / 2).astype("<f4")
    for numbers in (ties, np.nextafter(ties, np.float32(0)), np.nextafter(ties, np.float32(sign * np.inf))):
        assert agrees(numbers.tobytes(), "F32")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", ["F32", "F64", "F16", "BF16"])
def test_random_bits_become_what_torch_makes_of_them(dtype, seed):
    """Infinities, NaNs and subnormals among them, over more than one piece."""
    data = np.random.default_rng(seed).bytes(8 * (casting.PIECE + 1234))
    assert agrees(data, dtype)


@pytest.mark.parametrize("scale", [1e-41, 1e-8, 3e-5, 0.02, 1.0, 9e3, 3e4, 1e37])
@pytest.mark.parametrize("dtype", ["F32", "F64"])
def test_weights_of_every_size_become_what_torch_makes_of_them(dtype, scale):
    numbers = np.random.default_rng(1).standard_normal(casting.PIECE // 4) * scale
    assert agrees(numbers.astype("<f4" if dtype == "F32" else "<f8").tobytes(), dtype)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 15, 17, 33, casting.PIECE - 1, casting.PIECE, casting.PIECE + 1])
def test_a_tensor_of_any_length_is_cast_whole(count):
    assert agrees(np.random.default_rng(count).standard_normal(count).astype("<f4").tobytes(), "F32")


def test_one_large_number_in_a_piece_does_not_change_its_neighbours():
    numbers = np.random.default_rng(0).standard_normal(4096).astype("<f4")
    for large in (65519.0, 65520.0, 1e30, np.inf, -np.inf, np.nan):
        numbers[1000] = large
        assert agrees(numbers.tobytes(), "F32")


@pytest.mark.parametrize("dtype", ["F32", "F64", "F16", "BF16"])
def test_a_nan_anywhere_in_a_piece_has_our_bits(dtype):
    size = {"F32": 4, "F64": 8}.get(dtype, 2)
    for place in (0, 7, by_runtime.GRAIN, casting.PIECE - 1):
        numbers = np.zeros(casting.PIECE, "<f4")
        numbers[place] = -np.nan
        data = numbers.astype("<f8").tobytes() if size == 8 else numbers.tobytes()
        if size == 2:
            bits = np.zeros(casting.PIECE, "<u2")
            bits[place] = 0xFFC1
            data = bits.tobytes()
        assert agrees(data, dtype)


@pytest.mark.parametrize("low", [0, 0x0FFF, 0x1000, 0x7FFF, 0x8000, 0x8001, 0xABCD])
def test_every_exponent_and_sign_is_cast_as_torch_does(low):
    every = (np.arange(1 << 16, dtype="<u4") << 16) | low
    assert agrees(every.tobytes(), "F32")


def test_torch_is_asked_where_it_is_trusted_and_never_for_a_nan(way, monkeypatch):
    asked = []
    whole = by_runtime.TorchBench.by_torch
    monkeypatch.setattr(
        by_runtime.TorchBench,
        "by_torch",
        lambda *given: asked.append(found := whole(*given) is not None) or (whole(*given) if found else None),
    )
    for numbers in (np.ones(9, "<f4"), np.full(9, np.nan, "<f4")):
        assert agrees(numbers.tobytes(), "F32")
    assert asked == ([True, False] if way == "torch" else [])


def test_a_torch_that_casts_otherwise_is_left_aside(way, monkeypatch):
    """One that makes zeros of subnormal numbers, as some processors do. Were it trusted, the digests would be others."""
    if way == "numpy":
        pytest.skip("torch is not asked")
    right = by_runtime.TorchBench._copied

    def flushing(bench, source, steps, kind):
        found = right(bench, source, steps, kind)
        found.numbers[found.numbers.abs() < torch.finfo(kind).tiny] = 0
        return found

    monkeypatch.setattr(by_runtime.TorchBench, "_copied", flushing)
    data = np.full(100, 1e-6, "<f4").tobytes()
    by_runtime.trusted.cache_clear()
    try:
        assert not by_runtime.trusted()
        assert agrees(data, "F32")
        monkeypatch.setattr(by_runtime, "trusted", lambda: True)
        assert not agrees(data, "F32")
    finally:
        monkeypatch.undo()
        by_runtime.trusted.cache_clear()


def test_no_call_is_large_enough_for_torch_to_take_threads_of_its_own():
    bench = by_runtime.TorchBench()
    bench.cast(np.ones(casting.PIECE, "<f4"), "F32", casts.all_steps("F32"))
    sizes = {len(part) for room in bench._rooms.values() for part in room.parts}
    assert sizes == {by_runtime.GRAIN}
    assert torch.get_num_threads() >= 1


def test_bytes_need_not_be_aligned():
    data = np.random.default_rng(0).standard_normal(1000).astype("<f4").tobytes()
    shifted = memoryview(b"x" + data)[1:]
    assert casting.digests([shifted], "F32", [("F16",)]) == casting.digests([memoryview(data)], "F32", [("F16",)])


def test_without_numpy_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(casting, "available", lambda: False)
    with pytest.raises(errors.UsageError, match="cast roots need numpy"):
        casting.digests([], "F32", [()])
