"""The rules by which runs are judged change with an update: nobody judges by others than a plan says, and nothing waits for ever."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.template.loader import render_to_string
from django.utils import timezone

from hub.commands import context
from hub.spec import policy
from registry.models import Event, Outbox, Run, Version
from registry.queries.viewers import Viewer
from registry.services import leases, replanning, requeue
from registry.web import reading
from tests.registry import factories as make
from tests.registry.cast import Caller, judge, report_for
from tests.registry.workers import ERROR, ask, at_once, push, take

pytestmark = pytest.mark.django_db
OF_BEFORE = "1"
REPORT = "adapters/acme/tone-bert/versions/1/report"


@pytest.fixture
def before(monkeypatch):
    """Has something done by the rules of before."""

    def done(step):
        with monkeypatch.context() as patched:
            patched.setattr(policy, "PROTOCOL", OF_BEFORE)
            return step()

    return done


@pytest.fixture
def old(owner, base, benchmark, before) -> Run:
    """The run of acme/tone-bert:1, pushed and planned before the update."""
    run = before(lambda: push(owner))
    assert run.plan["protocol"] == OF_BEFORE
    return run


def version() -> Version:
    return Version.objects.get(adapter__name="tone-bert", number=1)


# --- Who may judge --------------------------------------------------------------------------------------------------
def test_a_worker_that_names_no_rules_gets_no_run_under_those_of_today(owner, worker, base, benchmark):
    run = push(owner)
    body = {"worker": "w1", "bases": [base.pk], "run": str(run.pk)}
    for told in ({}, {"protocols": [OF_BEFORE]}, {"protocols": []}):
        assert worker.post("runs/claim", body | told).status == 204
    assert take(worker, base.pk, protocols=[policy.PROTOCOL]).id == str(run.pk), "the control: it does wait"


def test_a_worker_gets_a_run_of_before_only_where_it_judges_by_those_rules(worker, old):
    assert ask(worker, old.base_fingerprint).status == 204
    assert take(worker, old.base_fingerprint, protocols=[OF_BEFORE, policy.PROTOCOL]).id == str(old.pk)


def test_a_head_that_this_worker_cannot_take_is_not_what_others_go_behind(owner, worker, base, benchmark):
    """What has waited long goes before runs on a base that lies open; one by other rules is not in this worker's queue."""
    hour_ago = timezone.now() - timedelta(hours=1)
    make.make_run(base=base, plan=make.make_plan() | {"protocol": OF_BEFORE}, created_at=hour_ago)
    older, younger = push(owner), make.make_run()
    bases, viewer = [base.pk, younger.base_fingerprint], Viewer(worker.user, "worker")
    told = {"viewer": viewer, "worker": "w1", "bases": bases, "held": bases[1:], "protocols": [policy.PROTOCOL]}
    assert [leases.claim(**told)[0] for _ in range(2)] == [younger, older]


@pytest.mark.parametrize("told", [OF_BEFORE, None, "3", 2, ["2"]])
def test_a_report_by_other_rules_than_its_plans_is_refused(owner, worker, base, benchmark, told):
    lease = take(worker, push(owner).base_fingerprint)
    good = report_for(lease.run)
    other = {key: value for key, value in good.items() if key != "protocol"} | ({"protocol": told} if told else {})
    answer = lease.report(other)
    assert (answer.status, answer["problems"][0]["where"]) == (422, "protocol")
    assert version().status == "validating"
    assert lease.report(good).status == 200, "the control: by its plan's rules it is taken"
    assert version().status == "published"


def test_a_report_that_names_no_rules_is_by_the_first_ones(worker, old):
    lease = take(worker, old.base_fingerprint, protocols=[OF_BEFORE])
    report = report_for(lease.run)
    del report["protocol"]
    assert lease.report(report).status == 200


# --- What waits -----------------------------------------------------------------------------------------------------
def test_what_waits_under_the_rules_of_before_is_planned_anew_and_judged(owner, worker, old, benchmark):
    call_command("relay", "--once")
    old.refresh_from_db()
    assert old.status == "superseded"
    found = version()
    assert found.run is not None and found.run_id != old.pk
    assert found.run.plan == found.plan == old.plan | {"protocol": policy.PROTOCOL}
    assert found.run.plan_digest == found.plan_digest == policy.plan_digest(found.plan)
    assert Outbox.objects.filter(payload__run_id=str(found.run_id)).exists()
    assert Event.objects.get(kind="run.superseded").data["by"] == str(found.run_id)
    lease = take(worker, old.base_fingerprint)
    assert lease.id == str(found.run_id)
    lease.report(report_for(lease.run))
    assert version().status == "published"
    assert replanning.renew() == 0


def test_without_that_it_waits_for_ever(worker, old):
    """The negative control: no worker of this edition takes it."""
    assert ask(worker, old.base_fingerprint).status == 204
    assert version().stage == "queued"


def test_what_was_judged_under_the_rules_of_today_settles_what_waited(owner, old):
    judge(push(owner, ref="acme/tone-too"))
    assert replanning.renew() == 1
    assert version().status == "published"


def test_what_waits_by_the_rules_of_today_or_of_later_ones_stays(owner, base, benchmark, monkeypatch):
    """Two editions side by side: neither the older nor the newer one takes back what the other has planned."""
    with monkeypatch.context() as patched:
        patched.setattr(policy, "PROTOCOL", "99")
        later = push(owner)
    today = push(owner, ref="acme/tone-too")
    assert replanning.renew() == 0
    assert {Run.objects.get(pk=run.pk).status for run in (later, today)} == {"queued"}


def test_a_run_under_the_rules_of_before_that_ended_in_an_error_begins_again_by_todays(owner, admin, worker, old):
    for _ in range(3):
        Run.objects.filter(pk=old.pk).update(not_before=None)
        take(worker, old.base_fingerprint, protocols=[OF_BEFORE]).report(ERROR)
    assert version().stage == "error"
    requeue.requeue(viewer=Viewer(admin.user, "admin"), what="acme/tone-bert:1")
    assert replanning.renew() == 1
    assert (version().stage, version().plan["protocol"]) == ("queued", policy.PROTOCOL)


def test_a_leased_run_is_left_to_its_worker(worker, old):
    lease = take(worker, old.base_fingerprint, protocols=[OF_BEFORE])
    assert replanning.renew() == 0
    assert lease.report(report_for(lease.run)).status == 200


@pytest.mark.django_db(transaction=True)
def test_relays_and_workers_of_before_at_once_take_each_run_once(owner, worker, base, benchmark, before):
    """Planned anew or leased by who still judges by the old rules: never both, and every version waits for a run that lives."""
    old = before(lambda: [push(owner, ref=f"acme/tone-{n}", value=0.01 * (n + 1)) for n in range(6)])
    claims = [lambda n=n: ask(Caller(worker.token), base.pk, name=f"w{n}", protocols=[OF_BEFORE]) for n in range(3)]
    found = at_once([replanning.renew, replanning.renew, *claims])
    leased = {answer["run"]["id"] for answer in found[2:] if answer.status == 200}
    assert sum(found[:2]) == 6 - len(leased)
    told = {str(run.pk): Run.objects.get(pk=run.pk).status for run in old}
    assert told == {key: "leased" if key in leased else "superseded" for key in told}
    waited_for = Version.objects.values_list("run__status", "plan__protocol")
    assert set(waited_for) <= {("leased", OF_BEFORE), ("queued", policy.PROTOCOL)} and len(waited_for) == 6


# --- Judged again ---------------------------------------------------------------------------------------------------
@pytest.fixture
def published(old) -> Run:
    """acme/tone-bert:1, published by the rules of before."""
    return judge(old)


def repeat(worker, published, verdict: str) -> Run:
    call_command("revalidate", "--all", stdout=StringIO())
    lease = take(worker, published.base_fingerprint)
    assert lease.report(report_for(lease.run, verdict)).status == 200
    return lease.run


def test_what_is_judged_again_is_judged_by_the_rules_of_today_and_says_so(worker, published, anybody):
    again = repeat(worker, published, "failed")
    assert again.repeats_id == published.pk
    assert again.plan == published.plan | {"protocol": policy.PROTOCOL}
    assert again.plan_digest == policy.plan_digest(again.plan)
    told = anybody.get(REPORT).json
    assert told["revalidation"]["protocol"] == [OF_BEFORE, policy.PROTOCOL]
    assert "  by other rules than then: protocol 1 -> 2" in context.report_lines(told)
    assert "By other rules than then: protocol 1 → 2." in page(told)


def test_by_the_same_rules_nothing_is_said_of_them(owner, worker, base, benchmark, anybody):
    repeat(worker, judge(push(owner)), "failed")
    told = anybody.get(REPORT).json
    assert told["revalidation"]["protocol"] == [policy.PROTOCOL] * 2
    assert not any("rules" in line for line in context.report_lines(told))
    assert "other rules" not in page(told)


def test_a_repetition_that_waits_under_the_rules_of_before_is_planned_anew_too(worker, published, before):
    before(lambda: call_command("revalidate", "--all", stdout=StringIO()))
    assert replanning.renew() == 1
    assert sorted(published.repetitions.values_list("status", "plan__protocol")) == [
        ("queued", policy.PROTOCOL),
        ("superseded", OF_BEFORE),
    ]
    assert take(worker, published.base_fingerprint).run.repeats_id == published.pk


def page(told) -> str:
    given = {"adapter": {"url": "/a/a/b"}, "version": {"status": "published", "regressed": {"at": None}}}
    return render_to_string("registry/report.html", given | {"report": {**told, "again": reading.again(told)}})
