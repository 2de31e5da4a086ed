"""The doors where a password is asked for, `/login` and `/admin/login/`: so many attempts and no more."""

import functools
from collections.abc import Callable
from typing import cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from registry.services import signins
from registry.web.pages import View, page


def limited(view: Callable[..., HttpResponseBase]) -> View:
    """Decorate a view that signs in: too many attempts are answered with 429 and a plain page.

    Only who was not signed in before has given a password: others are led on without one, whatever name they send.
    """

    @functools.wraps(view)
    def asked(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if request.method != "POST":
            return cast(HttpResponse, view(request, *args, **kwargs))
        was_in = request.user.is_authenticated
        name = request.POST.get("username", "")
        attempt = signins.begin(name=name, address=address_of(request))
        response = cast(HttpResponse, view(request, *args, **kwargs))
        if request.user.is_authenticated and not was_in:
            signins.succeed(attempt=attempt, name=name)
        return response

    return page(asked)


def address_of(request: HttpRequest) -> str:
    """Return who calls, as far as that is known: behind a proxy what it says last, empty where it says nothing."""
    if not settings.HUB_BEHIND_PROXY:
        return str(request.META.get("REMOTE_ADDR", ""))
    return str(request.META.get("HTTP_X_FORWARDED_FOR", "")).rpartition(",")[2].strip()
