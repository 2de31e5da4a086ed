"""Versions of an adapter: which one a name means, and how it looks."""

import urllib.parse
from collections.abc import Iterable
from typing import Any

from django.db.models import F

from registry.errors import NotFound, Yanked
from registry.models import Adapter, Component, ManifestFile, Original, Version
from registry.models.versions import VersionQuerySet
from registry.queries import base_models, blobs, runs, shapes
from registry.queries.viewers import Viewer
from registry.queries.visibility import get_adapter, visible_versions

PAGE = 100
LATEST_FIRST = ("-status", "-number")
"""Of offered versions: the highest number. Of one adapter they are all published or all hosted; `-status` uses the index."""
LIVING_FIRST = (F("published_at").desc(nulls_last=True), "-number")
"""A label may be given again after a refusal: what was published counts before what was not."""


def name_of(version: Version) -> str:
    """Return how a version is called: its label, else its number."""
    return version.label or str(version.number)


def ref_of(version: Version) -> str:
    """Return `namespace/name:version`."""
    return f"{version.adapter.namespace.name}/{version.adapter.name}:{name_of(version)}"


def latest_of(adapters: Iterable[Adapter]) -> dict[int, Version]:
    """Return the version that `latest` names, by adapter key; one query for all."""
    rows = Version.objects.offered().filter(adapter__in=[adapter.pk for adapter in adapters])
    newest = rows.select_related("manifest", "run").order_by("adapter", *LATEST_FIRST).distinct("adapter")
    return {row.adapter_id: row for row in newest}


def get(namespace: str, name: str, version: str, viewer: Viewer) -> Version:
    """Return a version by its adapter and its label, number, alias, `latest` or `sha256:<hex>`.

    Raises NotFound, and Yanked where `latest` finds nothing but yanked versions.
    """
    return pick(get_adapter(namespace, name, viewer), version, viewer)


def pick(adapter: Adapter, name: str, viewer: Viewer) -> Version:
    """Return the version of this adapter that `name` means; see `get`."""
    # Without the run: its report may be long, and who wants a file or a public version in full has no use for it.
    rows = visible_versions(adapter, viewer).select_related("manifest", "author", "adapter__namespace")
    version = _latest(rows, adapter) if name == "latest" else _named(rows, name)
    if version is None:
        known = [name_of(row) for row in rows.newest_first()[:5]]
        hint = f"There are: {', '.join(known)}." if known else "Nothing is published yet."
        raise NotFound(f"{adapter.namespace.name}/{adapter.name} has no version {name!r}.", hint=hint)
    return version


def newest(namespace: str, name: str, viewer: Viewer) -> Version | None:
    """Return the version of an adapter with the highest number, whatever became of it. Raises NotFound."""
    rows = visible_versions(get_adapter(namespace, name, viewer), viewer).newest_first()
    return rows.select_related("run", "adapter__namespace").first()


def _latest(rows: VersionQuerySet, adapter: Adapter) -> Version | None:
    offered = rows.offered().order_by(*LATEST_FIRST).first()
    if offered is None and rows.served().exists():
        raise Yanked(
            f"Every published version of {adapter.namespace.name}/{adapter.name} is yanked.",
            hint="If you must have one, pull it by its digest: name@sha256:...",
        )
    return offered


def _named(rows: VersionQuerySet, name: str) -> Version | None:
    digest = name.removeprefix("sha256:")
    if digest != name:
        return rows.filter(digest=digest).order_by(*LIVING_FIRST).first()
    found = rows.filter(label=name).order_by(*LIVING_FIRST).first()
    if found is None and name.isascii() and name.isdecimal() and len(name) < 10:
        found = rows.filter(number=int(name)).first()
    return found or rows.filter(aliases__name=name).first()


def yank_of(version: Version) -> shapes.Yank | None:
    """Return when and why a version was yanked, None where it was not."""
    return {"at": version.yanked_at, "reason": version.yank_reason} if version.yanked_at else None


def report_url(version: Version) -> str:
    """Return where the report of a version is served."""
    return f"{_url(version)}/report"


def answers_url(version: Version, sha256: str) -> str:
    """Return where a file of answers is served that the report of a version names."""
    return f"{_url(version)}/answers/{sha256}"


def _url(version: Version) -> str:
    adapter = version.adapter
    return f"/api/v1/adapters/{adapter.namespace.name}/{adapter.name}/versions/{_lasting_name(version)}"


def page_url(version: Version) -> str:
    """Return the page of a version."""
    return f"/a/{version.adapter.namespace.name}/{version.adapter.name}/v/{_lasting_name(version)}"


def _lasting_name(version: Version) -> str:
    """Return a name that means this version for good: the label of one that was refused is free for another."""
    public = version.status in (Version.Status.PUBLISHED, Version.Status.HOSTED)
    return name_of(version) if public else str(version.number)


def file_url(version: Version, path: str) -> str:
    """Return where a file of a version is served. It names the digest, so that it never means other bytes."""
    adapter = version.adapter
    base = f"/api/v1/adapters/{adapter.namespace.name}/{adapter.name}/versions/sha256:{version.digest}/files"
    return f"{base}/{urllib.parse.quote(path)}"


def regression_of(version: Version) -> shapes.Regression | None:
    """Return since when a published version no longer passes what it passed once, None where it does, or nobody asked again."""
    return {"at": version.regressed_at} if version.regressed_at else None


def short(version: Version) -> shapes.VersionShort:
    """Return a version as a list shows it."""
    return {
        "version": name_of(version),
        "number": version.number,
        "label": version.label,
        "ref": ref_of(version),
        "status": version.status,
        "stage": runs.stage_of(version),
        "digest": f"sha256:{version.digest}" if version.digest else None,
        "size": version.manifest.size if version.manifest else 0,
        "created_at": version.created_at,
        "published_at": version.published_at,
        "yanked": yank_of(version),
        "regressed": regression_of(version),
        "report_url": report_url(version),
        "page_url": page_url(version),
    }


def listing(
    namespace: str, name: str, viewer: Viewer, before: int | None = None
) -> tuple[list[shapes.VersionShort], int | None]:
    """Return a page of an adapter's versions, newest first, and the number that the next page begins below."""
    rows = visible_versions(get_adapter(namespace, name, viewer), viewer).newest_first()
    if before is not None:
        rows = rows.filter(number__lt=before)
    page = list(rows.select_related("manifest", "run", "adapter__namespace")[: PAGE + 1])
    more = page[PAGE - 1].number if len(page) > PAGE else None
    return [short(version) for version in page[:PAGE]], more


def components_of(digest: str | None, folder: str | None = None) -> list[Component]:
    """Return the adapters in a manifest, by folder, or that in one folder alone. Raises NotFound for another folder."""
    found = list(Component.objects.filter(manifest=digest).order_by("folder")) if digest else []
    if folder is None:
        return found
    named = [component for component in found if component.folder == folder]
    if not named:
        names = ", ".join(component.folder or "(root)" for component in found)
        raise NotFound(f"There is no adapter in the folder {folder!r}.", hint=f"There are: {names}.")
    return named


def component_shape(component: Component) -> dict[str, Any]:
    """Return one adapter of a manifest as the API shows it."""
    head = component.head or {}
    return {
        "folder": component.folder,
        "library": component.library,
        "method": component.method,
        "variant": component.variant,
        "rank": component.rank,
        "parameters": component.parameters,
        "head_parameters": component.head_parameters,
        "sizes": component.facts.get("sizes"),
        "head": {key: head.get(key) for key in ("kind", "pooling", "num_labels", "labels")} if head else None,
    }


def facts_of(components: list[Component]) -> dict[str, Any]:
    """Return what the files say of themselves (task, labels, description, ...), as ingest read it."""
    return dict(components[0].facts.get("facts", {})) if components else {}


def detail(version: Version, viewer: Viewer) -> shapes.VersionDetail:
    """Return one version in full, as this viewer may see it."""
    components = components_of(version.digest)
    facts = facts_of(components)
    base = version.base_model if version.base_fingerprint else None
    return {
        "adapter": f"{version.adapter.namespace.name}/{version.adapter.name}",
        "version": name_of(version),
        "number": version.number,
        "label": version.label,
        "ref": ref_of(version),
        "status": version.status,
        "stage": runs.stage_of(version),
        "digest": f"sha256:{version.digest}" if version.digest else None,
        "adapter_digest": f"sha256:{version.adapter_digest}" if version.adapter_digest else None,
        "plan_digest": f"sha256:{version.plan_digest}" if version.plan_digest else None,
        "base_model": base_models.ref(base, viewer),
        "trained_on": base_models.trained_on(facts, base, viewer),
        "task": facts.get("task") or "",
        "method": components[0].method if components else "",
        "labels": facts.get("labels"),
        "size": version.manifest.size if version.manifest else 0,
        "parameters": sum(component.parameters for component in components),
        "author": version.author.username if version.author else "",
        "message": version.message,
        "created_at": version.created_at,
        "published_at": version.published_at,
        "yanked": yank_of(version),
        "regressed": regression_of(version),
        "files": [file_shape(version, row) for row in blobs.files_of(version.digest)] if version.digest else [],
        "rewritten": rewritten_of(version),
        "components": [component_shape(component) for component in components],
        "report_url": report_url(version),
        "page_url": page_url(version),
        "queue": runs.place_of(version),
    }


def rewritten_of(version: Version) -> list[shapes.Rewritten]:
    """Return the configurations of a version that are served otherwise than its own uploads brought them."""
    rows = (
        Original.objects.filter(manifest=version.digest).exclude(changes=[]).order_by("path") if version.digest else ()
    )
    sent = {file["sha256"] for upload in version.uploads.all() for file in upload.manifest["files"]} if rows else ()
    return [{"path": row.converted, "changes": row.changes} for row in rows if row.blob_id in sent]


def file_shape(version: Version, row: ManifestFile) -> shapes.FileShape:
    """Return one file of a version."""
    return {"path": row.path, "sha256": row.blob_id, "size": row.size, "url": file_url(version, row.path)}
