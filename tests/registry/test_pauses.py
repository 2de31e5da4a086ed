"""A run that failed pauses before it is tried again; one that ended in an error is tried again when an operator says so."""

import uuid
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from registry.models import Event, Outbox, Run, Upload, Version
from registry.queries import runs as queue
from registry.queries import viewers
from registry.services import evidence, ingest, leases, relay
from registry.services import requeue as requeueing
from registry.services.pauses import pause_after
from tests.registry import adapters
from tests.registry import factories as make
from tests.registry.cast import Caller, report_for
from tests.registry.workers import ERROR, ask, push, take

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(owner, base, benchmark) -> Run:
    """A run that waits, of acme/tone-bert:1."""
    return push(owner)


@pytest.fixture
def pauses(settings) -> None:
    """The pauses of a real hub."""
    settings.HUB_RETRY_SECONDS = 5


def pause_of(run: Run) -> float:
    """Return the seconds for which a run may not be claimed, from the moment at which it was queued again."""
    run.refresh_from_db()
    if run.not_before is None:
        return 0
    return round((run.not_before - Event.objects.filter(subject=str(run.pk)).latest("pk").at).total_seconds())


def later(run: Run) -> None:
    """Let the pause of a run be over."""
    Run.objects.filter(pk=run.pk).update(not_before=timezone.now() - timedelta(seconds=1))


# --- Pauses -----------------------------------------------------------------------------------------------------------
def test_each_pause_is_twice_as_long_up_to_five_minutes(pauses):
    assert [pause_after(n) for n in (1, 2, 3, 6, 7, 8, 1000)] == [5, 10, 20, 160, 300, 300, 300]


def test_after_an_attempt_a_run_is_given_to_nobody_for_a_while(worker, run, pauses):
    take(worker, run.base_fingerprint).report(ERROR)
    assert pause_of(run) == 5
    assert ask(worker, run.base_fingerprint).status == 204
    assert ask(worker, run.base_fingerprint, run=str(run.pk)).status == 204
    later(run)
    assert take(worker, run.base_fingerprint).id == str(run.pk)
    assert pause_of(run) == 0
    Run.objects.filter(pk=run.pk).update(lease_expires_at=timezone.now())
    relay.tick()
    assert pause_of(run) == 10


def test_a_broken_worker_uses_up_one_attempt_of_each_run_and_no_more(owner, worker, base, benchmark, settings):
    settings.HUB_RETRY_SECONDS = 600
    for n in range(3):
        push(owner, ref=f"acme/tone-{n}", value=0.1 * (n + 1))
    for _ in range(9):
        if ask(worker, base.pk).status == 200:
            Run.objects.filter(status="leased").update(lease_expires_at=timezone.now())
            leases.release_expired()
    assert set(Run.objects.values_list("status", "takeovers")) == {("queued", 1)}


def test_the_control_without_pauses_a_broken_worker_ends_a_run(worker, run):
    while ask(worker, run.base_fingerprint).status == 200:
        Run.objects.filter(status="leased").update(lease_expires_at=timezone.now())
        leases.release_expired()
    run.refresh_from_db()
    assert run.status == "error"


def test_a_worker_that_is_restarted_gets_its_run_at_once_the_first_time(worker, run, pauses):
    take(worker, run.base_fingerprint)
    assert take(worker, run.base_fingerprint, starting=True).id == str(run.pk)
    assert ask(worker, run.base_fingerprint, starting=True).status == 204
    assert pause_of(run) == 10


def test_what_pauses_is_hinted_at_when_its_time_has_come(worker, run, pauses):
    before = Outbox.objects.count()
    take(worker, run.base_fingerprint).report(ERROR)
    assert Outbox.objects.count() == before
    assert queue.waiting(0, 10) == []
    later(run)
    assert queue.waiting(0, 10) == [run.pk]


def test_what_pauses_is_not_ahead_of_others_in_the_queue(owner, worker, run, pauses):
    take(worker, run.base_fingerprint).report(ERROR)
    push(owner, value=0.5)
    assert owner.get("adapters/acme/tone-bert/versions/2")["queue"]["position"] == 0
    later(run)
    assert owner.get("adapters/acme/tone-bert/versions/2")["queue"]["position"] == 1


def test_the_pause_runs_by_the_clock_of_the_database(worker, run, pauses, monkeypatch):
    real = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real() - timedelta(hours=1))
    take(worker, run.base_fingerprint).report(ERROR)
    monkeypatch.undo()
    assert pause_of(run) == 5


# --- Requeue ----------------------------------------------------------------------------------------------------------
def fail(worker: Caller, run: Run) -> None:
    """Let a run end in an error."""
    for _ in range(3):
        take(worker, run.base_fingerprint).report(ERROR)
    run.refresh_from_db()
    assert run.status == "error"


def requeue(what: object) -> str:
    """Call the command and return what it printed."""
    out = StringIO()
    call_command("requeue", str(what), stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("by", ["run", "version", "newest"])
def test_the_command_lets_a_run_wait_again_by_its_id_or_by_its_version(worker, run, by):
    fail(worker, run)
    what = {"run": run.pk, "version": "acme/tone-bert:1", "newest": "acme/tone-bert"}[by]
    assert requeue(what) == requeue(what) == f"run {run.pk} is queued\n"
    assert Version.objects.get().stage == "queued"
    assert [(e.actor, e.kind) for e in Event.objects.filter(kind="run.requeued")] == [("console", "run.requeued")]
    assert take(worker, run.base_fingerprint).report(report_for(run)).status == 200
    assert Version.objects.get().status == "published"


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (uuid.uuid4(), "There is no run"),
        ("acme/nothing:1", "There is no adapter"),
        ("acme/tone-bert:9", "has no version '9'"),
        ("no reference at all", "neither the id of a run nor a reference"),
    ],
)
def test_the_command_says_what_it_cannot_find(run, what, told):
    with pytest.raises(CommandError, match=told):
        requeue(what)


def test_a_run_that_was_judged_is_not_judged_again(worker, run):
    take(worker, run.base_fingerprint).report(report_for(run))
    for what in (run.pk, "acme/tone-bert:1"):
        with pytest.raises(CommandError, match="it was judged"):
            requeue(what)


def test_a_version_that_its_files_rejected_is_not_judged_again(owner, base):
    owner.push("acme/tone-bert", adapters.lora(hub={"base": "no/such"}))
    with pytest.raises(CommandError, match="rejected"):
        requeue("acme/tone-bert:1")


def test_where_another_run_has_the_question_by_now_the_command_names_it(owner, worker, run):
    fail(worker, run)
    other = push(owner)
    assert other.pk != run.pk
    with pytest.raises(CommandError, match=f"being judged already, by the run {other.pk}"):
        requeue(run.pk)
    run.refresh_from_db()
    assert run.status == "error"


def test_requeue_is_for_operators(owner, run):
    for viewer in (viewers.ANYBODY, owner.viewer):
        with pytest.raises(Exception, match="token"):
            requeueing.requeue(viewer=viewer, what=str(run.pk))


def test_the_command_lets_an_ingest_begin_again_that_the_hub_gave_up(owner, base, settings, monkeypatch):
    settings.HUB_INLINE_INGEST_BYTES = 0
    owner.push("acme/tone-bert", adapters.lora())
    upload = Upload.objects.get()
    monkeypatch.setattr(ingest, "_inspect", lambda *given: 1 / 0)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            ingest.run(upload_id=upload.pk)
    assert Version.objects.get().stage == "error"
    monkeypatch.undo()
    assert requeue("acme/tone-bert:1") == requeue("acme/tone-bert:1") == "acme/tone-bert:1 waits to be ingested\n"
    assert owner.get("adapters/acme/tone-bert/versions/1/report")["verdict"] is None
    assert ingest.run(upload_id=upload.pk)
    assert (Version.objects.get().stage, Upload.objects.get().state) == ("queued", "done")


# --- The run that answers a question ----------------------------------------------------------------------------------
def test_a_run_that_ends_in_an_error_while_it_is_looked_for_is_replaced(run, base, monkeypatch):
    """Between the insert that found the key taken and the look at who has it, that run may be over."""
    plan = evidence.Plan(definition=run.plan, digest=run.plan_digest, benchmarks=())
    real = Run.objects.bulk_create

    def late(rows, **options):
        monkeypatch.setattr(Run.objects, "bulk_create", real)
        made = real(rows, **options)
        Run.objects.filter(pk=run.pk).update(status="error")
        return made

    monkeypatch.setattr(Run.objects, "bulk_create", late)
    found = evidence.run_for(manifest=run.manifest, base=base, plan=plan)
    assert (found.status, found.pk != run.pk) == ("queued", True)


def test_the_specimens_are_what_they_seem():
    assert make.make_run().not_before is None
