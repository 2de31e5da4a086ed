"""A child that touches uploaded bytes, and the walls around it: Linux only, no privileges needed.

What keeps an upload from running code is that nothing here unpickles or imports it. The walls bound what a fault in a
parser could reach: no network, no other process, no files, so much memory, so much time. Most of them stand twice, by
means of different kinds; see `workers.walls`.
"""

import contextlib
import ctypes
import gc
import os
import resource
import signal
import struct
import time
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from workers.assignment import Limits
from workers.walls import MEANS, syscalls, view

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CAPABILITIES_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1 << 1
_KEEP = {-1: (1 << 31) - 1, -2: 64 << 20, -4: 0}
"""M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX of malloc.h: give nothing back, grow by much at once, map nothing by itself."""
UNUSED_IDS = range(59_437, 64_437)
"""Users of runs' children where the worker runs as root: they own nothing and are in no passwd file. Each child that
runs has its own, so that it cannot signal another tenant's."""
OPEN_FILES = 64
UNHURRIED = 5
"""The niceness of a child that nobody waits for: of a core that two want it has a quarter, so that it ends within its time, too."""
LEFTOVERS_SECONDS = 5.0
"""How long what a child has left behind is hunted."""


@dataclass(frozen=True)
class Reach:
    """What a child may touch besides its memory and its pipe: nothing, unless it is said here."""

    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    """Files and folders; a child that writes keeps the user it runs as."""
    helpers: bool = False
    """Whether it may fork and share memory with its children."""


NOTHING = Reach()


@dataclass(frozen=True)
class Child:
    """A forked process and the end of the pipe that it talks through."""

    pid: int
    pipe: int

    def step_back(self) -> None:
        """Let it compute with what others leave: nobody waits for it any more."""
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self.pid, UNHURRIED)

    def end(self) -> int:
        """End it and its process group, reap it; returns how it ended, as os.waitpid tells. To be called once."""
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(self.pid, signal.SIGKILL)
        os.close(self.pipe)
        return os.waitpid(self.pid, 0)[1]


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; `parent` is who that should be.

    To be called after the last change of user: that forgets the wish.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def hide() -> None:
    """Close this process's memory and environment to others of the same user: /proc/<pid>/environ and ptrace.

    For the worker, which holds tokens, where it does not run as root and its children keep its user.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def leave_network() -> bool:
    """Move to an empty network namespace; False where the kernel refuses. To be called before any thread."""
    unshare = ctypes.CDLL(None, use_errno=True).unshare
    return any(unshare(flags) == 0 for flags in (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET))


def adopt_orphans() -> None:
    """Become the parent of whatever a child leaves behind, so that `end_leftovers` finds it wherever it has hidden."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_leftovers() -> bool:
    """End and reap every child of this process, adopted ones too; False where some live on after `LEFTOVERS_SECONDS`.

    Only for a process that has no children but those that this module forked, and has called `adopt_orphans`.
    """
    deadline = time.monotonic() + LEFTOVERS_SECONDS
    while time.monotonic() < deadline:
        try:
            reaped, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if not reaped:
            for pid in _children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.001)
    return False


def means() -> frozenset[str]:
    """What this kernel offers of the means that a child itself can take; `leave_network` is for its parent to call."""
    offered = {"limits"}
    offered |= {"syscalls"} if syscalls.available() else set()
    offered |= {"view"} if view.version() else set()
    return frozenset(offered | ({"user"} if os.geteuid() == 0 and _may_change_user() else set()))


def fork(
    enter: Callable[[], Callable[[int], None]],
    limits: Limits,
    reach: Reach = NOTHING,
    raised: Collection[str] = MEANS,
) -> Child:
    """Run work in a forked child and end it there: `enter()` outside the walls gives `work(pipe)`, run inside.

    `raised` are the means to confine it by, of `walls.MEANS`. One that cannot be had ends the child before its work.
    The child holds no descriptor but its pipe and the standard ones. The caller has to be single-threaded.
    """
    parent = os.getpid()
    view.code()  # looked up here once, not in every child
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpgid(pid, pid)
        return Child(pid, reading)
    status = 1
    try:
        gc.freeze()  # the collector would write to every inherited object, and each page of them be copied for that
        _keep_memory()
        os.setpgid(0, 0)
        os.closerange(3, writing)
        os.closerange(writing + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        if "limits" in raised:  # what `enter` reads is the publisher's, too
            _limit_memory(_bytes(limits))
        work = enter()
        _confine(parent, limits, reach, raised)
        work(writing)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _confine(parent: int, limits: Limits, reach: Reach, raised: Collection[str]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, signal.SIG_DFL)
    seen = view.ruleset(reach.reads, reach.writes) if "view" in raised else None
    if "user" in raised and os.geteuid() == 0:
        _give_up_root(bool(reach.writes))
    if "limits" in raised:
        _limit_all(limits, reach)
    die_with_parent(parent)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 2)  # a log may be a disk that somebody can fill; what has to be told goes through the pipe
    os.close(silent)
    if seen is not None:
        view.enter(seen)
    if "syscalls" in raised:
        syscalls.enter(syscalls.rules(os.getpid(), writes=bool(reach.writes), helpers=reach.helpers))


def _give_up_root(writes: bool) -> None:
    """Take a user id that nobody has: not even one's own other processes can be signalled.

    Who writes files keeps its user and loses root's powers, but that of writing into folders of others.
    """
    if not writes:
        mine = UNUSED_IDS[os.getpid() % len(UNUSED_IDS)]
        os.setgroups([])
        os.setresgid(mine, mine, mine)
        os.setresuid(mine, mine, mine)
        return
    kept = struct.pack("@6I", *([_CAP_DAC_OVERRIDE] * 2), 0, 0, 0, 0)
    if ctypes.CDLL(None, use_errno=True).capset(struct.pack("@Ii", _CAPABILITIES_3, 0), kept):
        raise OSError(ctypes.get_errno(), "the kernel does not take root's powers back")


def _may_change_user() -> bool:
    """Whether this process has CAP_SETUID and CAP_SETGID; root of a container may lack them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    powers = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
    return powers >> 6 & 0b11 == 0b11


def _keep_memory() -> None:
    """Have the C library keep what is freed: the states of a layer are megabytes, and memory that went back to the kernel would be
    asked for, and cleared, again for each (bench/README.md)."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # the GNU C library
        for parameter, value in _KEEP.items():
            library.mallopt(parameter, value)


def _limit_memory(most: int) -> None:
    """So many bytes beyond what it has of its parent: of what is written to (DATA), and of all that is mapped (AS)."""
    pages = Path("/proc/self/statm").read_text().split()
    mapped, written = (int(pages[column]) * resource.getpagesize() for column in (0, 5))
    _limit(resource.RLIMIT_DATA, written + most)
    _limit(resource.RLIMIT_AS, mapped + most)


def _limit_all(limits: Limits, reach: Reach) -> None:
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, int(limits.seconds) + 5)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    _limit(resource.RLIMIT_FSIZE, _bytes(limits) if reach.writes else 0)
    for unused in (resource.RLIMIT_MEMLOCK, resource.RLIMIT_MSGQUEUE, resource.RLIMIT_NICE, resource.RLIMIT_RTPRIO):
        _limit(unused, 0)
    if not reach.helpers:
        _limit(resource.RLIMIT_NPROC, 0)


def _bytes(limits: Limits) -> int:
    return int(limits.memory_gb * (1 << 30))


def _limit(which: int, amount: int) -> None:
    _, hard = resource.getrlimit(which)
    most = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
    resource.setrlimit(which, (most, most))


def _children() -> list[int]:
    """The processes whose parent is this one, whatever they call themselves."""
    mine, found = os.getpid(), []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            found += [int(entry.parent.name)] if int(fields[1]) == mine else []
    return found
