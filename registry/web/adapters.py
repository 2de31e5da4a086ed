"""The pages of one adapter: facts, scores, README, versions, and the report of a version."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from hub.spec import card
from hub.spec.errors import SpecError
from registry.queries import adapters, base_models, matrix, reports, shapes, versions
from registry.queries.viewers import of_session
from registry.web import details, markdown, reading
from registry.web.pages import page

PUBLIC = ("published", "hosted")


@require_safe
@page
def adapter(request: HttpRequest, namespace: str, name: str, version: str = "") -> HttpResponse:
    """An adapter at the version asked for (default: the one `latest` names, else the newest the viewer may see)."""
    viewer = of_session(request.user)  # type: ignore[arg-type]
    shown = adapters.detail(namespace, name, viewer)
    wanted = version or (shown["latest"]["version"] if shown["latest"] else "")
    wanted = wanted or (shown["versions"][0]["version"] if shown["versions"] else "")
    chosen = versions.get(namespace, name, wanted, viewer) if wanted else None
    detail = versions.detail(chosen, viewer) if chosen else None
    readme, licence = described(shown["readme"] or "")
    base = chosen.base_model if chosen and chosen.base_fingerprint else None
    fitting = matrix.of_adapter(chosen.adapter, chosen, viewer) if chosen and chosen.status in PUBLIC else []
    context = {
        "adapter": shown | {"base_model": base_models.ref(base, viewer) or shown["base_model"]},
        "version": detail,
        "versions": shown["versions"],
        "components": detail["components"] if detail else [],
        "labels": detail["labels"] if detail else None,
        "rewritten": reading.rewritten(detail["rewritten"]) if detail else [],
        "scores": scores(reports.of(chosen, viewer)) if chosen and chosen.status == "published" else [],
        "snippet": snippet(detail, version) if detail and detail["status"] in PUBLIC else "",
        "bases": [
            {"name": base_models.name_of(row), "fingerprint": row.pk, "url": base_models.page_url(row.pk), **cell}
            for row, cell in fitting
        ],
        "short_ref": shown["ref"].removeprefix("library/"),
        "readme": readme,
        "license": licence,
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
        "version": versions.detail(chosen, viewer),
        "report": readable(reports.of(chosen, viewer)),
        "json_url": versions.report_url(chosen),
    }
    return render(request, "registry/report.html", context)


def described(text: str) -> tuple[SafeString, str]:
    """Return a README as HTML and the licence it names. One whose front matter is broken is shown as it is, and why."""
    try:
        front, body = card.front_matter(text.encode("utf-8", errors="replace"))
    except SpecError as error:
        return markdown.plain(text, str(error)), ""
    licence = front.get("license")
    return markdown.render(body) if body.strip() else SafeString(), licence if isinstance(licence, str) else ""


def readable(found: dict[str, Any]) -> dict[str, Any]:
    """Return a report as the page goes through it: lists are lists and objects are objects, whatever an old one holds."""
    parts = [
        part
        | {
            "scores": [_score(score) for score in _objects(part.get("scores"))],
            "hidden": [each | {"gates": _objects(each.get("gates"))} for each in _objects(part.get("hidden"))],
        }
        for part in _objects(found.get("components"))
    ]
    return found | {
        "components": parts,
        "measured": [part for part in parts if part["scores"] or part["hidden"]],
        "checks": _objects(found.get("checks")),
        "environment": reading.environment(found),
        "layers": reading.layers(found),
        "marks": reading.marks(found),
        "again": reading.again(found),
    }


def scores(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every score of a report, in its order, with the folder of what was measured."""
    return [
        score | {"folder": component.get("folder", "")}
        for component in readable(found)["components"]
        for score in component["scores"]
    ]


def _score(score: dict[str, Any]) -> dict[str, Any]:
    gain = score.get("gain")
    return score | {
        "interval": _pair(score.get("interval")),
        "baselines": score["baselines"] if isinstance(score.get("baselines"), dict) else {},
        "gain": gain | {"interval": _pair(gain.get("interval"))} if isinstance(gain, dict) else None,
        "gates": _objects(score.get("gates")),
        "also": _objects(score.get("also")),
        "shown": details.of(score),
    }


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _pair(value: Any) -> list[Any] | None:
    return value if isinstance(value, list) and len(value) == 2 else None


def snippet(version: shapes.VersionDetail, asked: str) -> str:
    """Return the two lines that use this adapter; the version is named only where the reader chose one."""
    ref = version["ref"] if asked else version["adapter"]
    call = f'adapter = hub.pull("{ref.removeprefix("library/")}")'
    use = (
        'adapter.predict(["..."])' if version["task"] == "text-classification" else "model, tokenizer = adapter.load()"
    )
    return f"import hub\n\n{call}\n{use}"
