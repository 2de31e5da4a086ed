"""From a version to its evidence and back: which run judges it, and what the judgement does to it.

Evidence is a passed run for exactly (adapter digest, base fingerprint, plan digest). The same question is never
asked twice: a version whose key was answered before is published or refused at once, one whose key is being
worked on waits for that run.
"""

from django.db import OperationalError, transaction

from registry.models import BaseModel, Manifest, Run, Version
from registry.queries.plans import Plan
from registry.services import outbox, revalidation, versions

TRIES = 5


def run_for(*, manifest: Manifest, base: BaseModel, plan: Plan) -> Run:
    """Return the run that answers this evidence key, its row locked: a judged one, a live one, or a new one, queued.

    Called in the transaction that ends the ingest, before any adapter or version is locked: whoever reports a run
    locks in this order, too. A new run and its message are written together.
    """
    key = (manifest.adapter_digest, base.pk, plan.digest)
    wanted = Run(
        adapter_digest=key[0], base_fingerprint=key[1], plan_digest=key[2], plan=plan.definition, manifest=manifest
    )
    # Two pushes of the same bytes may come here at once: the unique key lets one in, the other finds it; or finds
    # nothing where that run has ended in an error meanwhile, and the key is free again.
    for _ in range(TRIES):
        Run.objects.bulk_create([wanted], ignore_conflicts=True)
        run = Run.objects.select_for_update().evidence_for(*key).first()
        if run is not None:
            break
    else:
        raise OperationalError(f"the runs of {key} end faster than one can be found")
    if run.pk == wanted.pk:
        outbox.hint_run(run.pk)
    return run


def wait_for(*, version: Version, run: Run) -> None:
    """Let a version wait for its run; where that was judged before, publish or refuse it at once."""
    version.base_fingerprint, version.plan, version.plan_digest = run.base_fingerprint, run.plan, run.plan_digest
    version.run, version.stage = run, "queued"
    version.save(update_fields=["base_fingerprint", "plan", "plan_digest", "run", "stage"])
    _judge(version, run)


@transaction.atomic
def settle(*, run: Run) -> int:
    """Publish or refuse every version that waits for the answer of this judged run; return how many.

    Called in the transaction that writes the report. A version that waits under the same key for another run (one that
    ended in an error) is settled too. Settling again changes nothing.
    """
    rows = waiting_for(run)
    for version in rows:
        _judge(version, run)
    return len(rows)


def waiting_for(run: Run) -> list[Version]:
    """Return the versions that wait for an answer under the key of this run, locked."""
    waiting = Version.objects.select_for_update(of=("self",)).filter(
        adapter_digest=run.adapter_digest,
        base_fingerprint=run.base_fingerprint,
        plan_digest=run.plan_digest,
        status=Version.Status.VALIDATING,
    )
    # By adapter, so that two runs that end at once touch the adapters in the same order.
    return list(waiting.select_related("adapter__namespace", "author").order_by("adapter", "pk"))


def _judge(version: Version, run: Run) -> None:
    if run.status == Run.Status.PASSED:
        versions.publish(version=version, run=run)
        revalidation.follow(version=version, run=run)
    elif run.status == Run.Status.FAILED:
        versions.reject(version=version, run=run)
