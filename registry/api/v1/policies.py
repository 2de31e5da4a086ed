"""Policies: show, set."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api.schema import problem, shape
from registry.api.v1.views import Body, View
from registry.queries import benchmark_shapes
from registry.queries import policies as questions
from registry.services import policies


class NewPolicy(Body):
    required = serializers.ListField(child=serializers.CharField(max_length=200), required=False)  # type: ignore[assignment]
    gates = serializers.DictField(required=False)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        """An empty body is a mistake, not a wish for the hub's own policy."""
        if not data:
            raise serializers.ValidationError("Give `required`, `gates` or both.")
        return data


class PolicyView(View):
    @extend_schema(responses={200: shape(benchmark_shapes.PolicyShape), 404: problem("No such namespace.")})
    def get(self, request: Request, namespace: str) -> Response:
        """The policy that decides in a namespace: its own, else the hub's. `hidden` counts required benchmarks that you may not see."""
        return Response(questions.get(namespace, self.viewer))

    @extend_schema(
        request=NewPolicy,
        responses={
            200: shape(benchmark_shapes.PolicyShape),
            403: problem("No admin role."),
            422: problem("No such benchmark or gate."),
        },
    )
    def put(self, request: Request, namespace: str) -> Response:
        """Set the policy of a namespace."""
        return Response(policies.put(viewer=self.viewer, namespace=namespace, definition=self.body(NewPolicy)))
