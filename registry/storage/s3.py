"""One bucket of an S3 server: the calls that a store needs, and what their failures mean.

The only place that knows boto3. Works with Amazon S3 and with servers that speak its language; what those
must really do is tried by s3_probe.py. Credentials, region and endpoint come from the usual AWS_* variables.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import boto3
import botocore.config
import botocore.exceptions

from registry.storage import base

_CONFIG: dict[str, Any] = {
    "signature_version": "s3v4",  # the older one does not sign the length of an upload
    "connect_timeout": 3,
    "read_timeout": 30,
    "max_pool_connections": 32,
    # Checksums of the newer kind only where we ask for them: some servers refuse the default trailer.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}
_FULL = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"}
_HINTS = {
    "NoSuchBucket": "Create the bucket, or correct HUB_STORAGE.",
    "AccessDenied": "Check AWS_ACCESS_KEY_ID and its rights on the bucket.",
    "InvalidAccessKeyId": "Check AWS_ACCESS_KEY_ID.",
    "SignatureDoesNotMatch": "Check AWS_SECRET_ACCESS_KEY.",
    "RequestTimeTooSkewed": "Check this machine's clock.",
}
ATTEMPTS = 5
"""How often a request is sent before it counts as failed, and how often a reading may be cut without a byte of progress."""


class Refused(Exception):
    """The server said no to a call, with a status that the caller asked to be told."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status, self.code = status, code


class Bucket:
    """Calls on one bucket. Safe for threads; a forked child connects anew."""

    def __init__(self, name: str, *, public_endpoint: str | None = None) -> None:
        self.name = name
        self._public_endpoint = public_endpoint
        self._lock = threading.Lock()
        self._clients: dict[tuple[int, str | None, int], Any] = {}

    def make(self) -> bool:
        """Make the bucket where there is none, and return whether it was made. Raises StorageUnavailable."""
        try:
            self.call("head_bucket", 404)
            return False
        except Refused:
            region = self._client(None).meta.region_name
            # Amazon wants every region named but its first, and that one not.
            where: dict[str, Any] = (
                {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            )
            self.call("create_bucket", **where)
            return True

    def call(self, operation: str, /, *told: int, attempts: int = ATTEMPTS, **parameters: Any) -> dict[str, Any]:
        """Call an operation of the S3 API on this bucket.

        Raises Refused for the statuses in `told`; StorageFull or StorageUnavailable for every other failure. What
        may pass (no connection, 5xx, throttling, bytes garbled on the way) is tried `attempts` times in all.
        """
        client = self._client(None, attempts)
        with _explained(operation, told):
            answer: dict[str, Any] = getattr(client, operation)(Bucket=self.name, **parameters)
            return answer

    def pages(self, operation: str, field: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """Yield the entries `field` of all pages of a listing."""
        pages = self._client(None).get_paginator(operation).paginate(Bucket=self.name, **parameters)
        with _explained(operation, ()):
            for page in pages:
                yield from page.get(field, [])

    def sign(self, operation: str, seconds: int, *, public: bool = True, **parameters: Any) -> str:
        """Return a URL by which anyone may do this one operation for `seconds`, at the public endpoint."""
        client = self._client(self._public_endpoint if public else None)
        url: str = client.generate_presigned_url(
            operation, Params={"Bucket": self.name, **parameters}, ExpiresIn=seconds
        )
        return url

    def head(self, key: str) -> tuple[int, str] | None:
        """Return (size, ETag) of an object, or None."""
        try:
            answer = self.call("head_object", 404, Key=key)
        except Refused:
            return None
        return int(answer["ContentLength"]), str(answer["ETag"])

    def read(self, key: str, etag: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes `start:stop` of exactly the object with this ETag; a cut connection is resumed.

        Raises Refused when the object is gone (404), has changed (412) or is broken inside (409).
        """
        failures = 0
        while start < stop:
            try:
                for chunk in self._range(key, etag, start, stop):
                    start, failures = start + len(chunk), 0
                    yield chunk
            except botocore.exceptions.BotoCoreError as error:
                failures += 1
                if failures == ATTEMPTS:
                    raise _unavailable("get_object", str(error)) from error

    def _range(self, key: str, etag: str, start: int, stop: int) -> Iterator[bytes]:
        wanted = f"bytes {start}-{stop - 1}/"
        answer = self.call("get_object", 404, 409, 412, 416, Key=key, IfMatch=etag, Range=f"bytes={start}-{stop - 1}")
        with contextlib.closing(answer["Body"]) as body:
            if not str(answer.get("ContentRange", "")).startswith(wanted):
                raise _unavailable("get_object", f"{wanted} was asked for, came {answer.get('ContentRange')}")
            yield from body.iter_chunks(base.CHUNK)

    def _client(self, endpoint: str | None, attempts: int = ATTEMPTS) -> Any:
        """Return the client for an endpoint: one per process, since connections do not survive a fork."""
        mark = (os.getpid(), endpoint, attempts)
        with self._lock:
            if mark not in self._clients:
                self._clients[mark] = _connect(endpoint, attempts)
            return self._clients[mark]


def _connect(endpoint: str | None, attempts: int) -> Any:
    session = boto3.session.Session()
    custom = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    # bucket.host needs a DNS entry per bucket, which only Amazon's own endpoint has for certain. Signed
    # payloads let every server refuse bytes that were garbled on the way.
    s3 = {"addressing_style": "path" if custom else "auto", "payload_signing_enabled": True}
    # Not "standard": its quota gives up all retries just when a server is busy for longer.
    retries = {"mode": "legacy", "total_max_attempts": attempts}
    return session.client(
        "s3",
        endpoint_url=endpoint,
        region_name=session.region_name or "us-east-1",
        config=botocore.config.Config(s3=s3, retries=retries, **_CONFIG),
    )


@contextlib.contextmanager
def _explained(operation: str, told: tuple[int, ...]) -> Iterator[None]:
    try:
        yield
    except botocore.exceptions.ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = str(error.response.get("Error", {}).get("Code", status))
        if status in told and code != "NoSuchBucket":
            raise Refused(status, code) from error
        if status == 507 or code in _FULL:
            raise base.StorageFull("the bucket", 0) from error
        raise _unavailable(operation, f"{status} {code}", code) from error
    except botocore.exceptions.BotoCoreError as error:
        raise _unavailable(operation, str(error)) from error


def _unavailable(operation: str, message: str, code: str = "") -> base.StorageUnavailable:
    hint = _HINTS.get(code, "Try again later; if it lasts, check AWS_ENDPOINT_URL_S3 and the S3 server.")
    return base.StorageUnavailable(f"S3 failed at {operation}: {message}.", hint)
