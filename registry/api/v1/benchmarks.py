"""Benchmarks: add, list, show, fetch their data."""

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api.bytes import serve
from registry.api.schema import page_of, problem, query, shape
from registry.api.v1.views import LinkedView, View
from registry.errors import BadRequest, TooLarge
from registry.queries import benchmark_shapes, files
from registry.queries import benchmarks as questions
from registry.services import benchmarks

LONGEST = 128 << 20
FORM = {
    "type": "object",
    "required": ["definition"],
    "properties": {"definition": {"type": "string", "format": "binary", "description": "The YAML."}},
    "additionalProperties": {"type": "string", "format": "binary", "description": "A data file under its own name."},
}


class BenchmarksView(View):
    parser_classes = (MultiPartParser,)

    @extend_schema(
        operation_id="benchmarks_list",
        parameters=[query("task", "Of this ML task only.")],
        responses={200: page_of(benchmark_shapes.BenchmarkShape)},
    )
    def get(self, request: Request) -> Response:
        """The newest benchmark of each name."""
        found = questions.listing(self.viewer, request.query_params.get("task", ""))
        return Response({"results": found, "next": None})

    @extend_schema(
        request={"multipart/form-data": FORM},
        responses={
            201: shape(benchmark_shapes.BenchmarkShape),
            200: shape(benchmark_shapes.BenchmarkShape),
            403: problem("The name is not yours to give."),
            422: problem("A definition or data with faults, each named."),
        },
    )
    def post(self, request: Request) -> Response:
        """Add a benchmark: its definition and each data file under its own name."""
        definition, data = _sent(request)
        benchmark, made = benchmarks.add(viewer=self.viewer, definition=definition, files=data)
        return Response(questions.shape(benchmark), status=201 if made else 200)


class BenchmarkView(View):
    @extend_schema(responses={200: shape(benchmark_shapes.BenchmarkDetail), 404: problem("No such benchmark.")})
    def get(self, request: Request, name: str) -> Response:
        """One benchmark, by name or `sha256:<hex>`."""
        return Response(questions.detail(questions.get(name, self.viewer), self.viewer))


class BenchmarkFileView(LinkedView):
    http_method_names = ("get", "head", "options")

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY, 404: problem("No such file.")})
    def get(self, request: Request, digest: str, name: str) -> HttpResponseBase:
        """A data file of a benchmark."""
        return serve(request._request, files.of_benchmark(digest, name, self.viewer))

    def head(self, request: Request, digest: str, name: str) -> HttpResponseBase:
        """The headers of a data file."""
        return self.get(request, digest, name)


def _sent(request: Request) -> tuple[bytes, dict[str, bytes]]:
    if int(request.META.get("CONTENT_LENGTH") or 0) > LONGEST:
        raise TooLarge(f"The form is longer than {LONGEST} bytes.")
    sent = {str(name): part.read() for name, part in request.FILES.items() if isinstance(part, UploadedFile)}
    definition = sent.pop("definition", None) or request.POST.get("definition")
    if not definition:
        raise BadRequest(
            "The form has no part `definition`.", hint="Send the YAML as `definition`, each data file under its name."
        )
    return definition.encode() if isinstance(definition, str) else definition, sent
