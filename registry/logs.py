"""Logs: one JSON line an event, with the request it belongs to and without secrets."""

import json
import logging
import re
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime

from django.http import HttpRequest, HttpResponseBase

request_id: ContextVar[str] = ContextVar("request_id", default="")

HEADER = "X-Request-Id"
GIVEN = re.compile(r"[A-Za-z0-9-]{8,64}")
# What a log may never hold: our tokens, passwords within URLs, authorization headers, signatures of presigned URLs.
SECRETS = re.compile(
    r"ahub(?:run)?_[0-9A-Za-z]{6,}"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
    r"|(?i:(?<=bearer )|(?<=basic ))[A-Za-z0-9+/=._~-]{8,}"
    r"|(?i:(?<=signature=)|(?<=credential=)|(?<=security-token=))[^&\s\"']+"
)
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "request", "taskName"}


def clean(value: str) -> str:
    """Return the text with every secret in it blotted out."""
    return SECRETS.sub("[hidden]", value)


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON; what was given as `extra` becomes further keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": clean(record.getMessage()),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        for key, value in vars(record).items():
            if key not in STANDARD and not key.startswith("_"):
                line.setdefault(key, clean(str(value)))
        if record.exc_info:
            line["traceback"] = clean(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


class RequestId:
    """Middleware: every request has an id, the caller's where it is a decent one; the answer repeats it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request with its id in the logs, in `request.request_id` and in the header."""
        given = request.headers.get(HEADER, "")
        chosen = given if GIVEN.fullmatch(given) else uuid.uuid4().hex
        request.request_id = chosen  # type: ignore[attr-defined]
        token = request_id.set(chosen)
        try:
            response = self.get_response(request)
        finally:
            request_id.reset(token)
        response[HEADER] = chosen
        return response
