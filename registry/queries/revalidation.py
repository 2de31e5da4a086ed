"""Asking again: which published versions stand on which runs, and what came of judging them anew."""

from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from hub.spec import policy
from registry.models import Run, Version
from registry.queries import base_models, benchmarks
from registry.queries.viewers import Viewer

LIVE = (Run.Status.QUEUED, Run.Status.LEASED)
JUDGED = (Run.Status.PASSED, Run.Status.FAILED)


def due(*, viewer: Viewer, base: str = "", benchmark: str = "") -> QuerySet[Run]:
    """Return the runs that published versions stand on and that nobody repeats just now, oldest first.

    `base` narrows them to a base model (name or fingerprint), `benchmark` to those that ran it (name or digest). Raises
    NotFound for either that this hub does not have.
    """
    standing = Version.objects.published().filter(run=OuterRef("pk"), quarantined_at=None)
    repeated = Run.objects.filter(repeats=OuterRef("pk"), status__in=LIVE)
    found = Run.objects.filter(Exists(standing), ~Exists(repeated), repeats=None, status=Run.Status.PASSED)
    if base:
        found = found.filter(base_fingerprint=base_models.get(base, viewer).pk)
    if benchmark:
        found = found.filter(pk__in=_ran(benchmark, viewer))
    return found.order_by("created_at", "pk")


def _ran(benchmark: str, viewer: Viewer) -> QuerySet[Run, Any]:
    """The runs that were scored on a benchmark, under any of its digests where it is given by name."""
    row = benchmarks.get(benchmark, viewer)
    asked = {"scores__benchmark__name": row.name} if benchmark == row.name else {"scores__benchmark": row.pk}
    return Run.objects.filter(**asked).values("pk")


def judged(run: Run) -> Run | None:
    """Return the newest judged repetition of a run, None where it was never judged again."""
    return run.repetitions.filter(status__in=JUDGED).order_by("-finished_at", "-pk").first()


def newest(version: Version) -> dict[str, Any] | None:
    """Return what came of judging a published version again, in words that tell nothing of a private benchmark.

    {"at", "verdict", "same_result": whether the result digest is the published one, "environment": what ran otherwise,
    "protocol": [of the publication, of today]}: where those are two, other rules may be why the verdict is another.
    """
    if version.run is None or version.status != Version.Status.PUBLISHED:
        return None
    again = judged(version.run)
    if again is None:
        return None
    before, now = ((run.report or {}).get("environment") or {} for run in (version.run, again))
    return {
        "at": again.finished_at,
        "verdict": str(again.status),
        "same_result": again.result_digest == version.run.result_digest,
        "protocol": [policy.protocol_of(run.plan) for run in (version.run, again)],
        "environment": {
            key: [before.get(key), now.get(key)] for key in {**before, **now} if before.get(key) != now.get(key)
        },
    }
