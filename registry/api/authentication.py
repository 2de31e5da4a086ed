"""Who calls: a token of the hub, or the token of one leased run. Never a session cookie: there is nothing to forge."""

import dataclasses

from django.contrib.auth.models import AnonymousUser
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from registry.errors import Unauthenticated
from registry.models import Token, User
from registry.queries.viewers import Viewer
from registry.services import tokens


@dataclasses.dataclass(frozen=True)
class Credentials:
    """What an ordinary request was authenticated by."""

    viewer: Viewer
    token: Token


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


class _RunTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = RunTokenAuthentication
    name = "run token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "The token that came with the claim: ahubrun_..."}
