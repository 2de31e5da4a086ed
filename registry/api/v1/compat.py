"""POST compat/check: what fits a base model that its owner describes and keeps."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api.parsers import TableJSONParser
from registry.api.schema import page_of, problem, shape
from registry.api.v1.base_models import Leaves
from registry.api.v1.views import Body, View
from registry.queries import base_shapes, matrix, proposals, search, shapes


class Described(Body):
    config = serializers.DictField()
    leaves = Leaves(required=False)
    tensors = Leaves(required=False)
    adapter = serializers.CharField(max_length=512, default="", allow_blank=True)
    q = serializers.CharField(max_length=search.LONGEST, default="", allow_blank=True)
    task = serializers.CharField(max_length=64, default="", allow_blank=True)
    benchmark = serializers.CharField(max_length=200, default="", allow_blank=True)
    method = serializers.CharField(max_length=64, default="", allow_blank=True)
    sort = serializers.ChoiceField(search.SORTS, default="score")


class Sizes(serializers.DictField):
    """Sizes of a module by name."""

    child = serializers.IntegerField(min_value=0, max_value=(1 << 53) - 1)


class Needs(serializers.DictField):
    """What an adapter needs: sizes by the path of the module, under the empty path those of the whole model."""

    child = Sizes()


class Needed(Body):
    needs = serializers.ListField(child=Needs(), min_length=1, max_length=100)


class BasesView(View):
    parser_classes = (TableJSONParser,)

    def admit(self, **kwargs: Any) -> None:
        """Anybody may ask: nothing is written."""

    @extend_schema(request=Needed, responses={200: page_of(shapes.BaseRef), 422: problem("Needs that cannot be.")})
    def post(self, request: Request) -> Response:
        """Base models that adapters fit of which only is known what they need: five at most, best first. Nothing is kept."""
        found = proposals.of_needs(self.body(Needed)["needs"], self.viewer)
        return Response({"results": found, "next": None})


class CheckView(View):
    parser_classes = (TableJSONParser,)

    def admit(self, **kwargs: Any) -> None:
        """Anybody may ask: nothing is written."""

    @extend_schema(
        request=Described,
        responses={
            200: shape(base_shapes.Checked),
            404: problem("No such adapter, or not for you."),
            422: problem("Tensors that cannot be."),
        },
    )
    def post(self, request: Request) -> Response:
        """Adapters that fit a base model, best level first and within it by `sort`, from its configuration and either `tensors` [name, dtype, shape] or `leaves`.

        With `leaves` [name, dtype, shape, BLAKE3] the hub knows the very weights again. With `adapter`, a reference, the
        verdict on that one and every tensor that clashes. Nothing is kept.
        """
        return Response(matrix.described(self.viewer, **self.body(Described)))
