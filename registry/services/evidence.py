"""From a version to its evidence and back: which run judges it, and what the judgement does to it.

Evidence is a passed run for exactly (adapter digest, base fingerprint, plan digest). The same question is never
asked twice: a version whose key was answered before is published or refused at once, one whose key is being
worked on waits for that run.
"""

from django.db import transaction

from registry.models import BaseModel, Run, Version
from registry.queries.plans import Plan
from registry.services import outbox, versions


def ask(*, version: Version, base: BaseModel, plan: Plan) -> Run:
    """Give a version the run that answers its evidence key: a judged one, a live one, or a new one in the queue.

    Called in the transaction that ends the ingest; the new run and its message are written together.
    """
    version.base_fingerprint, version.plan, version.plan_digest = base.pk, plan.definition, plan.digest
    run = _find_or_make(version)
    version.run, version.stage = run, "queued"
    version.save(update_fields=["base_fingerprint", "plan", "plan_digest", "run", "stage"])
    if run.status in (Run.Status.PASSED, Run.Status.FAILED):
        _judge(version, run)
    return run


def _find_or_make(version: Version) -> Run:
    key = (version.adapter_digest or "", version.base_fingerprint or "", version.plan_digest or "")
    wanted = Run(
        adapter_digest=key[0],
        base_fingerprint=key[1],
        plan_digest=key[2],
        plan=version.plan,
        manifest_id=version.digest,
    )
    # Two pushes of the same bytes may come here at once: the unique key lets one in, the other finds it.
    Run.objects.bulk_create([wanted], ignore_conflicts=True)
    run = Run.objects.select_for_update().evidence_for(*key).get()
    if run.pk == wanted.pk:
        outbox.hint_run(run.pk)
    return run


@transaction.atomic
def settle(*, run: Run) -> int:
    """Publish or refuse every version that waits for the answer of this judged run; return how many.

    Called in the transaction that writes the report. A version that waits under the same key for another run (one that
    ended in an error) is settled too. Settling again changes nothing.
    """
    waiting = Version.objects.select_for_update(of=("self",)).filter(
        adapter_digest=run.adapter_digest,
        base_fingerprint=run.base_fingerprint,
        plan_digest=run.plan_digest,
        status=Version.Status.VALIDATING,
    )
    rows = list(waiting.select_related("adapter__namespace", "author").order_by("pk"))
    for version in rows:
        _judge(version, run)
    return len(rows)


def _judge(version: Version, run: Run) -> None:
    if run.status == Run.Status.PASSED:
        versions.publish(version=version, run=run)
    elif run.status == Run.Status.FAILED:
        versions.reject(version=version, run=run)
