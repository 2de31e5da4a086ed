"""The HTTP side of the simulator: reads a request, lets the simulator answer, spoils what the faults say."""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.client import records, simulator
from tests.client.simulator import Simulator


class _Cut(Exception):
    """Break the connection off now."""


def handler(hub: Simulator, server: str) -> type[BaseHTTPRequestHandler]:
    """The door: reads a request, lets the simulator answer, spoils what the faults say."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        sim = hub

        def log_message(self, *_: Any) -> None:
            pass

        def _do(self) -> None:
            url = urlsplit(self.path)
            headers = {key.lower(): value for key, value in self.headers.items()}
            query = dict(parse_qsl(url.query, keep_blank_values=True))
            self.sim.seen.append(records.Seen(self.command, url.path, query, headers, server))
            try:
                with self.sim.serving():
                    self._route(url.path, query, headers)
            except (_Cut, ConnectionError):
                self.close_connection = True

        do_GET = do_POST = do_PUT = _do

        def _route(self, path: str, query: dict[str, str], headers: dict[str, str]) -> None:
            file = re.fullmatch(f"{simulator.ADAPTER}/versions/sha256:([0-9a-f]+)/files/(.+)", path)
            if server == "store":
                self._store(path, query)
            elif file:
                version = self.sim.find(f"{file[1]}/{file[2]}", None, file[3], headers.get("authorization", "")[7:])
                self._download(path, version.files[unquote(file[4])] if version else None)
            elif self.command == "PUT" and "/blobs/" in path:
                key = path.removeprefix("/api/v1/uploads/").replace("/blobs/", "/")
                body = self._body()
                answer = self.sim.put(key, int(query["offset"]), body, 0)
                for _ in body:  # what it did not want to know is read all the same: the connection lives on
                    pass
                self._answer(answer)
            else:
                self._api(path, query, headers)

        def _api(self, path: str, query: dict[str, str], headers: dict[str, str]) -> None:
            raw = b"".join(self._body())
            body = json.loads(raw) if raw and "json" in headers.get("content-type", "") else raw or None
            if self.sim.faults.answers:
                self._answer(self.sim.faults.answers.popleft())
                return
            answer = self.sim.answer(self.command, path, query, body, headers)
            if self.sim.faults.lost and path.endswith(self.sim.faults.lost[0]):
                self.sim.faults.lost.popleft()
                raise _Cut
            self._answer(answer)

        def _store(self, path: str, query: dict[str, str]) -> None:
            if query.get("X-Amz-Signature") in self.sim.faults.expired or not query:
                b"".join(self._body())
                self._answer((403, None, {}))
            elif self.command == "PUT":
                key = path.removeprefix("/staging/")
                data = b""
                for chunk in self._body():
                    data += chunk
                    self.sim.received[key] += len(chunk)
                self.sim.staged[key] = bytearray(data)
                self._answer((200, None, {"ETag": '"part"'}))
            else:
                self._download(path, self.sim.blob(path.removeprefix("/blobs/")))

        def _body(self) -> Iterator[bytes]:
            left = int(self.headers.get("content-length") or 0)
            cut = (
                self.sim.faults.upload_cuts.popleft() if self.command == "PUT" and self.sim.faults.upload_cuts else None
            )
            while left:
                chunk = self.rfile.read(min(left, 65536 if cut is None else max(1, min(65536, cut))))
                if not chunk:
                    raise _Cut
                left -= len(chunk)
                yield chunk
                if self.sim.faults.slow and self.command == "PUT":
                    time.sleep(self.sim.faults.slow)
                if cut is not None and (cut := cut - len(chunk)) <= 0:
                    raise _Cut

        def _answer(self, answer: records.Answer) -> None:
            status, body, headers = answer
            data = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            kind = "application/problem+json" if status >= 400 else "application/json"
            for key, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(data)

        def _download(self, path: str, data: bytes | None) -> None:
            faults = self.sim.faults
            target = faults.redirect(f"{server} {self.path}") if faults.redirect else None
            if target or data is None:
                self._answer(
                    (302, None, {"Location": target}) if target else records.problem(404, "not_found", "no such file")
                )
                return
            tag = f'"{hashlib.sha256(data).hexdigest()}"'
            data = faults.tamper(data) if faults.tamper else data
            start, status = self._range(tag, len(data))
            if status == 416:
                self._answer((416, None, {"Content-Range": f"bytes */{len(data)}"}))
                return
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{self._end - 1}/{len(data)}")
            if faults.etags:
                self.send_header("ETag", tag)
            self.send_header("Content-Length", str(self._end - start))
            self.end_headers()
            self._stream(path, data[start : self._end])

        def _range(self, tag: str, size: int) -> tuple[int, int]:
            self._end = size
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
            condition = self.headers.get("if-range")
            if not asked or not self.sim.faults.ranges or (condition and condition != tag):
                return 0, 200
            if int(asked[1]) >= size:
                return 0, 416
            self._end = min(size, int(asked[2]) + 1) if asked[2] else size
            return int(asked[1]), 206

        def _stream(self, path: str, data: bytes) -> None:
            faults = self.sim.faults
            cut = faults.cuts.popleft() if faults.cuts else None
            for at in range(0, len(data), 16384):
                chunk = data[at : at + 16384] if cut is None else data[at : min(at + 16384, cut)]
                self.wfile.write(chunk)
                self.sim.sent[path] += len(chunk)
                time.sleep(faults.slow)
                if cut is not None and at + len(chunk) >= cut:
                    raise _Cut

    return Handler
