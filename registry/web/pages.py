"""What every page has in common: a refusal becomes a page, and what depends on the person is kept out of shared caches."""

import functools
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers

from registry.errors import BadRequest, RegistryError, TooMany

View = Callable[..., HttpResponse]


def page(view: View) -> View:
    """Decorate a view: RegistryError is shown with its own status, and the answer is `private, no-store`."""

    @functools.wraps(view)
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            refuse_nul(request, kwargs)
            response = view(request, *args, **kwargs)
        except RegistryError as error:
            context: dict[str, Any] = {"title": error.title, "detail": error.detail, "hint": error.hint}
            context["sign_in"] = error.status == 404 and not request.user.is_authenticated
            response = render(request, "registry/error.html", context, status=error.status)
            if isinstance(error, TooMany):
                response["Retry-After"] = str(error.extra["seconds"])
        response["Cache-Control"] = "private, no-store"
        patch_vary_headers(response, ["Cookie"])
        return response

    return shown


def refuse_nul(request: HttpRequest, kwargs: dict[str, Any]) -> None:
    """Raise BadRequest for an address with a character that no text column can hold, as the API does."""
    given = [str(value) for value in kwargs.values()] + [request.GET.urlencode()]
    if any("\0" in text or "%00" in text for text in given):
        raise BadRequest("The address holds a NUL character.")


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """The page for an address that means nothing here."""
    context = {"title": "Not found", "detail": "There is no such page."}
    return render(request, "registry/error.html", context, status=404)
