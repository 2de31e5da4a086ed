"""What every test may use: one PostgreSQL per session, our own embedded one, and Django where tests need it."""

import os
import secrets
from contextlib import ExitStack
from pathlib import Path

import pytest

from registry.embedded import account as accounts
from registry.embedded import folder as folders
from registry.embedded import postgres as postgresql

# Tests of rooms that know no Django start without it.
WITHOUT_DJANGO = {"spec", "client", "engine", "storage", "docs"}
TESTS = Path(__file__).parent
IS_XDIST_WORKER = "PYTEST_XDIST_WORKER" in os.environ


def isolate_environment() -> None:
    """Forget the caller's own hub, database and tokens: no test may touch them."""
    for name in list(os.environ):
        if name in ("DATABASE_URL", "BROKER_URL") or (name.startswith("HUB_") and not name.startswith("HUB_TEST_")):
            del os.environ[name]


def describe_postgres() -> postgresql.Postgres:
    """Return the server of this session, not yet started. Workers of xdist find the one of their controller."""
    account = accounts.unprivileged()
    if "HUB_TEST_FOLDER" not in os.environ:
        os.environ["HUB_TEST_FOLDER"] = str(folders.make_sockets(account))
        os.environ["HUB_TEST_PASSWORD"] = secrets.token_urlsafe(24)
    folder = Path(os.environ["HUB_TEST_FOLDER"])
    return postgresql.Postgres(
        data=folder / "data",
        sockets=folder,
        account=account,
        admin_password=os.environ["HUB_TEST_PASSWORD"],
        password=os.environ["HUB_TEST_PASSWORD"],
        log=folder / "postgres.log",
        durable=False,
    )


def describe_storage() -> str:
    """Return HUB_STORAGE for this session: a folder for each process, removed with the session's."""
    if "HUB_TEST_FOLDER" not in os.environ:
        os.environ["HUB_TEST_FOLDER"] = str(folders.make_sockets(None))
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    return (Path(os.environ["HUB_TEST_FOLDER"]) / f"blobs-{worker}").as_uri()


# At import: before pytest-django looks at the settings.
isolate_environment()
POSTGRES = None if os.environ.get("HUB_TEST_DATABASE_URL") else describe_postgres()
os.environ["DATABASE_URL"] = os.environ.get("HUB_TEST_DATABASE_URL") or (POSTGRES.url if POSTGRES else "")
os.environ["HUB_SECRET_KEY"] = "tests " * 10
os.environ["HUB_STORAGE"] = describe_storage()
SERVER = ExitStack()
STARTED: list[str] = []


def start_postgres() -> str:
    """Start the server of this session, once, unless another process of it does so; return its DATABASE_URL."""
    if POSTGRES and not IS_XDIST_WORKER and not STARTED:
        STARTED.append(SERVER.enter_context(postgresql.running(POSTGRES)))
    return os.environ["DATABASE_URL"]


def wants_django(config: pytest.Config) -> bool:
    """Tell whether any of the named tests lies in a room that knows Django."""
    named = [Path(str(word).partition("::")[0]).resolve() for word in config.args]
    rooms = {path.relative_to(TESTS).parts[:1] for path in named if path.is_relative_to(TESTS)}
    return not rooms or not all(room and room[0] in WITHOUT_DJANGO for room in rooms)


def own_storage() -> None:
    """Give the settings this process's store: one of xdist has read them before this file, with the controller's."""
    from django.conf import settings

    settings.HUB_STORAGE = os.environ["HUB_STORAGE"]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Set Django up with the environment made above."""
    if wants_django(config):
        import django

        os.environ["DJANGO_SETTINGS_MODULE"] = "registry.settings"
        django.setup()
        own_storage()


def pytest_sessionstart(session: pytest.Session) -> None:
    """With xdist the controller starts the server for all its workers."""
    if getattr(session.config.option, "numprocesses", None) and not IS_XDIST_WORKER:
        start_postgres()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server and remove its folder, with everything in it."""
    if not IS_XDIST_WORKER:
        SERVER.close()
        STARTED.clear()
        folders.remove_sockets(os.environ.get("HUB_TEST_FOLDER"))


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """DATABASE_URL of the session's PostgreSQL; its role may make databases."""
    return start_postgres()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres_url: str, django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Have the server running before pytest-django makes its database, one for each process of xdist."""
