"""Uploads: announce, send, complete."""

import uuid

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api.schema import problem, shape
from registry.api.v1 import receiving
from registry.api.v1.versions import Nothing
from registry.api.v1.views import Body, View
from registry.queries import upload_shapes, versions
from registry.queries import uploads as questions
from registry.services import uploads


class NewUpload(Body):
    manifest = serializers.DictField()
    version = serializers.CharField(max_length=64, required=False, allow_null=True)
    private = serializers.BooleanField(default=False)
    message = serializers.CharField(max_length=10_000, default="", allow_blank=True)
    facts = serializers.DictField(required=False, allow_null=True)


class UploadsView(View):
    @extend_schema(
        request=NewUpload,
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)],
        responses={
            201: shape(upload_shapes.UploadShape),
            200: shape(upload_shapes.UploadShape),
            403: problem("No write role, or a token without the scope push."),
            409: problem("The label exists, or the name looks like another."),
            422: problem("Unknown base model or benchmark, a bad manifest, or files of a refused kind."),
        },
    )
    def post(self, request: Request, namespace: str, name: str) -> Response:
        """Announce a snapshot: which bytes are wanted, and where to put them. 200 where the key was seen before."""
        body = self.body(NewUpload)
        upload, new = uploads.start(
            viewer=self.viewer,
            namespace=namespace,
            name=name,
            manifest=body["manifest"],
            label=body.get("version"),
            private=body["private"],
            message=body["message"],
            facts=body.get("facts"),
            idempotency_key=request.headers.get("Idempotency-Key"),
        )
        return Response(questions.shape(upload), status=201 if new else 200)


class UploadView(View):
    @extend_schema(responses={200: shape(upload_shapes.UploadShape), 404: problem("No upload of yours.")})
    def get(self, request: Request, upload_id: uuid.UUID) -> Response:
        """How much of each file has arrived."""
        return Response(questions.shape(questions.get(upload_id, self.viewer)))


class UploadBlobView(View):
    parser_classes = ()  # the bytes are read as they come, whatever they call themselves

    @extend_schema(**receiving.SCHEMA)
    def put(self, request: Request, upload_id: uuid.UUID, n: int) -> Response:
        """Send bytes of one file from `offset` on. What arrived before a cut is kept."""
        return receiving.received(request, uploads.receive, viewer=self.viewer, upload_id=upload_id, n=n)


class CompleteView(View):
    @extend_schema(
        request=Nothing,
        responses={
            202: shape(upload_shapes.Completed),
            409: problem("Bytes are missing."),
            422: problem("The static checks refuse the files; the version is kept, with its report."),
        },
    )
    def post(self, request: Request, upload_id: uuid.UUID) -> Response:
        """Declare the upload complete. Again: the same answer."""
        version = uploads.complete(viewer=self.viewer, upload_id=upload_id)
        answer = {
            "version": versions.detail(version, self.viewer),
            "status": version.status,
            "report_url": versions.report_url(version),
        }
        return Response(answer, status=202)
