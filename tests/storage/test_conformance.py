"""What every blob store does, whatever it keeps its bytes in."""

import concurrent.futures
import functools
import io
import os
from pathlib import Path

import httpx2 as httpx
import pytest

from registry import storage
from registry.storage import base, filesystem, s3_store
from tests.storage import conftest
from tests.storage.conftest import new_key, send, sha256

SMALL = b"a charming and often affecting journey\n" * 11
LARGE = os.urandom(1 << 16) * 160  # 10 MiB: two parts


class BreaksOff(io.BytesIO):
    """A request whose client disappears after some bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)

    def read(self, size: int | None = -1, /) -> bytes:
        if data := super().read(min(size or 0, 5)):
            return data
        raise ConnectionResetError("the client is gone")


@pytest.mark.parametrize("data", [b"", b"x", SMALL, LARGE], ids=["empty", "one byte", "small", "two parts"])
def test_what_is_sent_comes_back_under_its_digest(store: base.BlobStore, data: bytes):
    key = new_key()
    send(store, key, data)
    assert store.staged(key) == len(data)
    assert b"".join(store.open_staging(key)) == data
    assert store.ingest(key, expected_sha256=sha256(data)) == (sha256(data), len(data))
    assert store.read(sha256(data)) == data
    assert store.size(sha256(data)) == len(data)
    assert store.verify(sha256(data))


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "two parts"])
def test_the_digest_is_ours_and_not_an_etag_or_a_checksum_of_parts(store: base.BlobStore, data: bytes):
    key = new_key()
    send(store, key, data)
    assert store.ingest(key) == (sha256(data), len(data))


def test_bytes_that_the_server_holds_are_stored(store: base.BlobStore):
    assert store.put(SMALL) == (sha256(SMALL), len(SMALL))
    assert store.put(SMALL, expected_sha256=sha256(SMALL)).size == len(SMALL)
    assert store.read(sha256(SMALL)) == SMALL


@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (1, 5), (400, None), (0, None), (len(SMALL), None), (7, 7), (2, 10**9)]
)
def test_a_range_is_half_open_and_ends_with_the_blob(store: base.BlobStore, start: int, end: int | None):
    stored = store.put(SMALL)
    assert store.read(stored.sha256, start, end) == SMALL[start:end]


@pytest.mark.parametrize(("start", "end"), [(len(SMALL) + 1, None), (5, 4), (-1, None)])
def test_a_range_outside_the_blob_is_refused(store: base.BlobStore, start: int, end: int | None):
    stored = store.put(SMALL)
    with pytest.raises(base.BadRange):
        store.open(stored.sha256, start, end)


def test_reading_may_stop_early(store: base.BlobStore):
    stored = store.put(LARGE)
    chunks = store.open(stored.sha256)
    assert LARGE.startswith(next(chunks))
    chunks.close()  # type: ignore[attr-defined]


def test_a_missing_blob_is_told_at_once(store: base.BlobStore):
    missing = sha256(b"never stored")
    assert store.size(missing) is None
    assert not store.verify(missing)
    with pytest.raises(base.BlobMissing):
        store.open(missing)


# --- announced and sent -------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "two parts"])
def test_other_bytes_than_announced_publish_nothing(side: conftest.Side, data: bytes):
    key = new_key()
    send(side.store, key, data)
    with pytest.raises(base.DigestMismatch, match="send it again"):
        side.store.ingest(key, expected_sha256=sha256(b"something else"))
    assert conftest.blobs(side) == []
    assert side.uploads() == []


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "two parts"])
def test_knowing_the_digest_of_a_blob_is_no_proof_of_having_it(side: conftest.Side, data: bytes):
    side.store.put(data)
    key = new_key()
    send(side.store, key, bytes(len(data)))
    with pytest.raises(base.DigestMismatch):
        side.store.ingest(key, expected_sha256=sha256(data))


def test_an_upload_that_is_too_short_is_not_finished(store: base.BlobStore):
    key = new_key()
    store.put_staging(key, io.BytesIO(SMALL[:10]), 0)
    with pytest.raises(base.StagingIncomplete) as refused:
        store.finish_staging(key, len(SMALL))
    assert (refused.value.received, refused.value.size) == (10, len(SMALL))


def test_a_file_larger_than_announced_is_refused_and_not_kept(store: base.BlobStore):
    key = new_key()
    with pytest.raises(base.StagingTooLarge) as refused:
        store.put_staging(key, io.BytesIO(SMALL), 0, limit=10)
    assert refused.value.limit == 10
    assert store.staged(key) == 10


def test_a_finished_upload_is_not_taken_for_a_shorter_one(store: base.BlobStore):
    key = new_key()
    send(store, key, SMALL)
    with pytest.raises(base.StagingTooLarge):
        store.finish_staging(key, len(SMALL) - 1)


def test_an_upload_that_never_came_is_told(store: base.BlobStore):
    key = new_key()
    assert store.staged(key) == 0
    for act in (store.ingest, lambda key: list(store.open_staging(key))):
        with pytest.raises(base.StagingMissing):
            act(key)
    with pytest.raises(base.StagingIncomplete):
        store.finish_staging(key, 5)


# --- resuming -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "cut"), [(SMALL, 100), (LARGE, 100), (LARGE, 9 << 20)])
def test_an_upload_through_us_goes_on_where_it_was_cut(store: base.BlobStore, data: bytes, cut: int):
    key = new_key()
    assert store.put_staging(key, io.BytesIO(data[:cut]), 0, limit=len(data)) == cut
    assert store.staged(key) == cut
    assert store.put_staging(key, io.BytesIO(data[cut:]), cut, limit=len(data)) == len(data)
    store.finish_staging(key, len(data))
    assert store.ingest(key).sha256 == sha256(data)


def test_what_came_before_the_client_disappeared_is_kept(store: base.BlobStore):
    key = new_key()
    with pytest.raises(ConnectionResetError):
        store.put_staging(key, BreaksOff(SMALL[:100]), 0, limit=len(SMALL))
    assert store.staged(key) == 100
    store.put_staging(key, io.BytesIO(SMALL[100:]), 100, limit=len(SMALL))
    store.finish_staging(key, len(SMALL))
    assert store.ingest(key).sha256 == sha256(SMALL)


@pytest.mark.parametrize("offset", [0, 99, 101])
def test_bytes_for_another_place_are_refused_with_the_right_one(store: base.BlobStore, offset: int):
    key = new_key()
    store.put_staging(key, io.BytesIO(SMALL[:100]), 0)
    with pytest.raises(base.OffsetMismatch) as refused:
        store.put_staging(key, io.BytesIO(b"!"), offset)
    assert refused.value.received == 100
    assert store.staged(key) == 100


def test_a_hundred_small_pieces_make_one_file(store: base.BlobStore):
    key, step = new_key(), 5
    for offset in range(0, 100, step):
        store.put_staging(key, io.BytesIO(SMALL[offset : offset + step]), offset, limit=100)
    store.finish_staging(key, 100)
    assert store.ingest(key).sha256 == sha256(SMALL[:100])


# --- again and at once --------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "two parts"])
def test_every_step_may_be_repeated(side: conftest.Side, data: bytes):
    key = new_key()
    send(side.store, key, data)
    side.store.finish_staging(key, len(data))
    first = side.store.ingest(key, expected_sha256=sha256(data))
    assert side.store.ingest(key, expected_sha256=sha256(data)) == first == side.store.ingest(key)
    side.store.discard(key)
    side.store.discard(key)
    assert conftest.blobs(side) == [sha256(data)]
    assert side.store.read(first.sha256) == data


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "two parts"])
def test_eight_at_once_make_one_blob(side: conftest.Side, data: bytes):
    keys = [new_key() for _ in range(8)]
    for key in keys:
        send(side.store, key, data)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        ingest = functools.partial(side.store.ingest, expected_sha256=sha256(data))
        assert set(pool.map(ingest, keys)) == {(sha256(data), len(data))}
    assert conftest.blobs(side) == [sha256(data)]
    assert side.store.read(sha256(data)) == data
    assert side.uploads() == []


def test_discarding_leaves_nothing_and_spares_the_neighbours(side: conftest.Side):
    upload = new_key(1).split("/")[0]
    first, neighbour = f"{upload}/1", f"{upload}/10"
    for key in (first, neighbour):
        send(side.store, key, SMALL)
    side.store.put_staging(f"{upload}/2", io.BytesIO(SMALL), 0)
    side.store.upload_urls(f"{upload}/2", len(LARGE))
    side.store.discard(first)
    side.store.discard(f"{upload}/2")
    assert side.store.staged(neighbour) == len(SMALL)
    side.store.discard(neighbour)
    assert side.list_keys() == []
    assert side.uploads() == []


def test_the_sweep_takes_old_leftovers_only(side: conftest.Side):
    kept = side.store.put(SMALL)
    send(side.store, new_key(), SMALL)
    side.store.put_staging(new_key(), io.BytesIO(SMALL), 0)
    opened = side.store.upload_urls(new_key(), len(LARGE))
    assert side.store.sweep_staging(3600) == 0
    assert side.store.sweep_staging(-60) == (3 if opened else 2)
    assert side.list_keys() == [f"sha256/{kept.sha256[:2]}/{kept.sha256}"]
    assert side.uploads() == []


def test_the_sweep_keeps_what_it_is_told_to_keep(side: conftest.Side):
    kept, gone, half = new_key(), new_key(), new_key()
    for key in (kept, gone):
        send(side.store, key, SMALL)
    side.store.put_staging(half, io.BytesIO(SMALL), 0)
    side.store.upload_urls(half, len(LARGE))
    side.store.sweep_staging(-60, keep=frozenset({kept, half}))
    assert [side.store.staged(key) for key in (kept, gone, half)] == [len(SMALL), 0, len(SMALL)]


# --- rot ----------------------------------------------------------------------------------------------------

ROTTEN = {"flipped": b"X" + SMALL[1:], "truncated": SMALL[:-1], "emptied": b"", "longer": SMALL + b"!"}


@pytest.mark.parametrize("remains", ROTTEN.values(), ids=ROTTEN)
def test_damage_is_found(side: conftest.Side, remains: bytes):
    stored = side.store.put(SMALL)
    side.write(base.blob_path(stored.sha256), remains)
    assert not side.store.verify(stored.sha256)


@pytest.mark.parametrize("remains", ROTTEN.values(), ids=ROTTEN)
def test_an_upload_of_the_same_bytes_repairs_a_damaged_blob_and_keeps_the_remains(side: conftest.Side, remains: bytes):
    key = new_key()
    side.store.put(SMALL)
    side.write(base.blob_path(sha256(SMALL)), remains)
    send(side.store, key, SMALL)
    side.store.ingest(key, expected_sha256=sha256(SMALL))
    assert side.store.read(sha256(SMALL)) == SMALL
    assert [k for k in side.list_keys() if k.startswith(f"rotten/{sha256(SMALL)}.")]


def test_a_damaged_large_blob_is_repaired(side: conftest.Side):
    key = new_key()
    side.write(base.blob_path(sha256(LARGE)), LARGE[:-1])
    send(side.store, key, LARGE)
    side.store.ingest(key, expected_sha256=sha256(LARGE))
    assert side.store.verify(sha256(LARGE))


def test_without_the_second_look_damage_would_be_handed_on(side: conftest.Side, monkeypatch):
    """Negative control of the two tests above: a store that trusts the name of what it has."""
    monkeypatch.setattr(s3_store.S3Store, "_is_whole", lambda store, sha256: store.size(sha256) is not None)
    monkeypatch.setattr(filesystem, "_digest", lambda path: path.name)
    side.store.put(SMALL)
    side.write(base.blob_path(sha256(SMALL)), ROTTEN["flipped"])
    side.store.put(SMALL)
    assert side.store.read(sha256(SMALL)) == ROTTEN["flipped"]


# --- keys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        *(
            "",
            "/",
            "a",
            "a/",
            "/1",
            "a/b",
            "../1",
            "a/../1",
            "a/1/2",
            "A/1",
            "a/1\n",
            "a\0/1",
            "a/-1",
            "a b/1",
        ),
        *("..%2f/1", "./1", "a/١", "x" * 65 + "/1", "sha256/ab/" + "0" * 64),
    ],
)
def test_a_staging_key_that_we_did_not_make_is_refused(store: base.BlobStore, key: str):
    acts = [
        lambda: store.put_staging(key, io.BytesIO(b"x"), 0),
        lambda: store.upload_urls(key, 1),
        lambda: store.staged(key),
        lambda: store.finish_staging(key, 0),
        lambda: store.open_staging(key),
        lambda: store.ingest(key),
        lambda: store.discard(key),
    ]
    for act in acts:
        with pytest.raises(base.BadKey):
            act()


@pytest.mark.parametrize("digest", ["", "ab", "../" + "0" * 61, "A" * 64, "0" * 64 + "\n", "sha256:" + "0" * 64])
def test_a_digest_that_is_none_is_refused(store: base.BlobStore, digest: str):
    acts = [store.size, store.open, store.verify, lambda d: store.download_url(d, filename="f")]
    for act in acts[: 3 if isinstance(store, filesystem.FileStore) else 4]:
        with pytest.raises(base.BadKey):
            act(digest)


# --- addresses ----------------------------------------------------------------------------------------------


def test_the_address_decides_which_store_is_opened(tmp_path: Path, monkeypatch):
    folder = tmp_path / "with space"
    opened = storage.open_store(folder.as_uri())
    assert isinstance(opened, filesystem.FileStore)
    assert opened.root == folder
    assert storage.open_store(folder.as_uri()) is opened
    monkeypatch.setenv("HUB_STORAGE", "s3://bucket/some/prefix")
    assert storage.open_store().address == "s3://bucket/some/prefix"


@pytest.mark.parametrize("address", ["", "blobs", "file:relative", "file://host/x", "s3:///x", "http://x/y"])
def test_an_address_that_says_nothing_is_explained(address: str, monkeypatch):
    monkeypatch.delenv("HUB_STORAGE", raising=False)
    with pytest.raises(ValueError, match="file:///absolute/folder or s3://bucket/prefix"):
        storage.open_store(address)


@pytest.mark.parametrize(("size", "step"), [(0, 8), (8 << 20, 8), (8_000 << 20, 8), (8_001 << 20, 9), (5 << 40, 5243)])
def test_parts_grow_before_their_number_does(size: int, step: int):
    assert base.part_size(size) == step << 20
    assert size <= base.part_size(size) * base.MAX_PARTS


def test_files_are_served_as_attachments_by_name(s3_side: conftest.S3):
    stored = s3_side.store.put(SMALL)
    for filename in ("adapter_model.safetensors", 'a"b\r\nX-Evil: 1.json', "ключ.json", "folder/config.json"):
        url = s3_side.store.download_url(stored.sha256, filename=filename)
        answer = httpx.get(url or "", headers={"Range": "bytes=2-9"})
        assert (answer.status_code, answer.content) == (206, SMALL[2:10])
        assert answer.headers["content-disposition"].startswith('attachment; filename="')
        assert answer.headers["content-type"] == "application/octet-stream"
        assert "x-evil" not in answer.headers
