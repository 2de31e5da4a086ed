"""What a child would do if a fault in a parser gave it to an attacker. Each attack returns what it got: nothing, if it was stopped.

None is a pretence: the tests run each with the walls away, too, and there it gets what it wants.
"""

import contextlib
import ctypes
import mmap
import os
import resource
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.engine.resident import Place

PIECE = 1 << 20
MUCH = 2 << 30
"""Twice the memory that the runs here may use: what a process has freed before it forks may be used again, and is not counted."""
SYS = {
    "x86_64": {"ptrace": 101, "keyctl": 250, "add_key": 248, "io_uring_setup": 425, "userfaultfd": 323, "process_vm_readv": 310,
               "unshare": 272, "memfd_create": 319, "tkill": 200, "pidfd_open": 434, "pidfd_send_signal": 424, "prlimit64": 302},
    "aarch64": {"ptrace": 117, "keyctl": 219, "add_key": 217, "io_uring_setup": 425, "userfaultfd": 282, "process_vm_readv": 270,
                "unshare": 97, "memfd_create": 279, "tkill": 130, "pidfd_open": 434, "pidfd_send_signal": 424, "prlimit64": 261},
}[os.uname().machine]  # fmt: skip
libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> int:
    """A system call by its number, past whatever the C library thinks of it."""
    given = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    found = libc.syscall(ctypes.c_long(SYS[name]), *given)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)
    return int(found)


def each(*attempts: Callable[[], object]) -> list[int]:
    """The numbers of the attempts that succeeded."""
    found = []
    for number, attempt in enumerate(attempts):
        with contextlib.suppress(OSError, MemoryError, RuntimeError, ValueError):
            attempt()
            found.append(number)
    return found


def own_pipe() -> int:
    """The descriptor that it talks through: the only pipe it holds."""
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            if stat.S_ISFIFO(os.fstat(number).st_mode):
                return number
    raise OSError("no pipe")


def new_pipe() -> tuple[int, int]:
    """A pipe, or the one it has where the walls grant no other: then the attack goes on to what it is about."""
    try:
        return os.pipe()
    except OSError:
        return own_pipe(), own_pipe()


# --- Out to others -------------------------------------------------------------------------------------------------
def connect(place: Place) -> object:
    def ask() -> None:
        with socket.socket() as line:
            line.settimeout(2)
            line.connect(("127.0.0.1", place.more["tcp"]))

    return each(ask)


def ask_for_credentials(place: Place) -> object:
    """As a program in a cloud asks the machine's own address for the keys of its role."""
    found = []
    with contextlib.suppress(OSError), socket.socket() as line:
        line.settimeout(2)
        line.connect(("169.254.169.254", 80))
        line.sendall(b"GET /latest/meta-data/iam/security-credentials/ HTTP/1.0\r\n\r\n")
        found.append(line.recv(100).decode())
    return found


def ask_for_a_name(place: Place) -> object:
    """Data leaves through names that are looked up."""

    def ask() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.settimeout(2)
            line.sendto(b"\x12\x34\x01\x00secret.example", ("127.0.0.1", place.more["udp"]))
            line.recv(100)

    return each(ask)


def command_docker(place: Place) -> object:
    def ask(path: str) -> None:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(2)
            line.connect(path)
            line.sendall(b"POST /containers/create HTTP/1.0\r\n\r\n")
            line.recv(100)

    return each(lambda: ask(place.more["unix"]))


def reach_the_desktop(place: Place) -> object:
    def ask() -> None:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect("\0" + place.more["abstract"])

    return each(ask)


# --- More of itself ------------------------------------------------------------------------------------------------
def bomb(place: Place) -> object:
    """Each child would fork again; it is content with thirty that sleep, so that the control can be run."""
    found = 0
    for _ in range(30):
        try:
            pid = os.fork()
        except OSError:
            break
        if not pid:
            time.sleep(600)
            os._exit(0)
        found += 1
    return found


def detach(place: Place) -> object:
    """A daemon as daemons are made: twice forked, in a session of its own, and none of its parent's any more."""
    pipe = new_pipe()
    try:
        pid = os.fork()
    except OSError:
        return 0
    if not pid:
        os.setsid()
        if not os.fork():
            os.write(pipe[1], str(os.getpid()).encode())
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
        os._exit(0)
    return int(os.read(pipe[0], 20))


def run_a_program(place: Place) -> object:
    os.dup2(own_pipe(), 9)  # open on the other side, too: whoever listens takes it for the same process
    return each(lambda: os.execv("/bin/sh", ["sh", "-c", f"echo run > {place.folder}/ran; sleep 600"]))


def threads(place: Place) -> object:
    def more() -> None:
        for _ in range(40):
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()

    return each(more)


def leave_the_group(place: Place) -> object:
    return each(os.setsid, lambda: os.setpgid(0, place.victim), lambda: os.setpgid(0, os.getppid()))


def outlive_the_parent(place: Place) -> object:
    def forget() -> None:
        if libc.prctl(1, 0, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "refused")

    return each(forget)


# --- All of the memory, all of the disk, all of the time -------------------------------------------------------------
def a_hundred_gigabytes(place: Place) -> object:
    norm = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE: the control must not need them
    return each(lambda: mmap.mmap(-1, 100 << 30, flags=norm))


def touch(view: "mmap.mmap | bytearray") -> None:
    for place in range(0, len(view), 4096):
        view[place] = 1


def allocate(place: Place) -> object:
    return each(lambda: touch(bytearray(MUCH)))


def in_small_pieces(place: Place) -> object:
    return each(lambda: [bytearray(PIECE) for _ in range(MUCH // PIECE)])


def share_memory(place: Place) -> object:
    """Memory that two processes may share counts as no data of either."""
    return each(lambda: touch(mmap.mmap(-1, MUCH)))


def memory_as_a_file(place: Place) -> object:
    def fill() -> None:
        descriptor = call("memfd_create", b"much", 0)
        for _ in range(64):
            os.write(descriptor, bytes(PIECE))

    return each(fill)


def fill_the_disk(place: Place) -> object:
    def fill(folder: str) -> None:
        path = Path(folder) / f"filled-{place.folder.name}"
        with path.open("wb", buffering=0) as file:
            file.write(bytes(PIECE))

    return each(*(lambda folder=folder: fill(folder) for folder in (str(place.folder), "/tmp", "/dev/shm", "/var/tmp")))


def spin(place: Place) -> object:
    place.tell("spinning")
    began = time.monotonic()
    while time.monotonic() - began < 2.0:
        pass
    return "spun"


def open_files(place: Place) -> object:
    held = []
    with contextlib.suppress(OSError):
        while len(held) < 500:
            held.append(os.dup(0))
    return len(held) if len(held) >= 100 else 0


def raise_the_limits(place: Place) -> object:
    most = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    return each(
        lambda: resource.setrlimit(resource.RLIMIT_DATA, most), lambda: resource.setrlimit(resource.RLIMIT_FSIZE, most)
    )
