"""Files of a repository on a Hugging Face hub, read by ranges: what a header says costs kilobytes, whatever the weights weigh.

`repository` asks what is there without huggingface_hub, which is an extra (with it: `hub.transfer.huggingface`). The address is
HF_ENDPOINT (default: the public hub), the token HF_TOKEN; what `hf auth login` kept is that library's to read.
"""

import json
import os
import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx2

from hub import errors

FIRST = 64 << 10
"""Bytes that the first read of a file fetches: most configurations and headers whole."""
_NAME = re.compile(r"[\w.-]{1,96}(?:/[\w.-]{1,96})?")
_TIMEOUT = 30.0
_MAX_SKIPPED = 64 << 20
"""Bytes that are thrown away of a server that ignores ranges."""
_MAX_LISTING = 32 << 20
"""Bytes of the answer that lists a repository's files."""


class RangeSnapshot:
    """The files of a repository at one commit; each read is a range of one file, its beginning kept."""

    def __init__(self, client: httpx2.Client, root: str, files: Mapping[str, int]) -> None:
        self.client, self.root, self.files = client, root, files
        self.fetched = 0  # bytes of files, all together
        self._lock = threading.Lock()
        self._begin: dict[str, bytes] = {}

    def read(self, path: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive) of one file, fewer where it ends before. Raises NetworkError."""
        end = min(end, self.files[path])
        if end <= start:
            return b""
        if start == 0 or end <= len(self._begin.get(path, b"")):
            if len(self._begin.get(path, b"")) < end:
                self._begin[path] = self._fetch(path, 0, min(max(end, FIRST), self.files[path]))
            return self._begin[path][start:end]
        return self._fetch(path, start, end)

    def _fetch(self, path: str, start: int, end: int) -> bytes:
        data = _get(self.client, f"{self.root}/{quote(path)}", start, end)
        with self._lock:
            self.fetched += len(data)
        return data


def repository(name: str, *, offline: bool = False) -> RangeSnapshot:
    """The files of `OWNER/NAME[@REVISION]`. Raises UsageError, NotFound, NetworkError."""
    name, _, revision = name.partition("@")
    if not _NAME.fullmatch(name) or ".." in name:
        raise errors.UsageError(
            f"hf://{name} is no repository", hint="write hf://OWNER/NAME or hf://OWNER/NAME@REVISION"
        )
    if offline:
        raise errors.NetworkError(f"hf://{name} needs a connection, and HUB_OFFLINE is set")
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    client = _client(os.environ.get("HF_TOKEN"))
    asked = f"{endpoint}/api/models/{name}" + (f"/revision/{quote(revision, safe='')}" if revision else "")
    try:
        facts = json.loads(_get(client, f"{asked}?blobs=true", 0, _MAX_LISTING, whole=True))
    except (ValueError, RecursionError):
        raise errors.NetworkError(f"{endpoint} answers about {name} without JSON", hint="check HF_ENDPOINT") from None
    files = _sizes(facts)
    if not files:
        raise errors.NotFound(f"hf://{name} holds no files")
    commit = str(facts.get("sha") or revision or "main")
    return RangeSnapshot(client, f"{endpoint}/{name}/resolve/{quote(commit, safe='')}", files)


def at(endpoint: str, name: str, commit: str, files: Mapping[str, int], token: str | None) -> RangeSnapshot:
    """The files {path: size} of a repository of which is known already what it holds."""
    return RangeSnapshot(_client(token), f"{endpoint}/{name}/resolve/{quote(commit, safe='')}", files)


def _client(token: str | None) -> httpx2.Client:
    return httpx2.Client(
        headers={"Accept-Encoding": "identity", **({"Authorization": f"Bearer {token}"} if token else {})},
        timeout=_TIMEOUT,
        follow_redirects=True,
    )


def _sizes(facts: Any) -> dict[str, int]:
    listed = facts.get("siblings") if isinstance(facts, dict) else None
    return {
        str(item["rfilename"]): item["size"]
        for item in listed or []
        if isinstance(item, dict) and type(item.get("size")) is int and item["size"] >= 0 and item.get("rfilename")
        and not any(part.startswith(".") for part in str(item["rfilename"]).split("/"))
    }  # fmt: skip


def _get(client: httpx2.Client, url: str, start: int, end: int, *, whole: bool = False) -> bytes:
    """Bytes `start` to `end` of what lies there; `whole`: all of it, `end` bytes at most. What more a server sends is not read,
    and nothing is unpacked."""
    wanted = {} if whole else {"Range": f"bytes={start}-{end - 1}"}
    try:
        with client.stream("GET", url, headers=wanted) as answer:
            _check(answer, url, start)
            skipped = start if answer.status_code == 200 else 0  # who ignores ranges sends the file from its beginning
            data = _read(answer, skipped, end - start + whole)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise errors.NetworkError(f"{url} cannot be reached: {error}") from error
    if whole and len(data) > end:
        raise errors.NetworkError(f"{url} answers with more than {end >> 20} MiB")
    if not whole and len(data) < end - start:
        raise errors.NetworkError(f"{url} ends {end - start - len(data)} bytes before its listed size")
    return data


def _read(answer: httpx2.Response, skipped: int, wanted: int) -> bytes:
    """So many bytes of an answer, without the first `skipped`; fewer where it ends before."""
    data = bytearray()
    for chunk in answer.iter_raw():
        data += chunk[skipped:]
        skipped = max(0, skipped - len(chunk))
        if len(data) >= wanted:
            break
    return bytes(data[:wanted])


def _check(answer: httpx2.Response, url: str, start: int) -> None:
    status, told = answer.status_code, answer.headers.get("Content-Range", "")
    if status in (401, 403):
        raise errors.AuthError(
            f"{url} is gated or private",
            hint="ask for access on its page, and set HF_TOKEN to a token that may read it",
        )
    if status == 404:
        raise errors.NotFound(f"{url} is not there")
    if status not in (200, 206):
        raise errors.NetworkError(f"{url} answers {status}")
    if status == 200 and start > _MAX_SKIPPED:
        raise errors.NetworkError(f"{url} sends the whole file where a part of it was asked for")
    if status == 206 and told and not told.startswith(f"bytes {start}-"):
        raise errors.NetworkError(f"{url} was asked for byte {start} and answers with {told[:80]}")
