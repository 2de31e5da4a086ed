"""A filter of system calls, by seccomp: what computing needs is allowed, by name, everything else is refused.

So there is no socket of any family, no new process, no program, no namespace, no keyring, no ptrace, no io_uring, whatever
the kernel learns in years to come. A refused call fails with EPERM, as if the user had no right to it, and a library does
without. Source: Documentation/userspace-api/seccomp_filter.rst of the kernel, and seccomp(2).
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from workers.walls import numbers

_PR_GET_SECCOMP, _PR_SET_SECCOMP, _MODE_FILTER = 21, 22, 2
_LOAD, _AND, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16
_X32 = 0x40000000
_WORD = 0xFFFFFFFF

COMPUTING = frozenset((
    "access", "arch_prctl", "brk", "clock_getres", "clock_gettime", "clock_nanosleep", "close", "close_range",
    "dup", "dup2", "dup3", "exit", "exit_group", "faccessat", "faccessat2", "fstat", "fstatfs", "futex",
    "get_mempolicy", "get_robust_list", "getcpu", "getcwd", "getdents64", "getegid", "geteuid", "getgid", "getpgrp",
    "getpid", "getppid", "getrandom", "getrlimit", "getrusage", "gettid", "gettimeofday", "getuid", "lseek",
    "lstat", "madvise", "membarrier", "mincore", "mprotect", "mremap", "msync", "munmap", "nanosleep", "newfstatat",
    "poll", "ppoll", "pread64", "pselect6", "read", "readlink", "readlinkat", "readv", "restart_syscall", "rseq",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity", "sched_getparam", "sched_getscheduler",
    "sched_yield", "select", "set_robust_list", "set_tid_address", "sigaltstack", "stat", "statfs", "statx",
    "sysinfo", "time", "times", "uname", "wait4", "waitid", "write", "writev",
))  # fmt: skip
"""Allowed whatever their arguments are: memory, threads, time, what is open already, looking at files."""
WRITING = frozenset((
    "fallocate", "fdatasync", "fsync", "ftruncate", "mkdir", "mkdirat", "open", "openat", "pwrite64", "rename",
    "renameat", "renameat2", "unlink", "unlinkat",
))  # fmt: skip
"""Allowed besides to a child that writes files; which ones it may write is for `view` to say."""
TOLD = {"clone3": errno.ENOSYS, "ioctl": errno.ENOTTY}
"""Refused with another word: the C library then takes `clone`, and nothing takes a file for a terminal."""

_CLONE_THREAD = 0x00010000
_CLONE_NEW = 0x7E020000 | 0x00000080
"""All namespaces that clone(2) knows."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_SHARED_ANONYMOUS = 0x21
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA = 1, 15, 16, 0x53564D41
_FCNTL = (0, 1, 2, 3, 4, 1030)
"""F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC; with F_SETOWN one could have the kernel send a signal."""


@dataclass(frozen=True)
class Test:
    """One 32-bit half of an argument: `(argument & mask) in values`."""

    argument: int
    values: tuple[int, ...]
    mask: int = _WORD
    high: bool = False


def rules(pid: int, *, writes: bool = False, helpers: bool = False) -> dict[str, tuple[Test, ...]]:
    """System call -> what its arguments have to be, all of it, for the process `pid`.

    `writes`: it may write files. `helpers`: it may fork, share memory with its children and signal them.
    """
    read_only = (Test(1, (0,), _WRITES),)
    found: dict[str, tuple[Test, ...]] = {
        **dict.fromkeys(COMPUTING, ()),
        "open": read_only,
        "openat": (Test(2, (0,), _WRITES),),
        "clone": (Test(0, (_CLONE_THREAD,), _CLONE_THREAD | _CLONE_NEW),),
        "fcntl": (Test(1, _FCNTL),),
        "kill": (Test(0, (pid,)),),
        # Memory that two processes could share counts under no limit on data.
        "mmap": (Test(3, (0x00, 0x01, 0x20), _SHARED_ANONYMOUS),),
        "prctl": (Test(0, (_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA)),),
        # Its own limits may be read and not set.
        "prlimit64": (Test(0, (0,)), Test(2, (0,)), Test(2, (0,), high=True)),
        "tgkill": (Test(0, (pid,)),),
    }
    if writes:
        found |= dict.fromkeys(WRITING, ())
    if helpers:
        found |= {"clone": (Test(0, (0, _CLONE_THREAD), _CLONE_THREAD | _CLONE_NEW),), "mmap": (), "kill": ()}
        found["prctl"] = (Test(0, (_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA)),)
    return found


def available() -> bool:
    """Whether this kernel takes filters and this machine's numbers are known."""
    return platform.machine() in numbers.NUMBERS and ctypes.CDLL(None).prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0


def enter(allowed: Mapping[str, Iterable[Test]]) -> None:
    """Put this process behind the filter, for good. It must have given up new privileges before.

    Raises OSError where the kernel refuses, KeyError on a machine whose numbers are not known.
    """
    code = program(allowed, platform.machine())
    held = ctypes.create_string_buffer(code, len(code))
    described = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(held)))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_SECCOMP, _MODE_FILTER, described, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel does not take the filter of system calls")


def program(allowed: Mapping[str, Iterable[Test]], machine: str) -> bytes:
    """The filter in the kernel's language, eight bytes an instruction. Calls that the machine does not have are left out."""
    known = numbers.NUMBERS[machine]
    code = [(_LOAD, 0, 0, _MACHINE), (_IF_EQUAL, 1, 0, numbers.AUDIT[machine]), (_RETURN, 0, 0, _KILL)]
    code += [(_LOAD, 0, 0, _NUMBER), (_IF_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    for name, tests in allowed.items():
        if name in known:
            code += _when(known[name], [step for test in tests for step in _insist(test)] + [(_RETURN, 0, 0, _ALLOW)])
    for name, word in TOLD.items():
        code += _when(known[name], [(_RETURN, 0, 0, _ERRNO | word)])
    code.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
    return b"".join(struct.pack("@HBBI", *step) for step in code)


Step = tuple[int, int, int, int]


def _when(number: int, then: list[Step]) -> list[Step]:
    return [(_IF_EQUAL, 0, len(then), number), *then]


def _insist(test: Test) -> list[Step]:
    """Steps that refuse the call unless the test holds, and go on behind themselves where it does."""
    count = len(test.values)
    return [
        (_LOAD, 0, 0, _ARGUMENTS + 8 * test.argument + 4 * test.high),
        (_AND, 0, 0, test.mask),
        *((_IF_EQUAL, count - place, 0, value) for place, value in enumerate(test.values)),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]
