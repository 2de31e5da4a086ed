"""For those who watch over the hub: is it alive, is it ready, how busy is it?"""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from registry.queries import health


@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """The process answers. Asks nobody else, so that a fault elsewhere does not get it restarted."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 where database, migrations and storage are fit, else 503. Without a broker it is `degraded`, with 200."""
    checks = health.checks()
    fit = all(answer == "ok" for answer in checks.values())
    broker = health.broker()
    status = "unready" if not fit else "ready" if broker == "ok" else "degraded"
    told = {"status": status, "checks": {**checks, "broker": broker}}
    return JsonResponse(told, status=200 if fit else 503)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Figures in the text format of Prometheus."""
    lines = [f"{name} {value}" for name, value in health.metrics().items()]
    return HttpResponse("\n".join(lines) + "\n", content_type="text/plain; version=0.0.4")
