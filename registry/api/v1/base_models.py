"""Base models: register, list, show."""

import dataclasses

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api.parsers import LongJSONParser
from registry.api.schema import page_of, problem, query, shape
from registry.api.v1.adapters import following, limit_of
from registry.api.v1.views import Body, LinkedView, View
from registry.errors import BadRequest
from registry.models import BaseAlias, BaseRelation, LocatedBase, Scope
from registry.queries import base_list, base_shapes, located, matrix, search, shapes
from registry.queries import base_models as questions
from registry.services import base_models, relations
from registry.services import located as holders


class Location(Body):
    kind = serializers.ChoiceField(base_models.KINDS)
    name = serializers.CharField(max_length=512)
    revision = serializers.CharField(max_length=128, default="", allow_blank=True)
    state = serializers.CharField(max_length=16, required=False)


@extend_schema_field({"type": "array", "items": {"type": "array", "items": {}}})
class Leaves(serializers.JSONField):
    """Taken as it is: `hub.spec.base_model.parse_leaves` looks at every leaf, in a hundredth of a serializer's time."""


@extend_schema_field(
    {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["path", "size", "sha256"],
            "properties": {"path": {"type": "string"}, "size": {"type": "integer"}, "sha256": {"type": "string"}},
        },
    }
)
class WeightFiles(serializers.JSONField):
    """Taken as it is: `hub.spec.located.parse_files` looks at every file."""


@extend_schema_field(
    {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": {"type": "string"}}}
)
class CastRoots(serializers.JSONField):
    """Taken as it is: `hub.spec.base_model` reads it, and names the cast at fault."""


@extend_schema_field({"type": "object", "additionalProperties": {"type": "array", "items": {"type": "integer"}}})
class LogicalShapes(serializers.JSONField):
    """Taken as it is: `hub.spec.base_model` holds every shape against the bytes that are there."""


class NewBaseModel(Body):
    leaves = Leaves()
    config = serializers.DictField()
    tokenizer_digest = serializers.CharField(max_length=64, required=False, allow_null=True)
    cast_roots = CastRoots(required=False, allow_null=True)
    logical = LogicalShapes(required=False, allow_null=True)
    name = serializers.CharField(max_length=200, default="", allow_blank=True)
    locations = Location(many=True, required=False, max_length=100)  # type: ignore[call-arg]
    files = WeightFiles(required=False)


class NewLocatedBase(Body):
    name = serializers.CharField(max_length=200)
    source = serializers.RegexField(r"^[A-Za-z0-9_][\w.-]{0,95}(/[A-Za-z0-9_][\w.-]{0,95})?\Z", max_length=200)  # type: ignore[assignment]
    revision = serializers.RegexField(r"^[0-9a-f]{40}\Z")
    config = serializers.DictField()
    tensors = Leaves()
    files = WeightFiles()
    tokenizer_digest = serializers.CharField(max_length=64, required=False, allow_null=True)
    private = serializers.BooleanField(default=False)


class BaseModelsView(View):
    parser_classes = (LongJSONParser,)
    scopes = (Scope.PUSH, Scope.WORKER)

    @extend_schema(
        operation_id="base_models_list",
        parameters=[
            query("q", "Part of a name, or the beginning of a fingerprint."),
            query("cursor", "Where a page begins; taken from `next`."),
        ],
        responses={200: page_of(base_shapes.BaseModelShape), 400: problem("The cursor cannot be read.")},
    )
    def get(self, request: Request) -> Response:
        """Base models that this hub knows, newest first; behind them those that are known by their headers."""
        text = request.query_params.get("q", "")[:256]
        found, cursor = base_list.page(text, self.viewer, request.query_params.get("cursor", ""))
        return Response({"results": found, "next": following(request, cursor)})

    @extend_schema(
        request=NewBaseModel,
        responses={
            201: shape(base_shapes.BaseModelShape),
            200: shape(base_shapes.BaseModelShape),
            403: problem("The name is not yours to give."),
            422: problem("Leaves that cannot be."),
        },
    )
    def post(self, request: Request) -> Response:
        """Register a base model by its sorted leaves [name, dtype, shape, BLAKE3]. The fingerprint is computed here.

        `logical`: of a quantised one, the shapes that lie in packed bytes, by name. `cast_roots`: believed of workers and
        operators only. `files`, the SHA-256 of the weights' files, says of a base model that was located which one it is.
        """
        base, made = holders.register(viewer=self.viewer, **self.body(NewBaseModel))
        return Response(questions.shape(base, self.viewer), status=201 if made else 200)


class LocatedBasesView(View):
    parser_classes = (LongJSONParser,)

    @extend_schema(
        operation_id="base_models_located_list",
        parameters=[
            query("bytes", "Only those whose weight files have so many bytes together."),
            query("cursor", "Where a page begins; taken from `next`."),
        ],
        responses={
            200: page_of(base_shapes.BaseModelShape),
            400: problem("`bytes` is no number, or an unknown cursor."),
        },
    )
    def get(self, request: Request) -> Response:
        """Base models that are known by their headers: nobody has told their fingerprint who is believed."""
        size = request.query_params.get("bytes")
        if size is None:
            found, cursor = base_list.page("", self.viewer, request.query_params.get("cursor") or base_list.LOCATED)
            return Response({"results": found, "next": following(request, cursor)})
        if not (size.isascii() and size.isdecimal() and len(size) < 19):
            raise BadRequest("`bytes` must be a number.")
        return Response({"results": located.awaited(int(size), self.viewer), "next": None})

    @extend_schema(
        request=NewLocatedBase,
        responses={
            201: shape(base_shapes.BaseModelShape),
            200: shape(base_shapes.BaseModelShape),
            403: problem("The name is not yours to give."),
            422: problem("Headers that cannot be."),
        },
    )
    def post(self, request: Request) -> Response:
        """Note a base model by the headers of its weights [name, dtype, shape] and the SHA-256 of its files.

        It has no fingerprint until somebody registers the leaves of the same files.
        """
        row, made = holders.locate(viewer=self.viewer, **self.body(NewLocatedBase))
        known = row.base if row.state == LocatedBase.State.OBSERVED else None
        shown = questions.shape(known, self.viewer) if known is not None else located.shape(row)
        return Response(shown, status=201 if made else 200)


class BaseModelView(LinkedView):
    @extend_schema(
        parameters=[query("tensors", "1: with the tensor table and the configuration.")],
        responses={200: shape(base_shapes.BaseModelShape), 404: problem("No such base model.")},
    )
    def get(self, request: Request, name: str) -> Response:
        """One base model, by fingerprint or name."""
        base, table = questions.find(name, self.viewer), request.query_params.get("tensors") == "1"
        if base is None:
            return Response(located.shape(located.get(name, self.viewer), tensors=table))
        return Response(questions.shape(base, self.viewer, leaves=table))


class BaseAdaptersView(View):
    @extend_schema(
        operation_id="base_models_adapters_list",
        parameters=[
            query("q", "Words of the name, description, task or method."),
            query("task", "An ML task, such as text-classification."),
            query("method", "lora, bottleneck, houlsby, ..."),
            query("sort", "Within a level: score (default), gain, recent, pulls, size or name."),
            query("benchmark", "Measured on this benchmark; scores are then those on it."),
            query("level", "validated, same_values, derived or shape_only."),
            query("limit", "Results a page, at most 50."),
            query("cursor", "Where a page begins; taken from `next`."),
        ],
        responses={
            200: page_of(shapes.Summary),
            400: problem("An unknown level, order or cursor."),
            404: problem("No such base model."),
        },
    )
    def get(self, request: Request, name: str) -> Response:
        """Adapters that fit this base model, of those you may know of: best level first, then by `sort`."""
        base = questions.find(name, self.viewer)
        key = base.pk if base else located.full_name(located.get(name, self.viewer))
        q, sort = request.query_params.get("q", ""), request.query_params.get("sort") or "score"
        found = search.search(dataclasses.replace(_asked(request, key), q=q, sort=sort), self.viewer)
        return Response({"results": found.results, "next": following(request, found.cursor)})


class MatrixView(View):
    @extend_schema(
        operation_id="base_models_matrix",
        parameters=[
            query(
                "adapter",
                "One adapter's reference (with #folder, one of several): its row alone, with every tensor that clashes.",
            ),
            query("task", "An ML task, such as text-classification."),
            query("method", "lora, bottleneck, houlsby, ..."),
            query("level", "validated, same_values, derived or shape_only, on this base model."),
            query("limit", "Rows a page, at most 50."),
            query("cursor", "Where a page begins; taken from `next`."),
        ],
        responses={
            200: shape(base_shapes.Matrix),
            400: problem("An unknown level or cursor."),
            404: problem("Missing."),
        },
    )
    def get(self, request: Request, name: str) -> Response:
        """Adapters against this base model and its kin: the level of each cell, and the report it stands on."""
        ref = request.query_params.get("adapter", "")
        found, cursor = matrix.of(name, self.viewer, _asked(request, ""), ref=ref)
        return Response(found | {"next": following(request, cursor)})


class LocationState(Body):
    name = serializers.CharField(max_length=512)
    state = serializers.ChoiceField(BaseAlias.State.values)


class LocationsView(View):
    scopes = (Scope.ADMIN,)

    @extend_schema(
        request=LocationState,
        responses={
            200: shape(base_shapes.BaseModelShape),
            403: problem("For operators."),
            404: problem("No such base model, or no such location of it."),
            409: problem("The name means another base model now."),
        },
    )
    def patch(self, request: Request, name: str) -> Response:
        """Say of a place where this base model lies whether it is live, renamed, gone or gated."""
        given = self.body(LocationState)
        base = base_models.set_location(viewer=self.viewer, base=name, name=given["name"], state=given["state"])
        return Response(questions.shape(base, self.viewer))


class NewRelation(Body):
    parent = serializers.CharField(max_length=512)  # type: ignore[assignment]  # DRF takes declared fields off the class
    kind = serializers.ChoiceField(BaseRelation.Kind.values)


class RelationsView(View):
    scopes = (Scope.PUSH, Scope.WORKER)

    @extend_schema(
        request=NewRelation,
        responses={
            201: shape(base_shapes.BaseModelShape),
            200: shape(base_shapes.BaseModelShape),
            403: problem("Not yours to say."),
            404: problem("No such base model."),
            422: problem("A relation that cannot be."),
        },
    )
    def post(self, request: Request, name: str) -> Response:
        """Say what this base model comes from. What operators and workers say is observed, all else is a claim."""
        row, made = relations.relate(viewer=self.viewer, name=name, **self.body(NewRelation))
        base = questions.get(row.base_id, self.viewer)
        return Response(questions.shape(base, self.viewer), status=201 if made else 200)


def _asked(request: Request, base: str) -> search.SearchQuery:
    given = {key: request.query_params.get(key, "") for key in ("task", "method", "benchmark", "level", "cursor")}
    return search.SearchQuery(**given, base=base, sort="score", limit=limit_of(request))
