"""/client/: the hub's own client, for pip.

`requirements.txt` (and `requirements-torch.txt`) name the wheel by its address and SHA-256, so no index is asked who
`adapter-hub` is: `pip install -r https://HUB/client/requirements.txt`. The pages beside it are an index (the simple
repository API, PEP 503) for sites that have no other.
"""

from collections.abc import Iterable

from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.utils.html import format_html, format_html_join
from django.views.decorators.http import require_safe

from registry.queries import client_wheel
from registry.queries.client_wheel import Wheel


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """The projects: ours, and what an operator of an air-gapped site laid beside it."""
    names = sorted({wheel.project for wheel in client_wheel.wheels().values()})
    return _page("Client", ((f"{name}/", name) for name in names))


@require_safe
def project(request: HttpRequest, name: str) -> HttpResponse:
    """The wheels of a project, each with its SHA-256."""
    found = [wheel for wheel in client_wheel.wheels().values() if wheel.project == name]
    if not found:
        raise Http404
    return _page(name, ((f"../{wheel.filename}#sha256={wheel.sha256}", wheel.filename) for wheel in found))


@require_safe
def requirements(request: HttpRequest, extra: str = "") -> HttpResponse:
    """One line, for `pip install -r`. The address stays; what it names changes with the hub."""
    return HttpResponse(f"{client_wheel.requirement(extra)}\n", content_type="text/plain; charset=utf-8")


@require_safe
def wheel(request: HttpRequest, filename: str) -> HttpResponseBase:
    """The bytes of a wheel."""
    found = client_wheel.wheels().get(filename)
    if found is None:
        raise Http404
    return _attachment(found)


def _attachment(found: Wheel) -> FileResponse:
    answer = FileResponse(
        found.open(), as_attachment=True, filename=found.filename, content_type="application/octet-stream"
    )
    answer["ETag"] = f'"{found.sha256}"'
    answer["Cache-Control"] = "public, max-age=60"
    return answer


def _page(title: str, links: Iterable[tuple[str, str]]) -> HttpResponse:
    anchors = format_html_join("\n", '<a href="{}">{}</a><br>', links)
    page = '<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>{0}</title></head><body>\n{1}\n</body></html>\n'
    return HttpResponse(format_html(page, title, anchors))
