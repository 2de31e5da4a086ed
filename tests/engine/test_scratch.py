"""What is made of benchmarks lies on disk from run to run: it is read back as it was written, and no child writes to it."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from hub.runtime.base import Backbone
from tests.engine import hostile, makers
from tests.engine.resident import MEANS, Place, Resident
from workers import benchmarks, sandbox
from workers import scratch as scratch_files
from workers import shelf as shelves
from workers.assignment import BenchmarkFiles, Limits
from workers.errors import Fault
from workers.sandbox import Reach
from workers.shelf import Shelf, Tell

LIMITS = Limits(seconds=20, memory_gb=1)
needs_all = pytest.mark.skipif(not {"syscalls", "view"} <= MEANS, reason="no seccomp filters or no Landlock here")


@pytest.fixture
def files(tmp_path: Path) -> BenchmarkFiles:
    good = makers.teacher(tmp_path / "good", makers.TINY)
    return makers.benchmark_of(tmp_path / "rows", good, makers.TINY, rows=40, train=0)


def kept(folder: Path) -> Path:
    """The one file that is ready."""
    (path,) = benchmarks.folder(folder).iterdir()
    return path


def spoil(path: Path) -> None:
    """Change one byte of a file in the middle of its tensors, and nothing else."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(-40, os.SEEK_END)
        (byte,) = file.read(1)
        file.seek(-40, os.SEEK_END)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("checked", [True, False], ids=["checked", "the control"])
def test_what_was_changed_on_disk_is_not_read_back(
    files: BenchmarkFiles, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checked: bool
) -> None:
    makers.ready(files, backbone, tmp_path)
    spoil(kept(tmp_path))
    if not checked:
        monkeypatch.setattr(scratch_files, "_sha256", lambda path: path.suffix[1:])
    assert (benchmarks.cached(backbone, files.benchmark, tmp_path) is None) == checked
    assert bool(list(benchmarks.folder(tmp_path).iterdir())) != checked, "it is removed, so that it is made anew"


def confined(raised: Collection[str]) -> Any:
    """Work in a child behind the walls of these means, waited for."""

    def in_child(work: Any, limits: Limits, reach: Reach) -> None:
        child = sandbox.fork(lambda: lambda pipe: work()(print), limits, reach, raised)
        with os.fdopen(os.dup(child.pipe)) as pipe:
            pipe.read()
        child.end()

    return in_child


@needs_all
@pytest.mark.parametrize("raised", [MEANS, frozenset()], ids=["walls", "the control"])
def test_what_a_benchmarks_child_makes_besides_its_own_file_is_left(
    files: BenchmarkFiles, tmp_path: Path, raised: frozenset[str]
) -> None:
    """In an attacker's hands it changes what is ready of others, and leaves files under their names."""
    ready = benchmarks.folder(tmp_path)
    ready.mkdir()
    others = ready / "of-others.safetensors.0"
    others.write_bytes(b"ready")

    def attack(made: Path, tell: Tell) -> None:
        (made / "mine.safetensors").write_bytes(b"mine")
        (made / "theirs.safetensors").write_bytes(b"planted")
        hostile.each(lambda: others.write_bytes(b"changed"), lambda: (ready / "planted").write_bytes(b"planted"))

    Shelf(tmp_path, confined(raised), lambda stage: None)._make("mine.safetensors", files, LIMITS, attack)
    names = sorted(path.name.partition(".safetensors")[0] for path in ready.iterdir())
    assert (names, others.read_bytes()) == (
        (["mine", "of-others"], b"ready") if raised else (["mine", "of-others", "planted"], b"changed")
    )
    assert not list((tmp_path / "making").iterdir())


@needs_all
def test_a_link_in_the_place_of_its_file_is_not_taken(files: BenchmarkFiles, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")

    def attack(made: Path, tell: Tell) -> None:
        os.symlink(tmp_path / "secret", made / "mine.safetensors")

    Shelf(tmp_path, confined(frozenset()), lambda stage: None)._make("mine.safetensors", files, LIMITS, attack)
    assert not list(benchmarks.folder(tmp_path).iterdir())
    assert (tmp_path / "secret").read_text() == "secret"


@needs_all
@pytest.mark.parametrize("raised", [MEANS, frozenset()], ids=["walls", "the control"])
def test_a_judging_child_changes_nothing_of_what_is_ready(
    resident: Resident, open_folder: Path, raised: frozenset[str]
) -> None:
    theirs = open_folder / "of-others.safetensors.0"
    theirs.write_bytes(b"ready")
    theirs.chmod(0o400)

    def attack(place: Place) -> object:
        return hostile.each(lambda: theirs.chmod(0o600), lambda: theirs.write_bytes(b"changed"), theirs.unlink)

    found = resident.attacked(attack, Place(open_folder), raised)
    assert found.got == ([] if raised else [0, 1, 2])
    assert theirs.exists() == bool(raised)
    assert found.passed


def ending(shelf_of: Path, backbone: Backbone, files: BenchmarkFiles, in_child: Any) -> Any:
    """A shelf, and what making this benchmark ready raises on it."""
    shelf = Shelf(shelf_of, in_child, lambda stage: None)

    def ended() -> Fault:
        with pytest.raises(Fault) as told:
            shelf.prepared(backbone, files, LIMITS)
        return told.value

    return ended


def test_a_benchmark_that_ends_its_child_is_named_and_left_alone_for_a_while_after_three_times(
    files: BenchmarkFiles, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, tries = [0.0], []

    def killed(*given: object) -> None:
        tries.append(given)
        raise Fault("killed by SIGKILL while probe")

    monkeypatch.setattr(shelves.time, "monotonic", lambda: clock[0])
    ended = ending(tmp_path / "held", backbone, files, killed)
    for expected in (1, 2, 3, 3, 3):
        found = ended()
        assert found.benchmark == files.benchmark.digest and "cannot be made ready" in str(found)
        assert len(tries) == expected and "killed by SIGKILL while probe" in str(found)
    clock[0] = shelves.REST_SECONDS + 1
    ended()
    assert len(tries) == 4


def test_a_disk_that_is_full_is_no_fault_of_the_benchmark(
    files: BenchmarkFiles, backbone: Backbone, tmp_path: Path
) -> None:
    for _ in range(4):
        found = ending(tmp_path / "held", backbone, files, lambda *given: {"unwritten": "OSError: No space left"})()
        assert (found.started, found.benchmark) == (False, None)
        assert "No space left" in str(found)
