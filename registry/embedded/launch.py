"""The first steps of every child process, in a process of its own that then becomes the program.

Run as a script (`python -I -S launch.py ORDERS PROGRAM ARGUMENT...`), never imported: a function between fork
and exec (`preexec_fn`) may deadlock in a parent that has threads. ORDERS is JSON: parent, death_signal, uid,
gid, cwd.
"""

import ctypes
import json
import os
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1


def drop_privileges(uid: int, gid: int) -> None:
    """Become an unprivileged user for good, without any of root's groups."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def die_with(parent: int, death_signal: int) -> None:
    """Ask the kernel for a signal when the parent dies; leave at once if it is dead already."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(f"{sys.argv[2]}: its parent died while it started")


def main() -> None:
    """Follow the orders, then become the program."""
    orders: dict[str, Any] = json.loads(sys.argv[1])
    program = sys.argv[2:]
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if orders["cwd"] is not None:
        os.chdir(orders["cwd"])  # before the drop: the user need not be able to walk to this folder
    os.umask(0o077)
    if orders["uid"] is not None:
        drop_privileges(orders["uid"], orders["gid"])
    die_with(orders["parent"], orders["death_signal"])  # after the drop: a change of user clears it
    os.execv(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main()
