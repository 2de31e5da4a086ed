"""Judging published versions again, under the programs and machines of today.

What no longer passes is flagged `regressed` and stays published: people stand on it, and whoever withdraws it should know
why. A later pass takes the flag back. A repetition waits behind every other run.
"""

import uuid
from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from hub.spec import policy
from registry.errors import Invalid
from registry.models import Run, Scope, Version
from registry.queries import revalidation, versions, viewers
from registry.queries.viewers import Viewer
from registry.services import events, outbox

PRIORITY = 1


@transaction.atomic
def queue(
    *, viewer: Viewer, everything: bool = False, base: str = "", benchmark: str = "", sample: int | None = None
) -> int:
    """Queue a repetition of the runs that published versions stand on; return how many were queued.

    One of `everything`, `base`, `benchmark` and `sample` (so many of them, by lot) has to be given; the last three go
    together. What waits or is being repeated already is left out, so that asking twice changes nothing. Raises Forbidden
    without the scope `admin`, NotFound, Invalid.
    """
    viewers.require_scope(viewer, Scope.ADMIN)
    if not (everything or base or benchmark or sample is not None):
        raise Invalid("Say what to judge again.", hint="--all, --base NAME, --benchmark NAME, or --sample N")
    if sample is not None and sample < 1:
        raise Invalid(f"A sample of {sample} is none.", hint="--sample 10")
    found = revalidation.due(viewer=viewer, base=base, benchmark=benchmark)
    chosen = list(found if sample is None else found.order_by("?")[:sample])
    there = repeat(runs=chosen)
    events.record(actor=viewer.name, kind="runs.repeated", subject=base or benchmark or "all", runs=len(there))
    return len(there)


def repeat(*, runs: Sequence[Run]) -> list[uuid.UUID]:
    """Queue a repetition of each of these runs that is not being repeated; return the ids of those that were queued.

    Called in a transaction of the caller's.
    """
    made = Run.objects.bulk_create([_repetition(run) for run in runs], ignore_conflicts=True)
    there = list(Run.objects.filter(pk__in=[run.pk for run in made]).values_list("pk", flat=True))
    for pk in there:
        outbox.hint_run(pk)
    return there


def _repetition(run: Run) -> Run:
    """What a run asked, by the rules of today: nobody judges by others, and what they make of it is worth knowing."""
    plan = policy.renewed(run.plan)
    return Run(
        adapter_digest=run.adapter_digest,
        base_fingerprint=run.base_fingerprint,
        plan_digest=policy.plan_digest(plan),
        plan=plan,
        manifest_id=run.manifest_id,
        repeats=run,
        priority=PRIORITY,
    )


@transaction.atomic
def settle(*, run: Run) -> int:
    """Flag the versions that stand on the run which this judged one repeats, or take their flag back; return how many."""
    standing = Version.objects.select_for_update(of=("self",)).published().filter(run=run.repeats_id)
    rows = list(standing.select_related("adapter__namespace").order_by("adapter", "pk"))
    return sum(_flag(version, run) for version in rows)


def follow(*, version: Version, run: Run) -> None:
    """Flag a version that is published on a run which has failed since, when it was judged again."""
    again = revalidation.judged(run)
    if again is not None:
        _flag(version, again)


def _flag(version: Version, again: Run) -> bool:
    failed = again.status == Run.Status.FAILED
    if failed == (version.regressed_at is not None):
        return False
    version.regressed_at = timezone.now() if failed else None
    version.save(update_fields=["regressed_at"])
    events.record(
        actor=again.worker,
        kind="version.regressed" if failed else "version.recovered",
        subject=versions.ref_of(version),
        run=str(again.pk),
    )
    return True
