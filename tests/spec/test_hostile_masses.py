"""Hostile input by the thousand: no crash, no long wait, no flood of memory, and nothing accepted that the library refuses."""

import json
import random
import resource
import struct
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from hub.spec import tensors, validation
from hub.spec.errors import SpecError
from hub.spec.methods import peft_table
from hub.spec.snapshot import MemorySnapshot
from tests.specimens.spec import builders as make

HEADERS = 10_000
SLOW = 0.1
MEMORY = 50 << 20
GOOD = make.safetensors(
    {f"layer.{n}.weight": (4, 6) for n in range(4)} | {"x": ("BF16", (3,))}, metadata={"format": "pt"}
)
WORDS = (
    b"dtype", b"shape", b"data_offsets", b"__metadata__", b'"F32"', b'"F4"', b'"F64"', b"[4,6]", b"[4, 6]", b"-1", b"1e3",
    b"1e400", b"NaN", b"null", b"true", b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\u0000", b"\\ud800", b"\x00", b"\xff",
    b"18446744073709551616", b"9223372036854775807", b'"x":', b'"layer.0.weight":', b" " * 40, b"[" * 30, b'""', b"0", b"96",
)  # fmt: skip


def mutants(count, seed):
    """Weights with one to three things wrong, most of them in the header."""
    chance = random.Random(seed)
    length = int.from_bytes(GOOD[:8], "little")
    for _ in range(count):
        head, data = bytearray(GOOD[8 : 8 + length]), bytearray(GOOD[8 + length :])
        size = None
        for _ in range(chance.randint(1, 3)):
            match chance.randrange(8):
                case 0:
                    head[chance.randrange(len(head))] = chance.randrange(256)
                case 1:
                    at = chance.randrange(len(head))
                    head[at:at] = chance.choice(WORDS)
                case 2:
                    at = chance.randrange(len(head))
                    del head[at : at + chance.randint(1, 12)]
                case 3:
                    at, to = sorted(chance.randrange(len(head)) for _ in range(2))
                    head[to:to] = head[at:to]
                case 4:
                    data = (
                        data[: chance.randrange(len(data))]
                        if chance.random() < 0.5
                        else data + b"\0" * chance.randint(1, 64)
                    )
                case 5:
                    size = chance.choice(
                        (0, 1, len(head) + 1, len(head) - 1, 1 << 31, 1 << 62, (1 << 63) + 5, (1 << 64) - 1)
                    )
                case 6:
                    digits = [at for at, char in enumerate(head) if 48 <= char <= 57] or [0]
                    head[chance.choice(digits)] = chance.choice(b"0123456789-")
                case 7:
                    old, new = chance.choice(WORDS), chance.choice(WORDS)
                    head = bytearray(bytes(head).replace(old, new, 1))
            head = head or bytearray(b"{")
        yield struct.pack("<Q", len(head) if size is None else size) + bytes(head) + bytes(data)


def accepted_by_the_library(data):
    try:
        deserialize(data)
    except (SafetensorError, ValueError, OverflowError, MemoryError):
        return False
    return True


def parsed(data):
    """(seconds, whether it was taken)"""
    begin = time.process_time()
    try:
        tensors.parse_header(data, len(data))
    except SpecError:
        return time.process_time() - begin, False
    return time.process_time() - begin, True


@pytest.mark.parametrize("part", range(4))
def test_ten_thousand_malformed_headers(part):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slowest, refused, taken = 0.0, 0, 0
    for data in mutants(HEADERS // 4, part):
        seconds, read = min(parsed(data) for _ in range(3))
        refused += not read
        taken += read
        assert not read or accepted_by_the_library(data), data[:400]
        slowest = max(slowest, seconds)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert refused > HEADERS // 8  # most of them are really wrong
    assert taken > 0  # and what is still well-formed is no reason to refuse
    assert slowest < SLOW, slowest
    assert grown < MEMORY, grown


NUMBERS = st.one_of(
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 1, 2, 8, 10**9]),
)
TEXTS = st.one_of(
    st.text(max_size=30), st.sampled_from(["none", "all", "lora_only", "query", "(a+)+$", ".*", "../../x", "\u202e", "all-linear", "pissa", "eva"])
)  # fmt: skip
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)
KEYS = st.sampled_from(sorted({key for row in peft_table.ROWS for key in (*row.keys, *row.aside, *(knob.key for knob in row.knobs))} | {
    "peft_type", "task_type", "target_modules", "exclude_modules", "modules_to_save", "bias", "layers_to_transform", "layers_pattern",
    "rank_pattern", "alpha_pattern", "auto_mapping", "megatron_core", "megatron_config", "layer_replication", "target_parameters",
}))  # fmt: skip
WEIGHTS = make.lora()["adapter_model.safetensors"]


def look(config, files, base):
    snapshot = MemorySnapshot(files | {"adapter_config.json": json.dumps(config).encode()})
    for _ in range(5):  # the collector may tidy up a whole session's garbage just now
        begin = time.process_time()
        found = validation.inspect(snapshot, base, to_run=False)
        if time.process_time() - begin < SLOW:
            break
    else:
        pytest.fail(f"slower than {SLOW} s each time")
    for component in found.components:
        json.dumps(component.to_json(), allow_nan=False)
        assert type(component).from_json(component.to_json()) == component


@settings(max_examples=1200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.dictionaries(KEYS, VALUES, max_size=6), kind=st.sampled_from([*peft_table.TABLE, "LORA", "LORA", "LORA"])
)
def test_a_thousand_hostile_configurations_of_peft(changes, kind):
    look(make.lora_config(peft_type=kind) | changes, {"adapter_model.safetensors": WEIGHTS}, make.base())


@settings(max_examples=800, deadline=None, suppress_health_check=list(HealthCheck))
@given(inner=st.dictionaries(st.sampled_from(sorted(make.bottleneck_config()["config"]) + ["architecture", "r", "alpha", "configs"]), VALUES, max_size=5),
       outer=st.dictionaries(st.sampled_from(sorted(make.bottleneck_config())), VALUES, max_size=2))  # fmt: skip
def test_a_thousand_hostile_configurations_of_adapterhub(inner, outer):
    config = make.bottleneck_config(config=inner)
    files = make.without(make.bottleneck(), "adapter_config.json")
    look(config | outer, files, make.base())
