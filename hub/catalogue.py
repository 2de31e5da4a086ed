"""Adapters and versions by what one knows of them: a search, a reference, the newest."""

from collections.abc import Mapping
from typing import Any

from hub import bases, errors, fitting, retrieval, suggestions, verdicts
from hub.spec.reference import Reference
from hub.transfer.wire import Wire
from hub.verdicts import Report, segment, segment_path, version_path


def search(wire: Wire, base: bases.Meant | None, params: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
    """Adapters that match, those that fit `base` where one is given, known to the hub or not. Raises NotFound."""
    if base is None:
        return _pages(wire, "adapters", params, limit)
    try:
        with suggestions.about_name(wire, base.word, "base-models"):
            return _pages(wire, f"base-models/{segment_path(base.word)}/adapters", params, limit)
    except errors.NotFound:
        if base.base is None:
            raise
    return fitting.search(wire, base.base, params, limit)


def _pages(wire: Wire, path: str, params: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    page = wire.request("GET", path, params={**params, "limit": min(limit, 50)}).data
    while True:
        found += page["results"]
        if len(found) >= limit or not page.get("next"):
            return found[:limit]
        page = wire.request("GET", page["next"]).data


def info(wire: Wire, ref: str) -> dict[str, Any]:
    """An adapter, or the version that the reference names. Raises NotFound."""
    meant = retrieval.parse(ref)
    with suggestions.about(wire, meant):
        if named(meant):
            return dict(wire.request("GET", version_path(meant.repo, named(meant))).data)
        return dict(wire.request("GET", _path(meant)).data)


def report(wire: Wire, ref: str) -> Report:
    """The report of the version that the reference names, else of `latest`, else of the newest. Raises NotFound."""
    meant = retrieval.parse(ref)
    with suggestions.about(wire, meant):
        if named(meant):
            return verdicts.fetch(wire, meant.repo, named(meant))
        try:
            return verdicts.fetch(wire, meant.repo, "latest")
        except (errors.NotFound, errors.Yanked):
            return verdicts.fetch(wire, meant.repo, newest(wire, meant))


def named(meant: Reference) -> str:
    """The version that a reference names, as the API's paths want it; "" for none."""
    return f"sha256:{meant.digest}" if meant.digest else meant.version or ""


def newest(wire: Wire, meant: Reference) -> str:
    """The number of the newest version, whatever its status. Raises NotFound where there is none."""
    found = wire.request("GET", f"{_path(meant)}/versions").data["results"]
    if not found:
        raise errors.NotFound(f"{meant.repo} has no version yet")
    return str(found[0]["number"])


def _path(meant: Reference) -> str:
    return f"adapters/{segment(meant.namespace)}/{segment(meant.name)}"
