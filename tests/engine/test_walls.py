"""A child that is in an attacker's hands: what it tries is stopped, its run ends with a reason, the next run passes.

Each attack has its control: with the walls away the same code gets what it wants. And each is tried behind single means,
for most walls stand twice.
"""

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from tests.engine import hostile, trespass
from tests.engine.resident import LIMITS, MEANS, SECRET, Attack, Place, Resident
from workers import sandbox

NONE: frozenset[str] = frozenset()
pytestmark = pytest.mark.skipif(not {"syscalls", "view"} <= MEANS, reason="no seccomp filters or no Landlock here")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may")


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
    "another's secrets": (trespass.read_secrets, ("view",)),
    "another's environment": (trespass.read_an_environment, ("view",)),
    "its parent's memory": (trespass.read_memory, ("view",)),
    "its parent's pipes": (trespass.speak_for_the_parent, ("view", "syscalls")),
    "tracing another process": (trespass.trace, ("view", "syscalls")),
    "another's limits": (trespass.starve_others, ("syscalls",)),
    "writing outside": (trespass.write_outside, ("syscalls",)),
    "namespaces": (trespass.new_namespaces, ("syscalls",)),
    "the kernel's keyring": (trespass.keys, ("syscalls",)),
    "calls that few programs make": (trespass.rare_calls, ("syscalls",)),
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
    assert found.passed, found.after
    assert victim.poll() is None


@pytest.mark.parametrize("name", ATTACKS)
def test_gets_what_it_wants_without_walls(
    name: str, resident: Resident, open_folder: Path, victim: subprocess.Popen[bytes]
) -> None:
    """The control. `another program` tells by what that program writes: nothing of the child is left to speak."""
    limits = replace(LIMITS, seconds=2) if name == "another program" else LIMITS
    found = resident.attacked(ATTACKS[name][0], met(open_folder, victim), NONE, limits)
    assert found.got or (open_folder / "ran").exists(), found.answer
    assert found.passed, "what it started is gone all the same, and the parent lives"


@pytest.mark.parametrize("means", ["limits", "syscalls", "view"])
def test_one_means_alone_stops_what_it_is_said_to_stop(
    means: str, resident: Resident, open_folder: Path, victim: subprocess.Popen[bytes]
) -> None:
    """One child tries them all: it lives through each."""
    tried = {name: attack for name, (attack, by) in ATTACKS.items() if means in by}

    def attack(place: Place) -> object:
        return {name: one(place) for name, one in tried.items()}

    found = resident.attacked(attack, met(open_folder, victim), {means}, honest=False)
    assert found.got is not None, found.answer
    assert found.got.keys() == tried.keys()
    assert [name for name, got in found.got.items() if got] == []
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
    assert found.passed
    resident.attacked(attack, Place(open_folder, more=listeners.ports), NONE)
    assert listeners.reached == [who], "the control: without walls it gets through"


@needs_root
def test_the_address_that_gives_clouds_their_keys_is_not_reached(resident: Resident, open_folder: Path) -> None:
    """The service is really there: on the loopback of a network that the resident process is in."""
    found = resident.attacked(hostile.ask_for_credentials, Place(open_folder), prepare=serve_credentials)
    assert found.got == []
    assert found.passed
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


SIGNALS = {"a signal": trespass.kill_others, "a signal that the kernel sends for it": trespass.kill_by_the_kernel}


@pytest.mark.parametrize("name", SIGNALS)
def test_nobody_is_signalled(name: str, resident: Resident, open_folder: Path, victim: subprocess.Popen[bytes]) -> None:
    for raised in (MEANS, {"view"}, {"syscalls"}):
        found = resident.attacked(SIGNALS[name], met(open_folder, victim), raised)
        assert found.passed
        time.sleep(0.05)
        assert victim.poll() is None, f"{victim} is killed behind {raised}"
        assert not found.got or "syscalls" not in raised
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
