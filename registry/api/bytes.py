"""Serving stored bytes: whole, in part, or not at all where the caller has them. Never as what a browser would run."""

import re
from urllib.parse import quote

from django.http import HttpResponse, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.http.request import HttpRequest

from registry.queries import blobs
from registry.queries.files import Served

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))")
LASTING = "public, max-age=31536000, immutable"
SHORT = "public, max-age=60"
NOWHERE = "private, no-store"


def serve(request: HttpRequest, served: Served) -> HttpResponseBase:
    """Return the bytes as an attachment: 200, 206, 304 or 416; 302 where the store serves them on its own origin.

    The ETag is the SHA-256 of the whole file. One range is honoured, several are answered with the whole; `If-Range`
    with another ETag, too.
    """
    etag = f'"{served.sha256}"'
    if _has_it(request.headers.get("If-None-Match", ""), etag):
        return _dressed(HttpResponse(status=304), served, etag)
    url = served.url if request.method != "HEAD" else None
    if url is not None:
        return _elsewhere(url, served, etag)
    span = _span(request, served.size, etag)
    if span is None:
        refused = _dressed(HttpResponse(status=416), served, etag)
        refused["Content-Range"] = f"bytes */{served.size}"
        return refused
    return _dressed(_body(request, served, *span), served, etag)


def _has_it(header: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return etag in tags or "*" in tags


def _span(request: HttpRequest, size: int, etag: str) -> tuple[int, int, bool] | None:
    """Return (start, end, partial), None where the range lies outside."""
    header, condition = request.headers.get("Range", ""), request.headers.get("If-Range")
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if match is None or (condition is not None and condition.strip() != etag):
        return 0, size, False
    first, last, tail = match.groups()
    start = max(0, size - int(tail)) if tail is not None else int(first)
    end = min(size, int(last) + 1) if last is not None else size
    if last is not None and int(last) < int(first):
        return 0, size, False  # not a range at all: RFC 9110 says to ignore it
    return None if start >= size or tail == "0" else (start, end, True)


def _body(request: HttpRequest, served: Served, start: int, end: int, partial: bool) -> HttpResponseBase:
    status = 206 if partial else 200
    answer: HttpResponseBase
    if request.method == "HEAD":
        answer = HttpResponse(status=status)
    else:
        answer = StreamingHttpResponse(blobs.chunks(served.sha256, start, end), status=status)
    answer["Content-Length"] = str(end - start)
    if partial:
        answer["Content-Range"] = f"bytes {start}-{end - 1}/{served.size}"
    return answer


def _elsewhere(url: str, served: Served, etag: str) -> HttpResponseBase:
    """Send the caller to a short-lived URL of the store; whoever holds it can read, so nobody may keep it."""
    answer = _dressed(HttpResponseRedirect(url), served, etag)
    answer["Cache-Control"] = NOWHERE
    answer["Referrer-Policy"] = "no-referrer"
    return answer


def _dressed(answer: HttpResponseBase, served: Served, etag: str) -> HttpResponseBase:
    answer["ETag"] = etag
    answer["Accept-Ranges"] = "bytes"
    if answer.status_code in (200, 206):
        answer["Content-Type"] = "application/octet-stream"
    answer["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(served.filename, safe='')}"
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer["Cache-Control"] = (LASTING if served.immutable else SHORT) if served.public else NOWHERE
    if served.version_digest:
        answer["X-Resolved-Digest"] = f"sha256:{served.version_digest}"
    return answer
