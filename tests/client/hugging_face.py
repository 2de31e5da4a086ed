"""A small Hugging Face hub over HTTP: what a repository holds, and its files by ranges. It counts what it sends."""

import hashlib
import http.server
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "f" * 40
WORK = 0.01
"""Seconds that a file takes to find, so that those who ask together are seen together."""
LFS = re.compile(r".*\.(safetensors|bin)")


class HuggingFace:
    """Repositories {name: {path: bytes}}; `gated` and `private` ones need TOKEN; `moved` {old name: new name}."""

    TOKEN = "hf_reader"

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.private: set[str] = set()
        self.moved: dict[str, str] = {}
        self.no_lfs: set[str] = set()
        self.sent: list[tuple[str, int]] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Bytes of files that were sent."""
        return sum(size for _, size in self.sent)


class _Door(http.server.BaseHTTPRequestHandler):
    hub: HuggingFace
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        asked = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)(?:/revision/(.+))?", path)
        tree = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/tree/.+", path)
        file = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", path)
        known = self.headers.get("Authorization") == f"Bearer {self.hub.TOKEN}"
        name = (tree or asked or file or [None, ""])[1]
        if name in self.hub.moved:
            self._answer(307, b"", Location=self.path.replace(name, self.hub.moved[name]))
        elif name not in self.hub.repositories or (name in self.hub.private and not known):
            self._answer(404, b"{}", **{"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif tree:
            self._tree(name)
        elif asked:
            self._facts(name, asked[2])
        elif file and name in self.hub.gated and not known:
            self._answer(403, b"{}", **{"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        elif file:
            self._file(name, file[3])

    do_HEAD = do_GET

    def _facts(self, name: str, revision: str | None) -> None:
        if revision not in (None, "main", COMMIT):
            self._answer(404, b"{}", **{"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
            return
        listed = []
        for path, data in self.hub.repositories[name].items():
            entry: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": hashlib.sha1(data).hexdigest()}
            if LFS.fullmatch(path) and path not in self.hub.no_lfs:
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            listed.append(entry)
        facts = {"id": name, "sha": COMMIT, "private": name in self.hub.private, "siblings": listed}
        self._answer(200, json.dumps(facts).encode(), **{"Content-Type": "application/json"})

    def _tree(self, name: str) -> None:
        listed = [
            {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for path, data in self.hub.repositories[name].items()
        ]
        self._answer(200, json.dumps(listed).encode(), **{"Content-Type": "application/json"})

    def _file(self, name: str, path: str) -> None:
        data = self.hub.repositories[name].get(path)
        if data is None:
            self._answer(404, b"{}", **{"X-Error-Code": "EntryNotFound"})
            return
        with self.hub.lock:
            self.hub.at_once += 1
            self.hub.most_at_once = max(self.hub.most_at_once, self.hub.at_once)
        whole, headers = data, {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            data = data[int(asked[1]) : int(asked[2]) + 1]
            headers["Content-Range"] = f"bytes {asked[1]}-{int(asked[1]) + len(data) - 1}/{len(whole)}"
        if self.command == "GET":
            self.hub.sent.append((path, len(data)))
        time.sleep(WORK)
        with self.hub.lock:
            self.hub.at_once -= 1  # before the answer: who has read it asks for the next file at once
        self._answer(206 if asked else 200, data, **headers)

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def serving(hub: HuggingFace) -> Iterator[str]:
    """Serve it, and yield its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Door", (_Door,), {"hub": hub}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
