"""The shapes of what the API answers to who sends files; see `shapes`."""

import datetime
from typing import TypedDict

from registry.queries import shapes


class PartShape(TypedDict):
    """One request of an upload that goes straight to the store."""

    n: int
    url: str
    offset: int
    size: int


class UploadBlobShape(TypedDict):
    """A file that is wanted: send it to `url` in one stream, or in `urls` part by part where the store takes it."""

    n: int
    path: str
    sha256: str
    size: int
    received: int
    urls: list[PartShape] | None
    url: str | None


class BaseFileWanted(UploadBlobShape):
    """A file of a base model whose bytes are to be sent; POST to `complete_url` when they are."""

    complete_url: str


class BaseFilesWanted(TypedDict):
    fingerprint: str
    blobs: list[BaseFileWanted]


class UploadShape(TypedDict):
    id: str
    adapter: str
    digest: str
    state: str
    expires_at: datetime.datetime
    blobs: list[UploadBlobShape]
    have: list[str]
    complete_url: str


class Received(TypedDict):
    received: int
    size: int


class Completed(TypedDict):
    version: shapes.VersionDetail
    status: str
    report_url: str
