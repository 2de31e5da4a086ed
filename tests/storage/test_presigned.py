"""What the holder of a presigned URL can do with it: send the bytes it was made for, and nothing else."""

import contextlib
import os
import time
import urllib.parse

import httpx2 as httpx
import pytest

from registry.storage import base
from tests.storage.conftest import S3, new_key, send, sha256

SMALL = b"an upload"
LARGE = os.urandom(1 << 16) * 160
STEP = base.SINGLE_PUT


def put(url: str, data: bytes) -> int:
    return httpx.put(url, content=data).status_code


def urls(side: S3, key: str, size: int, **options: int) -> list[str]:
    return [part["url"] for part in side.store.upload_urls(key, size, **options) or []]


def with_path(url: str, side: S3, path: str) -> str:
    """The same signature for another object."""
    return urllib.parse.urlsplit(url)._replace(path=f"/{side.bucket.name}/{side.prefix}/{path}").geturl()


def with_query(url: str, **changes: str) -> str:
    """The same signature with another parameter."""
    parts = urllib.parse.urlsplit(url)
    query = {**dict(urllib.parse.parse_qsl(parts.query)), **changes}
    return parts._replace(query=urllib.parse.urlencode(query)).geturl()


@pytest.mark.parametrize("data", [SMALL + b"!", SMALL[:-1], b""], ids=["longer", "shorter", "empty"])
def test_only_the_signed_length_is_taken(s3_side: S3, data: bytes):
    key = new_key()
    (url,) = urls(s3_side, key, len(SMALL))
    assert put(url, data) == 403
    assert s3_side.store.staged(key) == 0
    assert put(url, SMALL) == 200


def test_only_the_signed_key_is_taken(s3_side: S3):
    key, digest = new_key(), sha256(SMALL)
    (url,) = urls(s3_side, key, len(SMALL))
    for path in (f"staging/{new_key()}", base.blob_path(digest), f"staging/../{base.blob_path(digest)}"):
        assert put(with_path(url, s3_side, path), SMALL) in (400, 403)
    assert s3_side.keys() == []


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST", "HEAD"])
def test_an_upload_url_only_uploads(s3_side: S3, method: str):
    key = new_key()
    (url,) = urls(s3_side, key, len(SMALL))
    put(url, SMALL)
    assert httpx.request(method, url).status_code >= 400
    assert s3_side.store.staged(key) == len(SMALL)


def test_a_url_dies_in_time_and_its_time_is_signed(s3_side: S3):
    key = new_key()
    (url,) = urls(s3_side, key, len(SMALL), seconds=1)
    time.sleep(2.1)
    assert put(url, SMALL) == 403
    assert put(with_query(url, **{"X-Amz-Expires": "3600"}), SMALL) == 403
    assert s3_side.store.staged(key) == 0


def test_a_stranger_without_a_url_can_do_nothing(s3_side: S3):
    stored = s3_side.store.put(SMALL)
    blob = f"{s3_side.server.endpoint}/{s3_side.bucket.name}/{s3_side.prefix}/{base.blob_path(stored.sha256)}"
    for method in ("GET", "PUT", "DELETE", "HEAD"):
        assert httpx.request(method, blob).status_code >= 400
    assert s3_side.store.read(stored.sha256) == SMALL


def test_a_download_url_reads_one_blob_only(s3_side: S3):
    mine, other = s3_side.store.put(SMALL), s3_side.store.put(b"of another")
    url = s3_side.store.download_url(mine.sha256, filename="a.json") or ""
    assert httpx.get(url).content == SMALL
    assert httpx.get(with_path(url, s3_side, base.blob_path(other.sha256))).status_code == 403
    assert httpx.get(with_query(url, **{"response-content-disposition": "inline"})).status_code == 403
    assert put(url, b"overwritten") == 403
    assert httpx.delete(url).status_code == 403
    assert s3_side.store.read(mine.sha256) == SMALL


def test_urls_are_made_for_the_public_endpoint(make_s3):
    side = make_s3(public_endpoint="https://files.example.org")
    stored = side.store.put(SMALL)
    download = side.store.download_url(stored.sha256, filename="a.json")
    uploads = urls(side, new_key(), 5) + urls(side, new_key(), len(LARGE))
    assert all(url.startswith("https://files.example.org/hub/test/") for url in [download, *uploads])


# --- parts --------------------------------------------------------------------------------------------------


def test_parts_arrive_in_any_order_and_only_missing_ones_are_asked_for(s3_side: S3):
    key = new_key()
    first, second = urls(s3_side, key, len(LARGE))
    assert put(second, LARGE[STEP:]) == 200
    assert s3_side.store.staged(key) == len(LARGE) - STEP
    (missing,) = s3_side.store.upload_urls(key, len(LARGE)) or []
    assert (missing["n"], missing["offset"], missing["size"]) == (1, 0, STEP)
    with pytest.raises(base.StagingIncomplete):
        s3_side.store.finish_staging(key, len(LARGE))
    assert put(first, LARGE[:STEP]) == 200
    assert s3_side.store.upload_urls(key, len(LARGE)) == []
    s3_side.store.finish_staging(key, len(LARGE))
    assert s3_side.store.upload_urls(key, len(LARGE)) == []
    assert s3_side.store.ingest(key).sha256 == sha256(LARGE)


def test_a_part_takes_its_own_number_and_length_only(s3_side: S3):
    key = new_key()
    first, _ = urls(s3_side, key, len(LARGE))
    for number in ("2", "3", "1000", "10001"):
        assert put(with_query(first, partNumber=number), LARGE[:STEP]) == 403
    assert put(with_query(first, uploadId="of-another"), LARGE[:STEP]) == 403
    assert put(first, LARGE[: STEP + 1]) == 403
    assert s3_side.store.staged(key) == 0


def test_a_part_sent_twice_counts_once(s3_side: S3):
    key = new_key()
    first, second = urls(s3_side, key, len(LARGE))
    for url, data in ((first, bytes(STEP)), (second, LARGE[STEP:]), (first, LARGE[:STEP])):
        assert put(url, data) == 200
    s3_side.store.finish_staging(key, len(LARGE))
    assert s3_side.store.ingest(key).sha256 == sha256(LARGE)


def test_a_client_cannot_complete_its_own_upload(s3_side: S3):
    key = new_key()
    first, second = urls(s3_side, key, len(LARGE))
    put(first, LARGE[:STEP])
    put(second, LARGE[STEP:])
    upload = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(first).query))["uploadId"]
    address = f"{first.split('?')[0]}?uploadId={urllib.parse.quote(upload)}"
    for method in ("POST", "DELETE", "GET"):
        assert httpx.request(method, address).status_code >= 400
    assert len(s3_side.uploads()) == 1


# --- replays ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["single", "parts"])
@pytest.mark.parametrize("moment", ["finished", "ingested", "discarded"])
def test_a_replay_after_the_end_changes_nothing_that_is_published(s3_side: S3, data: bytes, moment: str):
    """Some servers refuse the replay, some take it: neither reaches a blob, and the sweep clears up."""
    store, key = s3_side.store, new_key()
    replays = [(u["url"], bytes(u["size"])) for u in store.upload_urls(key, len(data)) or []]
    send(store, key, data)
    if moment != "finished":
        assert store.ingest(key, expected_sha256=sha256(data)).size == len(data)
    if moment == "discarded":
        store.discard(key)
    statuses = {put(url, evil) for url, evil in replays}
    assert statuses <= {200, 403, 404, 409, 412}
    with contextlib.suppress(base.DigestMismatch, base.StagingChanged, base.StagingMissing):
        store.ingest(key, expected_sha256=sha256(data))
    assert [k for k in s3_side.keys("sha256/") if not store.verify(k.rsplit("/", 1)[1])] == []
    assert store.size(sha256(data)) in ({None, len(data)} if moment == "finished" else {len(data)})
    store.sweep_staging(-60)
    assert s3_side.keys("staging/") == []
    assert s3_side.uploads() == []


def test_a_presigned_part_is_dead_once_its_upload_is_discarded(s3_side: S3):
    key = new_key()
    first, _ = urls(s3_side, key, len(LARGE))
    send(s3_side.store, key, LARGE)
    s3_side.store.discard(key)
    assert put(first, LARGE[:STEP]) == 404
