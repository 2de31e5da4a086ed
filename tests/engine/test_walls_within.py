"""A child in an attacker's hands that stays where it is: the backbone's memory, the clock, the stack, and what it says.

And the other side of the walls: what has to be computed behind them is computed as before.
"""

import hashlib
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hub import runtime
from tests.engine import hostile, makers, utterances
from tests.engine.resident import LIMITS, MEANS, Attack, Place, Resident
from workers import backbone as backbones
from workers import pipes, walls
from workers.assignment import Limits
from workers.backbone import Server

NONE: frozenset[str] = frozenset()
pytestmark = pytest.mark.skipif(not {"syscalls", "view"} <= MEANS, reason="no seccomp filters or no Landlock here")


# --- The backbone's memory -----------------------------------------------------------------------------------------
def unlock(tensor: object) -> None:
    """Make the pages under a tensor writable, as code in the process may ask of the kernel, and write there."""
    import ctypes

    address = tensor.data_ptr() & ~4095  # type: ignore[attr-defined]
    if hostile.libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(4096), 3):
        raise OSError(ctypes.get_errno(), "refused")
    ctypes.memset(tensor.data_ptr(), 0x41, 4)  # type: ignore[attr-defined]


def test_the_backbone_cannot_be_made_writable(resident: Resident, open_folder: Path) -> None:
    def attack(place: Place) -> object:
        model = place.backbone.model
        tensors = (model.encoder.layer[0].attention.self.query.weight, model.embeddings.position_ids)
        return hostile.each(*(lambda tensor=tensor: unlock(tensor) for tensor in tensors))

    for raised in (MEANS, NONE):  # no means of the child's: what is open for reading is mapped for reading
        found = resident.attacked(attack, Place(open_folder), raised)
        assert found.got == []
        assert found.passed
    assert runtime.rehash(resident.backbone) == resident.backbone.fingerprint


def test_a_mapping_of_a_file_open_for_writing_can_be(open_folder: Path, resident: Resident) -> None:
    """The control: the same attack changes the file, where it was mapped by a descriptor that may write."""
    import mmap

    import torch

    path = makers.copied(makers.TINY, open_folder / "base") / "model.safetensors"
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with path.open("r+b") as file:
        view = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    tensor = torch.frombuffer(view, dtype=torch.uint8)
    found = resident.attacked(lambda place: hostile.each(lambda: unlock(tensor)), Place(open_folder))
    assert found.got == [0]
    assert hashlib.sha256(path.read_bytes()).hexdigest() != before


# --- Time, depth, words --------------------------------------------------------------------------------------------
def test_a_spin_is_ended_by_the_clock(resident: Resident, open_folder: Path) -> None:
    found = resident.attacked(hostile.spin, Place(open_folder), limits=replace(LIMITS, seconds=1))
    assert found.fault == "time limit passed while spinning"
    assert found.passed
    assert resident.attacked(hostile.spin, Place(open_folder)).got == "spun", "the control: with more time it goes on"


def test_a_stack_without_end_is_told(resident: Resident, open_folder: Path) -> None:
    found = resident.attacked(utterances.recurse, Place(open_folder))
    assert found.fault.startswith(("killed by SIGSEGV", "RecursionError", "out of memory")), found.answer
    assert found.passed


# what it says -> what is told of it
WORDS: dict[str, tuple[Attack, str]] = {
    "a length without end": (utterances.saying(b"\xff" * 8), "a message of 4294967295 bytes"),
    "no JSON": (utterances.saying(utterances.framed(b"{nonsense")), "no JSON"),
    "no object": (utterances.saying(utterances.framed(b"[1, 2]")), "no object"),
    "what is no number": (utterances.saying(utterances.framed(b'{"result": NaN}')), "NaN is no number"),
    "brackets without end": (utterances.saying(utterances.framed(b'{"a":' + b"[" * 100_000)), "no JSON"),
    "depth": (utterances.saying(utterances.framed(b'{"a":' + b"[" * 200 + b"]" * 200 + b"}")), "deeper than"),
    "values without end": (utterances.saying(utterances.framed(b'{"a":[' + b"[]," * 5_000_000 + b"0]}")), "values"),
    "stages without end": (
        utterances.saying(utterances.framed(b'{"stage": "' + b"a" * 1_000_000 + b'"}'), 100),
        "more bytes than it may say",
    ),
    "a report that is none": (utterances.saying(utterances.framed(b'{"result": [1]}')), "no report"),
    "a fault that is no text": (utterances.saying(utterances.framed(b'{"fault": {"a": 1}}')), "{'a': 1}"),
    "escapes for a terminal": (utterances.saying(utterances.framed(b'{"fault": "\\u001b[2Jgone"}')), "?[2Jgone"),
    "half a message": (utterances.saying(b"\0\0\1"), "time limit passed"),
    "nothing, and it lives on": (utterances.go_quiet, "killed by SIGKILL"),
}


@pytest.mark.parametrize("name", WORDS)
def test_what_it_says_is_bounded_and_is_a_fault(name: str, resident: Resident, open_folder: Path) -> None:
    attack, told = WORDS[name]
    found = resident.attacked(attack, Place(open_folder), limits=replace(LIMITS, seconds=4))
    assert told in found.fault, found.answer
    assert len(found.fault) < 1000
    assert found.passed


def test_a_result_that_cannot_be_told_is_a_fault_and_not_the_end_of_the_process() -> None:
    """1e999 is JSON, and infinite once it is read."""
    reading, writing = os.pipe()
    Server(reading, writing, Path(), walls.found(()))._reply({"report": {"value": float("1e999")}})
    (told,) = pipes.Reader(reading).read()
    assert told["fault"].startswith("the child's result cannot be told")
    for end in (reading, writing):
        os.close(end)


def test_without_the_bound_its_parent_would_read_on(
    resident: Resident, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a hundred megabytes of stages are read to their end."""
    monkeypatch.setattr(backbones, "MOST_SAID", 1 << 40)
    attack, _ = WORDS["stages without end"]
    found = resident.attacked(attack, Place(open_folder), limits=replace(LIMITS, seconds=4))
    assert found.fault.startswith("time limit passed while aaa")


def test_a_flood_of_stages_does_not_outrun_the_clock(resident: Resident, open_folder: Path) -> None:
    """There is always something to read then; the deadline holds all the same."""

    def attack(place: Place) -> object:
        while True:
            place.tell("still at it")

    found = resident.attacked(attack, Place(open_folder), limits=Limits(seconds=1, memory_gb=1))
    assert found.fault.startswith(("time limit passed while still at it", "the child said what no child says"))
    assert found.passed


# --- Computing goes on ---------------------------------------------------------------------------------------------
def one_thread() -> None:
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)


def test_behind_all_walls_libraries_compute_what_they_compute_outside(resident: Resident, open_folder: Path) -> None:
    """torch, numpy's BLAS, scikit-learn and the mapped backbone."""

    def compute(place: Place) -> object:
        import numpy
        import torch
        from scipy import special
        from sklearn.linear_model import LogisticRegression

        rows = numpy.random.default_rng(0).normal(size=(200, 64))
        fitted = LogisticRegression(max_iter=50).fit(rows, rows[:, 0] > 0)
        product = torch.from_numpy(rows) @ torch.from_numpy(rows).T
        weight = place.backbone.model.encoder.layer[0].attention.self.query.weight
        values = (fitted.coef_.sum(), float(product.sum()), float(weight.sum()), float(special.erf(rows).sum()))
        return [float(numpy.linalg.svd(rows)[1].sum()), *map(float, values)]

    one_thread()  # as workers.backbone has it: each child computes by itself alone
    inside = resident.attacked(compute, Place(open_folder))
    assert inside.got == compute(Place(open_folder, backbone=resident.backbone)), inside.answer


def test_a_module_may_be_imported_late(resident: Resident, open_folder: Path) -> None:
    """It is read from disk, which the view shows; the user id is left out, for Python may live in root's own home."""

    def load(place: Place) -> object:
        import wave  # nobody else needs it

        return wave.__name__

    assert "wave" not in sys.modules
    assert resident.attacked(load, Place(open_folder), MEANS - {"user"}).got == "wave"
