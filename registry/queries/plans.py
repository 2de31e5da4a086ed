"""What a run will have to answer: benchmarks and gates, resolved for one push."""

import dataclasses
from typing import Any

from hub.spec import card, manifest
from hub.spec import policy as spec
from hub.spec.errors import Collector
from registry.models import Adapter, Benchmark, Score, Version
from registry.queries import benchmarks, policies
from registry.queries.viewers import Viewer


@dataclasses.dataclass(frozen=True)
class Plan:
    """The definition that a run answers, its digest, and the benchmarks it names."""

    definition: dict[str, Any]
    digest: str
    benchmarks: tuple[Benchmark, ...]


def chosen(adapter: Adapter, asked: tuple[str, ...], task: str | None, viewer: Viewer) -> tuple[Benchmark, ...]:
    """Return the benchmarks a push must run: those it asks for and those its namespace's policy requires.

    A publisher may add benchmarks, never remove one: a required benchmark is left out only where the adapter's head
    proves another ML task (`task`), never because a file says so. Raises SpecError naming every benchmark that is
    unknown or of another task.
    """
    collector = Collector()
    found: dict[str, Benchmark] = {}
    for name in asked:
        benchmark = benchmarks.find(name, viewer)
        if benchmark is None:
            collector.problem(
                "unknown_benchmark",
                name,
                "this hub has no such benchmark",
                "hub benchmark ls; hub benchmark add FILE.yaml",
                "benchmark",
            )
        elif task and benchmark.task != task:
            message = f"is for the task {benchmark.task}, the adapter for {task}"
            collector.problem(
                "benchmark_task", name, message, "choose benchmarks of the adapter's ML task", "benchmark"
            )
        else:
            found[benchmark.pk] = benchmark
    collector.finalize()
    return tuple(found.values()) + _required(adapter, task, viewer, set(found))


def _required(adapter: Adapter, task: str | None, viewer: Viewer, known: set[str]) -> tuple[Benchmark, ...]:
    """The policy's benchmarks, whoever may see them: a private one still has to be passed."""
    names = policies.of(adapter.namespace).required
    rows = [Benchmark.objects.filter(name=name).newest_first().first() for name in names]
    return tuple(row for row in rows if row is not None and row.pk not in known and task in (None, row.task))


def make(adapter: Adapter, adapter_digest: str, found: tuple[Benchmark, ...], facts: card.Facts) -> Plan:
    """Return the plan of a push: its benchmarks, and the gates of its namespace's policy resolved for it.

    Label names that only the README gives are part of the plan: the adapter digest leaves the README out, so a push
    that swapped them would otherwise be published on the evidence of the push before.
    """
    gates = policies.of(adapter.namespace).resolve(_against(adapter, adapter_digest, found))
    definition = spec.plan([benchmark.pk for benchmark in found], gates)
    source = facts.sources.get("labels")
    if facts.labels is not None and source is not None and not manifest.is_evidence(source):
        definition["labels"] = list(facts.labels)
    return Plan(definition, spec.plan_digest(definition), found)


def _against(adapter: Adapter, adapter_digest: str, found: tuple[Benchmark, ...]) -> str | None:
    """Return the adapter digest that `max_drop` compares with: the newest published one that is not this very one.

    So a push that changes the README only has the plan of the push before, and its evidence. Where that version was
    measured on none of these benchmarks there is nothing to compare.
    """
    published = Version.objects.published().offered().filter(adapter=adapter)
    previous = published.exclude(adapter_digest=adapter_digest).newest_first().first()
    if previous is None or previous.run_id is None:
        return None
    measured = Score.objects.filter(run=previous.run_id, benchmark__in=[row.pk for row in found])
    return previous.adapter_digest if measured.exists() else None
