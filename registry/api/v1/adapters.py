"""Adapters: list and search, make, show, change."""

from typing import Any
from urllib.parse import urlencode

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api.schema import page_of, problem, query, shape
from registry.api.v1.views import Body, View
from registry.errors import BadRequest
from registry.queries import adapters as questions
from registry.queries import search, shapes
from registry.services import adapters

FIELDS = ("q", "base", "made_for", "task", "benchmark", "method", "status", "namespace", "level", "sort", "cursor")


class NewAdapter(Body):
    namespace = serializers.CharField(max_length=96)
    name = serializers.CharField(max_length=96)
    private = serializers.BooleanField(default=False)
    description = serializers.CharField(max_length=4000, default="", allow_blank=True)


class AdapterChange(Body):
    private = serializers.BooleanField(required=False)
    description = serializers.CharField(max_length=4000, required=False, allow_blank=True)


class AdaptersView(View):
    @extend_schema(
        operation_id="adapters_list",
        parameters=[
            query("q", "Words of the name, description, task or method."),
            query("base", "Name or fingerprint of a base model: what fits it, best level first, then by `sort`."),
            query("made_for", "Name or fingerprint of a base model: what was published for it."),
            query("level", "With `base`: validated, same_values, derived or shape_only."),
            query("task", "An ML task, such as text-classification."),
            query("benchmark", "Measured on this benchmark."),
            query("method", "lora, bottleneck, houlsby, ..."),
            query("status", "published, hosted; of your own namespaces also validating and rejected."),
            query("namespace", "Within this namespace only."),
            query("sort", "recent (default), score, gain, pulls, size or name."),
            query("limit", "Results a page, at most 50."),
            query("cursor", "Where a page begins; taken from `next`."),
        ],
        responses={200: page_of(shapes.Summary), 400: problem("An unknown order, status, level or cursor.")},
    )
    def get(self, request: Request) -> Response:
        """Adapters that match, of those you may know of."""
        given = {name: request.query_params.get(name, "") for name in FIELDS}
        wanted = search.SearchQuery(**{**given, "sort": given["sort"] or "recent"}, limit=limit_of(request))
        found = search.search(wanted, self.viewer)
        return Response({"results": found.results, "next": following(request, found.cursor)})

    @extend_schema(
        request=NewAdapter,
        responses={
            201: shape(shapes.AdapterDetail),
            409: problem("It is there, or looks like another."),
            403: problem("No role."),
        },
    )
    def post(self, request: Request) -> Response:
        """Make an adapter without a version. A push makes a missing one by itself."""
        made = adapters.create(viewer=self.viewer, **self.body(NewAdapter))
        return Response(questions.detail(made.namespace.name, made.name, self.viewer), status=201)


class AdapterView(View):
    @extend_schema(responses={200: shape(shapes.AdapterDetail), 404: problem("Missing, or not for you.")})
    def get(self, request: Request, namespace: str, name: str) -> Response:
        """One adapter with its versions, aliases and README."""
        return Response(questions.detail(namespace, name, self.viewer))

    @extend_schema(
        request=AdapterChange,
        responses={200: shape(shapes.AdapterDetail), 403: problem("No role."), 404: problem("Missing.")},
    )
    def patch(self, request: Request, namespace: str, name: str) -> Response:
        """Change description or visibility."""
        adapters.change(viewer=self.viewer, namespace=namespace, name=name, **self.body(AdapterChange))
        return Response(questions.detail(namespace, name, self.viewer))


def limit_of(request: Request) -> int:
    """Return how many results a page has. Raises BadRequest."""
    text = request.query_params.get("limit") or str(search.PAGE)
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 6):
        raise BadRequest("limit must be a number.")
    return int(text)


def following(request: Request, cursor: Any) -> str | None:
    """Return the address of the next page: this one's with another cursor; None at the end."""
    if not cursor:
        return None
    given = {key: value for key, value in request.query_params.items() if key != "cursor"}
    return f"{request.path}?{urlencode({**given, 'cursor': cursor})}"
