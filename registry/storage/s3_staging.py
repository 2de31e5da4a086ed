"""What clients send to an S3 bucket, until it is a blob.

Small files are one presigned PUT, larger ones a multipart upload whose part URLs are presigned; completing is
not, so only we can do it. Nothing here is remembered between calls: the bucket itself is asked what has
arrived. Bytes that come through this process instead fill parts in order; the rest that does not fill a part
waits under a key that names its place ("tail"), so that a crash between two calls counts no byte twice.
"""

import contextlib
import datetime
from collections.abc import Container, Iterator
from typing import Any

from registry.storage import base, s3

_SECONDS = 900
_SLOWEST = 256 * 1024  # bytes a second that a client may need
_LONGEST = 12 * 3600


class Staging:
    """The staging area of one bucket. Methods as in base.BlobStore."""

    def __init__(self, bucket: s3.Bucket, prefix: str) -> None:
        self._bucket, self._prefix = bucket, prefix

    def state(self, key: str) -> tuple[int, str]:
        """Return (size, ETag) of a finished upload. Raises StagingMissing."""
        found = self._bucket.head(self._place(key))
        if found is None:
            raise base.StagingMissing(key)
        return found

    def read(self, key: str, etag: str, size: int) -> Iterator[bytes]:
        """Yield the staged bytes of one state. Raises StagingChanged when they are of another by now."""
        try:
            yield from self._bucket.read(self._place(key), etag, 0, size)
        except s3.Refused as refusal:
            if refusal.status == 404:
                raise base.StagingMissing(key) from refusal
            raise base.StagingChanged(key) from refusal

    def upload_urls(self, key: str, size: int, seconds: int | None) -> list[base.UploadPart]:
        """Return a presigned request for every part that has not arrived."""
        place = self._place(key)
        found = self._bucket.head(place)
        if size == 0 or (found and found[0] == size):
            return []
        seconds = seconds or min(_SECONDS + size // _SLOWEST, _LONGEST)
        if size <= base.SINGLE_PUT:
            url = self._bucket.sign("put_object", seconds, Key=place, ContentLength=size)
            return [base.UploadPart(n=1, url=url, offset=0, size=size)]
        upload = self._open_upload(place) or self._begin(place)
        arrived = self._parts(place, upload)
        return [
            base.UploadPart(n=n, offset=offset, size=length, url=self._sign_part(place, upload, n, length, seconds))
            for n, offset, length in _plan(size)
            if arrived.get(n, (0, ""))[0] != length
        ]

    def received(self, key: str) -> int:
        """Return the bytes that arrived, in whatever way and order."""
        place = self._place(key)
        found = self._bucket.head(place)
        if found:
            return found[0]
        upload = self._open_upload(place)
        whole = sum(size for size, _ in self._parts(place, upload).values()) if upload else 0
        tail = self._bucket.head(self._tail(key, whole))
        return whole + (tail[0] if tail else 0)

    def append(self, key: str, stream: base.Readable, offset: int, limit: int | None) -> int:
        """Add the bytes of `stream`: whole parts to the multipart upload, the rest to a tail."""
        received = self.received(key)
        if offset != received:
            raise base.OffsetMismatch(key, received)
        place, step = self._place(key), base.part_size(limit or 0)
        if self._bucket.head(place):
            return _refuse_more(key, stream, received)
        upload = self._open_upload(place)
        number = len(self._parts(place, upload)) if upload else 0
        buffer = self._read_tail(key, number * step)
        try:
            for chunk in _limited(key, stream, offset, limit):
                buffer += chunk
                while len(buffer) >= step:
                    upload = upload or self._begin(place)
                    self._put_part(place, upload, number + 1, bytes(buffer[:step]))
                    number += 1
                    del buffer[:step]
        finally:  # a stream that breaks off has brought us this far all the same
            if buffer:
                self._bucket.call("put_object", Key=self._tail(key, number * step), Body=bytes(buffer))
        return number * step + len(buffer)

    def finish(self, key: str, size: int) -> None:
        """Make one object of what arrived, if it is `size` bytes."""
        place = self._place(key)
        if not self._bucket.head(place):
            upload = self._open_upload(place)
            if upload:
                self._complete(key, upload, size)
            else:
                self._finish_small(key, size)
        received = self.received(key)
        if received != size:
            _refuse_size(key, received, size)

    def discard(self, key: str) -> None:
        """Remove the object, the tails and every open upload of a key."""
        place = self._place(key)
        self._bucket.call("delete_object", Key=place)
        for found in self._bucket.pages("list_objects_v2", "Contents", Prefix=self._tails(key)):
            self._bucket.call("delete_object", Key=found["Key"])
        for found in self._uploads(place):
            self.abort(place, found["UploadId"])

    def sweep(self, older_than: float, keep: Container[str]) -> int:
        """Remove objects and open uploads (of blobs, too) that nobody touched for `older_than` seconds.

        Not those of the staging keys in `keep`.
        """
        before, gone = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=older_than), 0
        for folder in ("staging/", "tails/"):
            for found in self._bucket.pages("list_objects_v2", "Contents", Prefix=self._prefix + folder):
                if found["LastModified"] <= before and self._key(found["Key"]) not in keep:
                    self._bucket.call("delete_object", Key=found["Key"])
                    gone += 1
        for folder in ("staging/", "sha256/"):
            for found in self._bucket.pages("list_multipart_uploads", "Uploads", Prefix=self._prefix + folder):
                touched = self._touched(found["Key"], found["UploadId"], found["Initiated"])
                if touched <= before and self._key(found["Key"]) not in keep:
                    self.abort(found["Key"], found["UploadId"])
                    gone += 1
        return gone

    def abort(self, place: str, upload: str) -> None:
        """Give up a multipart upload; nothing happens when it is done or gone."""
        with contextlib.suppress(s3.Refused, base.StorageUnavailable):  # the sweep comes by again
            self._bucket.call("abort_multipart_upload", 404, Key=place, UploadId=upload)

    # --- parts ----------------------------------------------------------------------------------------------

    def _complete(self, key: str, upload: str, size: int) -> None:
        place = self._place(key)
        parts = self._parts(place, upload)
        whole = sum(length for length, _ in parts.values())
        tail = self._read_tail(key, whole)
        if whole + len(tail) != size:
            _refuse_size(key, whole + len(tail), size)
        if tail:
            self._put_part(place, upload, len(parts) + 1, bytes(tail))
            parts = self._parts(place, upload)
        listed = [{"PartNumber": n, "ETag": etag} for n, (_, etag) in sorted(parts.items())]
        try:
            self._bucket.call(
                "complete_multipart_upload",
                *(400, 404),
                Key=place,
                UploadId=upload,
                MultipartUpload={"Parts": listed},
            )
        except s3.Refused as refusal:
            if refusal.status == 400:  # a part was sent anew between the list and this call
                raise base.StagingChanged(key) from refusal

    def _finish_small(self, key: str, size: int) -> None:
        tail = self._read_tail(key, 0)
        if len(tail) == size:
            self._bucket.call("put_object", Key=self._place(key), Body=bytes(tail))

    def _begin(self, place: str) -> str:
        """Open a multipart upload. Of two begun at once the older is used by both."""
        self._bucket.call("create_multipart_upload", Key=place)
        upload = self._open_upload(place)
        if upload is None:
            raise base.StorageUnavailable("S3 does not list the upload that it has just begun.")
        return upload

    def _open_upload(self, place: str) -> str | None:
        found = sorted((u["Initiated"], u["UploadId"]) for u in self._uploads(place))
        return str(found[0][1]) if found else None

    def _uploads(self, place: str) -> list[dict[str, Any]]:
        listed = self._bucket.pages("list_multipart_uploads", "Uploads", Prefix=place)
        return [found for found in listed if found["Key"] == place]

    def _parts(self, place: str, upload: str) -> dict[int, tuple[int, str]]:
        """Return {part number: (bytes, ETag)} of what arrived."""
        listed = self._bucket.pages("list_parts", "Parts", Key=place, UploadId=upload)
        return {int(part["PartNumber"]): (int(part["Size"]), str(part["ETag"])) for part in listed}

    def _touched(self, place: str, upload: str, begun: datetime.datetime) -> datetime.datetime:
        listed = self._bucket.pages("list_parts", "Parts", Key=place, UploadId=upload)
        times: list[datetime.datetime] = [begun, *(part["LastModified"] for part in listed)]
        return max(times)

    def _put_part(self, place: str, upload: str, number: int, data: bytes) -> None:
        self._bucket.call("upload_part", Key=place, UploadId=upload, PartNumber=number, Body=data)

    def _sign_part(self, place: str, upload: str, n: int, length: int, seconds: int) -> str:
        return self._bucket.sign("upload_part", seconds, Key=place, UploadId=upload, PartNumber=n, ContentLength=length)

    # --- names ----------------------------------------------------------------------------------------------

    def _read_tail(self, key: str, offset: int) -> bytearray:
        place = self._tail(key, offset)
        found = self._bucket.head(place)
        return bytearray(b"".join(self._bucket.read(place, found[1], 0, found[0])) if found else b"")

    def _place(self, key: str) -> str:
        return f"{self._prefix}staging/{base.check_staging_key(key)}"

    def _key(self, place: str) -> str:
        """Return the staging key of an object of ours: the two parts behind its folder."""
        return "/".join(place.removeprefix(self._prefix).split("/")[1:3])

    def _tails(self, key: str) -> str:
        return f"{self._prefix}tails/{base.check_staging_key(key)}/"

    def _tail(self, key: str, offset: int) -> str:
        return f"{self._tails(key)}{offset}"


def _plan(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (number, offset, bytes) of every part."""
    step = base.part_size(size)
    for n, offset in enumerate(range(0, size, step), 1):
        yield n, offset, min(step, size - offset)


def _limited(key: str, stream: base.Readable, offset: int, limit: int | None) -> Iterator[bytes]:
    """Yield what `stream` gives up to byte `limit` of the file; StagingTooLarge when it gives more."""
    while chunk := stream.read(base.CHUNK):
        room = len(chunk) if limit is None else min(len(chunk), limit - offset)
        yield chunk[:room]
        offset += room
        if room < len(chunk):
            raise base.StagingTooLarge(key, offset)


def _refuse_more(key: str, stream: base.Readable, size: int) -> int:
    """A finished upload takes no more bytes; none is fine."""
    if stream.read(1):
        raise base.StagingTooLarge(key, size)
    return size


def _refuse_size(key: str, received: int, size: int) -> None:
    if received < size:
        raise base.StagingIncomplete(key, received, size)
    raise base.StagingTooLarge(key, size)
