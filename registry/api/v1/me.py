"""GET me: what a token stands for."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api.schema import problem, shape
from registry.api.v1.views import View
from registry.queries import me, shapes


class MeView(View):
    @extend_schema(responses={200: shape(shapes.Me), 401: problem("No token, or a bad one.")})
    def get(self, request: Request) -> Response:
        """Who this token belongs to, where they may push, and what the token may do."""
        return Response(me.me(self.viewer, self.token))
