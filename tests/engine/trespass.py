"""Attacks on what belongs to others, and on the kernel. As in `hostile`, each returns what it got."""

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
from pathlib import Path

from tests.engine.hostile import call, each, new_pipe
from tests.engine.resident import Place


def read_secrets(place: Place) -> object:
    return each((place.folder / "token").read_text, lambda: os.listdir(place.folder))


def read_an_environment(place: Place) -> object:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{place.victim}/environ").read_bytes().decode()
    return ""


class Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def read_memory(place: Place) -> object:
    """By address: it is its parent's child, so it knows where its parent keeps what both had before the fork."""
    mine = ctypes.create_string_buffer(8)
    here, there = Vector(ctypes.addressof(mine), 8), Vector(id(None), 8)

    def by_file() -> None:
        with open(f"/proc/{place.parent}/mem", "rb") as file:
            file.seek(id(None))
            file.read(8)

    def by_call() -> None:
        call("process_vm_readv", place.parent, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)

    return each(by_file, by_call)


def trace(place: Place) -> object:
    return each(lambda: call("ptrace", 0x4206, place.victim, 0, 0))  # PTRACE_SEIZE


def kill_others(place: Place) -> object:
    def by_descriptor() -> None:
        call("pidfd_send_signal", call("pidfd_open", place.victim, 0), signal.SIGTERM, None, 0)

    return each(by_descriptor, lambda: os.kill(place.victim, signal.SIGTERM), lambda: call("tkill", place.victim, 15))


def kill_by_the_kernel(place: Place) -> object:
    """A pipe's owner is signalled when there is something to read, and anybody may be named its owner."""
    reading, writing = new_pipe()

    def name_an_owner() -> None:
        fcntl.fcntl(reading, fcntl.F_SETOWN, place.victim)
        fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        os.write(writing, b"!")

    return each(name_an_owner)


def starve_others(place: Place) -> object:
    """Set another process's limits instead of one's own."""
    limits = (ctypes.c_uint64 * 2)(64, 64)
    return each(lambda: call("prlimit64", place.victim, resource.RLIMIT_NOFILE, ctypes.byref(limits), None))


def write_outside(place: Place) -> object:
    theirs = place.folder / "theirs"
    return each(
        lambda: theirs.write_text("mine now"),
        lambda: os.truncate(theirs, 0),
        lambda: os.symlink("/etc", place.folder / "link"),
        lambda: os.link(theirs, place.folder / "second"),
        lambda: theirs.chmod(0o777),
        lambda: os.utime(theirs),
        lambda: (place.folder / "folder").mkdir(),
        lambda: theirs.rename(place.folder / "elsewhere"),
    )


def speak_for_the_parent(place: Place) -> object:
    """The parent's pipes, opened anew: whoever writes there is believed a verdict."""
    return each(
        *(lambda number=number: os.open(f"/proc/{place.parent}/fd/{number}", os.O_WRONLY) for number in range(3, 64))
    )


# --- The kernel ------------------------------------------------------------------------------------------------------
def new_namespaces(place: Place) -> object:
    return each(lambda: call("unshare", 0x10000000), lambda: call("unshare", 0x40000000))


def keys(place: Place) -> object:
    return each(
        lambda: call("add_key", b"user", b"left here", b"for the next", 12, -2), lambda: call("keyctl", 0, -3, 1)
    )


def rare_calls(place: Place) -> object:
    room = ctypes.create_string_buffer(256)
    return each(lambda: call("io_uring_setup", 4, room), lambda: call("userfaultfd", 0))
