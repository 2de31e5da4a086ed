"""Fixtures for tests on a whole hub of processes. What a hub can do for a test: hubs.RunningHub."""

import importlib.util
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.hubs import RunningHub, start


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the publishers' own: nothing of the caller's is read or written."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="session")
def hub_folder() -> Iterator[Path]:
    """A folder for hubs, on a path with a space."""
    path = Path(tempfile.mkdtemp(prefix="hub tests "))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def hub(hub_folder: Path) -> Iterator[RunningHub]:
    """One hub for all tests that do it no harm, with a validation worker where there is one to start.

    `hub.endpoint`, `hub.tokens["owner"]` (owner, member, stranger, reader, admin), `hub.token(user, scope)`.
    """
    workers = "1" if importlib.util.find_spec("workers.celery") else "0"
    running = start(hub_folder / "shared", "--workers", workers)
    try:
        running.wait_ready()
        yield running
    finally:
        running.stop()


@pytest.fixture
def start_hub(hub_folder: Path) -> Iterator[Callable[..., RunningHub]]:
    """Start hubs of a test's own, which it may harm: start_hub("name", "--workers", "0", HUB_X="1")."""
    started: list[RunningHub] = []

    def begin(name: str, *words: str, ready: bool = True, **more: str) -> RunningHub:
        running = start(hub_folder / name, *(words or ("--workers", "0")), **more)
        started.append(running)
        if ready:
            running.wait_ready()
        return running

    yield begin
    for running in started:
        running.stop(signal.SIGTERM)
