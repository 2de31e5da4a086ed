"""A hub in memory, an empty home, and a client that does not wait long."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.client import Client
from hub.transfer.retry import Retry
from tests.client.simulator import OWNER, STRANGER, Simulator

QUICK = Retry(first=0.001, cap=0.01, longest_wait=0.05)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home: nothing of the machine's own user is read or written."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in (
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "HUB_ENDPOINT",
        "HUB_TOKEN",
        "HUB_CACHE",
        "HUB_OFFLINE",
        "HUB_BASES",
    ):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    with Simulator() as simulator:
        monkeypatch.setenv("HUB_ENDPOINT", simulator.url)
        yield simulator


@pytest.fixture
def store_sim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A hub whose bytes travel by presigned URLs."""
    with Simulator(presigned=True) as simulator:
        monkeypatch.setenv("HUB_ENDPOINT", simulator.url)
        yield simulator


def quick(endpoint: str, token: str | None) -> Client:
    client = Client(endpoint, token)
    client.wire.retry = QUICK
    return client


@pytest.fixture
def owner(sim: Simulator) -> Iterator[Client]:
    with quick(sim.url, OWNER) as client:
        yield client


@pytest.fixture
def stranger(sim: Simulator) -> Iterator[Client]:
    with quick(sim.url, STRANGER) as client:
        yield client


@pytest.fixture
def anybody(sim: Simulator) -> Iterator[Client]:
    with quick(sim.url, None) as client:
        yield client
