"""Files of a Hugging Face hub by ranges, from a server that sends something else than it was asked for."""

import gzip
import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from hub import errors
from hub.transfer import ranges

FLOOD = 128 << 20
MOST = 40 << 20  # a listing, and what lies in the buffers of two sockets


class Flood:
    """What a server answers about a repository's files and about a file; `taken` counts what somebody took of it."""

    def __init__(self) -> None:
        self.listing: list[object] = [{"rfilename": "a.safetensors", "size": 1 << 40}]
        self.status, self.headers, self.taken = 200, dict[str, str](), 0
        self.data = b"x" * (1 << 20)
        self.times = FLOOD >> 20
        self.floods_listing = False


@pytest.fixture
def flood(monkeypatch: pytest.MonkeyPatch) -> Iterator[Flood]:
    told = Flood()

    class Door(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if "/api/models/" in self.path and not told.floods_listing:
                self.answer(200, {}, json.dumps({"sha": "f" * 40, "siblings": told.listing}).encode(), 1)
            else:
                self.answer(told.status, told.headers, told.data, told.times)

        def answer(self, status: int, headers: dict[str, str], data: bytes, times: int) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            try:
                for _ in range(times):
                    self.wfile.write(data)
                    told.taken += len(data)
            except OSError:
                pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield told
    server.shutdown()
    server.server_close()


def test_no_more_is_read_than_was_asked_for(flood: Flood) -> None:
    for flood.status in (200, 206):
        assert ranges.repository("a/b").read("a.safetensors", 8, 1000) == b"x" * 992
    assert flood.taken < MOST


def test_without_that_limit_all_of_it_is_read(flood: Flood, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    monkeypatch.setattr(ranges, "_read", lambda answer, skipped, wanted: answer.read()[skipped:][:wanted])
    ranges.repository("a/b").read("a.safetensors", 0, 1000)
    assert flood.taken >= FLOOD - (1 << 20)


def test_a_listing_without_end_is_given_up(flood: Flood) -> None:
    flood.floods_listing = True
    with pytest.raises(errors.NetworkError, match="more than 32 MiB"):
        ranges.repository("a/b")
    assert flood.taken < 2 * MOST


@pytest.mark.parametrize("data", [b"<html>", b"[" * 100_000, b'{"siblings": '])
def test_a_listing_that_is_no_json_is_told(flood: Flood, data: bytes) -> None:
    flood.floods_listing, flood.data, flood.times = True, data, 1
    with pytest.raises(errors.NetworkError, match="without JSON"):
        ranges.repository("a/b")


def test_nothing_is_unpacked(flood: Flood) -> None:
    flood.status, flood.headers, flood.times = 206, {"Content-Encoding": "gzip"}, 1
    flood.data = gzip.compress(bytes(FLOOD), 1)
    assert ranges.repository("a/b").read("a.safetensors", 0, 1000) == flood.data[:1000]


def test_another_part_than_was_asked_for_is_not_taken(flood: Flood) -> None:
    flood.status, flood.times = 206, 1
    flood.headers = {"Content-Range": "bytes 5000-5999/10000"}
    with pytest.raises(errors.NetworkError, match="was asked for byte 0"):
        ranges.repository("a/b").read("a.safetensors", 0, 1000)


def test_a_file_that_ends_early_is_told(flood: Flood) -> None:
    flood.times = 0
    with pytest.raises(errors.NetworkError, match="before its listed size"):
        ranges.repository("a/b").read("a.safetensors", 0, 1000)


def test_a_server_that_ignores_ranges_is_not_read_to_a_far_place(flood: Flood) -> None:
    with pytest.raises(errors.NetworkError, match="whole file"):
        ranges.repository("a/b").read("a.safetensors", 1 << 39, (1 << 39) + 8)


@pytest.mark.parametrize("size", [-1, True, 1.5, "9", None])
def test_a_size_that_is_none_lists_no_file(flood: Flood, size: object) -> None:
    flood.listing = [{"rfilename": "a.safetensors", "size": size}]
    with pytest.raises(errors.NotFound):
        ranges.repository("a/b")
