"""The OpenAPI document: bodies come from the serializers, answers from the types in the modules of registry.queries that end in `shapes`."""

import datetime
import inspect
import types
import typing
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from registry.queries import base_shapes, benchmark_shapes, run_shapes, shapes, upload_shapes

_SHAPES = (base_shapes, benchmark_shapes, run_shapes, shapes, upload_shapes)

_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    datetime.datetime: {"type": "string", "format": "date-time"},
    Any: {},
}

PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "hint", "problems", "request_id"],
    "properties": {
        **{name: {"type": "string"} for name in ("type", "title", "code", "detail", "hint", "request_id")},
        "status": {"type": "integer"},
        "problems": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("code", "where", "message", "hint", "check")},
            },
        },
    },
}


def shape(kind: type) -> dict[str, Any]:
    """Return the reference to one of the shapes."""
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def page_of(kind: type) -> dict[str, Any]:
    """Return the schema of a page of such values."""
    following = {"type": "string", "nullable": True, "description": "The address of the next page."}
    return {
        "type": "object",
        "required": ["results", "next"],
        "properties": {"results": {"type": "array", "items": shape(kind)}, "next": following},
    }


def problem(description: str) -> OpenApiResponse:
    """Return the schema of a refusal."""
    return OpenApiResponse({"$ref": "#/components/schemas/Problem"}, description)


def query(name: str, description: str) -> OpenApiParameter:
    """Return an optional parameter of the query."""
    return OpenApiParameter(name, str, OpenApiParameter.QUERY, description=description)


def schema_of(hint: Any) -> dict[str, Any]:
    """Return the JSON schema of a type hint."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    if typing.is_typeddict(hint):
        return shape(hint)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = schema_of(next(arg for arg in args if arg is not types.NoneType))
        return {"allOf": [inner], "nullable": True} if "$ref" in inner else {**inner, "nullable": True}
    if origin is list:
        return {"type": "array", "items": schema_of(args[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(args[1])}
    raise TypeError(f"no schema for {hint!r}")


def add_shapes(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Add every shape to the components of the document (a post-processing hook of drf-spectacular)."""
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = PROBLEM
    for room in _SHAPES:
        schemas |= {name: _object(kind) for name, kind in vars(room).items() if typing.is_typeddict(kind)}
    result["components"]["schemas"] = dict(sorted(schemas.items()))
    return result


def _object(kind: Any) -> dict[str, Any]:
    fields = {name: schema_of(hint) for name, hint in typing.get_type_hints(kind).items()}
    told: dict[str, Any] = {"type": "object", "properties": fields, "required": sorted(kind.__required_keys__)}
    words = inspect.getdoc(kind) or ""
    return {**told, "description": words} if words and not words.startswith("dict()") else told
