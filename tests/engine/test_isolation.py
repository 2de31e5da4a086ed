"""Which walls a worker finds around its children, what it says of them, and that it judges nothing without the essential ones."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import makers
from workers import sandbox, selftest, settings, walls
from workers.assignment import Limits
from workers.process import BackboneProcess
from workers.walls import numbers, syscalls, view

ROOT = Path(__file__).parents[2]
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}

needs_all = pytest.mark.skipif(
    not {"syscalls", "view"} <= sandbox.means(), reason="this kernel has no seccomp filters or no Landlock"
)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackboneProcess]:
    found = BackboneProcess(tmp_path_factory.mktemp("walls"))
    yield found
    found.stop()


@needs_all
def test_on_this_machine_every_wall_holds_that_needs_no_namespace(tmp_path: Path) -> None:
    assert selftest.run(tmp_path, sandbox.means(), namespace=False).missing == ("network namespace",)


# means that are taken away -> walls that fall then, whoever runs the worker
FALL = {
    frozenset({"syscalls"}): {"network", "sockets", "kernel"},
    frozenset({"view"}): {"reading"},
    frozenset({"syscalls", "view"}): {"network", "sockets", "kernel", "reading"},
    frozenset({"limits", "syscalls", "view"}): {"limits", "processes", "network", "sockets", "kernel", "reading"},
    walls.MEANS: {"limits", "processes", "network", "sockets", "kernel", "reading", "writing", "neighbours"},
}


@needs_all
@pytest.mark.parametrize("gone", FALL, ids=lambda gone: "+".join(sorted(gone)))
def test_the_self_test_turns_red_for_each_means_that_is_missing(gone: frozenset[str], tmp_path: Path) -> None:
    """The control: the trials are real, each succeeds where nothing withstands it."""
    found = selftest.run(tmp_path, sandbox.means() - gone, namespace=False)
    assert FALL[gone] <= set(found.missing), found.level
    assert not list(tmp_path.iterdir()), "it tidies up"


@needs_all
def test_without_the_filter_the_essential_walls_but_that_of_the_network_still_stand(tmp_path: Path) -> None:
    """They stand twice, by means of different kinds. The network's second means is the namespace."""
    found = selftest.run(tmp_path, sandbox.means() - {"syscalls"}, namespace=False)
    assert set(found.breaches) <= {"network"} | ({"writing"} if os.geteuid() else set())


def run_a_program() -> None:
    pid = os.fork()
    if not pid:
        try:
            os.execv("/bin/true", ["true"])
        finally:
            os._exit(1)
    if os.waitpid(pid, 0)[1]:
        raise OSError("the program was not run")


def reached(raised: frozenset[str], folder: Path) -> set[str]:
    """What a child gets that may read one file, write below one folder and have helpers."""
    reach = sandbox.Reach((folder / "data.tsv",), (folder / "prepared",), helpers=True)
    tries = {
        "its data": (folder / "data.tsv").read_bytes,
        "its folder": lambda: (folder / "prepared" / "made").write_text("text"),
        "a helper": lambda: os.waitpid(os.fork() or os._exit(0), 0),
        "other data": (folder / "other.tsv").read_bytes,
        "another folder": lambda: (folder / "made").write_text("text"),
        "a socket": lambda: socket.socket().close(),
        "a session": os.setsid,
        "a program": run_a_program,
    }

    def work(pipe: int) -> None:
        for name, attempt in tries.items():
            try:
                attempt()
            except OSError:
                continue
            os.write(pipe, f"{name}\n".encode())

    child = sandbox.fork(lambda: work, Limits(seconds=20, memory_gb=1), reach, raised)
    with os.fdopen(os.dup(child.pipe), "r") as pipe:
        found = set(pipe.read().splitlines())
    child.end()
    return found


@needs_all
def test_the_child_that_prepares_a_benchmark_reaches_its_files_and_nothing_else(tmp_path: Path) -> None:
    for name in ("data.tsv", "other.tsv"):
        (tmp_path / name).write_text("text")
    (tmp_path / "prepared").mkdir()
    due = {"its data", "its folder", "a helper"}
    assert reached(sandbox.means(), tmp_path) == due
    free = {"other data", "another folder", "a socket", "a program"}
    assert reached(frozenset(), tmp_path) >= due | free, "the control: without walls it gets the rest"


def test_the_level_names_what_is_missing() -> None:
    assert walls.found(walls.WALLS).level == "full"
    assert walls.found(set(walls.WALLS) - {"network namespace"}).level == "all but network namespace"
    assert walls.found(()).breaches == ("network", "writing", "processes", "limits")
    assert walls.found((), asked=False).level == "off"


def test_a_report_says_how_its_run_was_confined(process: BackboneProcess) -> None:
    found = process.judge(makers.assignment(makers.SPECIMENS, makers.TINY), lambda stage: None)
    assert process.isolation is not None
    assert found["environment"]["isolation"] == process.isolation.to_json()
    assert {"network", "writing", "processes", "limits"} <= set(found["environment"]["isolation"]["walls"])


POOR = """
import ctypes, errno, logging, struct, sys
from pathlib import Path
logging.basicConfig(level=logging.INFO, format="%(message)s")
deny = lambda word: (6, 0, 0, 0x50000 | word)
steps = [(0x20, 0, 0, 0),
    (0x15, 0, 4, 157), (0x20, 0, 0, 16), (0x15, 1, 0, 21), (0x15, 0, 1, 22), deny(errno.EINVAL), (0x20, 0, 0, 0),
    (0x15, 0, 1, 444), deny(errno.ENOSYS), (0x15, 0, 1, 272), deny(errno.EPERM), (6, 0, 0, 0x7FFF0000)]
code = b"".join(struct.pack("@HBBI", *step) for step in steps)
held = ctypes.create_string_buffer(code, len(code))
libc = ctypes.CDLL(None)
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, struct.pack("@HP", len(steps), ctypes.addressof(held)), 0, 0) == 0
scratch, asked = Path(sys.argv[1]), sys.argv[2]
"""
"""A worker on a machine without seccomp, Landlock and namespaces: a filter around it refuses all three."""


JUDGE = """
from tests.engine import makers
from workers.process import BackboneProcess
process = BackboneProcess(scratch, asked)
try:
    report = process.judge(makers.assignment(makers.SPECIMENS, makers.TINY), lambda stage: None)
    print("JUDGED", report["environment"]["isolation"]["level"])
finally:
    process.stop()
"""
SELFTEST = """
from workers import selftest
sys.argv[1:] = [str(scratch)]
print("ENDED", selftest.main())
"""
CLAIM = """
from workers import jobs
from workers.assignment import Limits
from workers.settings import Settings
worker = jobs.Worker("w1", Settings("http://127.0.0.1:9", None, "", (), scratch, Limits(), asked))
worker.registry.claim = lambda *_, **__: print("CLAIMED")
worker.drain()
worker.process.stop()
"""


def on_a_poor_machine(script: str, scratch: Path, asked: str) -> str:
    line = [sys.executable, "-c", POOR + script, str(scratch), asked]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout + done.stderr


poor = pytest.mark.skipif(
    os.uname().machine != "x86_64" or not {"syscalls", "view"} <= sandbox.means(),
    reason="the filter of this test is written for x86_64, and has to be taken",
)


@poor
def test_a_worker_claims_nothing_where_the_essential_walls_cannot_be_had(tmp_path: Path) -> None:
    """Its runs are left to other workers: no attempt, no takeover. The log says what is missing and what to do."""
    said = on_a_poor_machine(CLAIM, tmp_path, "required")
    assert "CLAIMED" not in said
    assert "w1 claims no run: nothing is judged on this machine, for these walls do not hold: network" in said
    assert "nothing makes sure that an adapter's child reaches no network; to mend: use a kernel" in said
    assert "CLAIMED" in on_a_poor_machine(CLAIM, tmp_path, "best"), "the control: where it is accepted, it claims"


@poor
def test_where_the_operator_accepts_it_the_report_says_which_walls_were_missing(tmp_path: Path) -> None:
    said = on_a_poor_machine(JUDGE, tmp_path, "best")
    assert re.search(r"JUDGED all but network, sockets, network namespace, .*kernel", said), said


@poor
def test_a_person_is_told_which_walls_are_missing_and_what_follows(tmp_path: Path) -> None:
    said = on_a_poor_machine(SELFTEST, tmp_path, "required")
    assert "no run is claimed without these walls: network, " in said and "HUB_ISOLATION=best" in said
    assert "ENDED 1" in said
    line = [sys.executable, "-m", "workers.selftest", str(tmp_path)]
    here = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (here.returncode, here.stdout.split(":")[0]) == (0, "isolation of runs"), (
        "the control: a machine that has them"
    )


def test_a_word_that_is_none_of_the_three_is_refused() -> None:
    with pytest.raises(ValueError, match="say required, best or off"):
        settings.read({"HUB_ISOLATION": "maybe"})
    assert settings.read({}).isolation == "required"


@pytest.mark.parametrize("machine", HEADERS)
def test_system_calls_have_the_numbers_that_the_kernels_headers_give_them(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip(f"no {HEADERS[machine]} here")
    text = HEADERS[machine].read_text()
    given = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\s", text)}
    given |= {"newfstatat": given["fstatat"]} if "fstatat" in given else {}
    assert {name: given[name] for name in numbers.NUMBERS[machine]} == numbers.NUMBERS[machine]


def test_every_call_that_is_allowed_has_a_number() -> None:
    for writes in (False, True):
        assert set(syscalls.rules(1, writes=writes)) <= set(numbers.X86_64)


def test_the_view_shows_code_and_not_what_lies_beside_it() -> None:
    """Beside a checkout's code may lie its data folder, with secrets."""
    shown = view.code()
    assert ROOT / "workers" in shown
    assert not any(ROOT.is_relative_to(path) for path in shown)
