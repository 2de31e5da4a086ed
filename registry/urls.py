"""Every address of the registry: pages, the API, health, and the client's own wheel."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponseBase
from django.urls import include, path

from registry.api import client, health, problems
from registry.web import pages, signing_in

urlpatterns = [
    path("livez", health.livez),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
    path("client/", client.index),
    path("client/requirements.txt", client.requirements),
    path("client/requirements-torch.txt", client.requirements, {"extra": "torch"}),
    path("client/<str:filename>", client.wheel),
    path("client/<str:name>/", client.project),
    path("api/v1/", include("registry.api.v1.urls")),
    path("admin/login/", signing_in.limited(admin.site.login)),
    path("admin/", admin.site.urls),
    path("", include("registry.web.urls")),
]


def handler404(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer an address that is none: a problem for programs, a page for people."""
    if request.path.startswith("/api/"):
        return problems.no_such_route(request)
    return pages.not_found(request, exception)
