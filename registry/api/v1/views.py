"""What the doors of version 1 have in common."""

from collections.abc import Callable, Sequence
from typing import Any

from django.utils.cache import patch_vary_headers
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from registry.api import problems
from registry.api.authentication import Credentials, SessionReading, TokenAuthentication, session_counts
from registry.api.parsers import StrictJSONParser
from registry.errors import BadRequest, Invalid
from registry.models import Scope, Token
from registry.queries import viewers
from registry.queries.viewers import ANYBODY, Viewer

READING = ("GET", "HEAD", "OPTIONS")


class AlwaysJSON(BaseContentNegotiation):
    """The API speaks JSON, whatever a browser says it would like."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """Return the parser for the body's media type, None where there is none."""
        media = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == media), None)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Return the only renderer."""
        return renderers[0], renderers[0].media_type


class View(APIView):
    """A door: `self.viewer` asks, `self.body(Serializer)` is what they sent.

    `scopes` are those of which a token needs one (or `admin`) to write here: asked for before a byte of the body is read.
    """

    scopes: tuple[str, ...] = (Scope.PUSH,)

    authentication_classes: Sequence[type[BaseAuthentication]] = (TokenAuthentication,)
    permission_classes = ()  # services and queries decide
    parser_classes: Sequence[type[BaseParser]] = (StrictJSONParser,)
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = AlwaysJSON

    @property
    def viewer(self) -> Viewer:
        """Who asks."""
        auth = self.request.auth
        return auth.viewer if isinstance(auth, Credentials) else ANYBODY

    @property
    def token(self) -> Token | None:
        """The token that was sent."""
        auth = self.request.auth
        return auth.token if isinstance(auth, Credentials) else None

    def body(self, kind: type["Body"]) -> dict[str, Any]:
        """Return the body of the request as this serializer understands it. Raises Invalid."""
        form = kind(data=self.request.data)
        form.is_valid(raise_exception=True)
        return dict(form.validated_data)

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response]:
        """Return our own handler, wherever the settings point."""
        return problems.handle

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse what no text column can hold, and who may not write, before the body is read.

        A body costs time and memory to read, whoever sent it. So nobody is listened to who would be refused anyway.
        """
        given = [str(value) for value in kwargs.values()]
        given += [text for pair in request.query_params.lists() for text in (pair[0], *pair[1])]
        if any("\0" in text for text in given):
            raise BadRequest("The address holds a NUL character.")
        super().initial(request, *args, **kwargs)
        method = request.method or ""
        if method not in READING and method.lower() in self.http_method_names and hasattr(self, method.lower()):
            self.admit(**kwargs)

    def admit(self, **kwargs: Any) -> None:
        """Raise Unauthenticated or Forbidden unless the caller may write here at all; the service asks for more."""
        viewers.require_scope(self.viewer, *self.scopes)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Keep answers out of shared caches; doors that serve public bytes say so themselves."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        if not answer.has_header("Cache-Control"):
            answer["Cache-Control"] = "private, no-store"
        answer["Vary"] = "Authorization"
        return answer


class LinkedView(View):
    """A door that pages link to: read with a token, or by who is signed in on the pages."""

    authentication_classes = (TokenAuthentication, SessionReading)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Say that an answer depends on the cookie where it does. Without one all share a public file in a cache."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        if session_counts(request):
            patch_vary_headers(answer, ["Cookie"])
        return answer


class Body(serializers.Serializer[Any]):
    """A request's body. Keys that are not known are refused: a typing error must not publish what was to be private."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the fields. Raises Invalid."""
        if not isinstance(data, dict):
            raise Invalid("The body must be a JSON object.")
        unknown = sorted(set(data) - set(self.fields))
        if unknown:
            known = ", ".join(sorted(self.fields))
            raise serializers.ValidationError({unknown[0]: f"is not known; known are {known}"})
        return super().to_internal_value(data)
