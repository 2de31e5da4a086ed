"""A whole hub on one machine: which children it has and in which order they start.

postgres, redis -> migrations, the worker's token -> web, relay, jobs -> (ready) -> validation workers ->
(demo)

A part is left out where the environment names a server of your own (DATABASE_URL, BROKER_URL, HUB_STORAGE), or a file that
does (DATABASE_URL_FILE, ...).
"""

import contextlib
import importlib.util
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from registry.embedded import account as accounts
from registry.embedded import folder as folders
from registry.embedded import postgres as postgresql
from registry.embedded.errors import EmbeddedError, PortTakenError, StoppedError
from registry.embedded.postgres import Postgres
from registry.embedded.programs import BACKLOG, Programs
from registry.embedded.redis import Redis
from registry.embedded.supervisor import Supervisor

START_SECONDS = 90.0
MIGRATION_SECONDS = 600.0
ORPHAN_SECONDS = 6.0  # so long the web workers of a killed hub may still hold the port
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


@dataclass(frozen=True)
class Options:
    """What `manage.py up` was asked for."""

    data: Path
    port: int = 8000
    host: str = "127.0.0.1"
    workers: int = 1
    demo: bool = True
    follow: bool = False
    web_processes: int = 2
    web_threads: int = 4

    @property
    def url(self) -> str:
        """The address at which processes of this machine find the hub."""
        return http(EVERYWHERE.get(self.host, self.host), self.port)

    @property
    def public_url(self) -> str:
        """The address that people are told, unless HUB_PUBLIC_URL says another."""
        return http(socket.gethostname(), self.port) if self.host in EVERYWHERE else self.url


@dataclass
class Hub:
    """One run of a hub, from its servers to the last child's end."""

    options: Options
    folder: folders.Folder
    listener: socket.socket
    supervisor: Supervisor
    tell: Callable[[str], None]
    secrets: dict[str, str] = field(default_factory=dict)
    sockets: Path | None = None
    programs: Programs = field(init=False)

    def __post_init__(self) -> None:
        self.programs = Programs(self.folder, {})

    def start(self) -> None:
        """Start everything in order; returns when GET /readyz is 200 and the workers are on their way."""
        self._clean_up_after_a_crash()
        self.secrets = folders.load_secrets(self.folder)
        self.programs = Programs(self.folder, self._settings() | self._start_servers())
        self._note()
        prepare = self.programs.manage("prepare", "prepare", "--data", str(self.folder.path))
        self.supervisor.run_once(prepare, MIGRATION_SECONDS)
        web = self.programs.web(self.listener.fileno(), self.options.web_processes, self.options.web_threads)
        for program in (web, self.programs.relay(), self.programs.jobs()):
            self.supervisor.start(program)
        self.supervisor.wait_until(lambda: answers(self.options.url), START_SECONDS, "the web server's start")
        self._start_workers()

    def _clean_up_after_a_crash(self) -> None:
        """Remove what a hub that was killed on this folder left in /tmp, once its database has stopped."""
        note = self.folder.note
        if note:
            postgresql.clear_stale_pid((self.folder / "postgres").resolve())
            folders.remove_sockets(note.get("sockets"))
            self.folder.remove_note()

    def _settings(self) -> dict[str, str]:
        """Return the settings of the registry's processes that we decide: only where the caller did not."""
        ours = {
            "HUB_STORAGE": (self.folder / "blobs").resolve().as_uri(),
            "HUB_PUBLIC_URL": self.options.public_url,
            "HUB_ALLOWED_HOSTS": "127.0.0.1,localhost,[::1]",
            "HUB_SSL_REDIRECT": "0",  # whoever stands in front of us does that; workers come by the back door
        }
        if not os.environ.get("HUB_SECRET_KEY_FILE"):  # else it stays in its file
            ours["HUB_SECRET_KEY"] = self.secrets["secret_key"]
        chosen = {name: folders.given(name, os.environ) or value for name, value in ours.items()}
        if chosen["HUB_STORAGE"] == ours["HUB_STORAGE"]:
            self.folder.make("blobs")
        return chosen | {"HUB_DATA": str(self.folder.path.resolve())}

    def _start_servers(self) -> dict[str, str]:
        """Start PostgreSQL and Redis where none are given, wait for both, and return the addresses."""
        database, broker = (folders.given(name, os.environ) for name in ("DATABASE_URL", "BROKER_URL"))
        worker_broker = folders.given("HUB_WORKER_BROKER_URL", os.environ) or broker
        account = accounts.unprivileged()
        if not (database and broker):
            self.sockets = folders.make_sockets(account)
        # Both are started before either is waited for.
        wait_for_redis = self._start_redis(account) if not broker else None
        if not database:
            database = self._start_postgres(account)
        if wait_for_redis:
            broker, own = wait_for_redis()
            worker_broker = worker_broker or own
        return {
            "DATABASE_URL": database,
            "BROKER_URL": str(broker),
            "HUB_WORKER_BROKER_URL": str(worker_broker),
        }

    def _start_postgres(self, account: accounts.Account | None) -> str:
        postgres = Postgres(
            data=(self.folder / "postgres").resolve(),
            sockets=self.sockets or Path(),
            account=account,
            admin_password=self.secrets["postgres_admin"],
            password=self.secrets["postgres"],
            log=self.programs.log("postgres"),
        )
        child = self.supervisor.start(postgres.program(postgres.prepare()))
        self.supervisor.wait_until(
            lambda: postgres.is_ready(child.process.pid), START_SECONDS, "the start of PostgreSQL"
        )
        postgres.ensure_database()
        return postgres.url

    def _start_redis(self, account: accounts.Account | None) -> Callable[[], tuple[str, str]]:
        redis = Redis(
            data=(self.folder / "redis").resolve(),
            sockets=self.sockets or Path(),
            account=account,
            password=self.secrets["redis"],
            worker_password=self.secrets["redis_worker"],
            log=self.programs.log("redis"),
        )
        self.supervisor.start(redis.program(redis.prepare()))

        def wait() -> tuple[str, str]:
            self.supervisor.wait_until(redis.is_ready, START_SECONDS, "the start of Redis")
            return redis.url, redis.worker_url

        return wait

    def _note(self) -> None:
        """Tell other commands (`manage.py token`) how to reach what runs."""
        self.folder.write_note(
            {
                "pid": os.getpid(),
                "url": self.options.url,
                "sockets": str(self.sockets or ""),
                "environment": self.programs.environment,
            }
        )

    def _start_workers(self) -> None:
        if self.options.workers and importlib.util.find_spec("workers") is None:
            self.tell("no validation worker: there is no package `workers` here")
            return
        if self.options.workers and os.environ.get("HUB_ISOLATION", "required") == "required":
            self._try_walls()
        token = os.environ.get("HUB_WORKER_TOKEN") or folders.load_secrets(self.folder)["worker_token"]
        for number in range(1, self.options.workers + 1):
            self.supervisor.start(self.programs.worker(number, self.options.url, token))

    def _try_walls(self) -> None:
        """Say it here, not in a worker's log alone, where pushes would wait for a verdict that nobody gives."""
        try:
            self.supervisor.run_once(self.programs.walls(), START_SECONDS)
        except StoppedError:
            raise
        except EmbeddedError as error:
            self.tell(f"pushes will wait, for nothing is judged on this machine: {error}")

    def fill(self) -> None:
        """Put the demo content in. A failure is told; the hub is none the worse for it."""
        if not self.options.demo or importlib.util.find_spec("demo") is None:
            return
        try:
            self.supervisor.run_once(self.programs.demo(self.options.url), START_SECONDS * 4)
        except StoppedError:
            raise
        except EmbeddedError as error:
            self.tell(f"the demo content is not complete: {error}")

    def stop(self) -> None:
        """Stop all children, then remove what must not outlive them."""
        self.supervisor.stop_all()
        self.folder.remove_note()
        folders.remove_sockets(self.sockets)


def http(host: str, port: int) -> str:
    """Write an address as a URL."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def answers(url: str) -> bool:
    """Tell whether the hub says that it is ready: GET /readyz is 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine's, past any proxy
    try:
        with opener.open(f"{url}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def listen(host: str, port: int, patience: float = 0.0) -> socket.socket:
    """Take the port, before anything is started; raises PortTakenError."""
    deadline = time.monotonic() + patience
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        try:
            return socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            if time.monotonic() > deadline:
                raise PortTakenError(
                    f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}",
                    "choose another with --port",
                ) from error
            time.sleep(0.2)


@contextlib.contextmanager
def held(folder: folders.Folder, url: str) -> Iterator[None]:
    """Hold a data folder, made if need be, against other hubs."""
    folder.make()
    lock = folders.Lock(folder)
    try:
        lock.take(url)
        folder.make("logs")
        yield
    finally:
        lock.give_back()


def up(options: Options, tell: Callable[[str], None], welcome: Callable[[Hub], None]) -> None:
    """Run a hub until somebody stops it; `welcome` is called when it is ready.

    Raises EmbeddedError when it cannot start, or cannot go on because a server cannot be kept alive (PostgreSQL,
    Redis, web); by then all children have been stopped.
    """
    folder = folders.Folder(options.data)
    with (
        held(folder, options.url),
        listen(options.host, options.port, ORPHAN_SECONDS if folder.note else 0.0) as listener,
    ):
        hub = Hub(options, folder, listener, Supervisor(tell, options.follow), tell)
        with hub.supervisor.signals():
            try:
                hub.start()
                welcome(hub)
                hub.fill()
                while True:
                    hub.supervisor.step()
            except StoppedError:
                tell("stopping")
            finally:
                hub.stop()
