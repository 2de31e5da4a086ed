"""Base models in the hub's own store: operators send them, everybody fetches them, each byte is hashed on the way in and out."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from hub import Client, base_folder, bases, config, errors, registration, stored
from registry.models import BaseFile, Blob
from registry.queries import blobs
from tests.registry import adapters
from tests.registry.cast import Caller

pytestmark = pytest.mark.django_db

FILES = {
    name: (adapters.TINY / name).read_bytes()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    if (adapters.TINY / name).is_file()
}


def announced(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [
        {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for path, data in files.items()
    ]


@pytest.fixture
def place(base) -> str:
    return f"base-models/{base.pk}/files"


def store(admin: Caller, place: str, files: dict[str, bytes] = FILES) -> None:
    for blob in admin.post(place, {"files": announced(files)})["blobs"]:
        assert admin.put(f"{blob['url']}?offset=0", files[blob["path"]]).status == 200
        assert admin.post(blob["complete_url"]).status == 200


def test_what_an_operator_stores_everybody_may_fetch(admin, anybody, place: str, base) -> None:
    assert anybody.get(place)["files"] == []
    store(admin, place)
    found = anybody.get(place)["files"]
    assert [(row["path"], row["sha256"]) for row in found] == [
        (row["path"], row["sha256"]) for row in sorted(announced(FILES), key=lambda row: row["path"])
    ]
    for row in found:
        assert anybody.get(row["url"]).body == FILES[row["path"]]
    part = anybody.get(found[1]["url"], headers={"Range": "bytes=8-15"})
    assert (part.status, part.body) == (206, FILES[found[1]["path"]][8:16])
    shown = anybody.get("base-models/tiny-bert")
    assert {"kind": "stored", "name": base.pk, "revision": "", "state": "live"} in shown["locations"]
    assert shown["aliases"] == ["tiny-bert"]
    assert admin.post(place, {"files": announced(FILES)})["blobs"] == []


def test_it_is_for_operators(owner, member, worker, stranger, anybody, place: str) -> None:
    for who in (owner, member, worker, stranger):
        assert who.post(place, {"files": announced(FILES)}).status == 403
        assert who.put(f"/api/v1/{place}/config.json?offset=0", b"x").status == 403
        assert who.post(f"{place}/config.json").status == 403
    assert anybody.post(place, {"files": announced(FILES)}).status == 401
    assert not BaseFile.objects.exists()


def test_a_cut_upload_goes_on_where_it_was(admin, anybody, place: str) -> None:
    blob = next(
        row for row in admin.post(place, {"files": announced(FILES)})["blobs"] if row["path"] == "model.safetensors"
    )
    data = FILES["model.safetensors"]
    assert admin.put(f"{blob['url']}?offset=0", data[:1000])["received"] == 1000
    assert admin.post(blob["complete_url"])["code"] == "incomplete"
    again = admin.post(place, {"files": announced(FILES)})["blobs"]
    assert {row["path"]: row["received"] for row in again}["model.safetensors"] == 1000
    refused = admin.put(f"{blob['url']}?offset=0", data)
    assert (refused.status, refused["received"]) == (409, 1000)
    assert admin.put(f"{blob['url']}?offset=1000", data[1000:])["received"] == len(data)
    assert admin.put(f"{blob['url']}?offset={len(data)}", b"more").status == 413
    assert admin.post(blob["complete_url"]).status == 200
    assert admin.post(blob["complete_url"]).status == 200
    assert anybody.get(place)["files"] == []  # not as long as one is missing
    assert admin.put(f"{blob['url']}?offset=0", data)["code"] == "completed"


def test_other_bytes_than_were_announced_are_not_kept(admin, anybody, place: str) -> None:
    data = FILES["model.safetensors"]
    blob = next(
        row for row in admin.post(place, {"files": announced(FILES)})["blobs"] if row["path"] == "model.safetensors"
    )
    forged = data[:-1] + bytes([data[-1] ^ 2])
    admin.put(f"{blob['url']}?offset=0", forged)
    refused = admin.post(blob["complete_url"])
    assert refused.status == 422 and "SHA-256" in refused["detail"]
    assert not Blob.objects.filter(pk=blob["sha256"]).exists()
    assert blobs.store().size(hashlib.sha256(forged).hexdigest()) is None
    assert anybody.get(blob["url"]).status == 404


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": b"{}"},
        {"model.safetensors": b"x"},
        {"config.json": b"{}", "pytorch_model.bin": b"x"},
        {"config.json": b"{}", "../x.safetensors": b"x"},
        {"config.json": b"{}", ".hidden.json": b"x"},
    ],
)
def test_what_is_no_base_model_is_refused(admin, place: str, files: dict[str, bytes]) -> None:
    assert admin.post(place, {"files": announced(files)}).status == 422


def test_more_than_the_hub_keeps_is_refused(admin, place: str, settings) -> None:
    settings.HUB_MAX_BASE_BYTES = sum(map(len, FILES.values())) - 1
    assert admin.post(place, {"files": announced(FILES)})["code"] == "too_large"


def test_a_file_announced_anew_is_not_served_before_it_is_whole(admin, anybody, place: str) -> None:
    store(admin, place)
    changed = {**FILES, "config.json": FILES["config.json"] + b"\n"}
    admin.post(place, {"files": announced(changed)})
    assert anybody.get(place)["files"] == []
    states = [row["state"] for row in anybody.get("base-models/tiny-bert")["locations"] if row["kind"] == "stored"]
    assert states == ["gone"]
    store(admin, place, changed)
    assert len(anybody.get(place)["files"]) == len(FILES)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "HUB_CACHE", "HUB_CONFIG", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("HUB_BASES", raising=False)
    return tmp_path


@pytest.mark.django_db(transaction=True)
class TestTheClient:
    def test_a_base_model_that_is_nowhere_comes_from_the_hub(
        self, live_server: Any, admin: Caller, base, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HUB_ENDPOINT", live_server.url)
        with Client(live_server.url, admin.token) as client:
            told = registration.add_base(client.wire, client.settings, adapters.TINY, store=True)
            again = registration.add_base(client.wire, client.settings, adapters.TINY, store=True)
            wanted = client.request("GET", f"base-models/{base.pk}")
        assert told["stored"] == again["stored"] == sorted(told["stored"])
        (home / "HUB_CONFIG" / "bases.json").unlink()
        settings = config.read()
        with pytest.raises(errors.NotFound):
            bases.locate(wanted, settings)
        folder = stored.locate(wanted, settings)
        assert base_folder.fingerprint(folder) == base.pk
        assert folder.is_relative_to(settings.cache)
        monkeypatch.setenv("HUB_OFFLINE", "1")
        assert stored.locate(wanted, config.read()) == folder

    def test_what_is_another_base_model_is_not_taken(
        self, live_server: Any, admin: Caller, base, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HUB_ENDPOINT", live_server.url)
        data = bytearray(FILES["model.safetensors"])
        data[-1] ^= 1
        store(admin, f"base-models/{base.pk}/files", {**FILES, "model.safetensors": bytes(data)})
        with Client(live_server.url, None) as client:
            wanted = client.request("GET", f"base-models/{base.pk}")
        with pytest.raises(errors.IntegrityError, match="is not"):
            stored.locate(wanted, config.read())
        assert not list((config.read().cache / "stored").glob("*/model.safetensors"))

    def test_only_an_operator_stores(self, live_server: Any, owner: Caller, home: Path) -> None:
        with Client(live_server.url, owner.token) as client, pytest.raises(errors.AuthError):
            registration.add_base(client.wire, client.settings, adapters.TINY, store=True)
