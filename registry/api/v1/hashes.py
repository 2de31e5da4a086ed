"""GET by-hash: which versions hold these bytes."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api.schema import page_of, problem
from registry.api.v1.views import View
from registry.queries import hashes, shapes


class ByHashView(View):
    @extend_schema(
        operation_id="by_hash",
        responses={
            200: page_of(shapes.Held),
            400: problem("No digest."),
            404: problem("Nothing has it, or nothing that you may know of."),
        },
    )
    def get(self, request: Request, digest: str) -> Response:
        """Versions that hold a file, its tensors whatever its header, the adapter or the whole snapshot with this SHA-256."""
        return Response({"results": hashes.find(digest, self.viewer), "next": None})
