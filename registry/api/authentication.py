"""Who calls: a token of the hub, or the token of one leased run. A session cookie counts only where pages link to what is read,
and only to read it: there is nothing to forge."""

import dataclasses

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from registry.errors import Unauthenticated
from registry.models import Token, User
from registry.queries.viewers import Viewer, of_session
from registry.services import tokens


@dataclasses.dataclass(frozen=True)
class Credentials:
    """What an ordinary request was authenticated by."""

    viewer: Viewer
    token: Token | None = None


def bearer(request: Request) -> str | None:
    """Return the secret of `Authorization: Bearer ...`, None where no such header is sent. Raises Unauthenticated."""
    header = request.META.get("HTTP_AUTHORIZATION", "")
    if not header:
        return None
    scheme, _, secret = header.partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise Unauthenticated("The Authorization header is not `Bearer <token>`.", hint="hub login")
    return str(secret.strip())


class TokenAuthentication(BaseAuthentication):
    """A token of the hub. A bad one is refused everywhere, also where none is needed."""

    def authenticate(self, request: Request) -> tuple[User, Credentials] | None:
        """Return the user and the credentials, None for an anonymous request. Raises Unauthenticated."""
        secret = bearer(request)
        if secret is None:
            return None
        viewer, token = tokens.admit(secret=secret)
        return token.user, Credentials(viewer, token)


def session_counts(request: Request) -> bool:
    """Tell whether a session may say who reads: it came with a cookie, and no page of another site sent the browser here.

    A cookie that is `SameSite=Lax` comes along when a page elsewhere opens an address of the hub in a window. A download and a
    refusal can be told apart from there, so that page would learn what its visitor may see. Browsers say where a request
    comes from by `Sec-Fetch-Site` (W3C Fetch Metadata); old ones, and all over plain http, say nothing.
    """
    near = request.headers.get("Sec-Fetch-Site") in (None, "same-origin", "none")
    return near and request.method in ("GET", "HEAD") and settings.SESSION_COOKIE_NAME in request.COOKIES


class SessionReading(BaseAuthentication):
    """Who is signed in on the pages and follows a link there: to read, never to write."""

    def authenticate(self, request: Request) -> tuple[User, Credentials] | None:
        """Return the user and the credentials, None for who is not signed in and where a session does not count.

        A session that is looked at makes the answer depend on the cookie, so there it is not looked at.
        """
        if not session_counts(request) or not request._request.user.is_authenticated:
            return None
        return request._request.user, Credentials(of_session(request._request.user))


class RunTokenAuthentication(BaseAuthentication):
    """The token of a leased run. It is checked together with the run, by the service that is called."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, str] | None:
        """Return the secret as `request.auth`, None where none was sent."""
        secret = bearer(request)
        return None if secret is None else (AnonymousUser(), secret)


class _TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A token of the hub: ahub_..."}


class _SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = SessionReading
    name = "session"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        told = "Who is signed in on the pages, to read what they link to."
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME, "description": told}


class _RunTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = RunTokenAuthentication
    name = "run token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "The token that came with the claim: ahubrun_..."}
