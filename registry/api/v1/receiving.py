"""A door that takes a file's bytes at an offset, as they come: the same for files of adapters and of base models."""

from collections.abc import Callable
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api.schema import problem, shape
from registry.errors import BadRequest
from registry.queries import upload_shapes

SCHEMA: dict[str, Any] = {
    "request": {"application/octet-stream": OpenApiTypes.BINARY},
    "parameters": [OpenApiParameter("offset", int, OpenApiParameter.QUERY)],
    "responses": {
        200: shape(upload_shapes.Received),
        409: problem("`offset` is not where the received bytes end; go on at `received`."),
        413: problem("More than was announced."),
    },
}


def received(request: Request, receive: Callable[..., tuple[int, int]], **where: Any) -> Response:
    """Hand the body to a service, which takes `where` the bytes belong and says (bytes received, bytes wanted)."""
    count, size = receive(
        **where,
        offset=_number(request.query_params.get("offset", "0"), "offset"),
        stream=request._request,
        length=_number(request.META.get("CONTENT_LENGTH") or "", "Content-Length"),
    )
    return Response({"received": count, "size": size})


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise BadRequest(f"{what} must be a number of bytes.")
    return int(text)
