"""Pull when the way, the disk or the process fails. Every defence has a control in which its absence is seen."""

import contextlib
import errno
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import errors
from hub.cache import STALE, Cache
from hub.client import Client
from hub.transfer import download
from hub.transfer.download import Remote
from hub.transfer.retry import Retry
from tests.client import specimens
from tests.client.simulator import Simulator

PULLER = Path(__file__).with_name("puller.py")
LARGE = 1 << 20


def puller(sim: Simulator, cache: Path, *words: str) -> subprocess.Popen[bytes]:
    """A pull in a process of its own."""
    environment = {**os.environ, "HUB_ENDPOINT": sim.url, "HUB_CACHE": str(cache)}
    command = [sys.executable, str(PULLER), *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finals(cache: Path) -> Iterator[tuple[str, bytes]]:
    """(digest of the name, bytes) of everything that lies in a final place."""
    for path in (cache / "blobs").rglob("*"):
        if path.is_file():
            yield path.name, path.read_bytes()


def assert_sound(cache: Path) -> None:
    for name, data in finals(cache):
        assert hashlib.sha256(data).hexdigest() == name


# -- the connection ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_connection_cut_again_and_again_is_resumed(sim: Simulator, anybody: Client, seed: int) -> None:
    files = specimens.lora(padding=LARGE)
    sim.publish("library/a", files)
    noise = random.Random(seed)
    sim.faults.cuts.extend(noise.randrange(1, LARGE // 4) for _ in range(12))
    adapter = anybody.pull("a")
    assert adapter.path.joinpath("README.md").read_bytes() == files["README.md"]
    assert sum(sim.sent.values()) <= 1.3 * sum(map(len, files.values()))


def test_without_ranges_the_same_cuts_cost_the_whole_file_again(sim: Simulator, anybody: Client) -> None:
    """The control of the test above: it can tell a resumed download from one that begins again."""
    files = specimens.lora(padding=LARGE)
    sim.publish("library/a", files)
    sim.faults.ranges = False
    sim.faults.cuts.extend([LARGE - LARGE // 8] * 5)
    assert anybody.pull("a").path.joinpath("README.md").read_bytes() == files["README.md"]
    assert sum(sim.sent.values()) > 1.3 * sum(map(len, files.values()))


def test_a_server_that_never_gets_to_the_end_is_told(sim: Simulator, anybody: Client) -> None:
    sim.publish("library/a", specimens.lora(padding=LARGE))
    sim.faults.ranges = False
    sim.faults.cuts.extend([LARGE // 2] * 200)
    with pytest.raises(errors.NetworkError, match=r"README\.md"):
        anybody.pull("a")
    assert not (anybody.cache.root / "snapshots").exists()
    assert_sound(anybody.cache.root)


def test_a_changed_file_behind_the_address_is_not_glued_to_the_old_part(sim: Simulator, anybody: Client) -> None:
    files = specimens.lora(padding=LARGE)
    sim.publish("library/a", files)
    seen = []

    def other_at_first(data: bytes) -> bytes:
        if len(data) > LARGE // 2:
            seen.append(data)
        return bytes(len(data)) if len(seen) == 1 and len(data) > LARGE // 2 else data

    sim.faults.tamper = other_at_first
    sim.faults.cuts.extend([LARGE // 2] * 3)
    assert anybody.pull("a").path.joinpath("README.md").read_bytes() == files["README.md"]


@pytest.mark.parametrize("spoil", [lambda d: d[:-7], lambda d: d + b"more", lambda d: bytes([d[0] ^ 1]) + d[1:]])
def test_bytes_that_stay_wrong_are_refused_and_not_kept(sim: Simulator, anybody: Client, spoil: object) -> None:
    sim.publish("library/a", specimens.lora())
    sim.faults.tamper = spoil  # type: ignore[assignment]
    with pytest.raises((errors.IntegrityError, errors.NetworkError)):
        anybody.pull("a")
    assert list(finals(anybody.cache.root)) == []
    assert not (anybody.cache.root / "snapshots").exists()


def test_fifty_pulls_over_a_bad_way_are_all_good(sim: Simulator, anybody: Client) -> None:
    noise = random.Random(7)

    def spoil(data: bytes) -> bytes:
        draw = noise.random()
        if draw < 0.3:
            return data[: noise.randrange(len(data))]
        return bytes([data[0] ^ 1]) + data[1:] if draw < 0.5 else data

    sim.faults.tamper = spoil
    for number in range(50):
        files = specimens.lora(seed=number)
        sim.publish("library/a", files)
        for _ in range(20):  # a pull may give up; what it gives is right
            try:
                folder = anybody.pull("a").path
            except (errors.IntegrityError, errors.NetworkError):
                continue
            assert {p.name: p.read_bytes() for p in folder.iterdir()} == files
            break
        else:
            pytest.fail("twenty pulls gave up")
    assert_sound(anybody.cache.root)


def test_a_busy_hub_is_asked_again_later(sim: Simulator, anybody: Client) -> None:
    sim.publish("library/a", specimens.lora())
    sim.faults.answers.extend([(503, None, {"Retry-After": "0"}), (429, None, {"Retry-After": "0"}), (502, None, {})])
    assert anybody.pull("a").version == "1"


def test_a_hub_that_is_not_there_is_told_soon(anybody: Client, sim: Simulator) -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(errors.NetworkError, match="HUB_ENDPOINT"):
        client.pull("a")


def test_something_that_is_no_hub_is_told(sim: Simulator, anybody: Client) -> None:
    sim.faults.answers.append((200, "a page", {}))
    with pytest.raises(errors.NetworkError):
        anybody.pull("a")


def test_an_expired_address_is_renewed_and_the_download_goes_on(
    store_sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = specimens.lora(padding=LARGE)
    store_sim.publish("library/a", files)
    store_sim.faults.expired = {f"s{n}" for n in range(1, 4)}
    with Client() as client:
        client.wire.retry = Retry(first=0.001)
        adapter = client.pull("a")
    assert adapter.path.joinpath("README.md").read_bytes() == files["README.md"]
    assert all(entry.token is None for entry in store_sim.seen if entry.server == "store")


# -- the process ---------------------------------------------------------------------------------------------------


def test_ten_kills_in_the_middle_leave_nothing_wrong(sim: Simulator, tmp_path: Path) -> None:
    files = specimens.lora(padding=4 * LARGE)
    sim.publish("library/a", files)
    noise = random.Random(3)
    for _ in range(10):
        before = sum(sim.sent.values())
        process = puller(sim, tmp_path / "cache", "pull", "a")
        mark = before + noise.randrange(4 * LARGE // 2)
        while process.poll() is None and sum(sim.sent.values()) < mark:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert_sound(tmp_path / "cache")
    last = puller(sim, tmp_path / "cache", "pull", "a")
    out, err = last.communicate(timeout=60)
    assert last.returncode == 0, err
    assert {p.name: p.read_bytes() for p in Path(out.decode().strip()).iterdir()} == files
    assert not list((tmp_path / "cache" / "tmp").glob("*.part"))


def test_what_a_killed_pull_had_is_not_fetched_again(sim: Simulator, tmp_path: Path) -> None:
    sim.publish("library/a", specimens.lora(padding=4 * LARGE))

    def arrived() -> int:
        sizes = []
        for part in (tmp_path / "cache" / "tmp").glob("*.part"):
            with contextlib.suppress(FileNotFoundError):  # whole, and moved to its place
                sizes.append(part.stat().st_size)
        return sum(sizes)

    sim.faults.slow = 0.005  # what is sent and what has arrived are the same but for a piece or two
    process = puller(sim, tmp_path / "cache", "pull", "a")
    while arrived() < 2 * LARGE:
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.communicate()
    sim.faults.slow = 0.0
    kept = arrived()
    sim.wait_until_idle()
    before = sum(sim.sent.values())
    assert puller(sim, tmp_path / "cache", "pull", "a").wait(60) == 0
    assert sum(sim.sent.values()) - before <= 4 * LARGE + 16384 - kept + 8192


def test_old_leftovers_are_swept_and_young_ones_stay(tmp_path: Path) -> None:
    store = Cache(tmp_path)
    (tmp_path / "tmp" / "folder").mkdir(parents=True)
    old, young = store.part("a" * 64), store.part("b" * 64)
    for path in (old, young):
        path.write_bytes(b"x")
    for path in (old, tmp_path / "tmp" / "folder"):
        os.utime(path, (time.time() - STALE - 60,) * 2)
    assert store.sweep() == 2
    assert os.listdir(tmp_path / "tmp") == [young.name]


# -- many at once --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("locks", ["good locks", "locks that do nothing"])
def test_sixteen_pulls_at_once_are_all_right(sim: Simulator, tmp_path: Path, locks: str) -> None:
    files = specimens.lora(padding=LARGE)
    sim.publish("library/a", files)
    noise = random.Random(5)
    if locks != "good locks":
        sim.faults.cuts.extend(noise.randrange(1, LARGE) for _ in range(16))
    words = ["pull", "a"] if locks == "good locks" else ["pull", "a", "no-locks"]
    running = [puller(sim, tmp_path / "cache", *words) for _ in range(16)]
    for process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()
        assert {p.name: p.read_bytes() for p in Path(out.decode().strip()).iterdir()} == files
    assert_sound(tmp_path / "cache")
    if locks == "good locks":
        assert sim.count(r"GET .*/README\.md") <= 2


def test_a_shared_temporary_file_does_go_wrong(sim: Simulator, tmp_path: Path) -> None:
    """The control: sixteen naive downloaders with one `.incomplete` file and a size check make rubbish."""
    files = specimens.lora(padding=LARGE)
    sim.publish("library/a", files)
    wrong = 0
    for attempt in range(6):
        noise = random.Random(attempt)
        sim.faults.cuts.extend(noise.randrange(1, LARGE) for _ in range(16))
        cache = tmp_path / str(attempt)
        running = [puller(sim, cache, "naive", "a", "README.md") for _ in range(8)]
        for process in running:
            process.communicate(timeout=120)
        final = cache / "README.md"
        wrong += not final.exists() or final.read_bytes() != files["README.md"]
        sim.faults.cuts.clear()
        if wrong:
            return
    pytest.fail("the naive downloader was never caught: this test proves nothing")


def test_a_lock_that_is_never_given_back_only_costs_time(
    sim: Simulator, anybody: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    monkeypatch.setattr("hub.cache.STUCK", 0.2)
    version = sim.publish("library/a", specimens.lora())
    (anybody.cache.root / "locks").mkdir(parents=True)
    held = [FileLock(anybody.cache.root / "locks" / f"{file.sha256}.lock") for file in version.manifest.files]
    for lock in held:
        lock.acquire()
    assert anybody.pull("a").version == "1"


# -- the disk ------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_told_and_leaves_nothing_partial(sim: Simulator, tmp_path: Path) -> None:
    sim.publish("library/a", specimens.lora(padding=LARGE))
    process = puller(sim, tmp_path / "cache", "limited", str(LARGE // 2), "a")
    _, err = process.communicate(timeout=60)
    text = err.decode()
    assert process.returncode == 1, text
    assert "the disk is full" in text
    assert str(tmp_path / "cache") in text
    assert any(str(len(data)) in text for data in specimens.lora(padding=LARGE).values())
    assert not list((tmp_path / "cache" / "tmp").iterdir())
    assert not (tmp_path / "cache" / "snapshots").exists()
    assert_sound(tmp_path / "cache")
    assert puller(sim, tmp_path / "cache", "pull", "a").wait(60) == 0


def test_a_disk_without_room_is_told_before_the_first_byte(
    sim: Simulator, anybody: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim.publish("library/a", specimens.lora())
    monkeypatch.setattr("hub.cache.free_bytes", lambda path: 10)
    with pytest.raises(errors.StorageError, match="10 are free"):
        anybody.pull("a")
    assert sim.count("GET .*/files/.*") == 0


@pytest.mark.skipif(not shutil.which("mount") or os.geteuid() != 0, reason="only root mounts a small disk")
def test_a_disk_that_fills_while_the_snapshot_is_made(sim: Simulator, anybody: Client, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        sim.publish("library/a", specimens.lora(padding=LARGE))
        anybody.cache = Cache(disk)
        (disk / "ballast").write_bytes(bytes(LARGE + LARGE // 2))
        with pytest.raises(errors.StorageError, match=str(disk)):
            anybody.pull("a")
        (disk / "ballast").unlink()
        assert anybody.pull("a").version == "1"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_error_names_path_and_bytes(tmp_path: Path) -> None:
    told = download.disk_error(OSError(errno.ENOSPC, "No space left on device"), tmp_path / "x", 12345)
    assert str(tmp_path) in str(told)
    assert "12345" in str(told)
    assert told.exit_code == 1


def test_a_file_limit_of_the_process_counts_as_a_full_disk(sim: Simulator, anybody: Client, tmp_path: Path) -> None:
    data = b"x" * 100_000
    version = sim.publish("library/a", {"adapter_config.json": data})
    file = version.manifest.files[0]
    path = f"/api/v1/adapters/library/a/versions/sha256:{version.manifest.digest}/files/{file.path}"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(errors.StorageError, match="100000"):
            download.fetch(anybody.wire, Remote(file.path, file.sha256, file.size, path), tmp_path / "part")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "part").exists()
