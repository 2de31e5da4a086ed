"""A hub for the demo: started as a user would (`manage.py up`), filled through the public client."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.base import BASE_NAME, base_folder

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60


@dataclass(frozen=True)
class Hub:
    """A running hub, and a token that may do everything on it."""

    endpoint: str
    token: str
    cache: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user of this hub: nothing of the server's."""
        home = {"HUB_CACHE": str(self.cache), "HUB_CONFIG": str(self.cache.parent / "config")}
        base = {key: value for key, value in os.environ.items() if not key.startswith("HUB_")}
        return base | home | {"HUB_ENDPOINT": self.endpoint, "HUB_TOKEN": self.token, "HF_HUB_OFFLINE": "1"}

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `hub WORDS` as a user would; stdout is JSON where --json is among the words."""
        line = [sys.executable, "-m", "hub", *words]
        return subprocess.run(line, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)

    def json(self, *words: str) -> Any:
        """Run `hub WORDS --json`, expect success, return what it printed."""
        done = self.command(*words, "--json")
        if done.returncode:
            raise SystemExit(f"hub {' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
        return json.loads(done.stdout)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_ready(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until GET /readyz is 200; say so when the hub ends before that."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"the hub stopped while starting (exit {process.returncode}); see its messages above")
        try:
            with urllib.request.urlopen(f"{endpoint}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise SystemExit(f"the hub was not ready within {START_SECONDS} s")


@contextmanager
def running(folder: Path, *, port: int = 0) -> Iterator[Hub]:
    """A hub on `folder`, stopped at the end."""
    port = port or free_port()
    endpoint = f"http://127.0.0.1:{port}"
    # It judges nothing but the demo's own five pushes, so a machine that lacks a wall need not stop it; reports say which held.
    environment = {"HUB_ISOLATION": "best"} | os.environ | {"HUB_BASES": str(base_folder()), "HF_HUB_OFFLINE": "1"}
    line = [
        sys.executable,
        str(ROOT / "manage.py"),
        "up",
        "--port",
        str(port),
        "--data",
        str(folder),
        "--no-demo",
    ]
    process = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_ready(endpoint, process)
        yield Hub(endpoint, make_token(folder, "demo", "admin"), folder / "client" / "cache")
    finally:
        process.terminate()
        process.wait(timeout=30)


def make_token(folder: Path, user: str, scope: str) -> str:
    """A token from `manage.py token`, for the hub that runs on `folder`."""
    line = [sys.executable, str(ROOT / "manage.py"), "token", user, "--create", "--scope", scope]
    done = subprocess.run(
        line,
        cwd=ROOT,
        env=os.environ | {"HUB_DATA": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"no token for {user}: {done.stderr}")
    return done.stdout.strip()


def fill(hub: Hub, benchmark: Path) -> None:
    """Register the base model under its name and the benchmark of `benchmark` (a YAML file beside its data)."""
    hub.json("base", "add", str(base_folder()), "--name", BASE_NAME)
    hub.json("benchmark", "add", str(benchmark))
