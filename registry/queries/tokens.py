"""Tokens: how they look, and whom one stands for.

A secret is its prefix, 30 base62 digits from the system's random source, and 6 base62 digits of their CRC-32: a
mistyped or foreign string is refused without asking the database, and a leaked one is found by a regular
expression. Only the SHA-256 of a secret is kept.
"""

import hashlib
import re
import zlib

from django.utils import timezone

from registry.errors import Unauthenticated
from registry.models import Token
from registry.queries.viewers import Viewer, require_user

PREFIX = "ahub_"
RUN_PREFIX = "ahubrun_"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BODY, CHECK = 30, 6
PATTERN = re.compile(rf"(?:{PREFIX}|{RUN_PREFIX})[0-9A-Za-z]{{{BODY + CHECK}}}")


def checksum(body: str) -> str:
    """Return the CRC-32 of the body in six base62 digits."""
    value, digits = zlib.crc32(body.encode("ascii")), ""
    for _ in range(CHECK):
        value, digit = divmod(value, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def wellformed(secret: str, prefix: str = PREFIX) -> bool:
    """Whether a string can be a secret of ours: prefix, length, alphabet, checksum."""
    body = secret.removeprefix(prefix)
    if not secret.startswith(prefix) or not PATTERN.fullmatch(secret) or len(body) != BODY + CHECK:
        return False
    return checksum(body[:BODY]) == body[BODY:]


def digest_of(secret: str) -> str:
    """Return the SHA-256 under which a secret is kept."""
    return hashlib.sha256(secret.encode()).hexdigest()


def of_viewer(viewer: Viewer) -> list[Token]:
    """Return the tokens of whoever asks: those in use first, the newest first. Raises Unauthenticated."""
    return list(Token.objects.filter(user=require_user(viewer)).order_by("revoked_at", "-created_at"))


def find(secret: str) -> Token:
    """Return the usable token of a secret. Raises Unauthenticated, always with the same words.

    The look-up is by the hash of a secret of 178 random bits, so its timing tells nothing.
    """
    token = None
    if wellformed(secret):
        usable = Token.objects.usable(timezone.now()).select_related("user")
        token = usable.filter(digest=digest_of(secret), user__is_active=True).first()
    if token is None:
        raise Unauthenticated(
            "The token is unknown, expired or revoked.",
            hint="Make a new one on the page /settings/tokens, then `hub login`.",
        )
    return token
