"""Tokens: issue, revoke, admit."""

import datetime
import secrets

from django.db import transaction
from django.utils import timezone

from registry.errors import Forbidden, Invalid, NotFound
from registry.models import Scope, Token, User
from registry.queries import tokens
from registry.queries.viewers import Viewer
from registry.services import events, users

SEEN_EVERY = datetime.timedelta(minutes=1)


def mint(prefix: str = tokens.PREFIX) -> str:
    """Return a new secret: 178 random bits and a checksum behind a prefix that scanners know."""
    body = "".join(secrets.choice(tokens.ALPHABET) for _ in range(tokens.BODY))
    return f"{prefix}{body}{tokens.checksum(body)}"


@transaction.atomic
def issue(*, user: User, scope: str, name: str = "", expires_at: datetime.datetime | None = None) -> tuple[Token, str]:
    """Make a token for a user and return it with its secret, which is kept nowhere.

    Raises Invalid for an unknown scope or a date that is over, Forbidden where the scope is for operators and
    the user is none.
    """
    if scope in (Scope.WORKER, Scope.ADMIN) and not user.is_staff:
        raise Forbidden(f"A token with the scope {scope} is for operators of the hub.", hint="Use push or read.")
    return _make(user=user, scope=scope, name=name, expires_at=expires_at)


def _make(*, user: User, scope: str, name: str, expires_at: datetime.datetime | None = None) -> tuple[Token, str]:
    if scope not in Scope.values:
        raise Invalid(f"There is no scope {scope!r}.", hint=f"One of: {', '.join(Scope.values)}.")
    if expires_at is not None and expires_at <= timezone.now():
        raise Invalid("The token would have expired already.", hint="Give a date to come, or none.")
    secret = mint()
    token = Token.objects.create(
        user=user,
        name=name[:200],
        prefix=secret[:12],
        digest=tokens.digest_of(secret),
        scope=scope,
        expires_at=expires_at,
    )
    events.record(actor=user.username, kind="token.issued", subject=user.username, scope=scope, prefix=token.prefix)
    return token, secret


@transaction.atomic
def issue_by_operator(*, username: str, scope: str, create: bool = False, name: str = "") -> str:
    """Make a token from the server's own console and return its secret.

    `create` makes the user where there is none. The console is trusted: it gives every scope to whom it names. An admin
    token makes its user an operator, for good. A worker's token does not: it claims runs, and its user stays what they are.
    """
    user = User.objects.filter(username__iexact=username).first()
    if user is None:
        if not create:
            raise NotFound(f"There is no user {username!r}.", hint="Add --create to make one.")
        user = users.create(username=username)
    if scope == Scope.ADMIN and not user.is_staff:
        user.is_staff = True
        user.save(update_fields=["is_staff"])
        events.record(actor="console", kind="user.operator", subject=user.username)
    return _make(user=user, scope=scope, name=name or "made on the server")[1]


@transaction.atomic
def revoke(*, user: User, token_id: int) -> None:
    """End a token of this user at once. Revoking again changes nothing. Raises NotFound."""
    token = Token.objects.select_for_update().filter(pk=token_id, user=user).first()
    if token is None:
        raise NotFound("There is no such token.")
    if token.revoked_at is None:
        token.revoked_at = timezone.now()
        token.save(update_fields=["revoked_at"])
        events.record(actor=user.username, kind="token.revoked", subject=user.username, prefix=token.prefix)


def admit(*, secret: str) -> tuple[Viewer, Token]:
    """Return the viewer and the token of a secret and note, once a minute, that it was used. Raises Unauthenticated."""
    token = tokens.find(secret)
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at > SEEN_EVERY:
        Token.objects.filter(pk=token.pk).update(last_used_at=now)
    return Viewer(token.user, token.scope), token
