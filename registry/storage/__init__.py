"""Blob stores: bytes by SHA-256, behind one interface (`base.BlobStore`), on disk or on S3."""

import functools
import os
import urllib.parse

from registry.storage import base, filesystem

__all__ = ["BlobStore", "open_store"]

BlobStore = base.BlobStore


def open_store(url: str | None = None, *, public_endpoint: str | None = None) -> BlobStore:
    """Return the store that `url` names, the same object for the same arguments within a process.

    `file:///folder` or `s3://bucket/prefix`; without an argument the environment's HUB_STORAGE.
    `public_endpoint` is the S3 address that clients reach where it differs from the server's own. Nothing is connected yet and no folder is made: the first use does that. Raises
    ValueError for an address that says neither.
    """
    address = url or os.environ.get("HUB_STORAGE", "")
    return _open(address, public_endpoint)


@functools.lru_cache(maxsize=8)
def _open(address: str, public_endpoint: str | None) -> BlobStore:
    parts = urllib.parse.urlsplit(address)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return filesystem.FileStore(urllib.parse.unquote(parts.path))
    if parts.scheme == "s3" and parts.netloc:
        from registry.storage import s3, s3_store  # boto3 takes long to import: only where it is used

        bucket = s3.Bucket(parts.netloc, public_endpoint=public_endpoint)
        return s3_store.S3Store(bucket, parts.path.strip("/"))
    raise ValueError(
        f"HUB_STORAGE is {address!r}. Give file:///absolute/folder or s3://bucket/prefix "
        "(credentials by AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL_S3)."
    )
