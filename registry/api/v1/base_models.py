"""Base models: register, list, show."""

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api.parsers import LongJSONParser
from registry.api.schema import page_of, problem, query, shape
from registry.api.v1.views import Body, View
from registry.models import Scope
from registry.queries import base_models as questions
from registry.queries import shapes
from registry.services import base_models


class Location(Body):
    kind = serializers.ChoiceField(["hub", "mirror", "folder"])
    name = serializers.CharField(max_length=512)
    revision = serializers.CharField(max_length=128, default="", allow_blank=True)
    state = serializers.CharField(max_length=16, required=False)


@extend_schema_field({"type": "array", "items": {"type": "array", "items": {}}})
class Leaves(serializers.JSONField):
    """Taken as it is: `hub.spec.base_model.parse_leaves` looks at every leaf, in a hundredth of a serializer's time."""


class NewBaseModel(Body):
    leaves = Leaves()
    config = serializers.DictField()
    tokenizer_digest = serializers.CharField(max_length=64, required=False, allow_null=True)
    name = serializers.CharField(max_length=200, default="", allow_blank=True)
    locations = Location(many=True, required=False, max_length=100)  # type: ignore[call-arg]


class BaseModelsView(View):
    parser_classes = (LongJSONParser,)
    scopes = (Scope.PUSH, Scope.WORKER)

    @extend_schema(
        operation_id="base_models_list",
        parameters=[query("q", "Part of a name, or the beginning of a fingerprint.")],
        responses={200: page_of(shapes.BaseModelShape)},
    )
    def get(self, request: Request) -> Response:
        """Base models that this hub knows."""
        found = questions.search(request.query_params.get("q", "")[:256], self.viewer)
        return Response({"results": found, "next": None})

    @extend_schema(
        request=NewBaseModel,
        responses={
            201: shape(shapes.BaseModelShape),
            200: shape(shapes.BaseModelShape),
            403: problem("The name is not yours to give."),
            422: problem("Leaves that cannot be."),
        },
    )
    def post(self, request: Request) -> Response:
        """Register a base model by its sorted leaves [name, dtype, shape, BLAKE3]. The fingerprint is computed here."""
        base, made = base_models.register(viewer=self.viewer, **self.body(NewBaseModel))
        return Response(questions.shape(base), status=201 if made else 200)


class BaseModelView(View):
    @extend_schema(
        parameters=[query("tensors", "1: with the tensor table and the configuration.")],
        responses={200: shape(shapes.BaseModelShape), 404: problem("No such base model.")},
    )
    def get(self, request: Request, name: str) -> Response:
        """One base model, by fingerprint or name."""
        base = questions.get(name, self.viewer)
        return Response(questions.shape(base, leaves=request.query_params.get("tensors") == "1"))
