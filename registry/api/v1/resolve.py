"""GET resolve: everything one pull needs, in one answer."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api.schema import problem, query, shape
from registry.api.v1.views import View
from registry.errors import BadRequest
from registry.queries import shapes
from registry.services import adapters


class ResolveView(View):
    @extend_schema(
        parameters=[
            query("ref", "[namespace/]name[:version][@sha256:...][#folder]"),
            query("base", "Fingerprint or name of the base model that the adapter is to be put on."),
        ],
        responses={
            200: shape(shapes.Resolved),
            400: problem("No reference."),
            404: problem("Missing, or not for you."),
            409: problem("Not published, or version and digest disagree."),
            410: problem("Yanked, and not pinned by its digest."),
        },
    )
    def get(self, request: Request) -> Response:
        """From a reference to digest, files, base model and verdict."""
        ref = request.query_params.get("ref", "")
        if not ref:
            raise BadRequest("Which adapter? Give ?ref=namespace/name.")
        found = adapters.resolve_for_pull(viewer=self.viewer, ref=ref, base=request.query_params.get("base") or None)
        return Response(found, headers={"X-Resolved-Digest": found["digest"]})
