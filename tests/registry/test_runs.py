"""Runs: claim, keep, report. A lease is the right to write, and nothing else is."""

import contextlib
import hashlib
import uuid
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from hub.spec import answers as spec
from hub.spec import policy
from hub.spec import report as reports
from registry.errors import Invalid
from registry.models import Component, Event, Outbox, Run, Score, Version
from registry.queries import blobs
from registry.queries.viewers import Viewer
from registry.services import leases, relay, requeue
from registry.services import reports as taking
from tests.registry import adapters, oddities
from tests.registry import factories as make
from tests.registry.cast import Caller, caller, report_for
from tests.registry.workers import ERROR, ask, push, take

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(owner, base, benchmark) -> Run:
    """A run that waits, of acme/tone-bert:1."""
    return push(owner)


@pytest.fixture
def lease(worker, run):
    """That run, claimed."""
    return take(worker, run.base_fingerprint)


def version() -> Version:
    return Version.objects.get(adapter__name="tone-bert")


# --- Claim ----------------------------------------------------------------------------------------------------------
def test_a_claim_holds_all_that_a_run_needs(worker, run, base, benchmark):
    claim = take(worker, "base:" + "0" * 64, base.pk).claim
    assert claim["run"]["id"] == str(run.pk)
    assert claim["run"]["attempt"] == 1
    assert claim["run"]["lease_no"] == 1
    assert claim["run"]["lease_seconds"] == 60
    assert claim["run"]["adapter_digest"] == f"sha256:{run.adapter_digest}"
    assert claim["run"]["digest"] == f"sha256:{run.manifest_id}"
    assert claim["run"]["plan"]["benchmarks"] == [benchmark.pk]
    assert claim["base_model"]["fingerprint"] == base.pk
    assert claim["facts"]["task"] == "text-classification"
    assert claim["previous"] is None
    assert {file["path"] for file in claim["files"]} >= {"adapter_config.json", "adapter_model.safetensors", "hub.json"}
    assert [file["path"] for file in claim["benchmarks"][0]["files"]] == ["dev.tsv", "train.tsv"]
    assert claim["token"].startswith("ahubrun_")


def test_only_the_hash_of_a_run_token_is_kept(lease):
    run = lease.run
    assert run.lease_token_digest == hashlib.sha256(lease.claim["token"].encode()).hexdigest()
    assert lease.claim["token"] not in str(vars(run))
    assert run.worker == "gpu-farm/w1"


def test_where_nothing_waits_a_worker_gets_nothing(worker, base):
    assert ask(worker, base.pk).status == 204


def test_a_run_waits_until_a_worker_has_its_base(worker, run):
    assert ask(worker, "base:" + "0" * 64).status == 204
    assert ask(worker).status == 204
    assert ask(worker, run.base_fingerprint).status == 200


def test_a_claimed_run_is_not_given_twice(worker, lease):
    assert ask(worker, lease.run.base_fingerprint, name="w2").status == 204


def test_the_oldest_run_comes_first(worker, owner, run):
    second = push(owner, value=0.02)
    assert take(worker, run.base_fingerprint).id == str(run.pk)
    assert take(worker, run.base_fingerprint).id == str(second.pk)


def test_a_run_that_a_message_spoke_of_comes_first(worker, owner, run):
    second = push(owner, value=0.02)
    assert take(worker, run.base_fingerprint, run=str(second.pk)).id == str(second.pk)
    assert take(worker, run.base_fingerprint, run=str(second.pk)).id == str(run.pk)


@pytest.fixture
def younger(run) -> Run:
    """A run that was queued after the other one, on another base model."""
    return make.make_run()


def first_of_both(worker, run, younger, *held: str) -> Run:
    bases = [run.base_fingerprint, younger.base_fingerprint]
    viewer = Viewer(worker.user, "worker")
    return leases.claim(viewer=viewer, worker="w1", bases=bases, held=held, protocols=[policy.PROTOCOL])[0]


def test_a_run_on_a_base_that_lies_open_goes_before_one_that_is_little_older(worker, run, younger):
    assert first_of_both(worker, run, younger, younger.base_fingerprint) == younger


def test_where_nothing_lies_open_the_oldest_goes_first(worker, run, younger):
    assert first_of_both(worker, run, younger) == run


def test_nobody_waits_long_because_another_base_lies_open(worker, run, younger, monkeypatch):
    """However many come on that base: what counts is how long the oldest has waited, not when the others came."""
    monkeypatch.setattr(leases, "LET_PASS_SECONDS", 0)
    assert first_of_both(worker, run, younger, younger.base_fingerprint) == run


def test_a_more_urgent_run_does_not_wait_for_one_on_an_open_base(worker, run, younger):
    Run.objects.filter(pk=younger.pk).update(priority=run.priority + 1)
    assert first_of_both(worker, run, younger, younger.base_fingerprint) == run


@pytest.mark.parametrize("scope", ["read", "push"])
def test_only_a_workers_token_claims(run, scope):
    answer = ask(caller("petra", scope), run.base_fingerprint)
    assert (answer.status, answer["code"]) == (403, "forbidden")
    run.refresh_from_db()
    assert run.status == "queued"


def test_nobody_in_particular_cannot_claim(anybody, run):
    assert ask(anybody, run.base_fingerprint).status == 401


def test_a_run_token_cannot_claim(lease):
    assert ask(lease.holder, lease.run.base_fingerprint).status == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"worker": "w1"},
        {"worker": "w1", "bases": ["bert"]},
        {"worker": "w1", "bases": "base:" + "0" * 64},
        {"worker": "", "bases": []},
        {"worker": "w1", "bases": [], "run": "1"},
        {"worker": "w1", "bases": [], "admin": True},
    ],
)
def test_a_claim_that_makes_no_sense_is_refused(worker, body):
    assert worker.post("runs/claim", body).status == 422


# --- Files ------------------------------------------------------------------------------------------------------------
def test_the_run_token_opens_the_files_of_the_adapter_and_of_its_benchmarks(lease):
    files = lease.claim["files"] + lease.claim["benchmarks"][0]["files"]
    for file in files:
        answer = lease.holder.get(file["url"])
        assert answer.status == 200
        assert hashlib.sha256(answer.body).hexdigest() == file["sha256"]


def test_the_run_token_opens_nothing_else(owner, lease, base):
    other = push(owner, value=0.5)
    foreign = other.manifest.files.get(path="adapter_model.safetensors").blob_id
    assert lease.holder.get(f"runs/{lease.id}/blobs/{foreign}").status == 404
    assert lease.holder.get(f"runs/{lease.id}/blobs/{'0' * 64}").status == 404
    assert lease.holder.get(f"runs/{lease.id}/blobs/..").status == 404
    assert lease.holder.get("me").status == 401
    assert lease.holder.get("adapters/acme/tone-bert").status == 401


def test_the_token_of_another_run_is_refused_everywhere(owner, worker, lease):
    push(owner, value=0.5)
    other = take(worker, lease.run.base_fingerprint)
    sha256 = lease.claim["files"][0]["sha256"]
    report = report_for(lease.run)
    for answer in (
        other.holder.get(f"runs/{lease.id}/blobs/{sha256}"),
        other.holder.post(f"runs/{lease.id}/heartbeat", {}),
        other.holder.post(f"runs/{lease.id}/report", {"report": report}),
    ):
        assert (answer.status, answer["code"]) == (409, "lease_lost")
    assert lease.run.status == "leased"


def test_a_hub_token_is_no_run_token(worker, owner, anybody, lease):
    sha256 = lease.claim["files"][0]["sha256"]
    for who in (worker, owner, anybody, Caller("ahubrun_" + "0" * 36)):
        assert who.get(f"runs/{lease.id}/blobs/{sha256}").status == 401
        assert who.post(f"runs/{lease.id}/heartbeat").status == 401
        assert who.post(f"runs/{lease.id}/report", {"report": ERROR}).status == 401
    assert lease.run.status == "leased"


def test_the_run_token_dies_with_the_lease(lease):
    url = lease.claim["files"][0]["url"]
    lease.expire()
    assert lease.holder.get(url).status == 409
    assert lease.beat().status == 409


def test_a_run_that_never_was_is_a_lost_lease(lease):
    assert lease.holder.post(f"runs/{uuid.uuid4()}/heartbeat", {}).status == 409
    assert lease.holder.post(f"runs/{uuid.uuid4()}/report", {"report": ERROR}).status == 409


# --- Heartbeat ------------------------------------------------------------------------------------------------------
def test_a_heartbeat_keeps_a_run_alive(lease):
    before = lease.run.lease_expires_at
    answer = lease.beat(stage="score", progress=0.5)
    assert (answer.status, answer.json) == (200, {"lease_seconds": 60})
    assert lease.run.lease_expires_at > before
    assert lease.run.stage == "score 50%"
    relay.tick()
    assert lease.run.status == "leased"
    assert lease.beat().status == 200
    assert lease.run.stage == "score 50%"


def test_the_stage_of_a_run_is_the_stage_of_its_version(owner, lease):
    lease.beat(stage="attach")
    answer = owner.get("adapters/acme/tone-bert/versions/1/report")
    assert (answer["verdict"], answer["stage"]) == (None, "attach")
    assert answer["queue"] == {"position": 0, "run": lease.id, "status": "leased"}


# --- Report ---------------------------------------------------------------------------------------------------------
def test_a_passed_report_publishes(owner, lease, benchmark):
    report = report_for(lease.run)
    labels = [1, 0, 1, 0]
    report["predictions"] = {f"sha256:{benchmark.pk}": {"labels": labels}}
    seal(report)
    answer = lease.report(report)
    assert (answer.status, answer.json) == (200, {"status": "passed"})
    score = Score.objects.get(run=lease.id)
    assert (score.benchmark_id, score.value, score.low, score.n) == (benchmark.pk, 0.9, report_interval(report)[0], 4)
    assert spec.from_lines(blobs.store().read(score.answers_id)) == labels
    assert "predictions" not in lease.run.report
    assert lease.run.result_digest == report["result_digest"]
    assert version().status == "published"
    told = owner.get("adapters/acme/tone-bert/versions/1/report")
    assert (told["verdict"], told["status"]) == ("passed", "published")
    assert [event.kind for event in Event.objects.filter(subject=lease.id)] == ["run.passed"]


def test_a_failed_report_rejects(owner, lease):
    assert lease.report(report_for(lease.run, "failed")).json == {"status": "failed"}
    assert version().status == "rejected"
    told = owner.get("adapters/acme/tone-bert/versions/1/report")
    assert (told["verdict"], told["status"]) == ("failed", "rejected")


def test_a_claimed_base_becomes_observed_by_the_worker_that_ran_on_it(owner, worker, base, run):
    type(base).objects.filter(pk=base.pk).update(state="claimed")
    assert take(worker, base.pk).report(report_for(run)).status == 200
    base.refresh_from_db()
    assert base.state == "observed"
    assert version().status == "published"


def test_the_same_report_again_changes_nothing(lease):
    report = report_for(lease.run)
    assert lease.report(report).status == 200
    before = dict(vars(lease.run), _state=None)
    answer = lease.report(report)
    assert (answer.status, answer.json) == (200, {"status": "passed"})
    assert dict(vars(lease.run), _state=None) == before
    assert Score.objects.filter(run=lease.id).count() == 1
    assert Event.objects.filter(subject=lease.id).count() == 1
    assert Event.objects.filter(kind="version.published").count() == 1


@pytest.mark.parametrize("verdict", ["passed", "failed"])
def test_a_report_without_a_summary_sent_again_gives_the_same_answer(lease, verdict):
    report = report_for(lease.run, verdict)
    del report["summary"]
    assert [lease.report(report).json for _ in range(2)] == [{"status": verdict}] * 2
    assert lease.run.report["summary"]
    assert lease.report(report | {"summary": "another"}).status == 409


@pytest.mark.parametrize("odd", [None, "x", "\0", [], {}, [[1]], -1, 2**70, True], ids=repr)
def test_whatever_stands_anywhere_in_a_report_it_is_no_mistake_of_ours(lease, benchmark, odd):
    """Sent by a worker that is broken or bad: refused or taken, never a fault of the hub."""
    good = report_for(lease.run)
    good["predictions"] = {f"sha256:{benchmark.pk}": {"labels": [1, 0, 1, 0]}}
    seal(good)
    for place, report in oddities.spoilt(good, odd):
        if place != ("result_digest",):
            with contextlib.suppress(Exception):  # of a report like this there is no digest
                seal(report)
        with contextlib.suppress(Invalid), transaction.atomic():
            taking.take(run_id=lease.run.pk, secret=lease.claim["token"], report=report)
            transaction.set_rollback(True)


def test_another_report_after_the_first_is_refused(lease):
    assert lease.report(report_for(lease.run)).status == 200
    answer = lease.report(report_for(lease.run, "failed"))
    assert (answer.status, answer["code"]) == (409, "lease_lost")
    assert lease.run.status == "passed"


def test_without_fences_the_same_report_counts_twice(lease, settings):
    """The negative control: it is the fence that makes a report count once."""
    settings.HUB_FENCING = False
    report = report_for(lease.run)
    assert [lease.report(report).status for _ in range(2)] == [200, 200]
    assert Event.objects.filter(subject=lease.id, kind="run.passed").count() == 2


def seal(report):
    """Make a report whose digest fits it again."""
    report["result_digest"] = reports.result_digest(report)
    return report


def report_interval(report):
    return report["components"][0]["scores"][0]["interval"]


def score_of(report):
    return report["components"][0]["scores"][0]


def altered_gates(report):
    score_of(report)["gates"][0] |= {"passed": True, "decided": True, "bound": 0.5}
    score_of(report)["gain"] = {"value": -0.2, "interval": [-0.3, -0.1], "method": "paired bootstrap"}
    seal(report)


def altered_digest(report):
    report["result_digest"] = "0" * 64


def altered_score(report):
    score_of(report)["value"] = 0.99


def another_adapter(report):
    report["adapter_digest"] = "sha256:" + "0" * 64
    seal(report)


def another_base(report):
    report["base_model"]["fingerprint"] = "base:" + "0" * 64
    seal(report)


def no_base(report):
    del report["base_model"]
    seal(report)


def turned_round(report):
    score = score_of(report)
    score["direction"] = "down"
    score["gain"] = {"value": -0.2, "interval": [-0.3, -0.1], "method": "paired bootstrap"}
    score["gates"] = policy.decide(score, {"min_gain": {"value": 0.0, "undecided": "fail"}})
    seal(report)


def another_metric(report):
    score_of(report)["metric"] = "f1"
    seal(report)


def a_check_failed(report):
    report["checks"][3]["status"] = "failed"
    seal(report)


def a_check_left_out(report):
    report["checks"] = [check for check in report["checks"] if check["name"] != "frozen"]
    seal(report)


def no_scores(report):
    report["components"][0]["scores"] = []
    seal(report)


def scored_twice(report):
    report["verdict"] = "failed"
    report["checks"][3]["status"] = "failed"
    report["components"][0]["scores"] *= 2
    seal(report)


def no_digest(report):
    report["result_digest"] = None


def a_base_that_is_a_word(report):
    report["base_model"] = "x"


def more_rows_than_a_column_holds(report):
    score_of(report)["n"] = 2**40
    seal(report)


def another_name(report):
    score_of(report)["benchmark"] = "acme/another"
    seal(report)


def one_row_only(report):
    score_of(report)["n"] = 1
    seal(report)


def a_component_that_is_none(report):
    report["components"].append({**report["components"][0], "folder": "nowhere"})
    seal(report)


def a_component_twice(report):
    report["components"] *= 2
    seal(report)


def no_verdict(report):
    report["verdict"] = "published"


ALTERED = [
    altered_gates, altered_digest, altered_score, another_adapter, another_base, no_base, turned_round, another_metric,
    a_check_failed, a_check_left_out, no_scores, scored_twice, no_verdict, no_digest, a_base_that_is_a_word,
    more_rows_than_a_column_holds, another_name, one_row_only, a_component_that_is_none, a_component_twice,
]  # fmt: skip


@pytest.mark.parametrize("alter", ALTERED, ids=lambda alter: alter.__name__)
def test_a_report_that_contradicts_itself_or_its_plan_is_refused(lease, alter):
    report = report_for(lease.run)
    alter(report)
    answer = lease.report(report)
    assert (answer.status, answer["code"]) == (422, "invalid")
    assert answer["problems"]
    assert lease.run.status == "leased"
    assert not Score.objects.exists()
    assert version().status == "validating"
    assert lease.report(report_for(lease.run)).status == 200


def test_a_snapshot_of_two_adapters_keeps_the_predictions_of_each(lease, benchmark):
    Component.objects.get(manifest=lease.run.manifest)
    make.make_component(manifest=lease.run.manifest, folder="second")
    report = report_for(lease.run)
    answer = lease.report(report)
    assert (answer.status, answer["problems"][0]["where"]) == (422, "second")
    report["components"].append({**report["components"][0], "folder": "second"})
    digest = f"sha256:{benchmark.pk}"
    report["predictions"] = {digest: {"labels": [1, 1, 1, 1], "folders": {"second": [0, 0, 0, 0]}}}
    assert lease.report(seal(report)).status == 200
    kept = dict(Score.objects.filter(run=lease.id).values_list("component_folder", "answers"))
    said = {folder: spec.from_lines(blobs.store().read(sha256)) for folder, sha256 in kept.items()}
    assert said == {"": [1, 1, 1, 1], "second": [0, 0, 0, 0]}


def test_the_next_version_is_compared_with_the_predictions_of_the_one_before(owner, worker, base, benchmark):
    push(owner)
    first = take(worker, base.pk)
    report = report_for(first.run)
    report["predictions"] = {f"sha256:{benchmark.pk}": {"labels": [1, 0, 1, 1]}}
    assert first.report(seal(report)).status == 200
    push(owner, value=0.5)
    second = take(worker, base.pk)
    previous = second.claim["previous"]
    assert previous["adapter_digest"] == first.claim["run"]["adapter_digest"]
    (file,) = previous["answers"]
    assert (file["folder"], file["benchmark"]) == ("", f"sha256:{benchmark.pk}")
    data = second.holder.get(file["url"]).body
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (file["sha256"], file["size"])
    assert spec.from_lines(data) == [1, 0, 1, 1]
    assert second.claim["run"]["plan"]["gates"]["max_drop"]["against"] == first.run.adapter_digest


def test_two_versions_that_wait_for_the_same_run_are_both_published(owner, worker, base, benchmark):
    run = push(owner)
    assert push(owner, ref="acme/twin-bert") == run
    assert take(worker, base.pk).report(report_for(run)).status == 200
    assert set(Version.objects.values_list("status", flat=True)) == {"published"}
    assert Component.objects.exists()


# --- Attempts and takeovers -----------------------------------------------------------------------------------------
def test_after_three_attempts_a_run_ends_in_an_error(owner, worker, run):
    for attempt in (1, 2, 3):
        lease = take(worker, run.base_fingerprint)
        assert lease.claim["run"]["attempt"] == attempt
        status = lease.report(ERROR | {"error": f"fault {attempt}"})["status"]
        assert status == ("queued" if attempt < 3 else "error")
    assert ask(worker, run.base_fingerprint).status == 204
    run.refresh_from_db()
    assert (run.status, run.attempt, run.takeovers) == ("error", 3, 0)
    found = version()
    assert (found.status, found.stage) == ("validating", "error")
    told = owner.get("adapters/acme/tone-bert/versions/1/report")
    assert (told["verdict"], told["status"], told["stage"]) == ("error", "validating", "error")
    assert "fault 3" in told["error"]


def test_an_error_reported_again_counts_one_attempt(lease):
    assert [lease.report(ERROR)["status"] for _ in range(5)] == ["queued"] * 5
    assert lease.run.attempt == 1


def test_an_error_before_the_adapter_was_started_is_no_attempt(worker, run):
    for _ in range(5):
        assert take(worker, run.base_fingerprint).report(ERROR | {"started": False})["status"] == "queued"
    run.refresh_from_db()
    assert (run.attempt, run.takeovers) == (0, 5)


def test_a_run_that_waits_again_sends_a_message_again(lease):
    before = Outbox.objects.filter(kind="workers.validate").count()
    lease.report(ERROR)
    assert Outbox.objects.unsent().filter(kind="workers.validate", payload__run_id=lease.id).count() == before + 1


def test_after_twenty_takeovers_a_run_ends_in_an_error(worker, run):
    for _ in range(19):
        take(worker, run.base_fingerprint).expire()
        relay.tick()
        run.refresh_from_db()
        assert run.status == "queued"
    take(worker, run.base_fingerprint).expire()
    relay.tick()
    run.refresh_from_db()
    assert (run.status, run.takeovers, run.attempt) == ("error", 20, 0)
    assert version().stage == "error"


def test_a_worker_that_starts_again_frees_its_own_and_nobody_elses(owner, worker, run):
    second, third = push(owner, value=0.5), push(owner, value=0.6)
    take(worker, run.base_fingerprint, name="w1")
    take(worker, run.base_fingerprint, name="w2")
    take(caller("other-farm", "worker"), run.base_fingerprint, name="w1")
    again = take(worker, run.base_fingerprint, name="w1", starting=True)
    assert again.id == str(run.pk)
    assert (again.run.takeovers, again.run.lease_no) == (1, 2)
    for other in (second, third):
        other.refresh_from_db()
        assert (other.status, other.takeovers) == ("leased", 0)


def test_without_starting_a_worker_keeps_what_it_has(worker, lease):
    assert ask(worker, lease.run.base_fingerprint).status == 204
    assert lease.beat().status == 200


def test_an_operator_lets_a_run_wait_again_after_an_error(admin, worker, run):
    for _ in range(3):
        take(worker, run.base_fingerprint).report(ERROR)
    requeue.requeue(viewer=Viewer(admin.user, "admin"), what=str(run.pk))
    lease = take(worker, run.base_fingerprint)
    assert lease.claim["run"]["attempt"] == 1
    assert lease.report(report_for(run)).status == 200
    assert version().status == "published"


# --- The lost lease -------------------------------------------------------------------------------------------------
def test_a_worker_that_lost_its_lease_changes_nothing(worker, lease):
    lease.expire()
    relay.tick()
    heir = take(worker, lease.run.base_fingerprint, name="w2")
    before = dict(vars(heir.run), _state=None)
    report = report_for(lease.run, "failed")
    for answer in (lease.beat(), lease.report(report), lease.report(ERROR)):
        assert (answer.status, answer["code"]) == (409, "lease_lost")
    assert dict(vars(heir.run), _state=None) == before
    assert not Score.objects.exists()
    assert heir.report(report_for(heir.run)).status == 200
    assert (heir.run.status, heir.run.takeovers, heir.run.lease_no) == ("passed", 1, 2)
    assert version().status == "published"


def test_an_expired_lease_is_lost_before_anybody_takes_over(lease):
    lease.expire()
    assert lease.report(report_for(lease.run)).status == 409
    assert lease.run.status == "leased"


def test_without_fences_a_worker_that_lost_its_lease_has_the_last_word(worker, lease, settings):
    """The negative control: it is the fence that keeps the stale report out."""
    lease.expire()
    relay.tick()
    heir = take(worker, lease.run.base_fingerprint, name="w2")
    settings.HUB_FENCING = False
    assert lease.report(report_for(lease.run, "failed")).status == 200
    assert heir.run.status == "failed"


def test_a_lease_runs_by_the_clock_of_the_database(worker, run, monkeypatch):
    """A web server whose clock is ten minutes wrong neither steals a lease nor keeps a dead one."""
    real = timezone.now
    for skew in (-600, 600):
        monkeypatch.setattr(timezone, "now", lambda skew=skew: real() + timedelta(seconds=skew))
        lease = take(worker, run.base_fingerprint)
        relay.tick()
        assert lease.beat().status == 200
        monkeypatch.undo()
        assert 55 < (lease.run.lease_expires_at - real()).total_seconds() <= 60
        lease.expire()
        monkeypatch.setattr(timezone, "now", lambda skew=skew: real() + timedelta(seconds=skew))
        assert lease.beat().status == 409
        relay.tick()
        monkeypatch.undo()
        assert lease.run.status == "queued"


def test_a_new_push_after_an_error_gets_a_new_run(owner, worker, run):
    for _ in range(3):
        take(worker, run.base_fingerprint).report(ERROR)
    second = push(owner)
    assert second != run
    assert take(worker, run.base_fingerprint).report(report_for(second)).status == 200
    assert set(Version.objects.values_list("status", flat=True)) == {"published"}


def test_the_specimens_are_what_they_seem():
    """Guards the tests above: their adapter has files, their factories a run in every status."""
    assert adapters.lora()
    assert make.make_run(status="leased").lease_token_digest
