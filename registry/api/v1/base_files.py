"""The files of base models that the hub itself holds: list, fetch; for operators: announce, send, complete."""

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api import bytes as stored
from registry.api.schema import problem, shape
from registry.api.v1 import receiving
from registry.api.v1.base_models import WeightFiles
from registry.api.v1.versions import Nothing
from registry.api.v1.views import Body, View
from registry.models import BaseModel, Scope
from registry.queries import base_files as questions
from registry.queries import base_shapes, upload_shapes
from registry.services import base_files


class NewBaseFiles(Body):
    files = WeightFiles()


class BaseFilesView(View):
    scopes = (Scope.ADMIN,)

    @extend_schema(
        operation_id="base_models_files_list",
        responses={200: shape(base_shapes.BaseFiles), 404: problem("No such base model.")},
    )
    def get(self, request: Request, name: str) -> Response:
        """The files of a base model, where the hub itself holds them all; else an empty list."""
        return Response({"files": questions.listed(name, self.viewer)})

    @extend_schema(
        request=NewBaseFiles,
        responses={
            200: shape(upload_shapes.BaseFilesWanted),
            403: problem("For operators only."),
            404: problem("No such base model."),
            413: problem("More than this hub keeps."),
            422: problem("Files that cannot be."),
        },
    )
    def post(self, request: Request, name: str) -> Response:
        """Operators: announce the files [{path, size, sha256}] of a base model. The answer says which are to be sent, and where."""
        base = base_files.announce(viewer=self.viewer, name=name, **self.body(NewBaseFiles))
        return Response(_wanted(base))


class BaseFileView(View):
    scopes = (Scope.ADMIN,)
    parser_classes = ()  # the bytes are read as they come

    @extend_schema(
        operation_id="base_models_file",
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY, 404: problem("Not stored here.")},
    )
    def get(self, request: Request, name: str, path: str) -> HttpResponseBase:
        """A file of a base model that the hub holds. Ranges as for an adapter's files."""
        return stored.serve(request._request, questions.served(name, path, self.viewer))

    def head(self, request: Request, name: str, path: str) -> HttpResponseBase:
        """The headers of a file."""
        return self.get(request, name, path)

    @extend_schema(**receiving.SCHEMA)
    def put(self, request: Request, name: str, path: str) -> Response:
        """Operators: send bytes of one file from `offset` on. What arrived before a cut is kept."""
        return receiving.received(request, base_files.receive, viewer=self.viewer, name=name, path=path)

    @extend_schema(
        operation_id="base_models_file_complete",
        request=Nothing,
        responses={
            200: shape(upload_shapes.BaseFilesWanted),
            409: problem("Bytes are missing."),
            422: problem("The bytes are not those that were announced."),
        },
    )
    def post(self, request: Request, name: str, path: str) -> Response:
        """Operators: say that the bytes of one file are all there; they are hashed now. Again: the same answer."""
        return Response(_wanted(base_files.complete(viewer=self.viewer, name=name, path=path)))


def _wanted(base: BaseModel) -> upload_shapes.BaseFilesWanted:
    return {"fingerprint": base.pk, "blobs": questions.wanted(base)}
