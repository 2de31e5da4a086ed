"""Attempts to sign in: counted by name and by address, so that nobody can go through a list of passwords."""

import datetime
import hashlib
import ipaddress

from django.utils import timezone

from registry.errors import TooMany
from registry.models import SignIn

WINDOW = datetime.timedelta(minutes=5)
MOST_A_NAME, MOST_AN_ADDRESS = 10, 50
"""Attempts within the window. An address may be that of a whole office."""


def begin(*, name: str, address: str) -> list[int]:
    """Note an attempt before the password is looked at, and return it. Raises TooMany.

    Noted first and counted then, each in a transaction of its own: of many attempts at once none is overlooked. One that
    is refused leaves no trace, else whoever tries on would never be let in again.
    """
    now = timezone.now()
    SignIn.objects.filter(at__lte=now - WINDOW).delete()
    limits = {_subject("name", name.strip().casefold()): MOST_A_NAME}
    if address:
        limits[_subject("address", _network(address))] = MOST_AN_ADDRESS
    made = [row.pk for row in SignIn.objects.bulk_create(SignIn(subject=subject, at=now) for subject in limits)]
    for subject, most in limits.items():
        times = list(
            SignIn.objects.filter(subject=subject).order_by("-at", "-pk").values_list("at", flat=True)[: most + 1]
        )
        if len(times) > most:
            SignIn.objects.filter(pk__in=made).delete()
            raise TooMany(
                "There were too many attempts to sign in.",
                hint="Wait a few minutes, then try again.",
                seconds=max(1, round((times[-1] + WINDOW - now).total_seconds())),
            )
    return made


def succeed(*, attempt: list[int], name: str) -> None:
    """Forget an attempt that was right, and those of the same name before it: the person is in."""
    SignIn.objects.filter(pk__in=attempt).delete()
    SignIn.objects.filter(subject=_subject("name", name.strip().casefold())).delete()


def _subject(kind: str, what: str) -> str:
    """Return the hash under which attempts are counted: what people type is no business of the database's."""
    return hashlib.sha256(f"{kind}:{what}".encode("utf-8", errors="replace")).hexdigest()


def _network(address: str) -> str:
    """Return whom an address stands for: a customer has 2**64 of version 6."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(known) if known.version == 4 else str(ipaddress.ip_network((known, 64), strict=False))
