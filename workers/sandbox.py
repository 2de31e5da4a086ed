"""The walls around a process that touches uploaded bytes: Linux only, no privileges needed.

What keeps an upload from running code is that nothing here unpickles or imports it. The walls bound what a
fault in a parser could reach: no network, no new processes, no files, so much memory, so much time.
"""

import contextlib
import ctypes
import os
import resource
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from workers.assignment import Limits

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
UNUSED_IDS = range(59_437, 64_437)
"""Users of runs' children where the worker runs as root: they own nothing and are in no passwd file. Each child that
runs has its own, so that it cannot signal another tenant's."""


@dataclass(frozen=True)
class Child:
    """A forked process and the end of the pipe that it talks through."""

    pid: int
    pipe: int

    def kill(self) -> None:
        """End it and whatever it started; it leads a process group of its own."""
        for end in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                end(self.pid, signal.SIGKILL)


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


def fork(enter: Callable[[], Callable[[int], None]], close: tuple[int, ...], limits: Limits, writes: bool) -> Child:
    """Run work in a forked child and end it there: `enter()` outside the walls gives `work(pipe)`, run inside.

    `close` are descriptors that the child must not hold, `writes` says whether it may write files (and so keep
    the user it runs as) and have processes help it. The caller has to be single-threaded.
    """
    parent = os.getpid()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpgid(pid, pid)
        return Child(pid, reading)
    status = 1
    try:
        os.setpgid(0, 0)
        for descriptor in (reading, *close):
            os.close(descriptor)
        _limit(resource.RLIMIT_DATA, int(limits.memory_gb * (1 << 30)))  # what `enter` reads is the publisher's, too
        work = enter()
        _confine(limits, writes)
        die_with_parent(parent)
        work(writing)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _confine(limits: Limits, writes: bool) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, signal.SIG_DFL)
    if not writes and os.geteuid() == 0:
        _become_nobody()
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, int(limits.seconds) + 5)
    _limit(resource.RLIMIT_NOFILE, 64)
    if not writes:
        _limit(resource.RLIMIT_NPROC, 0)
        _limit(resource.RLIMIT_FSIZE, 0)


def _become_nobody() -> None:
    """Give root up for a user id that nobody has: not even one's own other processes can be signalled."""
    mine = UNUSED_IDS[os.getpid() % len(UNUSED_IDS)]
    os.setgroups([])
    os.setresgid(mine, mine, mine)
    os.setresuid(mine, mine, mine)


def _limit(which: int, amount: int) -> None:
    _, hard = resource.getrlimit(which)
    most = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
    resource.setrlimit(which, (most, most))
