"""Files of a repository on a Hugging Face hub, read by ranges: what a header says costs kilobytes, whatever the weights weigh.

`repository` asks what is there without huggingface_hub, which is an extra (with it: `hub.transfer.huggingface`). The address is
HF_ENDPOINT (default: the public hub), the token HF_TOKEN; what `hf auth login` kept is that library's to read.
"""

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
        answer = _get(self.client, f"{self.root}/{quote(path)}", {"Range": f"bytes={start}-{end - 1}"})
        with self._lock:
            self.fetched += len(answer.content)
        if answer.status_code == 200:  # who ignores ranges sends the whole file
            return bytes(answer.content[start:end])
        return bytes(answer.content)


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
    facts = _get(client, f"{asked}?blobs=true", {}).json()
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
        headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=_TIMEOUT, follow_redirects=True
    )


def _sizes(facts: Any) -> dict[str, int]:
    listed = facts.get("siblings") if isinstance(facts, dict) else None
    return {
        str(item["rfilename"]): item["size"]
        for item in listed or []
        if isinstance(item, dict) and isinstance(item.get("size"), int) and item.get("rfilename")
        and not any(part.startswith(".") for part in str(item["rfilename"]).split("/"))
    }  # fmt: skip


def _get(client: httpx2.Client, url: str, headers: dict[str, str]) -> httpx2.Response:
    try:
        answer = client.get(url, headers=headers)
    except httpx2.HTTPError as error:
        raise errors.NetworkError(f"{url} cannot be reached: {error}") from error
    if answer.status_code in (401, 403):
        raise errors.AuthError(
            f"{url} is gated or private",
            hint="ask for access on its page, and set HF_TOKEN to a token that may read it",
        )
    if answer.status_code == 404:
        raise errors.NotFound(f"{url} is not there")
    if answer.status_code not in (200, 206):
        raise errors.NetworkError(f"{url} answers {answer.status_code}")
    return answer
