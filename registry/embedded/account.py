"""The unprivileged user that PostgreSQL and Redis run as when the hub was started by root."""

import importlib.util
import os
import pwd
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from registry.embedded.errors import EmbeddedError

CANDIDATES = ("nobody", "daemon")


@dataclass(frozen=True)
class Account:
    """An existing user without privileges."""

    name: str
    uid: int
    gid: int

    def give(self, path: Path) -> None:
        """Make this user the owner of something that we made."""
        os.chown(path, self.uid, self.gid)

    def may(self, path: Path, bits: int) -> bool:
        """Tell whether the mode of this file grants this user the bits (4 read, 2 write, 1 walk through)."""
        found = path.stat()
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid == self.gid else 0
        return (found.st_mode >> shift) & bits == bits

    def reaches(self, path: Path) -> bool:
        """Tell whether this user can walk to this path and read and execute it."""
        real = path.resolve()
        return all(self.may(parent, 1) for parent in real.parents) and self.may(real, 5)


def unprivileged() -> Account | None:
    """Return the user that servers drop to, or None when we are not root and there is nothing to drop.

    Raises EmbeddedError when no such user exists. `HUB_EMBEDDED_USER` names another one.
    """
    if os.geteuid() != 0:
        return None
    chosen = os.environ.get("HUB_EMBEDDED_USER")
    for name in (chosen,) if chosen else CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        f"PostgreSQL refuses to run as root, and there is no user {chosen or ' or '.join(CANDIDATES)} to run it",
        "start the hub as an ordinary user, or name an existing one in HUB_EMBEDDED_USER",
    )


def private_folder(path: Path, account: Account | None) -> Path:
    """Make a folder that only its owner may enter, and return it. An existing one is left as it is."""
    if not path.is_dir():
        path.mkdir(mode=0o700)
        path.chmod(0o700)  # whatever the umask was
        if account:
            account.give(path)
    return path


def readable_copy(parts: Iterable[tuple[Path, Path]], into: Path) -> None:
    """Copy (source, path below `into`) pairs so that every user can read and execute what its owner can.

    For binaries that lie where an unprivileged user cannot walk to, such as /root. `into` is made here.
    """
    into.mkdir(mode=0o755)
    for source, target in ((source, into / below) for source, below in parts):
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)
    for path in (into, *into.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(stat.S_IMODE(mode) | 0o444 | (0o111 if mode & 0o100 else 0))


def installed(package: str) -> Path:
    """Return the folder of an installed package without importing it."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise EmbeddedError(
            f"the Python package {package} is not installed, and the embedded hub takes its server from it",
            "`make install` brings it; or set DATABASE_URL and BROKER_URL to servers of your own",
        )
    return Path(found.submodule_search_locations[0])
