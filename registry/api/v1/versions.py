"""Versions: list, show, report, files, yank."""

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api.bytes import serve
from registry.api.schema import page_of, problem, query, shape
from registry.api.v1.adapters import following
from registry.api.v1.views import Body, LinkedView, View
from registry.errors import BadRequest
from registry.queries import base_shapes, files, matrix, reports, shapes
from registry.queries import versions as questions
from registry.services import versions

REPORT = {"type": "object", "additionalProperties": True, "description": "docs/validation.md describes a report."}


class Reason(Body):
    reason = serializers.CharField(max_length=2000)


class Nothing(Body):
    pass


class VersionsView(View):
    @extend_schema(
        operation_id="versions_list",
        parameters=[query("cursor", "Taken from `next`.")],
        responses={200: page_of(shapes.VersionShort), 404: problem("Missing, or not for you.")},
    )
    def get(self, request: Request, namespace: str, name: str) -> Response:
        """The versions of an adapter, newest first; of others' adapters those that are published."""
        cursor = request.query_params.get("cursor", "")
        if cursor and not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 10):
            raise BadRequest("The cursor cannot be read.", hint="Begin again without it.")
        found, more = questions.listing(namespace, name, self.viewer, int(cursor) if cursor else None)
        return Response({"results": found, "next": following(request, more)})


class VersionView(View):
    @extend_schema(responses={200: shape(shapes.VersionDetail), 404: problem("Missing, or not for you.")})
    def get(self, request: Request, namespace: str, name: str, version: str) -> Response:
        """One version: a label, a number, an alias, `latest`, or `sha256:<hex>`."""
        found = questions.detail(questions.get(namespace, name, version, self.viewer), self.viewer)
        return Response(found, headers={"X-Resolved-Digest": found["digest"] or ""})


class ReportView(LinkedView):
    @extend_schema(responses={200: REPORT, 404: problem("Missing, or not for you.")})
    def get(self, request: Request, namespace: str, name: str, version: str) -> Response:
        """What was found out about a version; `verdict` is null while that is under way."""
        return Response(reports.get(namespace, name, version, self.viewer))


class AnswersView(LinkedView):
    http_method_names = ("get", "head", "options")

    @extend_schema(
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY, 404: problem("Missing, or not for you.")}
    )
    def get(self, request: Request, namespace: str, name: str, version: str, sha256: str) -> HttpResponseBase:
        """What the adapter answered to a benchmark, in JSON Lines, a row each; a report's `scores` name the SHA-256."""
        return serve(request._request, files.of_answers(namespace, name, version, sha256, self.viewer))

    def head(self, request: Request, namespace: str, name: str, version: str, sha256: str) -> HttpResponseBase:
        """The headers of a file of answers."""
        return self.get(request, namespace, name, version, sha256)


class FitsView(View):
    @extend_schema(
        operation_id="version_fits",
        responses={200: page_of(base_shapes.FittingBase), 404: problem("Missing, or not for you.")},
    )
    def get(self, request: Request, namespace: str, name: str, version: str) -> Response:
        """Base models of this hub that a version fits, best level first, with the evidence."""
        return Response({"results": matrix.of_version(namespace, name, version, self.viewer), "next": None})


class FileView(LinkedView):
    http_method_names = ("get", "head", "options")

    @extend_schema(
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY, 404: problem("Missing, or not for you.")}
    )
    def get(self, request: Request, namespace: str, name: str, version: str, path: str) -> HttpResponseBase:
        """A file of a version; ranges and ETags are honoured."""
        return serve(request._request, files.of_version(namespace, name, version, path, self.viewer))

    def head(self, request: Request, namespace: str, name: str, version: str, path: str) -> HttpResponseBase:
        """The headers of a file."""
        return self.get(request, namespace, name, version, path)


class YankView(View):
    @extend_schema(
        request=Reason, responses={200: shape(shapes.VersionDetail), 403: problem("No role."), 404: problem("Missing.")}
    )
    def post(self, request: Request, namespace: str, name: str, version: str) -> Response:
        """Withdraw a version: `latest` passes it by, a pull by digest still gets it."""
        body = self.body(Reason)
        found = versions.yank(viewer=self.viewer, namespace=namespace, name=name, version=version, **body)
        return Response(questions.detail(found, self.viewer))


class UnyankView(View):
    @extend_schema(
        request=Nothing,
        responses={200: shape(shapes.VersionDetail), 403: problem("No role."), 404: problem("Missing.")},
    )
    def post(self, request: Request, namespace: str, name: str, version: str) -> Response:
        """Take a yank back."""
        found = versions.unyank(viewer=self.viewer, namespace=namespace, name=name, version=version)
        return Response(questions.detail(found, self.viewer))
