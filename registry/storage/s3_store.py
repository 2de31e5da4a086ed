"""Blobs in an S3 bucket.

    <prefix>/sha256/ab/<hex>        blobs; only this process ever writes here, clients get no URL for it
    <prefix>/staging/<upload>/<n>   what clients send, by presigned requests
    <prefix>/tails/<upload>/<n>/... bytes that came through us and do not fill a part yet
    <prefix>/rotten/<hex>.<time>    remains of damaged blobs that were repaired

A blob is written by this process from the bytes it hashes, not copied inside S3: a copy can only be pinned
to the ETag of what was hashed, and an ETag is an MD5: two files that share one are made in seconds.
"""

import hashlib
import logging
import time
import urllib.parse
from base64 import b64encode
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any

from registry.storage import base, s3, s3_probe, s3_staging

log = logging.getLogger(__name__)

_ATTEMPTS = 5
Write = Callable[[str, dict[str, Any]], None]
"""write(key, condition): put the bytes at hand under `key`, under an S3 condition."""


class S3Store:
    """A blob store in a bucket, below an optional prefix. See base.BlobStore for every method."""

    def __init__(self, bucket: s3.Bucket, prefix: str = "") -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._staging = s3_staging.Staging(bucket, self._prefix)
        self.address = f"s3://{bucket.name}/{prefix}".rstrip("/")

    # --- blobs ----------------------------------------------------------------------------------------------

    def size(self, sha256: str) -> int | None:
        found = self._bucket.head(self._blob(sha256))
        return found[0] if found else None

    def open(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        key = self._blob(sha256)
        found = self._bucket.head(key)
        if found is None:
            raise base.BlobMissing(sha256)
        start, stop = base.check_range(start, end, found[0])
        return self._read_blob(sha256, found[1], start, stop)

    def read(self, sha256: str, start: int = 0, end: int | None = None) -> bytes:
        return b"".join(self.open(sha256, start, end))

    def download_url(self, sha256: str, *, filename: str, seconds: int = 900) -> str | None:
        return self._bucket.sign(
            "get_object",
            seconds,
            Key=self._blob(sha256),
            ResponseContentDisposition=_attachment(filename),
            ResponseContentType="application/octet-stream",
        )

    def put(self, data: bytes, *, expected_sha256: str | None = None) -> base.Stored:
        sha256 = hashlib.sha256(data).hexdigest()
        if expected_sha256 not in (None, sha256):
            raise base.DigestMismatch(str(expected_sha256), sha256)
        self._publish(sha256, lambda key, condition: self._write_once(key, data, condition))
        return base.Stored(sha256, len(data))

    def verify(self, sha256: str) -> bool:
        return self._is_whole(sha256) is True

    # --- staging --------------------------------------------------------------------------------------------

    def upload_urls(self, key: str, size: int, *, seconds: int | None = None) -> list[base.UploadPart] | None:
        return self._staging.upload_urls(key, size, seconds)

    def put_staging(self, key: str, stream: base.Readable, offset: int, *, limit: int | None = None) -> int:
        return self._staging.append(key, stream, offset, limit)

    def staged(self, key: str) -> int:
        return self._staging.received(key)

    def finish_staging(self, key: str, size: int) -> None:
        self._staging.finish(key, size)

    def open_staging(self, key: str) -> Iterator[bytes]:
        size, etag = self._staging.state(key)
        return self._staging.read(key, etag, size)

    def ingest(self, key: str, *, expected_sha256: str | None = None) -> base.Stored:
        size, etag = self._staging.state(key)
        if size <= base.SINGLE_PUT:
            data = b"".join(self._staging.read(key, etag, size))
            return self.put(data, expected_sha256=expected_sha256)
        return self._ingest_large(key, size, etag, expected_sha256)

    def discard(self, key: str) -> None:
        self._staging.discard(key)

    def sweep_staging(self, older_than: float, *, keep: Container[str] = ()) -> int:
        return self._staging.sweep(older_than, keep)

    # --- self-test ------------------------------------------------------------------------------------------

    def make(self) -> bool:
        return self._bucket.make()

    def probe(self) -> base.Probe:
        return base.Probe(self.address, s3_probe.capabilities(self._bucket, self._prefix))

    # --- how a blob gets its name ---------------------------------------------------------------------------

    def _ingest_large(self, key: str, size: int, etag: str, expected: str | None) -> base.Stored:
        """Publish what does not fit into memory: its name must be known before its bytes are written."""
        sha256 = expected or _digest(self._staging.read(key, etag, size))
        proven = expected is None

        def write(blob: str, condition: dict[str, Any]) -> None:
            nonlocal proven
            self._write_parts(blob, self._staging.read(key, etag, size), size, sha256, condition)
            proven = True

        try:
            self._publish(sha256, write)
            if not proven:  # the blob was there before: that proves nothing about what was sent
                _agree(sha256, _digest(self._staging.read(key, etag, size)))
        except base.DigestMismatch as mismatch:
            if expected is None:  # two readings of the same staged bytes disagree
                raise base.StagingChanged(key) from mismatch
            raise
        return base.Stored(sha256, size)

    def _publish(self, sha256: str, write: Write) -> None:
        """See to it that the right bytes are under `sha256`.

        A lost answer, another writer and a blob of long ago look alike here: the object exists. Then its bytes
        decide.
        """
        key = self._blob(sha256)
        for _ in range(_ATTEMPTS):
            whole = self._is_whole(sha256)
            if whole:
                return
            if whole is False:
                return self._repair(sha256, write)
            try:
                return write(key, {"IfNoneMatch": "*"})
            except s3.Refused as refusal:  # 412 it exists by now, 409 another is at it, 404 our upload is done
                log.info("storage: writing blob %s was refused (%s), looking again", sha256, refusal)
        raise base.StorageUnavailable(f"Blob {sha256} could not be written: every attempt was refused.")

    def _repair(self, sha256: str, write: Write) -> None:
        """Put proven bytes in the place of a damaged blob, and keep what was there."""
        remains = self._set_aside(sha256)
        log.warning("storage: blob %s is damaged; repairing it, remains at %s", sha256, remains)
        try:
            write(self._blob(sha256), {})
        except (s3.Refused, base.StorageUnavailable) as error:
            raise base.BlobRotten(sha256, f"Replacing it failed: {error}") from error
        if not self._is_whole(sha256):
            raise base.BlobRotten(sha256, "It was replaced, and is damaged again.")

    def _is_whole(self, sha256: str) -> bool | None:
        """Read a blob and return whether its bytes have its digest; None when there is none."""
        key = self._blob(sha256)
        for _ in range(_ATTEMPTS):
            found = self._bucket.head(key)
            if found is None:
                return None
            try:
                return _digest(self._bucket.read(key, found[1], 0, found[0])) == sha256
            except s3.Refused as refusal:
                if refusal.status not in (404, 412):  # those two: repaired or removed while we read
                    return False
        return False

    def _set_aside(self, sha256: str) -> str:
        """Keep what is left of a damaged blob, and return where; what cannot be copied is of no use."""
        remains = f"{self._prefix}rotten/{sha256}.{time.time_ns()}"
        source = {"Bucket": self._bucket.name, "Key": self._blob(sha256)}
        try:
            self._bucket.call("copy_object", 400, 404, 409, Key=remains, CopySource=source)
        except s3.Refused as refusal:
            return f"none ({refusal})"
        return remains

    def _write_once(self, key: str, data: bytes, condition: dict[str, Any]) -> None:
        checksum = b64encode(hashlib.sha256(data).digest()).decode()
        self._bucket.call(
            "put_object",
            409,
            412,
            Key=key,
            Body=data,
            ChecksumSHA256=checksum,
            ContentLength=len(data),
            **condition,
        )

    def _write_parts(
        self, key: str, chunks: Iterator[bytes], size: int, sha256: str, condition: dict[str, Any]
    ) -> None:
        """Write and hash a large object; it comes into being only when its digest is right."""
        upload = self._bucket.call("create_multipart_upload", Key=key)["UploadId"]
        digest, parts = hashlib.sha256(), []
        try:
            for number, data in enumerate(_parts(chunks, base.part_size(size)), 1):
                digest.update(data)
                parts.append(self._write_part(key, upload, number, data))
            _agree(sha256, digest.hexdigest())
            self._bucket.call(
                "complete_multipart_upload",
                *(404, 409, 412),
                Key=key,
                UploadId=upload,
                MultipartUpload={"Parts": parts},
                **condition,
            )
        except BaseException:
            self._staging.abort(key, upload)
            raise

    def _write_part(self, key: str, upload: str, number: int, data: bytes) -> dict[str, Any]:
        checksum = b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        answer = self._bucket.call(
            "upload_part", Key=key, UploadId=upload, PartNumber=number, Body=data, ContentMD5=checksum
        )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def _read_blob(self, sha256: str, etag: str, start: int, stop: int) -> Iterator[bytes]:
        try:
            yield from self._bucket.read(self._blob(sha256), etag, start, stop)
        except s3.Refused as refusal:
            if refusal.status == 404:
                raise base.BlobMissing(sha256) from refusal
            raise base.BlobRotten(sha256) from refusal

    def _blob(self, sha256: str) -> str:
        return self._prefix + base.blob_path(sha256)


def _agree(expected: str, found: str) -> None:
    if expected != found:
        raise base.DigestMismatch(expected, found)


def _digest(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _parts(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the same bytes in pieces of `size`, the last one smaller."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= size:
            yield bytes(buffer[:size])
            del buffer[:size]
    if buffer:
        yield bytes(buffer)


def _attachment(filename: str) -> str:
    """Return a Content-Disposition that makes a browser save the file (RFC 6266), whatever its name."""
    name = filename.rsplit("/", 1)[-1]
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{urllib.parse.quote(name, safe='')}"
