"""Benchmarks: by name (the newest of a name is what the name means) or by digest."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import Q

from hub.spec import benchmark as spec
from registry.errors import NotFound
from registry.models import Benchmark, Blob, Event, Namespace, Score, Visibility
from registry.models.benchmarks import BenchmarkQuerySet
from registry.queries import benchmark_shapes, shapes, viewers
from registry.queries.viewers import Viewer

PAGE = 200
UNFIT = "benchmark.unfit"
"""Kind of the event that a run has ended because this benchmark could not be made ready."""


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


def unknown(names: Iterable[str], viewer: Viewer) -> list[str]:
    """Return those of these names and `sha256:<hex>` that mean no benchmark for this viewer; one query for all."""
    wanted = list(names)
    if not wanted:
        return []
    digests = [name.removeprefix("sha256:") for name in wanted if name.startswith("sha256:")]
    rows = visible(viewer).filter(Q(name__in=wanted) | Q(pk__in=digests)).values_list("name", "pk")
    known = {word for name, digest in rows for word in (name, f"sha256:{digest}")}
    return [name for name in wanted if name not in known]


def get(name: str, viewer: Viewer) -> Benchmark:
    """Return the benchmark that a name or digest means. Raises NotFound."""
    found = find(name, viewer)
    if found is None:
        raise NotFound(f"There is no benchmark {name!r}.", hint="List them: hub benchmark ls.")
    return found


def listing(viewer: Viewer, task: str = "") -> list[benchmark_shapes.BenchmarkShape]:
    """Return the newest benchmark of each name, by name."""
    rows = visible(viewer).filter(task=task) if task else visible(viewer)
    newest = list(rows.order_by("name", "-created_at", "digest").distinct("name")[:PAGE])
    sizes = sizes_of(newest)
    return [shape(benchmark, sizes=sizes) for benchmark in newest]


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


def sizes_of(rows: Iterable[Benchmark]) -> dict[str, int]:
    """Return the sizes in bytes of the data files of these benchmarks, by SHA-256; one query for all."""
    wanted = {sha256 for row in rows for sha256 in row.files.values()}
    return dict(Blob.objects.filter(pk__in=wanted).values_list("sha256", "size"))


def shape(benchmark: Benchmark, *, sizes: Mapping[str, int] | None = None) -> benchmark_shapes.BenchmarkShape:
    """Return a benchmark as the API shows it; `sizes` saves a query to who shows many."""
    value = to_spec(benchmark)
    sizes = sizes_of([benchmark]) if sizes is None else sizes
    files: list[shapes.FileShape] = [
        {
            "path": name,
            "sha256": sha256,
            "size": sizes.get(sha256, 0),
            "url": f"/api/v1/benchmarks/sha256:{benchmark.pk}/files/{name}",
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


def detail(benchmark: Benchmark, viewer: Viewer) -> benchmark_shapes.BenchmarkDetail:
    """Return a benchmark with what its owner's side should hear of it."""
    return {**shape(benchmark), "trouble": _trouble(benchmark) if is_owners(benchmark, viewer) else None}


def is_owners(benchmark: Benchmark, viewer: Viewer) -> bool:
    """Whether the viewer belongs to the side that owns a benchmark."""
    return viewer.is_admin or (benchmark.owner is not None and viewers.is_member(viewer, benchmark.owner))


def _trouble(benchmark: Benchmark) -> benchmark_shapes.Trouble | None:
    """Return why runs could not be judged on it, unless it was scored since."""
    told = Event.objects.filter(kind=UNFIT, subject=benchmark.name, data__digest=benchmark.pk).order_by("-pk").first()
    if told is None or Score.objects.filter(benchmark=benchmark, run__finished_at__gt=told.at).exists():
        return None
    return {"at": told.at, "error": str(told.data.get("error", ""))}


def _definition(definition: Any) -> dict[str, Any]:
    return dict(definition)
