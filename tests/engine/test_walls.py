"""A child that is in an attacker's hands: what it tries is stopped, its run ends with a reason, the next run passes.

Each attack has its control: with the walls away the same code gets what it wants. And each is tried behind single means,
for most walls stand twice.
"""

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from hub import runtime
from tests.engine import hostile, makers
from tests.engine.resident import LIMITS, Attack, Outcome, Place, Resident
from workers import backbone as backbones
from workers import pipes, sandbox, walls
from workers.assignment import Limits
from workers.backbone import Server

SECRET = "ahub_secret_of_somebody"
NONE: frozenset[str] = frozenset()
MEANS = sandbox.means()
pytestmark = pytest.mark.skipif(not {"syscalls", "view"} <= MEANS, reason="no seccomp filters or no Landlock here")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may")


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> Resident:
    place = tmp_path_factory.mktemp("resident")
    adapter = makers.teacher(place / "good", makers.TINY)
    opened = runtime.open_backbone(makers.TINY)
    makers.judged(makers.assignment(adapter, makers.TINY), opened, place)  # everything is imported
    return Resident(opened, makers.assignment(adapter, makers.TINY), place / "scratch")


@pytest.fixture
def open_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that any user may write to, with somebody's token and somebody's file in it."""
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        with contextlib.suppress(PermissionError):
            folder.chmod(0o777)
    for name in ("token", "theirs"):
        (tmp_path / name).write_text(SECRET)
        (tmp_path / name).chmod(0o666)
    yield tmp_path
    for folder in ("/tmp", "/dev/shm", "/var/tmp"):
        Path(folder, f"filled-{tmp_path.name}").unlink(missing_ok=True)


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user, with a secret in its environment."""
    with subprocess.Popen(["/bin/sleep", "600"], env={"TOKEN": SECRET}) as process:
        yield process
        process.kill()


@dataclass
class Listeners:
    """Whoever is reached notes it."""

    reached: list[str]
    ports: dict[str, object]


@pytest.fixture
def listeners(open_folder: Path) -> Iterator[Listeners]:
    """A server, a name server, a Docker daemon and a desktop's bus, each answering whoever comes."""
    with contextlib.ExitStack() as held:
        tcp = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        path, abstract = str(open_folder / "docker.sock"), f"bus-{open_folder.name}-{os.getpid()}"
        local = []
        for address in (path, "\0" + abstract):
            line = held.enter_context(socket.socket(socket.AF_UNIX))
            line.bind(address)
            line.listen()
            local.append(line)
        Path(path).chmod(0o666)
        ports = {"tcp": tcp.getsockname()[1], "udp": udp.getsockname()[1], "unix": path, "abstract": abstract}
        found = Listeners([], ports)
        for name, line in {"tcp": tcp, "unix": local[0], "abstract": local[1]}.items():
            threading.Thread(target=answer, args=(name, line, found), daemon=True).start()
        threading.Thread(target=answer_datagrams, args=(udp, found), daemon=True).start()
        yield found


def answer(name: str, line: socket.socket, found: Listeners) -> None:
    with contextlib.suppress(OSError):
        while True:
            came, _ = line.accept()
            found.reached.append(name)
            came.sendall(b"yes")
            came.close()


def answer_datagrams(line: socket.socket, found: Listeners) -> None:
    with contextlib.suppress(OSError):
        while True:
            _, who = line.recvfrom(100)
            found.reached.append("udp")
            line.sendto(b"yes", who)


def passed(found: Outcome) -> bool:
    """Whether the resident process lived, left nobody behind and let the next run pass."""
    return found.lived and found.after.get("report", {}).get("verdict") == "passed"


# --- Where what an attack gets is told by itself -------------------------------------------------------------------
# name -> (attack, means each of which alone stops it)
ATTACKS: dict[str, tuple[Attack, tuple[str, ...]]] = {
    "a fork bomb": (hostile.bomb, ("syscalls",)),
    "a daemon in a session of its own": (hostile.detach, ("syscalls",)),
    "another program": (hostile.run_a_program, ("syscalls", "view")),
    "forty threads": (hostile.threads, ()),
    "another session or process group": (hostile.leave_the_group, ("syscalls",)),
    "outliving its parent": (hostile.outlive_the_parent, ("syscalls",)),
    "a hundred gigabytes": (hostile.a_hundred_gigabytes, ("limits",)),
    "more memory than it may": (hostile.allocate, ("limits",)),
    "more memory in small pieces": (hostile.in_small_pieces, ("limits",)),
    "more memory, shared": (hostile.share_memory, ("limits", "syscalls")),
    "memory as a file": (hostile.memory_as_a_file, ("limits", "syscalls")),
    "filling the disk": (hostile.fill_the_disk, ("limits", "syscalls", "view")),
    "a hundred open files": (hostile.open_files, ("limits",)),
    "another's secrets": (hostile.read_secrets, ("view",)),
    "another's environment": (hostile.read_an_environment, ("view",)),
    "its parent's memory": (hostile.read_memory, ("view",)),
    "its parent's pipes": (hostile.speak_for_the_parent, ("view", "syscalls")),
    "tracing another process": (hostile.trace, ("view", "syscalls")),
    "another's limits": (hostile.starve_others, ("syscalls",)),
    "writing outside": (hostile.write_outside, ("syscalls",)),
    "namespaces": (hostile.new_namespaces, ("syscalls",)),
    "the kernel's keyring": (hostile.keys, ("syscalls",)),
    "calls that few programs make": (hostile.rare_calls, ("syscalls",)),
}


def met(folder: Path, victim: subprocess.Popen[bytes], more: dict[str, object] | None = None) -> Place:
    return Place(folder, victim.pid, more=more or {})


@pytest.mark.parametrize("name", ATTACKS)
def test_is_stopped_and_the_next_run_passes(
    name: str, resident: Resident, open_folder: Path, victim: subprocess.Popen[bytes]
) -> None:
    found = resident.attacked(ATTACKS[name][0], met(open_folder, victim))
    assert not found.got, found.answer
    assert "report" in found.answer or found.fault, "a reason is told"
    assert passed(found), found.after
    assert victim.poll() is None


@pytest.mark.parametrize("name", ATTACKS)
def test_gets_what_it_wants_without_walls(
    name: str, resident: Resident, open_folder: Path, victim: subprocess.Popen[bytes]
) -> None:
    """The control. `another program` tells by what that program writes: nothing of the child is left to speak."""
    limits = replace(LIMITS, seconds=2) if name == "another program" else LIMITS
    found = resident.attacked(ATTACKS[name][0], met(open_folder, victim), NONE, limits)
    assert found.got or (open_folder / "ran").exists(), found.answer
    assert passed(found), "what it started is gone all the same, and the parent lives"


@pytest.mark.parametrize(("name", "means"), [(name, means) for name, (_, by) in ATTACKS.items() for means in by])
def test_is_stopped_by_one_means_alone(
    name: str, means: str, resident: Resident, open_folder: Path, victim: subprocess.Popen[bytes]
) -> None:
    found = resident.attacked(ATTACKS[name][0], met(open_folder, victim), {means}, honest=False)
    assert not found.got, found.answer
    assert not (open_folder / "ran").exists()


# --- Where somebody else notices -----------------------------------------------------------------------------------
CALLS: dict[str, tuple[Attack, str]] = {
    "a server": (hostile.connect, "tcp"),
    "a name server": (hostile.ask_for_a_name, "udp"),
    "a Docker daemon": (hostile.command_docker, "unix"),
    "a desktop's bus": (hostile.reach_the_desktop, "abstract"),
}


@pytest.mark.parametrize("name", CALLS)
def test_nobody_is_reached(name: str, resident: Resident, open_folder: Path, listeners: Listeners) -> None:
    attack, who = CALLS[name]
    found = resident.attacked(attack, Place(open_folder, more=listeners.ports))
    assert not found.got
    assert listeners.reached == []
    assert passed(found)
    resident.attacked(attack, Place(open_folder, more=listeners.ports), NONE)
    assert listeners.reached == [who], "the control: without walls it gets through"


@needs_root
def test_the_address_that_gives_clouds_their_keys_is_not_reached(resident: Resident, open_folder: Path) -> None:
    """The service is really there: on the loopback of a network that the resident process is in."""
    found = resident.attacked(hostile.ask_for_credentials, Place(open_folder), prepare=serve_credentials)
    assert found.got == []
    assert passed(found)
    reached = resident.attacked(hostile.ask_for_credentials, Place(open_folder), NONE, prepare=serve_credentials)
    assert reached.got == ["HTTP/1.0 200 OK"]


def serve_credentials() -> None:
    """Give this network namespace, a new one, the address 169.254.169.254, and answer there from another process."""
    import fcntl
    import struct

    assert sandbox.leave_network()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        for name, address in {b"lo": "127.0.0.1", b"lo:1": "169.254.169.254"}.items():
            given = struct.pack("16sH2x4s8x", name, socket.AF_INET, socket.inet_aton(address))
            fcntl.ioctl(line, 0x8916, given)  # SIOCSIFADDR
        fcntl.ioctl(line, 0x8914, struct.pack("16sH", b"lo", 0x1 | 0x40))  # up and running
    server = socket.create_server(("169.254.169.254", 80))
    if not os.fork():
        if not os.fork():  # nobody's child, or the resident process would end it with an adapter's
            while True:
                came, _ = server.accept()
                came.sendall(b"HTTP/1.0 200 OK")
                came.close()
        os._exit(0)
    os.wait()


SIGNALS = {"a signal": hostile.kill_others, "a signal that the kernel sends for it": hostile.kill_by_the_kernel}


@pytest.mark.parametrize("name", SIGNALS)
def test_nobody_is_signalled(name: str, resident: Resident, open_folder: Path, victim: subprocess.Popen[bytes]) -> None:
    for raised in (MEANS, {"view"}, {"syscalls"}):
        found = resident.attacked(SIGNALS[name], met(open_folder, victim), raised)
        assert passed(found)
        time.sleep(0.05)
        assert victim.poll() is None, f"{victim} is killed behind {raised}"
    resident.attacked(SIGNALS[name], met(open_folder, victim), NONE)
    assert victim.wait(5) < 0, "the control: without walls it is killed"


def may_raise_limits() -> bool:
    """CAP_SYS_RESOURCE, which root of a container or of a small machine may lack."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) >> 24 & 1)


@needs_root
def test_root_cannot_take_back_what_it_limited_itself_to(resident: Resident, open_folder: Path) -> None:
    expected = (
        (MEANS, False),
        ({"limits", "syscalls"}, False),
        ({"limits", "user"}, False),
        ({"limits"}, may_raise_limits()),
    )
    for raised, got in expected:
        found = resident.attacked(hostile.raise_the_limits, Place(open_folder), raised)
        assert bool(found.got) is got, raised


# --- What is left behind -------------------------------------------------------------------------------------------
def test_a_daemon_that_got_away_is_found_and_ended(
    resident: Resident, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the filter it gets out of its group; it is adopted by the backbone process, and ended with its run."""
    found = resident.attacked(hostile.detach, Place(open_folder), NONE)
    assert found.got
    assert not psutil.pid_exists(found.got)
    monkeypatch.setattr(sandbox, "end_leftovers", lambda: True)
    left = resident.attacked(hostile.detach, Place(open_folder), NONE)
    assert psutil.pid_exists(left.got), "the control: nobody looks for it, and it lives on"
    psutil.Process(left.got).kill()


def test_a_descriptor_of_its_parent_is_not_inherited(resident: Resident, open_folder: Path) -> None:
    """A plain fork would hand it on: the control."""
    with (open_folder / "token").open("rb") as held:
        number = held.fileno()

        def read(place: Place) -> object:
            return hostile.each(lambda: os.pread(number, 10, 0))

        assert resident.attacked(read, Place(open_folder), NONE).got == []
        reading, writing = os.pipe()
        if not os.fork():
            os.write(writing, os.pread(number, 100, 0))
            os._exit(0)
        os.wait()
        assert os.read(reading, 100).decode() == SECRET
        for end in (reading, writing):
            os.close(end)


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
        assert passed(found)
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
    assert passed(found)
    assert resident.attacked(hostile.spin, Place(open_folder)).got == "spun", "the control: with more time it goes on"


def test_a_stack_without_end_is_told(resident: Resident, open_folder: Path) -> None:
    found = resident.attacked(hostile.recurse, Place(open_folder))
    assert found.fault.startswith(("killed by SIGSEGV", "RecursionError", "out of memory")), found.answer
    assert passed(found)


# what it says -> what is told of it
WORDS: dict[str, tuple[Attack, str]] = {
    "a length without end": (hostile.saying(b"\xff" * 8), "a message of 4294967295 bytes"),
    "no JSON": (hostile.saying(hostile.framed(b"{nonsense")), "no JSON"),
    "no object": (hostile.saying(hostile.framed(b"[1, 2]")), "no object"),
    "what is no number": (hostile.saying(hostile.framed(b'{"result": NaN}')), "NaN is no number"),
    "brackets without end": (hostile.saying(hostile.framed(b'{"a":' + b"[" * 100_000)), "no JSON"),
    "depth": (hostile.saying(hostile.framed(b'{"a":' + b"[" * 200 + b"]" * 200 + b"}")), "deeper than"),
    "values without end": (hostile.saying(hostile.framed(b'{"a":[' + b"[]," * 5_000_000 + b"0]}")), "values"),
    "stages without end": (
        hostile.saying(hostile.framed(b'{"stage": "' + b"a" * 1_000_000 + b'"}'), 100),
        "more bytes than it may say",
    ),
    "a report that is none": (hostile.saying(hostile.framed(b'{"result": [1]}')), "no report"),
    "a fault that is no text": (hostile.saying(hostile.framed(b'{"fault": {"a": 1}}')), "{'a': 1}"),
    "escapes for a terminal": (hostile.saying(hostile.framed(b'{"fault": "\\u001b[2Jgone"}')), "?[2Jgone"),
    "half a message": (hostile.saying(b"\0\0\1"), "time limit passed"),
    "nothing, and it lives on": (hostile.go_quiet, "killed by SIGKILL"),
}


@pytest.mark.parametrize("name", WORDS)
def test_what_it_says_is_bounded_and_is_a_fault(name: str, resident: Resident, open_folder: Path) -> None:
    attack, told = WORDS[name]
    found = resident.attacked(attack, Place(open_folder), limits=replace(LIMITS, seconds=4))
    assert told in found.fault, found.answer
    assert len(found.fault) < 1000
    assert passed(found)


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
    assert passed(found)


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
