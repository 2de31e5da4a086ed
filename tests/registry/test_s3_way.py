"""The same way over a real S3 server: bytes go to it and come from it without passing through the hub."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from hub.spec import answers, torch_file
from hub.spec.snapshot import MemorySnapshot
from registry.models import ManifestFile, Original, Version
from registry.queries import blobs
from registry.services import ingest
from tests.registry import adapters
from tests.registry.cast import Answer, Caller, judge
from tests.specimens.torch import build
from tests.storage import swift

pytestmark = pytest.mark.django_db

BUCKET = "hub"


@pytest.fixture(scope="module")
def server() -> Iterator[swift.Server]:
    """OpenStack Swift with an empty bucket."""
    if why := swift.missing():
        pytest.skip(why)
    with swift.serve() as found:
        found.make_bucket(BUCKET)
        yield found


@pytest.fixture
def s3(server: swift.Server, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub stores on S3."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    settings.HUB_STORAGE = f"s3://{BUCKET}/{uuid.uuid4().hex}"


def send(started: Answer, files: dict[str, bytes], only: int | None = None) -> list[int]:
    """Send the parts to where the hub says, as a client does; return the statuses."""
    statuses = []
    for blob in started["blobs"][:only]:
        assert blob["url"] is None
        for part in blob["urls"]:
            assert part["url"].startswith(os.environ["AWS_ENDPOINT_URL_S3"])
            data = files[blob["path"]][part["offset"] : part["offset"] + part["size"]]
            statuses.append(httpx.put(part["url"], content=data).status_code)
    return statuses


@pytest.fixture
def pulled(owner: Caller, base, s3: None, benchmark) -> Version:
    """acme/tone-bert, pushed over S3 and published."""
    files = adapters.lora(hub={"benchmarks": ["acme/tone"]})
    started = owner.start("acme/tone-bert", files)
    assert set(send(started, files)) == {200}
    assert owner.post(f"uploads/{started['id']}/complete").status == 202
    version = Version.objects.get()
    assert version.run is not None
    judge(version.run)
    return version


def test_what_was_sent_to_the_store_is_published_and_comes_back(anybody: Caller, pulled: Version) -> None:
    for file in anybody.get("resolve?ref=acme/tone-bert")["files"]:
        answer = anybody.get(file["url"])
        assert answer.status == 302
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        data = httpx.get(answer.headers["Location"]).content
        assert hashlib.sha256(data).hexdigest() == file["sha256"]


def test_what_was_answered_row_by_row_comes_from_the_store(anybody: Caller, pulled: Version) -> None:
    (score,) = anybody.get("adapters/acme/tone-bert/versions/1/report")["components"][0]["scores"]
    answer = anybody.get(score["answers"]["url"])
    assert (answer.status, answer.headers["Cache-Control"]) == (302, "private, no-store")
    assert answers.from_lines(httpx.get(answer.headers["Location"]).content) == [1, 0, 1, 0]


@pytest.mark.parametrize("padding", [0, 9 << 20])
def test_what_torch_saved_comes_back_as_safetensors(owner: Caller, base, s3: None, padding: int) -> None:
    files = adapters.lora()
    weights = adapters.lora_tensors()
    if padding:  # more than one request takes; the inspection refuses it, but it is stored
        weights["padding"] = ([padding // 4], 0.5)
    del files["adapter_model.safetensors"]
    files["adapter_model.bin"] = build.state(weights)
    started = owner.start("acme/tone-bert", files)
    assert set(send(started, files)) == {200}
    owner.post(f"uploads/{started['id']}/complete")
    if padding:
        assert ingest.run(upload_id=started["id"])
    stored = ManifestFile.objects.get(path="adapter_model.safetensors")
    made = b"".join(torch_file.convert(MemorySnapshot(files), "adapter_model.bin"))
    assert blobs.store().read(stored.blob_id) == made
    assert blobs.store().verify(Original.objects.get().blob_id)


def test_head_and_not_modified_are_answered_by_the_hub(anybody: Caller, pulled: Version) -> None:
    path = "adapters/acme/tone-bert/versions/1/files/README.md"
    head = anybody.head(path)
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(adapters.lora()["README.md"])))
    assert anybody.get(path, headers={"If-None-Match": head.headers["ETag"]}).status == 304


def test_a_private_file_gets_no_url(owner: Caller, stranger: Caller, pulled: Version) -> None:
    owner.patch("adapters/acme/tone-bert", {"private": True})
    answer = stranger.get("adapters/acme/tone-bert/versions/1/files/README.md")
    assert answer.status == 404
    assert "Location" not in answer.headers


def test_a_cut_upload_asks_only_for_what_is_missing(owner: Caller, base, s3: None) -> None:
    files = adapters.lora()
    started = owner.start("acme/tone-bert", files)
    send(started, files, only=2)
    incomplete = owner.post(f"uploads/{started['id']}/complete")
    assert (incomplete.status, len(incomplete["problems"])) == (409, len(files) - 2)
    asked = owner.get(f"uploads/{started['id']}")
    assert sum(bool(blob["urls"]) for blob in asked["blobs"]) == len(files) - 2
    send(asked, files)
    assert owner.post(f"uploads/{started['id']}/complete").status == 202


def test_a_url_that_is_used_again_after_the_end_changes_nothing(anybody: Caller, owner: Caller, base, s3: None) -> None:
    files = adapters.lora()
    started = owner.start("acme/tone-bert", files)
    send(started, files)
    assert owner.post(f"uploads/{started['id']}/complete").status == 202
    send(started, {path: bytes(len(data)) for path, data in files.items()})
    judge(Version.objects.get().run)  # type: ignore[arg-type]
    for file in anybody.get("resolve?ref=acme/tone-bert")["files"]:
        data = httpx.get(anybody.get(file["url"]).headers["Location"]).content
        assert data == files[file["path"]]


def test_other_bytes_than_announced_are_rejected(owner: Caller, base, s3: None) -> None:
    files = adapters.lora()
    started = owner.start("acme/tone-bert", files)
    send(started, {path: bytes(len(data)) for path, data in files.items()})
    answer = owner.post(f"uploads/{started['id']}/complete")
    assert (answer.status, answer["code"]) == (422, "rejected")
