"""The data folder of an embedded hub: who holds it, its secrets, and the note by which commands find the hub.

secrets.json   made once, 0600; lose it and the database cannot be opened any more
hub.lock       held by the running hub (flock), says its process and address
running.json   the environment of the running hub's children, 0600; manage.py adopts it, so that `token` works
postgres/ redis/ blobs/ scratch/ bases/ logs/
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.embedded import account as accounts
from registry.embedded.errors import AlreadyRunningError, EmbeddedError

SOCKETS_PREFIX = "adapter-hub-"
SECRET_NAMES = ("secret_key", "postgres_admin", "postgres", "redis", "redis_worker", "operator_password")


@dataclass(frozen=True)
class Folder:
    """The paths below a data folder."""

    path: Path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def make(self, *names: str) -> None:
        """Make the data folder and these folders in it; those that exist are left as they are."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        accounts.private_folder(self.path, None)
        for name in names:
            accounts.private_folder(self / name, None)

    @property
    def note(self) -> dict[str, Any]:
        """What the hub noted for other commands; empty when none runs. After a kill -9 the old note is still there."""
        return read_json(self / "running.json") or {}

    def write_note(self, note: dict[str, Any]) -> None:
        """Note the running hub: process, url, sockets (folder), environment."""
        write_json(self / "running.json", note)

    def remove_note(self) -> None:
        """Forget the running hub."""
        (self / "running.json").unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a file of ours holds, None when it is absent; raises EmbeddedError when it is not JSON."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise EmbeddedError(f"{path} is damaged: {error}", "restore it from a backup") from error
    return value if isinstance(value, dict) else None


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a file by this value, for its owner only; a crash leaves the old file or the new one."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # 0600 from the start
    with os.fdopen(handle, "w") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).replace(path)
    flush_folder(path.parent)


def flush_folder(path: Path) -> None:
    """Make renames in this folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def load_secrets(folder: Folder) -> dict[str, str]:
    """Return the secrets of this hub, made on its first start.

    Raises EmbeddedError when they are gone although a database exists: new ones would not open it.
    """
    path = folder / "secrets.json"
    known = read_json(path)
    if known is None and (folder / "postgres").exists():
        raise EmbeddedError(
            f"{path} is missing, and the database in {folder / 'postgres'} opens only with its passwords",
            "restore secrets.json from a backup, or choose another --data folder",
        )
    known = known or {}
    missing = [name for name in SECRET_NAMES if not known.get(name)]
    if missing:
        known |= {name: secrets.token_urlsafe(48) for name in missing}
        write_json(path, known)
    return known


def remember_secret(folder: Folder, name: str, value: str) -> None:
    """Keep one more secret, for example the worker's token."""
    write_json(folder / "secrets.json", (read_json(folder / "secrets.json") or {}) | {name: value})


class Lock:
    """The right to run a hub on a folder; the kernel gives it back when the process dies, however it dies."""

    def __init__(self, folder: Folder) -> None:
        self.path = folder / "hub.lock"
        self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self, url: str) -> None:
        """Take the folder; raises AlreadyRunningError naming the process that has it."""
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(*self._holder()) from None
        os.ftruncate(self.handle, 0)
        os.pwrite(self.handle, f"{os.getpid()} {url}\n".encode(), 0)

    def _holder(self) -> tuple[str, str]:
        process, _, url = os.pread(self.handle, 200, 0).decode(errors="replace").strip().partition(" ")
        return (
            f"a hub already runs on {self.path.parent}: process {process or 'unknown'}, {url or 'starting'}",
            f"use it, stop it with `kill {process or 'PID'}`, or choose another --data folder",
        )

    def give_back(self) -> None:
        """Let another hub have the folder."""
        os.close(self.handle)


def make_sockets(account: accounts.Account | None) -> Path:
    """Make the short private folder of the unix sockets (their paths may have 107 characters at most).

    It also holds copies of binaries if need be, so a file system that forbids execution is passed over.
    """
    for parent in ("/tmp", "/var/tmp", tempfile.gettempdir()):  # noqa: S108
        if os.access(parent, os.W_OK | os.X_OK) and not os.statvfs(parent).f_flag & os.ST_NOEXEC:
            path = Path(tempfile.mkdtemp(prefix=SOCKETS_PREFIX, dir=parent))
            if account:
                account.give(path)
            return path
    raise EmbeddedError("neither /tmp nor /var/tmp can be written to", "mount a writable /tmp")


def remove_sockets(path: str | Path | None) -> None:
    """Remove a folder that make_sockets made, for us or for a hub that was killed; nothing else."""
    if not path or not Path(path).name.startswith(SOCKETS_PREFIX) or Path(path).is_symlink():
        return
    with contextlib.suppress(OSError):
        shutil.rmtree(path)


def adopt(environment: MutableMapping[str, str], data: Path) -> bool:
    """Give a command without a database of its own the environment of the hub on `data`; tell whether there is one."""
    if is_given("DATABASE_URL", environment):
        return False
    try:
        note = Folder(data).note
    except OSError:  # another user's hub
        return False
    for name, value in note.get("environment", {}).items():
        if not is_given(name, environment):
            environment[name] = value
    return bool(note)


def is_given(name: str, environment: Mapping[str, str]) -> bool:
    """Tell whether the caller has set NAME, or NAME_FILE, which holds it. The registry's settings take only one of them."""
    return bool(name in environment or environment.get(f"{name}_FILE"))


def given(name: str, environment: Mapping[str, str]) -> str | None:
    """Return what the caller has set by NAME or by NAME_FILE, None where nothing. Raises EmbeddedError."""
    path = environment.get(f"{name}_FILE")
    if not path:
        return environment.get(name) or None
    if environment.get(name):
        raise EmbeddedError(f"both {name} and {name}_FILE are set", "keep one")
    try:
        return Path(path).read_text().strip() or None
    except OSError as error:
        raise EmbeddedError(f"{name}_FILE: {path} cannot be read ({error.strerror})") from error
