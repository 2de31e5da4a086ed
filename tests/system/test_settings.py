"""Settings come from the environment; a bad one stops the start and is named."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from registry import logs
from tests.system.hubs import ROOT, clean_environment

KEY = "k" * 50
SHOW = """
import json
from django.conf import settings
names = [{names}]
print(json.dumps({{name: getattr(settings, name) for name in names}}, default=str))
"""


def load(*names: str, **environment: str) -> dict[str, object]:
    """Return these settings as a process with this environment sees them; AssertionError with its words if it fails."""
    chosen = clean_environment() | {"DJANGO_SETTINGS_MODULE": "registry.settings"} | environment
    code = SHOW.format(names=", ".join(repr(name) for name in names))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=chosen, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("HUB_LEASE_SECONDS", "soon", "whole number from 2 to 3600"),
        ("HUB_LEASE_SECONDS", "1", "whole number from 2 to 3600"),
        ("HUB_VALIDATION", "maybe", "required or off"),
        ("HUB_SSL_REDIRECT", "perhaps", "1 or 0"),
        ("DATABASE_URL", "mysql://root:hunter2@db/hub", "postgresql://"),
        ("DATABASE_URL", "postgresql://db:port/hub", "not a URL"),
        ("HUB_PUBLIC_URL", "hub.example", "http:// or https://"),
        ("HUB_SECRET_KEY", "short", "openssl rand"),
        ("HUB_SECRET_KEY_FILE", "/no/such/file", "cannot be read"),
        ("HUB_LEASE_SECOND", "60", "Is HUB_LEASE_SECONDS meant"),
    ],
)
def test_a_bad_value_stops_the_start_and_is_named(name: str, value: str, told: str) -> None:
    with pytest.raises(AssertionError) as failure:
        load("DEBUG", **{name: value})
    assert name in str(failure.value)
    assert told in str(failure.value)
    assert "hunter2" not in str(failure.value)


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    assert load("SECRET_KEY", HUB_SECRET_KEY_FILE=str(path)) == {"SECRET_KEY": KEY}
    with pytest.raises(AssertionError, match="Keep one"):
        load("SECRET_KEY", HUB_SECRET_KEY_FILE=str(path), HUB_SECRET_KEY=KEY)


def test_a_database_url_may_name_a_socket_folder() -> None:
    url = "postgresql://me:p%40ss@/hub?host=%2Ftmp%2Fa%20b&sslmode=disable"
    database = load("DATABASES", DATABASE_URL=url)["DATABASES"]["default"]  # type: ignore[index]
    assert (database["HOST"], database["USER"], database["PASSWORD"], database["NAME"]) == (
        "/tmp/a b",
        "me",
        "p@ss",
        "hub",
    )
    assert database["OPTIONS"]["sslmode"] == "disable"
    assert "statement_timeout=10000" in database["OPTIONS"]["options"]


def test_cookies_are_secure_unless_the_hub_is_reached_by_plain_http() -> None:
    names = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_SSL_REDIRECT", "SECURE_HSTS_SECONDS", "DEBUG")
    plain = load(*names, HUB_PUBLIC_URL="http://hub.example:8000")
    assert not any(plain.values())
    safe = load(*names, HUB_PUBLIC_URL="https://hub.example")
    assert safe == dict(zip(names, (True, True, True, 31_536_000, False), strict=True))


def test_debug_is_for_this_machine_only() -> None:
    assert load("DEBUG", HUB_DEBUG="1") == {"DEBUG": True}
    with pytest.raises(AssertionError, match="HUB_DEBUG shows secrets"):
        load("DEBUG", HUB_DEBUG="1", HUB_PUBLIC_URL="https://hub.example")


def test_the_web_server_refuses_a_key_that_a_restart_forgets() -> None:
    chosen = clean_environment() | {"DJANGO_SETTINGS_MODULE": "registry.settings"}
    line = [sys.executable, "-c", "import registry.wsgi"]
    done = subprocess.run(line, cwd=ROOT, env=chosen, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "HUB_SECRET_KEY is missing" in done.stderr
    chosen["HUB_SECRET_KEY"] = KEY
    subprocess.run(line, cwd=ROOT, env=chosen, check=True)


@pytest.mark.parametrize(
    "secret",
    [
        "ahub_BEzrYqozivVytgkaYruNeQowBuxO2z0gNgYv",
        "ahubrun_BEzrYqozivVytgkaYruNeQowBuxO2z0gNgYv",
        "postgresql://hub:hunter2hunter2@/hub",
        "redis+socket://worker:hunter2hunter2@/tmp/redis.sock",
        "Authorization: Bearer hunter2hunter2",
        "https://s3.example/x?X-Amz-Credential=hunter2hunter2&X-Amz-Signature=hunter2hunter2",
    ],
)
def test_a_log_line_is_json_and_holds_no_secret(secret: str) -> None:
    record = logging.makeLogRecord(
        {"name": "registry", "levelname": "INFO", "msg": "seen %s\nand more", "args": (secret,), "extra_word": secret}
    )
    line = logs.JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"].startswith("seen ")
    assert "hunter2" not in line
    assert "BEzrYqoziv" not in line
