"""Runs that wait under rules of before are planned anew under those of today: after an update nobody judges by the old ones.

What a plan asks stays: benchmarks, gates, label names. Only the protocol is another, and with it the digest of the plan, which
is part of the key of a run. So that run is superseded, and what waits for it waits for the one with the new key.
"""

import uuid

from django.db import transaction

from hub.spec import policy
from registry.models import Run
from registry.queries import runs
from registry.queries.plans import Plan
from registry.services import attempts, events, evidence, revalidation


def renew(*, limit: int = 100) -> int:
    """Plan anew what waits under a protocol of before; return how many. For the relay.

    A transaction each: who reports a run locks its row before those of versions, and so does this.
    """
    return sum(_renew(pk) for pk in runs.outdated(limit))


@transaction.atomic
def _renew(pk: uuid.UUID) -> bool:
    run = Run.objects.select_for_update(skip_locked=True).filter(pk=pk, status=Run.Status.QUEUED).first()
    if run is None:  # claimed meanwhile, or another relay is at it
        return False
    run.status = Run.Status.SUPERSEDED
    attempts.end(run)
    by = _asked_again(run) if run.repeats is None else revalidation.repeat(runs=[run.repeats])[0]
    events.record(actor="", kind="run.superseded", subject=str(run.pk), by=str(by))
    return True


def _asked_again(run: Run) -> uuid.UUID:
    """Let what waits for a run wait for the one that asks the same under the rules of today; return which."""
    definition = policy.renewed(run.plan)
    plan = Plan(definition, policy.plan_digest(definition), tuple(runs.benchmarks_of(run)))
    found = evidence.run_for(manifest=run.manifest, base=run.base_model, plan=plan)
    for version in evidence.waiting_for(run):
        evidence.wait_for(version=version, run=found)
    return found.pk
