"""Bytes that are exchanged behind our back, at any step, never become a blob under another's digest."""

import hashlib
import itertools
import os
from collections.abc import Callable
from typing import Any

import pytest

from registry.storage import base, filesystem
from tests.storage.conftest import S3, new_key, send, sha256

GOOD, EVIL = b"what was judged " * 500, b"what is wanted! " * 500
LARGE_GOOD = os.urandom(1 << 16) * 160
LARGE_EVIL = LARGE_GOOD[::-1]

# Two files with one MD5 (Wang and others, 2004), which an ETag cannot tell apart: six bits differ.
_TWIN = bytes.fromhex(
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f8955ad340609f4b30283e488832571415a"
    "085125e8f7cdc99fd91dbdf280373c5bd8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70"
)
TWINS = [_TWIN, bytes(b ^ 0x80 if n in {19, 45, 59, 83, 109, 123} else b for n, b in enumerate(_TWIN))]


class Swap:
    """Puts other bytes into staging before the n-th request of the S3 client."""

    def __init__(self, side: S3, key: str, evil: bytes, step: int) -> None:
        self.side, self.key, self.evil, self.step, self.calls = side, key, evil, step, 0

    def __call__(self, **_: Any) -> None:
        self.calls += 1
        if self.calls == self.step:
            self.side.write(f"staging/{self.key}", self.evil)


def attack(side: S3, good: bytes, evil: bytes, step: int, ingest: Callable[[str], Any]) -> tuple[int, str]:
    """Ingest `good` while `evil` takes its place before request `step`; return (requests, outcome)."""
    key = new_key()
    send(side.store, key, good)
    swap = Swap(side, key, evil, step)
    side.events.register("before-send.s3", swap)
    try:
        ingest(key)
        outcome = "published"
    except base.StorageError as error:
        outcome = type(error).__name__
    finally:
        side.events.unregister("before-send.s3", swap)
    return swap.calls, outcome


def wrong_blobs(side: S3) -> list[str]:
    """The blobs whose bytes are not those of their name."""
    digests = [key.rsplit("/", 1)[1] for key in side.keys("sha256/")]
    return [digest for digest in digests if not side.store.verify(digest)]


def ways_to_ingest(side: S3, good: bytes) -> dict[str, Callable[[str], Any]]:
    """With the announced digest and without it."""
    return {
        "announced": lambda key: side.store.ingest(key, expected_sha256=sha256(good)),
        "unknown": side.store.ingest,
    }


@pytest.mark.parametrize(
    ("good", "evil"),
    [(GOOD, EVIL), (LARGE_GOOD, LARGE_EVIL), (LARGE_GOOD, EVIL)],
    ids=["small", "large", "shrunk"],
)
@pytest.mark.parametrize("way", ["announced", "unknown"])
def test_no_swap_at_any_request_publishes_bytes_under_a_wrong_digest(s3_side: S3, good: bytes, evil: bytes, way: str):
    outcomes = []
    for step in itertools.count(1):
        side = s3_side.sibling()
        calls, outcome = attack(side, good, evil, step, ways_to_ingest(side, good)[way])
        assert wrong_blobs(side) == []
        assert side.store.size(sha256(good)) in (None, len(good))
        assert outcome in {"published", "StagingChanged", "DigestMismatch"}
        assert [key for key in side.uploads() if key.startswith("sha256/")] == []
        outcomes.append(outcome)
        if step > calls:
            break
    assert outcomes[-1] == "published"
    assert {"StagingChanged", "DigestMismatch"} & set(outcomes)


def hash_then_copy(side: S3, pin: bool) -> Callable[[str], None]:
    """The store that ours must not be: it hashes what is staged, then lets S3 copy it."""

    def ingest(key: str) -> None:
        _, etag = side.store._staging.state(key)
        digest = sha256(b"".join(side.store.open_staging(key)))
        source = {"Bucket": side.bucket.name, "Key": f"{side.prefix}/staging/{key}"}
        condition = {"CopySourceIfMatch": etag} if pin else {}
        blob = f"{side.prefix}/{base.blob_path(digest)}"
        side.bucket.call("copy_object", Key=blob, CopySource=source, **condition)

    return ingest


def test_a_store_that_hashes_first_and_copies_then_is_deceived(s3_side: S3):
    """Negative control: without the defence the attack above works."""
    deceived = []
    for step in range(1, 6):
        side = s3_side.sibling()
        attack(side, GOOD, EVIL, step, hash_then_copy(side, pin=False))
        deceived += wrong_blobs(side)
    assert deceived


def test_a_copy_pinned_to_the_etag_is_deceived_by_two_files_with_one_md5(s3_side: S3):
    """Why a blob is written from the bytes that were hashed: an ETag is an MD5."""
    good, evil = TWINS
    assert good != evil
    assert len({hashlib.md5(twin).hexdigest() for twin in TWINS}) == 1
    pinned, ours = [], []
    for step in range(1, 7):
        side = s3_side.sibling()
        attack(side, good, evil, step, hash_then_copy(side, pin=True))
        pinned += wrong_blobs(side)
        side = s3_side.sibling()
        attack(side, good, evil, step, side.store.ingest)
        ours += wrong_blobs(side)
    assert pinned
    assert ours == []


# --- on disk: a request that is still writing ---------------------------------------------------------------


def write_late(store: filesystem.FileStore, key: str) -> Callable[[], None]:
    """A request that has the staging file open, and writes other bytes into it when called."""
    file = (store.root / "staging" / key).open("r+b", buffering=0)

    def write() -> None:
        file.seek(0)
        file.write(EVIL)

    return write


@pytest.mark.parametrize("step", ["_write_all", "_no_overwrite", "_sync_folder"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_request_that_still_writes_cannot_change_a_blob(
    file_store: filesystem.FileStore, monkeypatch: pytest.MonkeyPatch, step: str, when: str
):
    key = new_key()
    send(file_store, key, GOOD)
    write, original = write_late(file_store, key), getattr(filesystem, step)

    def swapped(*arguments: Any) -> Any:
        if when == "before":
            write()
        try:
            return original(*arguments)
        finally:
            write()

    monkeypatch.setattr(filesystem, step, swapped)
    try:
        file_store.ingest(key, expected_sha256=sha256(GOOD))
    except (base.StagingChanged, base.DigestMismatch):
        assert file_store.size(sha256(GOOD)) is None
    else:
        assert file_store.read(sha256(GOOD)) == GOOD


def test_moving_the_staged_file_into_place_would_let_it(file_store: filesystem.FileStore):
    """Negative control: rename instead of copy, and the late request reaches the blob."""
    key = new_key()
    send(file_store, key, GOOD)
    write = write_late(file_store, key)
    blob = file_store.root / base.blob_path(sha256(GOOD))
    blob.parent.mkdir(parents=True)
    (file_store.root / "staging" / key).rename(blob)
    write()
    assert not file_store.verify(sha256(GOOD))
