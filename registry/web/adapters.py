"""The pages of one adapter: facts, scores, README, versions, and the report of a version."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from hub.spec import card
from registry.queries import adapters, base_models, reports, shapes, versions
from registry.queries.viewers import of_session
from registry.web import markdown
from registry.web.pages import page


@require_safe
@page
def adapter(request: HttpRequest, namespace: str, name: str, version: str = "") -> HttpResponse:
    """An adapter at the version asked for (default: the one `latest` names, else the newest the viewer may see)."""
    viewer = of_session(request.user)  # type: ignore[arg-type]
    shown = adapters.detail(namespace, name, viewer)
    wanted = version or (shown["latest"]["version"] if shown["latest"] else "")
    wanted = wanted or (shown["versions"][0]["version"] if shown["versions"] else "")
    chosen = versions.get(namespace, name, wanted, viewer) if wanted else None
    detail = versions.detail(chosen) if chosen else None
    front, body = card.front_matter((shown["readme"] or "").encode()) if shown["readme"] else ({}, "")
    base = chosen.base_model if chosen and chosen.base_fingerprint else None
    context = {
        "adapter": shown | {"base_model": base_models.ref(base) or shown["base_model"]},
        "version": detail,
        "versions": shown["versions"],
        "components": with_percent(detail["components"], base.parameters if base else 0) if detail else [],
        "labels": detail["labels"] if detail else None,
        "scores": scores(reports.of(chosen)) if chosen and chosen.status == "published" else [],
        "snippet": snippet(detail, version) if detail and detail["status"] in ("published", "hosted") else "",
        "readme": markdown.render(body) if body.strip() else "",
        "license": front.get("license", ""),
    }
    return render(request, "registry/adapter.html", context)


@require_safe
@page
def report(request: HttpRequest, namespace: str, name: str, version: str) -> HttpResponse:
    """The report of a version, or how far its validation has come."""
    viewer = of_session(request.user)  # type: ignore[arg-type]
    chosen = versions.get(namespace, name, version, viewer)
    context = {
        "adapter": {"ref": f"{namespace}/{name}", "url": f"/a/{namespace}/{name}"},
        "version": versions.detail(chosen),
        "report": reports.of(chosen),
        "json_url": versions.report_url(chosen),
    }
    return render(request, "registry/report.html", context)


def scores(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every score of a report, in its order."""
    return [score for component in found.get("components") or [] for score in component.get("scores") or []]


def with_percent(components: list[dict[str, Any]], base_parameters: int) -> list[dict[str, Any]]:
    """Add to each component how many percent of the base's parameters it has."""
    if not base_parameters:
        return components
    return [part | {"percent": f"{100 * part['parameters'] / base_parameters:.2f}"} for part in components]


def snippet(version: shapes.VersionDetail, asked: str) -> str:
    """Return the two lines that use this adapter; the version is named only where the reader chose one."""
    ref = version["ref"] if asked else version["adapter"]
    call = f'adapter = hub.pull("{ref.removeprefix("library/")}")'
    use = (
        'adapter.predict(["..."])' if version["task"] == "text-classification" else "model, tokenizer = adapter.load()"
    )
    return f"import hub\n\n{call}\n{use}"
