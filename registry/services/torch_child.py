"""The process that reads a publisher's PyTorch file: a program of its own, within walls, that ends when it is done.

    stdin   the file of torch.save          stdout   the safetensors file          stderr   what is wrong, as JSON

Nothing in the file is run, so these walls are for a fault in our own reader: no secrets in the environment, no network
where the kernel lets us leave it, no other files than these three, no processes, so much memory and so much time.
Imports nothing of Django.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import signal
import sys
from typing import Any, NoReturn

from hub.spec import torch_file
from hub.spec.errors import SpecError

REFUSED, MEMORY, FULL = 3, 4, 5
"""Exit statuses: the file is refused (stderr says why); the memory did not do; the disk is full."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_UNUSED_IDS = range(54_437, 59_437)
"""Users of such children where the hub runs as root: they own nothing and are in no passwd file."""


class Standard:
    """Standard input as a snapshot of one file."""

    def __init__(self, path: str) -> None:
        self.files = {path: os.fstat(0).st_size}

    def read(self, path: str, start: int, end: int) -> bytes:
        """Return the bytes `start` to `end` of the file, fewer where it ends before."""
        found, end = [], min(end, self.files[path])
        while start < end and (data := os.pread(0, min(end - start, 1 << 30), start)):
            found.append(data)
            start += len(data)
        return b"".join(found)


def main() -> NoReturn:
    """Convert standard input. Arguments: who the parent is, seconds, bytes of memory, bytes of output, the file's path."""
    parent, seconds, memory, most = (int(word) for word in sys.argv[1:5])
    path = sys.argv[5]
    try:
        confine(parent, seconds, memory, most)
        for piece in torch_file.convert(Standard(path), path):
            _write(1, piece)
    except SpecError as error:
        told: list[Any] = [problem.to_json() for problem in error.problems]
        _write(2, json.dumps(told).encode())
        os._exit(REFUSED)
    except MemoryError:
        os._exit(MEMORY)
    except OSError as error:
        if error.errno in NO_ROOM:
            os._exit(FULL)
        raise
    os._exit(0)


def confine(parent: int, seconds: int, memory: int, most: int) -> None:
    """Give up what a reader of one file does not need. Nothing here needs privileges; with them more is given up."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # refused in many containers: then there is still nothing to say to anybody
    _ = libc.unshare(_CLONE_NEWNET) == 0 or libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0
    if os.geteuid() == 0:
        _become_nobody()
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # after the last change of user, which forgets the wish
    if os.getppid() != parent:
        os._exit(1)
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 3,
        resource.RLIMIT_FSIZE: most,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_AS: memory,
    }
    for which, amount in limits.items():
        _, hard = resource.getrlimit(which)
        least = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        resource.setrlimit(which, (least, least))


def _become_nobody() -> None:
    """Give root up for a user id that nobody has; a root without that right keeps what little it may do."""
    mine = _UNUSED_IDS[os.getpid() % len(_UNUSED_IDS)]
    with contextlib.suppress(PermissionError):
        os.setgroups([])
        os.setresgid(mine, mine, mine)
        os.setresuid(mine, mine, mine)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
