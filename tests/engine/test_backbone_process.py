"""The process that holds the backbone: what it is given, what it survives, what its children may do."""

import faulthandler
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from hub import runtime
from hub.runtime.base import Backbone
from tests.engine import makers
from tests.engine.makers import failed, judged
from tests.system import poison
from tests.system.hubs import opened
from workers import early, engine, sandbox
from workers.assignment import Assignment, Limits
from workers.errors import Fault, LeaseLost
from workers.process import BackboneProcess

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("process")


@pytest.fixture(scope="module")
def short(place: Path) -> Assignment:
    good = makers.teacher(place / "good", makers.TINY)
    return makers.assignment(
        good, makers.TINY, makers.benchmark_of(place / "short", good, makers.TINY, rows=64, train=64)
    )


@pytest.fixture(scope="module")
def long(place: Path) -> Assignment:
    """A run that takes some seconds, long enough to be interrupted."""
    good = makers.teacher(place / "good2", makers.TINY)
    files = makers.benchmark_of(place / "long", good, makers.TINY, rows=6000, train=0, name="tests/long")
    return makers.assignment(good, makers.TINY, files)


@pytest.fixture(scope="module")
def process(place: Path) -> Iterator[BackboneProcess]:
    found = BackboneProcess(place / "scratch")
    yield found
    found.stop()


def children(process: BackboneProcess) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_a_child_whose_gates_are_decided_lets_others_go_first(process: BackboneProcess, long: Assignment) -> None:
    found: list[int] = []

    def look(stage: str) -> None:
        if stage.endswith(early.COMPLETING):
            found.append(children(process)[0].nice())

    process.judge(long, look)
    assert process.held == [long.fingerprint], "so that the registry may send runs here that need no other base"
    assert found == [sandbox.UNHURRIED] != [os.getpriority(os.PRIO_PROCESS, 0)]


def digest(process: BackboneProcess, given: Assignment) -> str:
    return str(process.judge(given, lambda stage: None)["result_digest"])


def test_a_replay_gives_the_same_result_after_other_runs_and_in_a_fresh_process(
    process: BackboneProcess, short: Assignment, place: Path, backbone: Backbone
) -> None:
    first = digest(process, short)
    other = makers.teacher(place / "other", makers.TINY, seed=4)
    assert digest(process, makers.assignment(other, makers.TINY, *short.benchmarks)) != first
    assert digest(process, short) == first
    fresh = BackboneProcess(place / "elsewhere")
    try:
        assert digest(fresh, short) == first
    finally:
        fresh.stop()
    assert judged(short, backbone, place / "third")["result_digest"] == first


def test_a_killed_child_is_a_fault_and_no_verdict(
    process: BackboneProcess, short: Assignment, long: Assignment
) -> None:
    expected = digest(process, short)

    def kill(stage: str) -> None:
        if stage.startswith("score"):
            children(process)[0].kill()

    with pytest.raises(Fault, match=r"killed by SIGKILL while (score|tests/long (passes|fails) by)"):
        process.judge(long, kill)
    assert digest(process, short) == expected


def test_a_run_beyond_its_time_is_a_fault(process: BackboneProcess, long: Assignment) -> None:
    process.judge(long, lambda stage: None)
    with pytest.raises(Fault, match="time limit"):
        process.judge(replace(long, limits=Limits(seconds=0.05)), lambda stage: None)
    assert not children(process)


def test_an_adapter_that_takes_too_much_memory_is_a_fault_and_an_attempt(
    process: BackboneProcess, short: Assignment, place: Path
) -> None:
    """A valid one, and no crash by a signal: what it computes does not fit. With more memory it is judged: the control."""
    expected = digest(process, short)
    rows = makers.write_benchmark(place / "even", poison.lines(poison.ROWS), poison.lines(20, seed=1))
    greedy = makers.assignment(poison.write_poison(place / "greedy", 0), makers.TINY, rows, gates={})
    with pytest.raises(Fault, match="^out of memory$") as told:
        process.judge(replace(greedy, limits=Limits(memory_gb=poison.MEMORY_GB)), lambda stage: None)
    assert told.value.started
    assert digest(process, short) == expected
    assert process.judge(greedy, lambda stage: None)["verdict"] == "passed"
    usual = replace(greedy, snapshot=short.snapshot, limits=Limits(memory_gb=poison.MEMORY_GB))
    assert process.judge(usual, lambda stage: None)["verdict"] == "passed", "others have enough"


def test_where_a_run_cannot_even_read_its_files_it_is_a_fault(process: BackboneProcess, short: Assignment) -> None:
    expected = digest(process, short)
    with pytest.raises(Fault) as told:
        process.judge(replace(short, limits=Limits(memory_gb=0.0)), lambda stage: None)
    assert told.value.started
    assert digest(process, short) == expected


def test_a_lost_lease_ends_the_child(process: BackboneProcess, short: Assignment, long: Assignment) -> None:
    seen: list[int] = []

    def watch(stage: str) -> None:
        if stage.startswith("score"):
            seen.extend(child.pid for child in children(process))

    with pytest.raises(LeaseLost):
        process.judge(long, watch, lost=lambda: bool(seen))
    assert gone(seen[0])
    assert digest(process, short)


def test_neither_process_nor_child_hold_secrets_or_sockets(
    process: BackboneProcess, short: Assignment, long: Assignment, monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    monkeypatch.setenv("HUB_WORKER_TOKEN", "ahub_secret_of_the_worker")
    seen: dict[str, str] = {}
    with socket.create_server(("127.0.0.1", 0)):
        fresh = BackboneProcess(place / "scratch")

        def look(stage: str) -> None:
            if stage.startswith("score"):
                child = children(fresh)[0]
                for who, pid in {"process": fresh.pid, "child": child.pid}.items():
                    seen[f"{who} environment"] = Path(f"/proc/{pid}/environ").read_bytes().decode()
                    seen[f"{who} files"] = " ".join(opened(pid))
                seen["child user"] = str(child.uids().real)
                seen["child group"] = str(os.getpgid(child.pid) == child.pid)

        try:
            fresh.judge(long, look)
        finally:
            fresh.stop()
    assert seen["process environment"] == seen["child environment"] == ""
    assert "socket" not in seen["process files"] + seen["child files"]
    assert seen["child files"].count("pipe:") <= 2, "its own end of the pipe, and perhaps standard error"
    assert seen["child group"] == "True"
    if os.geteuid() == 0:
        assert int(seen["child user"]) in sandbox.UNUSED_IDS


def test_the_process_and_its_child_die_with_the_worker(place: Path, long: Assignment) -> None:
    script = f"""
import json, sys
from pathlib import Path
from workers.assignment import Assignment
from workers.process import BackboneProcess
process = BackboneProcess(Path({str(place / "scratch")!r}))
given = Assignment.from_json(json.loads(sys.stdin.read()))
process.judge(given, lambda stage: print(process.pid, stage, flush=True))
"""
    import json

    worker = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps(long.to_json()))
    worker.stdin.close()
    for line in worker.stdout:
        if " score" in line:
            break
    pid = int(line.split()[0])
    family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    assert len(family) == 2
    worker.kill()
    worker.wait()
    assert all(gone(member) for member in family)


def end_of(work: object, *writes: Path) -> int:
    """Status of a forked child that does `work()`; negative is a signal's number. It may write below `writes`."""

    def quietly(pipe: int) -> None:
        faulthandler.disable()
        work()  # type: ignore[operator]

    child = sandbox.fork(lambda: quietly, Limits(seconds=20), sandbox.Reach(writes=writes), sandbox.means())
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    return os.waitstatus_to_exitcode(child.end())


def test_a_write_into_the_backbone_kills_the_child_and_nobody_else(backbone: Backbone) -> None:
    weight = backbone.model.encoder.layer[0].attention.self.query.weight
    assert end_of(lambda: weight.data.add_(1.0)) == -signal.SIGSEGV
    assert end_of(lambda: backbone.model.embeddings.position_ids.add_(1)) == -signal.SIGSEGV
    assert end_of(lambda: None) == 0
    assert runtime.rehash(backbone) == backbone.fingerprint


def writable(backbone: Backbone) -> Backbone:
    """The same backbone in ordinary memory: the wall taken away."""
    for parameter in backbone.model.parameters():
        parameter.data = parameter.data.clone()
    return backbone


def test_without_the_read_only_mapping_the_frozen_check_turns_red(
    backbone: Backbone, short: Assignment, place: Path
) -> None:
    assert "frozen" not in failed(judged(short, writable(backbone), place))
    weight = backbone.model.encoder.layer[1].output.dense.weight

    def poison(stage: str) -> None:
        if stage == "effect":
            weight.data.add_(0.01)

    prepared = {f.benchmark.digest: makers.ready(f, backbone, place) for f in short.benchmarks}
    found = engine.judge(short, backbone, prepared, engine.in_memory(short.snapshot), poison)
    assert "frozen" in failed(found)
    assert found["verdict"] == "failed"


def test_rebinding_a_weight_or_a_buffer_turns_the_frozen_check_red(tiny: Path) -> None:
    backbone = runtime.open_backbone(tiny)
    backbone.model.pooler.dense.weight.data = backbone.model.pooler.dense.weight.data * 2
    assert runtime.rehash(backbone) != backbone.fingerprint
    backbone = runtime.open_backbone(tiny)
    backbone.model.embeddings.position_ids = backbone.model.embeddings.position_ids.flip(-1).clone()
    assert runtime.rehash(backbone) != backbone.fingerprint


def test_a_base_changed_on_disk_is_a_fault_and_never_a_verdict(short: Assignment, place: Path, tmp_path: Path) -> None:
    base = makers.copied(makers.TINY, tmp_path / "base")
    process = BackboneProcess(place / "scratch")
    given = replace(short, base=base)
    try:
        assert process.judge(given, lambda stage: None)["verdict"] == "passed"
        with (base / "model.safetensors").open("r+b") as file:
            file.seek(-3, os.SEEK_END)
            file.write(b"\x7f")
        with pytest.raises(Fault, match="changed on disk"):
            process.judge(given, lambda stage: None)
        with pytest.raises(Fault, match=r"holds base:\w+, not"):
            process.judge(given, lambda stage: None)
    finally:
        process.stop()


def test_a_child_cannot_write_files_or_start_processes(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    def write() -> None:
        (tmp_path / "file").write_text("text")

    assert end_of(write) != 0
    assert end_of(write, tmp_path) == 0
    assert end_of(os.fork) == 1 or os.geteuid() != 0


def test_one_thread_computes(process: BackboneProcess, short: Assignment) -> None:
    assert process.judge(short, lambda stage: None)["environment"]["threads"] == 1
    assert torch.get_num_threads() == 1


def test_a_benchmark_that_is_too_heavy_is_named_and_the_next_run_passes(
    process: BackboneProcess, short: Assignment, place: Path
) -> None:
    good = makers.teacher(place / "heavy-good", makers.TINY)
    files = makers.benchmark_of(place / "heavy", good, makers.TINY, rows=2000, train=0, name="tests/heavy")
    heavy = replace(makers.assignment(good, makers.TINY, files), limits=Limits(seconds=30, memory_gb=0.0005))
    with pytest.raises(Fault, match="benchmark tests/heavy cannot be made ready") as told:
        process.judge(heavy, lambda stage: None)
    assert (told.value.started, told.value.benchmark) == (False, files.benchmark.digest)
    assert process.judge(short, lambda stage: None)["verdict"] == "passed"
