"""Every refusal as a problem of RFC 9457: what it is, in detail, how to mend it, and every single fault."""

import logging
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse, UnreadablePostError
from rest_framework import exceptions
from rest_framework.response import Response

from hub.spec.errors import Problem
from registry.errors import BadRequest, Invalid, NotFound, RegistryError, TooLarge, Unavailable
from registry.logs import request_id
from registry.storage import base as storage

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5


class _Internal(RegistryError):
    pass


class _BlobMissing(NotFound):
    code, title = "blob_missing", "Stored bytes are missing"


class _StorageFull(Unavailable):
    status, code, title = 507, "storage_full", "The hub's storage is full"


def handle(error: Exception, context: dict[str, Any]) -> Response:
    """Return the answer to an error that a view raised. What nobody foresaw is logged and told without details."""
    known = _known(error)
    if known is None:
        logger.error("unforeseen error", exc_info=error)
        known = _Internal("The hub made a mistake. It was logged.", hint="Tell the operator the request_id.")
    answer = Response(body(known), status=known.status, content_type=MEDIA_TYPE, headers=_headers(known, error))
    answer.exception = True
    return answer


def body(error: RegistryError) -> dict[str, Any]:
    """Return the JSON of a problem. What an error brings along stands beside the members of RFC 9457, never in their place."""
    return {
        **error.extra,
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "hint": error.hint,
        "problems": [problem.to_json() for problem in error.problems],
        "request_id": request_id.get(),
    }


def response(error: RegistryError) -> JsonResponse:
    """Return a problem outside of the views of the API (an unknown route)."""
    return JsonResponse(body(error), status=error.status, content_type=MEDIA_TYPE)


def no_such_route(request: HttpRequest) -> JsonResponse:
    """Return the answer for an address of the API that is none."""
    return response(NotFound(f"The API has no route {request.path}.", hint="The routes are listed at /api/v1/schema."))


def _headers(error: RegistryError, cause: Exception) -> dict[str, str]:
    if error.status == 401:
        return {"WWW-Authenticate": 'Bearer realm="adapter hub"'}
    if error.status in (503, 507):
        return {"Retry-After": str(RETRY_SECONDS)}
    if isinstance(cause, exceptions.MethodNotAllowed):
        return {}
    return {}


def _known(error: Exception) -> RegistryError | None:
    """Return the error as one of ours, None for what nobody foresaw."""
    if isinstance(error, RegistryError):
        return error
    if isinstance(error, exceptions.APIException):
        return _of_framework(error)
    if isinstance(error, storage.StorageError):
        return _of_storage(error)
    if isinstance(error, Http404):
        return NotFound("There is no such thing.")
    if isinstance(error, RequestDataTooBig):
        return TooLarge("The body is too long.")
    if isinstance(error, UnreadablePostError | SuspiciousOperation | PermissionDenied):
        return BadRequest("The request could not be read to its end.")
    if isinstance(error, OperationalError | InterfaceError):
        logger.error("database: %s", error)
        return Unavailable("The database does not answer.", hint="Try again in a moment.")
    return None


def _of_framework(error: exceptions.APIException) -> RegistryError:
    """Return what the framework refused (a field, a method, a media type) in our shape."""
    if isinstance(error, exceptions.ValidationError):
        problems = tuple(_faults(error.detail))
        return Invalid(
            "; ".join(f"{p.where}: {p.message}" if p.where else p.message for p in problems), problems=problems
        )
    known = BadRequest(str(error.detail), code=error.default_code)
    known.status, known.title = error.status_code, str(error.default_detail)
    return known


def _faults(detail: Any, where: str = "") -> list[Problem]:
    if isinstance(detail, dict):
        return [
            fault for key, value in detail.items() for fault in _faults(value, f"{where}.{key}" if where else str(key))
        ]
    if isinstance(detail, list):
        return [fault for value in detail for fault in _faults(value, where)]
    return [Problem("invalid", where.removesuffix(".non_field_errors"), str(detail), "", "request")]


def _of_storage(error: storage.StorageError) -> RegistryError | None:
    if isinstance(error, storage.StorageFull):
        return _StorageFull(error.message, hint=error.hint)
    if isinstance(error, storage.StorageUnavailable | storage.StagingChanged):
        return Unavailable("The blob store does not answer.", hint="Try again in a moment.")
    if isinstance(error, storage.BlobMissing):  # no 5xx: to ask again does not bring it back
        logger.error("storage: %s", error)
        return _BlobMissing(error.message, hint="Tell the operator: it has to come back from a backup.")
    return None
