"""The relay: what moves on although nobody asks, with the broker wiped, down, or lying."""

import os
from datetime import timedelta

import pytest
from django.utils import timezone

from registry import jobs
from registry.models import Event, Outbox, Run, Score, Upload, Version
from registry.queries import blobs
from registry.services import leases, outbox, relay
from tests.registry import adapters
from tests.registry import factories as make
from tests.registry.broker import broker, redis_server
from tests.registry.cast import Caller, report_for
from tests.registry.workers import ask, at_once, push, take

__all__ = ["broker", "redis_server"]

pytestmark = pytest.mark.django_db


def age(seconds: int) -> None:
    """Let everything that was sent have been sent long ago."""
    Outbox.objects.filter(sent_at__isnull=False).update(sent_at=timezone.now() - timedelta(seconds=seconds))


def test_a_push_reaches_the_workers_queue(owner, base, benchmark, broker):
    run = push(owner)
    relay.tick()
    assert [message["run_id"] for message in broker.read("runs")] == [str(run.pk)]


def test_a_run_whose_message_was_wiped_is_hinted_at_again(owner, base, benchmark, broker, settings):
    settings.HUB_REHINT_SECONDS = 600
    run = push(owner)
    relay.tick()
    broker.wipe()
    relay.tick()
    assert broker.read("runs") == []
    settings.HUB_REHINT_SECONDS = AT_ONCE
    relay.tick()
    assert [message["run_id"] for message in broker.read("runs")] == [str(run.pk)]


AT_ONCE = 0
"""What has waited at all has waited long enough to be hinted at again."""


def test_a_run_that_is_over_is_never_hinted_at_again(owner, worker, base, benchmark, broker, settings):
    settings.HUB_REHINT_SECONDS = AT_ONCE
    run = push(owner)
    relay.tick()
    broker.wipe()
    take(worker, base.pk).report(report_for(run))
    relay.tick()
    assert broker.read("runs") == []


def ingests(broker) -> list:
    """What the broker holds of uploads; base models are compared by other messages."""
    return [message for message in broker.read("registry") if message["task"] == outbox.INGEST]


def test_an_ingest_whose_message_was_wiped_is_hinted_at_again(owner, base, broker, settings):
    settings.HUB_INLINE_INGEST_BYTES = 0
    answer = owner.push("acme/tone-bert", adapters.lora())
    assert answer["version"]["stage"] == "ingest"
    relay.tick()
    assert len(ingests(broker)) == 1
    relay.tick()
    assert ingests(broker) == []
    age(60)
    relay.tick()
    (message,) = ingests(broker)
    assert jobs.ingest(upload_id=message["upload_id"], something_of_a_newer_hub=1)
    assert Version.objects.get().stage == "queued"
    age(60)
    relay.tick()
    assert ingests(broker) == []


def test_a_comparison_whose_message_was_wiped_is_hinted_at_again(base, broker, settings):
    settings.HUB_REHINT_SECONDS = AT_ONCE
    relay.tick()
    broker.wipe()
    relay.tick()
    (message,) = broker.read("registry")
    assert jobs.compare(digest=message["digest"])
    relay.tick()
    assert broker.read("registry") == []


def test_an_expired_lease_goes_back_to_the_queue(owner, worker, base, benchmark, broker):
    push(owner)
    lease = take(worker, base.pk)
    assert relay.tick()["leases freed"] == 0
    lease.expire()
    assert relay.tick()["leases freed"] == 1
    run = lease.run
    assert (run.status, run.takeovers, run.attempt, run.lease_token_digest) == ("queued", 1, 0, None)
    assert [message["run_id"] for message in broker.read("runs")][-1] == lease.id
    event = Event.objects.get(subject=lease.id)
    assert (event.kind, event.actor) == ("run.taken_back", "gpu-farm/w1")


def test_with_the_broker_down_leases_and_uploads_still_move(owner, worker, base, benchmark, broker):
    push(owner)
    lease = take(worker, base.pk)
    lease.expire()
    broker.stop()
    moved = relay.tick()
    assert (moved["leases freed"], moved["messages sent"]) == (1, 0)
    assert take(worker, base.pk).id == lease.id
    broker.start()
    assert relay.tick()["messages sent"] > 0


def test_a_forgotten_upload_expires_and_gives_its_bytes_back(owner, base):
    files = adapters.lora()
    started = owner.start("acme/tone-bert", files)
    blob = started["blobs"][0]
    owner.put(f"{blob['url']}?offset=0", files[blob["path"]])
    upload = Upload.objects.get()
    assert upload.reserved_bytes > 0
    assert relay.tick()["uploads expired"] == 0
    Upload.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert relay.tick()["uploads expired"] == 1
    upload.refresh_from_db()
    assert (upload.state, upload.reserved_bytes) == ("expired", 0)
    key = upload.blobs.get(n=blob["n"]).staging_key
    assert blobs.store().staged(key) == 0
    assert owner.post(f"uploads/{started['id']}/complete").status in (404, 409, 410)


def test_an_upload_that_waits_for_its_ingest_never_expires(owner, base, settings):
    settings.HUB_INLINE_INGEST_BYTES = 0
    owner.push("acme/tone-bert", adapters.lora())
    Upload.objects.update(expires_at=timezone.now() - timedelta(days=30))
    relay.swept.clear()
    relay.tick()
    upload = Upload.objects.get()
    assert upload.state == "ingesting"
    assert jobs.ingest(upload_id=str(upload.pk))


def test_each_process_of_the_suite_has_a_store_of_its_own():
    """The sweep below takes everything: what another process had staged in the same folder would be gone, too."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "main")
    assert blobs.store().address.endswith(f"/blobs-{name}")


def test_the_sweep_takes_what_nobody_waits_for_and_nothing_else(owner, base, settings):
    """One upload that cannot be ingested must not keep the leftovers of all others."""
    settings.HUB_INLINE_INGEST_BYTES = 0
    owner.push("acme/tone-bert", adapters.lora())
    files = adapters.lora(value=0.5)
    left = owner.start("acme/other", files)
    owner.send(left, files)
    waiting, open_one = Upload.objects.get(state="ingesting"), Upload.objects.get(state="open")
    forgotten = list(open_one.blobs.values_list("staging_key", flat=True))
    open_one.delete()  # whose row is gone
    settings.HUB_UPLOAD_HOURS = -1  # everything is old
    relay.swept.clear()
    assert relay.sweep_staging() >= len(forgotten)
    assert [blobs.store().staged(key) for key in forgotten] == [0] * len(forgotten)
    keys = waiting.blobs.values_list("staging_key", "size")
    assert [blobs.store().staged(key) for key, _ in keys] == [size for _, size in keys]
    assert jobs.ingest(upload_id=str(waiting.pk))


def test_a_part_that_fails_does_not_keep_the_others_from_running(monkeypatch):
    ran = []

    def broken() -> int:
        raise OSError("disk on fire")

    monkeypatch.setattr(relay, "PARTS", {"one": broken, "two": lambda: ran.append(2) or 1})
    with pytest.raises(ExceptionGroup) as caught:
        relay.tick()
    assert ran == [2]
    assert caught.value.exceptions[0].__notes__ == ["in the relay: one"]


def test_the_command_does_one_round(owner, base, benchmark, broker):
    from django.core.management import call_command

    push(owner)
    call_command("relay", "--once")
    assert len(broker.read("runs")) == 1


# --- Many at once ---------------------------------------------------------------------------------------------------
def claimed(worker: Caller, base: str, name: str):
    answer = ask(Caller(worker.token), base, name=name)
    return answer.json["run"]["id"] if answer.status == 200 else None


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_of_two_workers_that_claim_at_once_one_gets_the_run(self, worker):
        for _ in range(5):
            run = make.make_run()
            found = at_once([lambda n=n, b=run.base_fingerprint: claimed(worker, b, f"w{n}") for n in range(2)])
            assert sorted(found, key=str) == sorted([None, str(run.pk)], key=str)
            run.refresh_from_db()
            assert (run.status, run.lease_no) == ("leased", 1)

    def test_of_eight_workers_each_gets_another_run(self, worker):
        base = make.make_base_model()
        waiting = {str(make.make_run(base=base).pk) for _ in range(6)}
        found = at_once([lambda n=n: claimed(worker, base.pk, f"w{n}") for n in range(8)])
        assert set(found) == waiting | {None}
        assert found.count(None) == 2

    def test_two_relays_take_a_lease_back_once(self, worker):
        for _ in range(10):
            make.make_run(status="leased", worker="w1", lease_expires_at=timezone.now() - timedelta(seconds=1))
        assert sum(at_once([leases.release_expired] * 4)) == 10
        assert set(Run.objects.values_list("status", "takeovers")) == {("queued", 1)}
        assert Outbox.objects.filter(kind=outbox.VALIDATE).count() == 10

    def test_a_report_that_comes_five_times_at_once_counts_once(self, owner, worker, base, benchmark):
        run = push(owner)
        lease, report = take(worker, base.pk), report_for(run)
        path, token = f"runs/{lease.id}/report", lease.claim["token"]
        answers = at_once([lambda: Caller(token).post(path, {"report": report})] * 5)
        assert [answer.status for answer in answers] == [200] * 5
        assert Event.objects.filter(kind="run.passed").count() == 1
        assert Event.objects.filter(kind="version.published").count() == 1
        assert Score.objects.count() == 1

    def test_a_report_and_the_end_of_its_lease_at_once_end_well(self, owner, worker, base, benchmark):
        """Either the report came in time, or the run was taken back: never both, never neither."""
        for n in range(8):
            run = push(owner, ref=f"acme/tone-{n}", value=0.01 * (n + 1))
            lease, report = take(worker, base.pk), report_for(run)
            Run.objects.filter(pk=run.pk).update(lease_expires_at=timezone.now() + timedelta(milliseconds=15))
            path, token = f"runs/{lease.id}/report", lease.claim["token"]

            def reclaim():
                return sum(leases.release_expired() for _ in range(30))

            answer, taken = at_once([lambda t=token, p=path, r=report: Caller(t).post(p, {"report": r}), reclaim])
            run.refresh_from_db()
            assert answer.status in (200, 409)
            if answer.status == 200:
                assert (run.status, run.takeovers, taken) == ("passed", 0, 0)
                continue
            leases.release_expired()
            run.refresh_from_db()
            assert (run.status, run.takeovers, run.report) == ("queued", 1, None)
            assert take(worker, base.pk).report(report).status == 200

    def test_every_message_delivered_five_times_is_applied_once(self, owner, worker, base, benchmark, settings):
        settings.HUB_INLINE_INGEST_BYTES = 0
        for n in range(4):
            assert owner.push(f"acme/tone-{n}", adapters.lora(value=0.01 * (n + 1))).status == 202
        messages = [row.payload["upload_id"] for row in Outbox.objects.filter(kind=outbox.INGEST)] * 5
        done = at_once([lambda m=m: jobs.ingest(upload_id=m) for m in messages])
        assert sorted(done) == [False] * 16 + [True] * 4
        hints = [row.payload["run_id"] for row in Outbox.objects.filter(kind=outbox.VALIDATE)] * 5
        assert len(hints) == 20

        def validate(run_id: str) -> int:
            answer = ask(Caller(worker.token), base.pk, name=run_id, run=run_id)
            if answer.status == 204:
                return 0
            run = Run.objects.get(pk=answer["run"]["id"])
            path = f"runs/{run.pk}/report"
            assert Caller(answer["token"]).post(path, {"report": report_for(run)}).status == 200
            return 1

        assert sum(at_once([lambda h=h: validate(h) for h in hints])) == 4
        assert set(Version.objects.values_list("status", flat=True)) == {"published"}
        assert Event.objects.filter(kind="run.passed").count() == 4
        assert Event.objects.filter(kind="version.published").count() == 4
