"""How adapters look in lists and in full."""

from collections.abc import Iterable

from django.db.models import Sum

from registry.models import Adapter, Alias, Component, Score, Version
from registry.queries import base_models, benchmarks, blobs, shapes, versions
from registry.queries.viewers import Viewer
from registry.queries.visibility import get_adapter, visible_versions

README_BYTES = 1 << 20


def summaries(adapters: Iterable[Adapter], viewer: Viewer) -> list[shapes.Summary]:
    """Return adapters as a list shows them, in the given order; a fixed number of queries for any length."""
    rows = list(adapters)
    newest = versions.latest_of(rows)
    scores = scores_of([version for version in newest.values() if version.run_id], viewer)
    totals = parameters_of({version.digest for version in newest.values() if version.digest})
    bases = base_models.refs({row.base_fingerprint for row in rows if row.base_fingerprint}, viewer)
    return [
        {
            **_facts(row),
            "base_model": bases.get(row.base_fingerprint or ""),
            "latest": _latest(newest[row.pk], scores, totals) if row.pk in newest else None,
        }
        for row in rows
    ]


def _facts(row: Adapter) -> shapes.Summary:
    ref = f"{row.namespace.name}/{row.name}"
    return {
        "namespace": row.namespace.name,
        "name": row.name,
        "ref": ref,
        "visibility": row.visibility,
        "description": row.description,
        "task": row.task,
        "method": row.method,
        "base_model": None,
        "latest": None,
        "pulls": row.pulls,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "url": f"/a/{ref}",
    }


def _latest(version: Version, scores: dict[str, list[shapes.ScoreShort]], totals: dict[str, int]) -> shapes.Latest:
    return {
        "version": versions.name_of(version),
        "digest": f"sha256:{version.digest}",
        "status": version.status,
        "published_at": version.published_at,
        "size": version.manifest.size if version.manifest else 0,
        "parameters": totals.get(version.digest or "", 0),
        "regressed": versions.regression_of(version),
        "scores": scores.get(str(version.run_id), []),
    }


def scores_of(rows: Iterable[Version], viewer: Viewer) -> dict[str, list[shapes.ScoreShort]]:
    """Return the scores of these versions' runs on benchmarks that the viewer may see, by run id."""
    found: dict[str, list[shapes.ScoreShort]] = {}
    runs = {row.run_id for row in rows}
    seen = Score.objects.filter(run__in=runs, benchmark__in=benchmarks.visible(viewer))
    for score in seen.select_related("benchmark").order_by("pk"):
        found.setdefault(str(score.run_id), []).append(score_short(score))
    return found


def score_short(score: Score) -> shapes.ScoreShort:
    """Return a score as lists show it."""
    interval = None if score.low is None or score.high is None else [score.low, score.high]
    return {
        "benchmark": score.benchmark.name,
        "digest": f"sha256:{score.benchmark_id}",
        "metric": score.metric,
        "direction": score.direction,
        "value": score.value,
        "interval": interval,
        "n": score.n,
        "gain": score.gain,
        "folder": score.component_folder,
    }


def parameters_of(digests: set[str]) -> dict[str, int]:
    """Return how many parameters the adapters of these manifests have together, heads not counted."""
    sums = Component.objects.filter(manifest__in=digests).values("manifest").annotate(total=Sum("parameters"))
    return {row["manifest"]: row["total"] or 0 for row in sums}


def detail(namespace: str, name: str, viewer: Viewer) -> shapes.AdapterDetail:
    """Return an adapter with its versions, aliases and README. Raises NotFound."""
    adapter = get_adapter(namespace, name, viewer)
    seen = visible_versions(adapter, viewer)
    shown = seen.newest_first().select_related("manifest", "run", "adapter__namespace")[: versions.PAGE]
    aliases = Alias.objects.filter(adapter=adapter, version__in=seen).select_related("version").order_by("name")
    return {
        **summaries([adapter], viewer)[0],
        "versions": [versions.short(version) for version in shown],
        "aliases": [{"name": alias.name, "version": versions.name_of(alias.version)} for alias in aliases],
        "readme": readme(adapter, viewer),
    }


def readme(adapter: Adapter, viewer: Viewer) -> str | None:
    """Return the README of the version that `latest` names (members: else of the newest), None where there is none."""
    offered = versions.latest_of([adapter]).get(adapter.pk)
    version = offered or visible_versions(adapter, viewer).exclude(digest=None).newest_first().first()
    return blobs.text(version.digest, "README.md", README_BYTES) if version and version.digest else None
