"""The hub serves its own client: pip installs it from there, without any other index."""

import hashlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from django.core.wsgi import get_wsgi_application

from registry.queries import client_wheel
from tests.registry.cast import Caller

pytestmark = pytest.mark.django_db


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    """A server with the hub's pages behind it."""
    server = make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_index_leads_to_the_wheel(anybody: Caller) -> None:
    assert 'href="adapter-hub/"' in anybody.client.get("/client/").content.decode()
    page = anybody.client.get("/client/adapter-hub/").content.decode()
    found = re.search(r'href="\.\./([^#"]+)#sha256=([0-9a-f]{64})"', page)
    assert found
    wheel = anybody.client.get(f"/client/{found[1]}")
    assert hashlib.sha256(b"".join(wheel.streaming_content)).hexdigest() == found[2]


def test_the_wheel_is_the_same_every_time() -> None:
    first = client_wheel.own()
    client_wheel.own.cache_clear()
    assert client_wheel.own().sha256 == first.sha256


def test_what_is_not_there_is_missing(anybody: Caller) -> None:
    for path in ("/client/torch/", "/client/x.whl", "/client/..%2fsecret.whl"):
        assert anybody.client.get(path).status_code == 404


def test_an_operator_may_lay_other_wheels_beside_it(anybody: Caller, settings, tmp_path: Path) -> None:
    (tmp_path / "tqdm-4.0-py3-none-any.whl").write_bytes(b"wheel")
    settings.HUB_CLIENT_WHEELS = str(tmp_path)
    assert 'href="tqdm/"' in anybody.client.get("/client/").content.decode()
    served = anybody.client.get("/client/tqdm-4.0-py3-none-any.whl")
    assert b"".join(served.streaming_content) == b"wheel"
    assert served["Content-Length"] == "5"


def test_a_large_wheel_is_read_once_however_often_anybody_asks(
    anybody: Caller, settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "torch-2.0-py3-none-any.whl"
    path.write_bytes(b"large")
    settings.HUB_CLIENT_WHEELS = str(tmp_path)
    opened = []
    real = Path.open

    def noted(self: Path, *given, **more):
        if self.parent == tmp_path:  # the sources of the hub's own wheel are read once a process
            opened.append(self)
        return real(self, *given, **more)

    monkeypatch.setattr(Path, "open", noted)
    pages = [anybody.client.get("/client/torch/").content for _ in range(3)]
    anybody.client.get("/client/")
    assert opened == [path]
    path.write_bytes(b"another")
    opened.clear()
    assert [anybody.client.get("/client/torch/").content == pages[0] for _ in range(2)] == [False, False]
    assert opened == [path]


PIP = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "--no-cache-dir"]


@pytest.mark.parametrize("extra", ["", "-torch"])
def test_pip_installs_from_the_requirements_without_asking_an_index(
    address: str, settings, tmp_path: Path, extra: str
) -> None:
    settings.HUB_PUBLIC_URL = address
    line = [*PIP, "install", "--quiet", "--no-deps", "--no-index", "--target", tmp_path]
    home = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run([*line, "-r", f"{address}/client/requirements{extra}.txt"], check=True, env=home)
    assert (tmp_path / "hub" / "__init__.py").exists()


def test_the_requirements_name_the_wheel_by_address_and_digest(anybody: Caller, settings) -> None:
    settings.HUB_PUBLIC_URL = "https://hub.example"
    own = client_wheel.own()
    address = f"https://hub.example/client/{own.filename}#sha256={own.sha256}"
    plain, torch = (anybody.client.get(f"/client/requirements{extra}.txt") for extra in ("", "-torch"))
    assert plain.content.decode() == f"adapter-hub @ {address}\n"
    assert torch.content.decode() == f"adapter-hub[torch] @ {address}\n"


def test_no_document_advises_a_second_index() -> None:
    root = Path(__file__).parents[2]
    for page in (root / "README.md", *root.glob("docs/*.md"), *root.glob("templates/**/*.html")):
        lines = [line for line in page.read_text().splitlines() if "pip install" in line]
        assert not [line for line in lines if "extra-index-url" in line], page


def test_pip_installs_the_client_from_the_hub(address: str, tmp_path: Path) -> None:
    subprocess.run(
        [
            *PIP,
            "install",
            "--quiet",
            "--no-deps",
            "--index-url",
            f"{address}/client/",
            "--target",
            tmp_path,
            "adapter-hub",
        ],
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    code = "import hub, sys; print(hub.__file__); assert 'torch' not in sys.modules"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd="/", env=environment
    )
    assert told.stdout.startswith(str(tmp_path))
    assert (tmp_path / "bin" / "hub").exists()
