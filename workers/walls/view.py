"""What a child sees of the file system, by Landlock: the installed libraries, to be read, and what else it is given.

Landlock also keeps a child from signalling and tracing processes outside, and from TCP and abstract unix sockets, as far as
the kernel has learnt that (ABI 6, Linux 6.12). Source: Documentation/userspace-api/landlock.rst of the kernel.
"""

import ctypes
import functools
import os
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION = 1
_BENEATH = 1
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE, _MAKE_DIR, _MAKE_FILE, _TRUNCATE = 1 << 5, 1 << 7, 1 << 8, 1 << 14
_TO_READ = _EXECUTE | _READ | _LIST
_TO_WRITE = _READ | _LIST | _WRITE | _REMOVE | _MAKE_DIR | _MAKE_FILE | _TRUNCATE
_OF_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE
_TCP = 0b11
_SCOPES = 0b11
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
FACTS = ("/dev/null", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system")
"""What libraries look up when they are first used; it says nothing about anybody's work."""


def version() -> int:
    """The kernel's Landlock ABI; 0 where there is none, or it is switched off."""
    return max(0, int(ctypes.CDLL(None, use_errno=True).syscall(_CREATE, None, 0, _VERSION)))


@functools.cache
def code() -> tuple[Path, ...]:
    """The folders that Python imports from: of a checkout its rooms only, for beside them may lie anything."""
    here = Path(__file__).resolve().parents[2]
    installed = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    on_path = {Path(entry).resolve() for entry in sys.path if entry.endswith("-packages")}
    return (*sorted(installed | on_path), Path(sys.base_prefix) / "lib", here / "hub", here / "workers")


def ruleset(reads: Iterable[Path] = (), writes: Iterable[Path] = ()) -> int:
    """A descriptor of the view: libraries and code and `reads` to be read, `writes` to be written, beneath folders.

    What is not there is left out. Raises OSError where the kernel has no Landlock.
    """
    abi = version()
    handled = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)) - 1
    words = [handled, *([_TCP] if abi >= 4 else []), *([_SCOPES] if abi >= 6 else [])]
    asked = struct.pack(f"@{len(words)}Q", *words)
    descriptor = _called(_CREATE, asked, ctypes.c_size_t(len(asked)), 0)
    shown = [*map(Path, LIBRARIES), *map(Path, FACTS), *code(), *reads]
    for path, rights in [*((path, _TO_READ) for path in shown), *((path, _TO_WRITE) for path in writes)]:
        _allow(descriptor, path, rights & handled)
    return descriptor


def enter(descriptor: int) -> None:
    """Leave this process nothing but that view, for good. It must have given up new privileges before."""
    _called(_RESTRICT, descriptor, 0)
    os.close(descriptor)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights &= ~0 if path.is_dir() else _OF_FILES
        _called(_ADD, ruleset, _BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _called(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    answer = int(libc.syscall(number, *arguments))
    if answer < 0:
        raise OSError(ctypes.get_errno(), "the kernel does not take the view of the file system")
    return answer
