"""The self-test of an S3 server: what it really does, whatever it calls itself.

Each test does to the server what an unlucky moment or a hostile client would do, and looks at the outcome. A
server that answers 200 to a condition, checksum or length that it did not look at is found out here.
"""

import contextlib
import urllib.error
import urllib.request
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

from registry.storage import base, s3

_MD5_OF_OTHER_BYTES = b64encode(bytes(16)).decode()
_SHA256_OF_OTHER_BYTES = b64encode(bytes(32)).decode()
_FIRST, _SECOND = b"first", b"second"


def capabilities(bucket: s3.Bucket, prefix: str) -> tuple[base.Capability, ...]:
    """Try every capability in turn under `<prefix>probe/`. Raises StorageUnavailable."""
    found = []
    for test in (_condition, _checksum, _part_checksum, _pin, _range, _multipart, _late_condition, _lengths):
        with _scratch(bucket, prefix) as key:
            found.append(test(bucket, key))
    return tuple(found)


@contextlib.contextmanager
def _scratch(bucket: s3.Bucket, prefix: str) -> Iterator[str]:
    """A key that nobody uses; the object and its uploads are removed."""
    key = f"{prefix}probe/{uuid.uuid4().hex}"
    try:
        yield key
    finally:
        bucket.call("delete_object", Key=key)
        for upload in list(bucket.pages("list_multipart_uploads", "Uploads", Prefix=key)):
            with contextlib.suppress(s3.Refused):
                bucket.call("abort_multipart_upload", 404, Key=key, UploadId=upload["UploadId"])


def _condition(bucket: s3.Bucket, key: str) -> base.Capability:
    name = "conditional write"
    bucket.call("put_object", Key=key, Body=_FIRST, IfNoneMatch="*")
    refused = _refused(lambda: bucket.call("put_object", 409, 412, 501, Key=key, Body=_SECOND, IfNoneMatch="*"))
    if _content(bucket, key) != _FIRST:
        return base.Capability(name, False, "an object was overwritten in spite of If-None-Match: *")
    return base.Capability(name, bool(refused), refused or "If-None-Match: * was answered as if it had worked")


def _checksum(bucket: s3.Bucket, key: str) -> base.Capability:
    refused = _refused(
        lambda: bucket.call("put_object", 400, attempts=1, Key=key, Body=_FIRST, ChecksumSHA256=_SHA256_OF_OTHER_BYTES)
    )
    stored = bucket.head(key) is not None
    detail = "bytes with a wrong SHA-256 were accepted" if stored else refused or "no answer"
    return base.Capability("checksum", bool(refused) and not stored, detail)


def _part_checksum(bucket: s3.Bucket, key: str) -> base.Capability:
    upload = bucket.call("create_multipart_upload", Key=key)["UploadId"]
    refused = _refused(
        lambda: bucket.call(
            "upload_part",
            400,
            attempts=1,  # sending the same bytes again is right for a garbled part, and hopeless for this one
            Key=key,
            UploadId=upload,
            PartNumber=1,
            Body=_FIRST,
            ContentMD5=_MD5_OF_OTHER_BYTES,
        )
    )
    return base.Capability("part checksum", bool(refused), refused or "a part with a wrong MD5 was accepted")


def _pin(bucket: s3.Bucket, key: str) -> base.Capability:
    bucket.call("put_object", Key=key, Body=_FIRST)
    _, etag = bucket.head(key) or (0, "")
    bucket.call("put_object", Key=key, Body=_SECOND)
    refused = _refused(lambda: b"".join(bucket.read(key, etag, 0, len(_FIRST))))
    return base.Capability("pinned read", bool(refused), refused or "If-Match was ignored by a GET")


def _range(bucket: s3.Bucket, key: str) -> base.Capability:
    bucket.call("put_object", Key=key, Body=_FIRST)
    _, etag = bucket.head(key) or (0, "")
    try:
        found = b"".join(bucket.read(key, etag, 1, 3))
    except base.StorageUnavailable as error:
        return base.Capability("ranges", False, error.message)
    return base.Capability("ranges", found == b"ir", f"bytes 1 and 2 of 'first' are {found!r}")


def _multipart(bucket: s3.Bucket, key: str) -> base.Capability:
    name = "multipart"
    upload = bucket.call("create_multipart_upload", Key=key)["UploadId"]
    etag = bucket.call("upload_part", Key=key, UploadId=upload, PartNumber=1, Body=_FIRST)["ETag"]
    uploads = [u["UploadId"] for u in bucket.pages("list_multipart_uploads", "Uploads", Prefix=key)]
    parts = [p["Size"] for p in bucket.pages("list_parts", "Parts", Key=key, UploadId=upload)]
    if uploads != [upload] or parts != [len(_FIRST)]:
        return base.Capability(name, False, "an upload in progress is not listed with its parts")
    _complete(bucket, key, upload, etag, {})
    found = _content(bucket, key)
    return base.Capability(name, found == _FIRST, "parts are listed and become an object")


def _late_condition(bucket: s3.Bucket, key: str) -> base.Capability:
    """Not required: what is completed has been hashed, so two writers complete the same bytes."""
    bucket.call("put_object", Key=key, Body=_FIRST)
    upload = bucket.call("create_multipart_upload", Key=key)["UploadId"]
    etag = bucket.call("upload_part", Key=key, UploadId=upload, PartNumber=1, Body=_SECOND)["ETag"]
    refused = _refused(lambda: _complete(bucket, key, upload, etag, {"IfNoneMatch": "*"}))
    detail = refused or "completing a multipart upload ignores If-None-Match: *"
    return base.Capability("conditional parts", _content(bucket, key) == _FIRST, detail, required=False)


def _lengths(bucket: s3.Bucket, key: str) -> base.Capability:
    """A presigned upload takes the length that was signed, and no other."""
    name = "signed length"
    url = bucket.sign("put_object", 60, public=False, Key=key, ContentLength=len(_FIRST))
    longer, right = _put(url, _FIRST + b"!"), _put(url, _FIRST)
    if longer < 400:
        return base.Capability(name, False, "a presigned upload took more bytes than were signed")
    return base.Capability(name, right < 300, f"one byte more: {longer}, the right length: {right}")


def _complete(bucket: s3.Bucket, key: str, upload: str, etag: str, condition: dict[str, Any]) -> object:
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    return bucket.call(
        "complete_multipart_upload",
        409,
        412,
        501,
        Key=key,
        UploadId=upload,
        MultipartUpload=parts,
        **condition,
    )


def _refused(act: Callable[[], object]) -> str:
    """Return how the server refused, or an empty string when it did not."""
    try:
        act()
    except s3.Refused as refusal:
        return f"refused with {refusal}"
    return ""


def _content(bucket: s3.Bucket, key: str) -> bytes:
    content: bytes = bucket.call("get_object", Key=key)["Body"].read()
    return content


def _put(url: str, data: bytes) -> int:
    """Send bytes as a client would and return the status."""
    request = urllib.request.Request(url, data, {"Content-Type": ""}, method="PUT")  # noqa: S310 (signed by us)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code
    except OSError as error:
        raise base.StorageUnavailable(f"S3 failed at a presigned upload: {error}.") from error
