"""What breaks on the way: lost answers, busy and lying servers, cut lines, full disks, killed processes."""

import contextlib
import errno
import io
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.storage import base, filesystem, s3_store
from tests.storage import fault_proxy, swift
from tests.storage.conftest import S3, files, new_key, sha256

SMALL = b"bytes " * 1000
LARGE = os.urandom(1 << 16) * 160


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once: what is tried is what happens, not how long it takes. Read when a client is made."""
    from botocore import retryhandler

    monkeypatch.setattr(retryhandler, "delay_exponential", lambda **_: 0.01)


@pytest.fixture
def proxy(swift_server: swift.Server) -> Iterator[fault_proxy.Proxy]:
    with fault_proxy.serve(swift_server.endpoint) as running:
        yield running


@pytest.fixture
def side(make_s3: Callable[..., S3], proxy: fault_proxy.Proxy) -> S3:
    """An S3 store whose every request goes through the proxy."""
    return make_s3(endpoint=proxy.endpoint)


def push(store: base.BlobStore, data: bytes) -> base.Stored:
    """Everything that happens to a file that is sent through the registry."""
    key = new_key()
    store.put_staging(key, io.BytesIO(data), 0, limit=len(data))
    store.finish_staging(key, len(data))
    stored = store.ingest(key, expected_sha256=sha256(data))
    store.discard(key)
    return stored


def first_of_each(kind: str) -> fault_proxy.Fault:
    """The fault for the first request of each method and address; its repetition goes well."""
    seen = set()

    def fault(method: str, path: str) -> str:
        new = (method, path) not in seen
        seen.add((method, path))
        return kind if new else ""

    return fault


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "two parts"])
@pytest.mark.parametrize("kind", ["lose", "refuse"])
def test_a_lost_or_refused_answer_of_every_request_costs_nothing(
    side: S3, proxy: fault_proxy.Proxy, data: bytes, kind: str
):
    proxy.fault = first_of_each(kind)
    assert push(side.store, data) == (sha256(data), len(data))
    proxy.fault = lambda method, path: ""
    assert side.store.read(sha256(data)) == data
    side.store.sweep_staging(-60)  # an upload whose beginning was not answered is nobody's
    assert side.keys() == [base.blob_path(sha256(data))]
    assert side.uploads() == []
    assert f"PUT {kind}" in proxy.seen


def test_without_a_look_at_what_is_there_a_lost_answer_is_taken_for_a_failure(
    side: S3, proxy: fault_proxy.Proxy, monkeypatch: pytest.MonkeyPatch
):
    """Negative control: 412 for our own bytes must not be an error."""
    monkeypatch.setattr(s3_store.S3Store, "_is_whole", lambda store, sha256: None)
    proxy.fault = first_of_each("lose")
    with pytest.raises(base.StorageUnavailable, match="every attempt was refused"):
        side.store.put(SMALL)


def test_an_error_inside_a_200_is_not_taken_for_success(side: S3, proxy: fault_proxy.Proxy):
    completions = []

    def fault(method: str, path: str) -> str:
        if method == "POST" and "uploadId=" in path:
            completions.append(path)
            return "error in 200" if len(completions) % 2 else ""
        return ""

    proxy.fault = fault
    assert push(side.store, LARGE).sha256 == sha256(LARGE)
    assert len(completions) == 4  # of staging and of the blob, each twice
    assert side.store.verify(sha256(LARGE))


def test_a_server_that_refuses_three_requests_of_ten_loses_and_confuses_nothing(side: S3, proxy: fault_proxy.Proxy):
    chance = random.Random(20261124)
    proxy.fault = lambda method, path: "refuse" if chance.random() < 0.3 else ""
    contents = [bytes([n]) * (n + 1) for n in range(20)]
    for data in contents:
        for _ in range(5):  # what a client does after a 503
            with contextlib.suppress(base.StorageUnavailable):
                push(side.store, data)
                break
    proxy.fault = lambda method, path: ""
    assert sorted(side.keys("sha256/")) == sorted(base.blob_path(sha256(data)) for data in contents)
    assert all(side.store.read(sha256(data)) == data for data in contents)


def test_a_cut_download_goes_on_where_it_was_cut(side: S3, proxy: fault_proxy.Proxy):
    stored = side.store.put(LARGE)
    proxy.seen.clear()
    proxy.fault = lambda method, path: "cut" if method == "GET" and len(proxy.seen) < 6 else ""
    assert side.store.read(stored.sha256) == LARGE
    assert proxy.seen.count("GET cut") > 2
    assert side.store.verify(stored.sha256)


def test_a_server_that_is_away_is_told_as_such(make_s3: Callable[..., S3]):
    side = make_s3(endpoint="http://127.0.0.1:9")
    before = time.monotonic()
    for act in (lambda: side.store.put(b"x"), lambda: side.store.size("0" * 64), side.store.probe):
        with pytest.raises(base.StorageUnavailable, match="Try again later"):
            act()
    assert time.monotonic() - before < 10


def test_a_server_that_never_answers_well_is_told_as_such(side: S3, proxy: fault_proxy.Proxy):
    stored = side.store.put(SMALL)
    proxy.fault = lambda method, path: "refuse" if method == "GET" else ""
    with pytest.raises(base.StorageUnavailable, match="get_object: 503"):
        side.store.read(stored.sha256)


def test_abandoned_uploads_are_swept_and_live_ones_spared(make_s3: Callable[..., S3]):
    side = make_s3()
    abandoned, live = [new_key() for _ in range(5)], new_key()
    for key in [*abandoned, live]:
        side.store.upload_urls(key, len(LARGE))
    begun = time.monotonic()
    time.sleep(3)
    side.store.put_staging(live, io.BytesIO(LARGE[: base.SINGLE_PUT]), 0, limit=len(LARGE))
    # Between the two however long the part took to send; the server rounds its times up to a whole second.
    assert side.store.sweep_staging(time.monotonic() - begun - 1.1) == 5
    assert side.uploads() == [f"staging/{live}"]
    assert side.store.staged(live) == base.SINGLE_PUT


# --- a full disk --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def files_up_to(limit: int) -> Iterator[None]:
    """Let no file of this process grow beyond `limit`: the next byte fails as on a full disk or quota."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_at_ingest_is_told_and_leaves_nothing(file_store: filesystem.FileStore):
    key = new_key()
    file_store.put_staging(key, io.BytesIO(SMALL), 0)
    with files_up_to(1000), pytest.raises(base.StorageFull, match=r"No space left at .* for 6000 more bytes"):
        file_store.ingest(key)
    assert files(file_store.root) == [f"staging/{key}"]
    assert file_store.ingest(key).sha256 == sha256(SMALL)


def test_a_full_disk_while_receiving_leaves_what_was_there(file_store: filesystem.FileStore):
    key = new_key()
    file_store.put_staging(key, io.BytesIO(SMALL[:500]), 0, limit=len(SMALL))
    with files_up_to(1000), pytest.raises(base.StorageFull, match="retry"):
        file_store.put_staging(key, io.BytesIO(SMALL[500:]), 500, limit=len(SMALL))
    assert file_store.staged(key) == 500
    file_store.put_staging(key, io.BytesIO(SMALL[500:]), 500, limit=len(SMALL))
    assert file_store.ingest(key).sha256 == sha256(SMALL)


def test_a_store_that_writes_in_place_leaves_half_a_blob(file_store: filesystem.FileStore):
    """Negative control of the two tests above."""
    blob = file_store.root / base.blob_path(sha256(SMALL))
    blob.parent.mkdir(parents=True)
    with files_up_to(1000), pytest.raises(OSError, match="File too large"):
        blob.write_bytes(SMALL)
    assert file_store.size(sha256(SMALL)) == 1000


_ON_A_SMALL_DISK = """
import io, os, sys
from registry.storage import base, filesystem
store, data = filesystem.FileStore(sys.argv[1]), os.urandom(1 << 20)
store.put(data)
for act in (
    lambda: store.put(os.urandom(8 << 20)),
    lambda: store.put_staging("upload/1", io.BytesIO(os.urandom(8 << 20)), 0),
):
    try:
        act()
    except base.StorageFull as error:
        print("told", error.where.startswith(sys.argv[1]))
    print(sorted(p.stat().st_size for p in store.root.rglob("*") if p.is_file()))
print(store.put(b"there is room again").size)
"""


def test_a_disk_that_is_really_full_is_told(tmp_path: Path):
    mount = 'mount -t tmpfs -o size=4m none "$0" && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(tmp_path)]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no file system may be mounted here: {tried.stderr.strip()}")
    script = [sys.executable, "-c", _ON_A_SMALL_DISK, str(tmp_path)]
    done = subprocess.run([*command, *script], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.split("\n") == ["told True", "[1048576]", "told True", "[0, 1048576]", "19", ""], done.stderr


def test_a_quota_of_the_bucket_is_told(make_s3: Callable[..., S3], monkeypatch: pytest.MonkeyPatch):
    from botocore.exceptions import ClientError

    side = make_s3()

    def full(**_: object) -> None:
        answer = {"Error": {"Code": "QuotaExceeded"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
        raise ClientError(answer, "PutObject")  # type: ignore[arg-type]

    side.events.register("before-send.s3.PutObject", full)
    with pytest.raises(base.StorageFull):
        side.store.put(SMALL)


# --- a killed process ---------------------------------------------------------------------------------------


def killed_at(act: Callable[[], object]) -> int:
    """Run `act` in a forked child and return its exit status."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            act()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("step", ["_write_all", "_no_overwrite", "_sync_folder", "_digest"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_killed_at_any_step_leaves_no_half_blob(
    file_store: filesystem.FileStore, monkeypatch: pytest.MonkeyPatch, step: str, when: str
):
    key = new_key()
    file_store.put_staging(key, io.BytesIO(LARGE), 0)
    original = getattr(filesystem, step)

    def fatal(*arguments: object) -> None:
        if when == "after":
            original(*arguments)
        os._exit(9)

    with monkeypatch.context() as patch:
        patch.setattr(filesystem, step, fatal)
        killed = killed_at(lambda: [file_store.ingest(key) for _ in range(2)])
    assert killed == 9
    assert file_store.size(sha256(LARGE)) in (None, len(LARGE))
    assert file_store.ingest(key).sha256 == sha256(LARGE)
    assert file_store.verify(sha256(LARGE))
    file_store.sweep_staging(-60)
    assert files(file_store.root) == [base.blob_path(sha256(LARGE))]


def test_an_unreadable_disk_block_counts_as_damage(file_store: filesystem.FileStore, monkeypatch: pytest.MonkeyPatch):
    file_store.put(SMALL)
    opened, calls = filesystem._open, []

    def unreadable(path: Path) -> io.FileIO:
        calls.append(path)
        if len(calls) == 1:
            raise OSError(errno.EIO, "Input/output error")
        return opened(path)

    monkeypatch.setattr(filesystem, "_open", unreadable)
    assert file_store.put(SMALL).sha256 == sha256(SMALL)
    assert file_store.verify(sha256(SMALL))
    assert [name for name in files(file_store.root) if name.startswith("rotten/")]
