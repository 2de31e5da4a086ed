"""Do the walls hold on this machine? A throwaway child tries to break each, and tells which withstood.

`python -m workers.selftest SCRATCH` says it to a person, and ends with 1 where a worker would claim no run.
"""

import argparse
import contextlib
import ctypes
import functools
import mmap
import os
import platform
import resource
import select
import socket
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

from workers import pipes, sandbox, walls
from workers.assignment import Limits
from workers.walls import Isolation

MEMORY_GB = 0.5
SECONDS = 10.0
_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET)

# System calls that nobody needs for computing, by their number on x86_64 and on aarch64.
_NEEDLESS = {"unshare": (272, 97), "ptrace": (101, 117), "keyctl": (250, 219), "bpf": (321, 280), "io_uring_setup": (425, 425)}  # fmt: skip


def run(scratch: Path, raised: Collection[str], namespace: bool) -> Isolation:
    """Which walls hold for a child that may touch nothing, confined by the means `raised`.

    `namespace` says whether the calling process is in a network namespace of its own. The caller has to be
    single-threaded. Raises OSError where not even a child can be had.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="walls-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "theirs").write_text("somebody else's")
        (folder / "theirs").chmod(0o666)
        held = _told(folder, raised)
    if namespace:
        held |= {"network", "network namespace"}
    return walls.found(held)


def _told(folder: Path, raised: Collection[str]) -> set[str]:
    def enter() -> Callable[[int], None]:
        parent = os.getppid()
        return lambda pipe: _try_all(pipe, folder, parent)

    child = sandbox.fork(enter, Limits(SECONDS, MEMORY_GB), raised=raised)
    try:
        reader = pipes.Reader(child.pipe, pipes.LARGEST)
        held: set[str] = set()
        while not reader.ended and select.select([child.pipe], [], [], SECONDS)[0]:
            held |= {str(message["held"]) for message in reader.read()}
        return held
    finally:
        child.end()


def _try_all(pipe: int, folder: Path, parent: int) -> None:
    """Tell of each wall that withstood at once: a trial that gets through may be the end of this process."""
    for name, trial in TRIALS.items():
        if trial(folder, parent):
            pipes.send(pipe, {"held": name})


# --- What the child tries. Each answers whether the wall withstood. ------------------------------------------------
def _refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, MemoryError, ValueError):
        return True
    return False


def _network(folder: Path, parent: int) -> bool:
    return all(_refused(functools.partial(_socket, family, socket.SOCK_DGRAM)) for family in _FAMILIES[:2])


def _sockets(folder: Path, parent: int) -> bool:
    kinds = [(family, kind) for family in _FAMILIES for kind in (socket.SOCK_RAW, socket.SOCK_STREAM)]
    refused = [_refused(functools.partial(_socket, family, kind)) for family, kind in kinds]
    return all(refused) and _refused(socket.socketpair) and _network(folder, parent)


def _socket(family: int, kind: int) -> None:
    socket.socket(family, kind).close()


def _writing(folder: Path, parent: int) -> bool:
    theirs = folder / "theirs"
    attempts: list[Callable[[], object]] = [
        lambda: (folder / "mine").write_text("text"),
        lambda: theirs.write_text("text"),
        lambda: (Path(tempfile.gettempdir()) / f"walls-{os.getpid()}").write_text("text"),
        lambda: theirs.rename(folder / "renamed"),
        lambda: os.link(theirs, folder / "linked"),
        lambda: os.truncate(theirs, 0),
        lambda: theirs.chmod(0o600),
        theirs.unlink,
        (folder / "made").mkdir,
    ]
    return all(map(_refused, attempts))


def _reading(folder: Path, parent: int) -> bool:
    attempts = [(folder / "theirs").read_bytes, Path("/etc/passwd").read_bytes, lambda: os.listdir("/proc")]
    return all(map(_refused, attempts))


def _processes(folder: Path, parent: int) -> bool:
    return _refused(_fork) and _refused(lambda: os.execv("/bin/true", ["true"]))  # noqa: S606


def _fork() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    with contextlib.suppress(OSError):
        os.waitpid(pid, 0)


def _neighbours(folder: Path, parent: int) -> bool:
    attempts = [
        lambda: os.kill(parent, 0),
        lambda: Path(f"/proc/{parent}/environ").read_bytes(),
        lambda: os.open(f"/proc/{parent}/mem", os.O_RDONLY),
        lambda: _called(_NEEDLESS["ptrace"], 0x4206, parent, 0, 0),
    ]
    return all(map(_refused, attempts))


def _limits(folder: Path, parent: int) -> bool:
    beyond = int(2 * MEMORY_GB * (1 << 30))
    attempts = [
        lambda: mmap.mmap(-1, beyond, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close(),
        lambda: mmap.mmap(-1, beyond).close(),
        lambda: resource.setrlimit(resource.RLIMIT_CORE, (1, 1)),
    ]
    bounded = {
        resource.RLIMIT_CPU: SECONDS + 5,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: sandbox.OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    low = all(0 <= resource.getrlimit(which)[1] <= most for which, most in bounded.items())
    return low and all(map(_refused, attempts))


def _user(folder: Path, parent: int) -> bool:
    return os.geteuid() != 0 and _refused(lambda: os.setuid(0))


def _kernel(folder: Path, parent: int) -> bool:
    return all(_refused(functools.partial(_called, call, 0, 0, 0, 0)) for call in _NEEDLESS.values())


def _called(call: tuple[int, int], *arguments: int) -> None:
    number = call[0] if platform.machine() == "x86_64" else call[1]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *map(ctypes.c_long, arguments)) == -1 and ctypes.get_errno():
        raise OSError(ctypes.get_errno(), "refused")


TRIALS: dict[str, Callable[[Path, int], bool]] = {
    "network": _network,
    "sockets": _sockets,
    "writing": _writing,
    "reading": _reading,
    "neighbours": _neighbours,
    "limits": _limits,
    "user": _user,
    "kernel": _kernel,
    "processes": _processes,  # the last one: it ends with another program in this process where it can
}


def main() -> int:
    """Say which walls hold, and what to do about those that do not."""
    parser = argparse.ArgumentParser(description="Try the walls around the child of a run.")
    parser.add_argument("scratch", type=Path, help="a folder to try them in")
    scratch = parser.parse_args().scratch
    namespace = sandbox.leave_network()
    found = run(scratch, sandbox.means(), namespace)
    lines = [f"isolation of runs: {found.level}", *found.advice()]
    if found.breaches:
        missing = ", ".join(found.breaches)
        lines.append(f"no run is claimed without these walls: {missing}; to judge without them: HUB_ISOLATION=best")
    print("\n".join(lines), file=sys.stderr if found.breaches else sys.stdout)
    return 1 if found.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
