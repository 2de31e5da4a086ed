"""From a reference to everything a pull needs, in one answer."""

from typing import Any

from django.conf import settings

from hub.spec import components as spec
from hub.spec import reference
from hub.spec.errors import SpecError
from registry.errors import BadRequest, Conflict, NotPublished, Yanked
from registry.models import Component, Version
from registry.queries import base_models, blobs, fits, located, shapes, versions
from registry.queries.viewers import Viewer

INLINE_TOGETHER = 256 << 10


def resolve(ref: str, viewer: Viewer, *, base: str | None = None) -> shapes.Resolved:
    """Return digest, files, base model and verdict for a reference `[ns/]name[:version][@sha256:...][#folder]`.

    With `base` (a fingerprint or a name) also whether the adapter fits it. Raises BadRequest for what is no
    reference, NotFound, Yanked for a yanked version that is not pinned by its digest, NotPublished for a version
    that its members may see but nobody may pull, Conflict where version and digest disagree.
    """
    try:
        wanted = reference.parse(ref)
    except SpecError as error:
        raise BadRequest.from_spec(error) from None
    version = _pick(wanted, viewer)
    components = versions.components_of(version.digest, wanted.folder)
    return _shape(version, components, _compatibility(version, components, base, viewer), viewer)


def _pick(wanted: reference.Reference, viewer: Viewer) -> Version:
    name = wanted.version or (f"sha256:{wanted.digest}" if wanted.digest else "latest")
    version = versions.get(wanted.namespace, wanted.name, name, viewer)
    if wanted.digest and version.digest != wanted.digest:
        raise Conflict(
            f"{versions.ref_of(version)} is sha256:{version.digest}, not sha256:{wanted.digest}.",
            hint="Leave out the version to pull by digest, or the digest to take what the version is now.",
            code="digest_mismatch",
        )
    if version.status not in (Version.Status.PUBLISHED, Version.Status.HOSTED) or version.quarantined_at:
        raise NotPublished(
            f"{versions.ref_of(version)} is not published (its status is {version.status}).",
            hint=f"See why: hub report {versions.ref_of(version)}",
        )
    if version.yanked_at and not wanted.digest:
        raise Yanked(
            f"{versions.ref_of(version)} was yanked: {version.yank_reason}",
            hint=f"Take another version, or pin it: {versions.ref_of(version)}@sha256:{version.digest}",
        )
    return version


def _compatibility(
    version: Version, components: list[Component], base: str | None, viewer: Viewer
) -> shapes.Compatibility | None:
    if not base:
        return None
    other = base_models.find(base, viewer)
    row = located.find(base, viewer) if other is None else None
    if row is not None:
        return fits.of_version_on_located(version, components, row, viewer)
    if other is None:
        reason = f"This hub does not know {base}. Register it to have it compared: hub base add DIR"
        return {"level": "unknown", "reasons": [reason], "evidence": None}
    return fits.of_version(version, components, other, viewer)


def _shape(
    version: Version, components: list[Component], verdict: shapes.Compatibility | None, viewer: Viewer
) -> shapes.Resolved:
    files = blobs.files_of(version.digest or "")
    small = blobs.inline(files, each=settings.HUB_INLINE_FILE_BYTES, together=INLINE_TOGETHER)
    facts: dict[str, Any] = versions.facts_of(components)
    return {
        "ref": f"{versions.ref_of(version)}@sha256:{version.digest}",
        "namespace": version.adapter.namespace.name,
        "name": version.adapter.name,
        "version": versions.name_of(version),
        "digest": f"sha256:{version.digest}",
        "adapter_digest": f"sha256:{version.adapter_digest}",
        "status": version.status,
        "yanked": versions.yank_of(version),
        "regressed": versions.regression_of(version),
        "base_model": _base(version, components, viewer),
        "trained_on": base_models.trained_on(facts, version.base_model if version.base_fingerprint else None, viewer),
        "task": facts.get("task") or "",
        "method": components[0].method if components else "",
        "labels": facts.get("labels"),
        "components": [versions.component_shape(component) for component in components],
        "compatibility": verdict,
        "files": [{**versions.file_shape(version, row), "inline": small.get(row.path)} for row in files],
        "report_url": versions.report_url(version),
    }


def _base(version: Version, found: list[Component], viewer: Viewer) -> shapes.ResolvedBase | None:
    """What a client needs to know the base model again; how it is called and where it lies only where that may be known."""
    base = version.base_model if version.base_fingerprint else None
    if base is None:
        return None
    seen = base_models.sees(viewer, base)
    return {
        "fingerprint": base.pk,
        "name": base_models.name_of(base) if seen else "",
        "state": base.state,
        "roots": base.roots,
        "architecture": base.architecture,
        "tokenizer_digest": base.tokenizer_digest,
        "reads_pooler": any(spec.Component.from_json(row.facts["component"]).reads_pooler for row in found),
        "locations": base_models.locations(base) if seen else [],
    }
