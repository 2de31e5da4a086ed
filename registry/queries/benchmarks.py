"""Benchmarks: by name (the newest of a name is what the name means) or by digest."""

from typing import Any

from django.db.models import Q

from hub.spec import benchmark as spec
from registry.errors import NotFound
from registry.models import Benchmark, Blob, Namespace, Visibility
from registry.models.benchmarks import BenchmarkQuerySet
from registry.queries import shapes
from registry.queries.viewers import Viewer

PAGE = 200


def visible(viewer: Viewer) -> BenchmarkQuerySet:
    """Return the benchmarks that this viewer may know of."""
    if viewer.is_admin:
        return Benchmark.objects.all()
    seen = Q(visibility=Visibility.PUBLIC)
    if viewer.person is not None:
        seen |= Q(owner__in=Namespace.objects.of(viewer.person))
    return Benchmark.objects.filter(seen)


def find(name: str, viewer: Viewer) -> Benchmark | None:
    """Return the benchmark that a name or `sha256:<hex>` means, None where there is none for this viewer."""
    rows = visible(viewer).select_related("owner")
    digest = name.removeprefix("sha256:")
    return rows.filter(pk=digest).first() if digest != name else rows.filter(name=name).newest_first().first()


def get(name: str, viewer: Viewer) -> Benchmark:
    """Return the benchmark that a name or digest means. Raises NotFound."""
    found = find(name, viewer)
    if found is None:
        raise NotFound(f"There is no benchmark {name!r}.", hint="List them: hub benchmark ls.")
    return found


def listing(viewer: Viewer, task: str = "") -> list[shapes.BenchmarkShape]:
    """Return the newest benchmark of each name, by name."""
    rows = visible(viewer).filter(task=task) if task else visible(viewer)
    newest = rows.order_by("name", "-created_at", "digest").distinct("name")[:PAGE]
    return [shape(benchmark) for benchmark in newest]


def file_of(digest: str, name: str, viewer: Viewer) -> Blob:
    """Return the blob of a benchmark's data file. Raises NotFound."""
    sha256 = get(f"sha256:{digest.removeprefix('sha256:')}", viewer).files.get(name)
    blob = Blob.objects.live().filter(pk=sha256).first() if sha256 else None
    if blob is None:
        raise NotFound(f"The benchmark has no file {name!r}.")
    return blob


def to_spec(benchmark: Benchmark) -> spec.Benchmark:
    """Return the value that hub.spec works on."""
    return spec.from_json(benchmark.definition)


def shape(benchmark: Benchmark, url: str = "/api/v1/benchmarks/sha256:{digest}/files/{name}") -> shapes.BenchmarkShape:
    """Return a benchmark as the API shows it; `url` says where its files lie for the one who asks."""
    value = to_spec(benchmark)
    sizes = dict(Blob.objects.filter(pk__in=benchmark.files.values()).values_list("sha256", "size"))
    files: list[shapes.FileShape] = [
        {
            "path": name,
            "sha256": sha256,
            "size": sizes.get(sha256, 0),
            "url": url.format(digest=benchmark.pk, name=name, sha256=sha256),
        }
        for name, sha256 in sorted(benchmark.files.items())
    ]
    return {
        "name": benchmark.name,
        "digest": f"sha256:{benchmark.pk}",
        "task": benchmark.task,
        "metric": benchmark.metric,
        "direction": benchmark.direction,
        "visibility": benchmark.visibility,
        "labels": list(value.labels),
        "max_length": value.max_length,
        "rows": benchmark.rows,
        "definition": _definition(benchmark.definition),
        "files": files,
        "created_at": benchmark.created_at,
    }


def _definition(definition: Any) -> dict[str, Any]:
    return dict(definition)
