"""Base models that a hub says it holds: what comes from there gets its place in the cache, and nowhere else."""

import hashlib
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub import base_folder, config, errors, stored
from tests.client import specimens


class Holder:
    """A hub that says that it holds these files, whatever base model it is asked for."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def answer(self, path: str) -> bytes:
        if not path.endswith("/files"):
            return self.files[path.rpartition("/")[2]]
        rows = [
            {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "url": f"/bytes/{name}"}
            for name, data in self.files.items()
        ]
        return json.dumps({"files": rows}).encode()


@pytest.fixture
def holder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Holder]:
    hub = Holder({path.name: path.read_bytes() for path in specimens.BASE.iterdir() if path.is_file()})

    class Door(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            data = hub.answer(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    monkeypatch.setenv("HUB_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def wanted() -> dict[str, Any]:
    """What a hub says of the base model of an adapter that leaves the pooler alone: the backbone is enough."""
    base = base_folder.read(specimens.BASE)
    places = [{"kind": "stored", "name": base.fingerprint, "revision": "", "state": "live"}]
    return {"fingerprint": base.fingerprint, "roots": base.roots, "reads_pooler": False, "locations": places}


@pytest.fixture
def precious(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's beside the cache."""
    monkeypatch.setenv("HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    return folder


def test_it_lands_in_the_cache(holder: Holder, wanted: dict[str, Any], precious: Path) -> None:
    assert stored.locate(wanted, config.read()).is_relative_to(config.read().cache)


@pytest.mark.parametrize("name", ["base:../../precious", "../../precious", "", None, 7])
def test_a_fingerprint_that_is_a_path_replaces_no_folder(
    holder: Holder, wanted: dict[str, Any], precious: Path, name: Any
) -> None:
    with pytest.raises(errors.NotFound):
        stored.locate({**wanted, "fingerprint": name}, config.read())
    assert (precious / "thesis.txt").read_text() == "years of work"


def test_without_the_look_at_it_a_folder_is_replaced(
    holder: Holder, wanted: dict[str, Any], precious: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the same attack, with the check of the fingerprint switched off."""
    monkeypatch.setattr(stored, "is_fingerprint", lambda value: True)
    stored.locate({**wanted, "fingerprint": "base:../../precious"}, config.read())
    assert not (precious / "thesis.txt").exists()


@pytest.mark.parametrize(
    "name", ["../x.json", ".x.json", "modeling_bert.py", "pytorch_model.bin", "*.json", "a/b.json"]
)
def test_files_that_make_no_base_model_are_not_taken(
    holder: Holder, wanted: dict[str, Any], precious: Path, name: str
) -> None:
    holder.files[name] = b"{}"
    with pytest.raises(errors.NetworkError, match="does not tell the files"):
        stored.locate(wanted, config.read())
    shutil.rmtree(precious)
    assert not any(path.is_file() for path in config.read().cache.rglob("*") if path.suffix != ".lock")
