"""A real Redis for the tests that need a broker: the embedded one, with its two users."""

import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as client

from registry import celery
from registry.embedded import account as accounts
from registry.embedded import folder as folders
from registry.embedded import supervisor
from registry.embedded.redis import Redis


class Broker:
    """A Redis that can be wiped, hung and killed, and is started again on the same data."""

    def __init__(self, server: Redis) -> None:
        self.server = server
        self.child: supervisor.Child | None = None

    def start(self) -> None:
        program = self.server.program(self.server.prepare())
        self.child = supervisor.Child(program, supervisor.spawn(program), time.monotonic(), 0)
        deadline = time.monotonic() + 10
        while not self.server.is_ready():
            assert time.monotonic() < deadline, supervisor.last_words(program.log)
            time.sleep(0.02)

    def stop(self) -> None:
        if self.child is not None:
            self._signal(signal.SIGCONT)
            supervisor.end([self.child], lambda: False)
            self.child = None

    def hang(self) -> None:
        """Have it hold its connections and answer nothing, until `wake`."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.child is not None and self.child.process.poll() is None:
            self.child.process.send_signal(number)

    @property
    def redis(self) -> Any:
        return client.Redis(unix_socket_path=str(self.server.socket), password=self.server.password)

    def wipe(self) -> None:
        self.redis.flushall()

    def length(self, queue: str) -> int:
        return int(self.redis.llen(queue))

    def read(self, queue: str) -> list[dict[str, Any]]:
        """Take every message of a queue, as a worker of that queue would; return their arguments, oldest first."""
        app = celery.runs if queue == "runs" else celery.app
        found: list[dict[str, Any]] = []
        with app.connection_for_read() as connection:
            box = app.amqp.queues[queue](connection.default_channel)
            box.declare()
            while (message := box.get(no_ack=True)) is not None:
                found.append({"task": message.headers["task"], **message.decode()[1]})
        return found


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Broker]:
    """One Redis a session."""
    account = accounts.unprivileged()
    folder = Path(folders.make_sockets(account))
    server = Redis(
        data=folder / "redis-data",
        sockets=folder,
        account=account,
        password=secrets.token_hex(12),
        worker_password=secrets.token_hex(12),
        log=folder / f"redis-{os.getpid()}.log",
    )
    broker = Broker(server)
    broker.start()
    yield broker
    broker.stop()
    folders.remove_sockets(str(folder))


@pytest.fixture
def broker(redis_server: Broker, monkeypatch: pytest.MonkeyPatch) -> Broker:
    """That Redis, empty, as the broker of both queues; the runs' queue is reached as the workers' user."""
    for app, url, queue in (
        (celery.app, redis_server.server.url, "registry"),
        (celery.runs, redis_server.server.worker_url, "runs"),
    ):
        monkeypatch.setitem(app.conf, "broker_url", url)
        monkeypatch.setitem(app.conf, "broker_transport_options", celery.transport_options(url, queue))
    if redis_server.child is None:
        redis_server.start()
    redis_server.wake()
    redis_server.wipe()
    return redis_server
