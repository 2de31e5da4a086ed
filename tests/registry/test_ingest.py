"""From staged bytes to a version: killed anywhere, begun again, raced; nothing is lost and nothing happens twice."""

import datetime
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from hub import errors as client_errors
from hub import verdicts
from registry.models import Blob, Commit, Event, Manifest, Outbox, Run, Upload, Version
from registry.queries import blobs
from registry.services import evidence, ingest, uploads
from registry.storage import base as storage
from tests.registry import adapters
from tests.registry.cast import Caller, judge


class Killed(BaseException):
    """Stands for a process that ends here."""


@pytest.fixture
def large(settings: Any) -> None:
    """Every upload is too large to be ingested within its request."""
    settings.HUB_INLINE_INGEST_BYTES = 0


def waiting(owner: Caller, ref: str = "acme/tone-bert", **more: Any) -> Upload:
    """Return a completed upload that no job has looked at."""
    answer = owner.push(ref, adapters.lora(**more))
    assert (answer.status, answer["status"], answer["version"]["stage"]) == (202, "validating", "ingest")
    return Upload.objects.latest("created_at")


def ends_well() -> None:
    """Check that the upload became one version with one run, commit and manifest."""
    assert Upload.objects.get().state == "done"
    assert (Version.objects.get().status, Version.objects.get().stage) == ("validating", "queued")
    assert [model.objects.count() for model in (Run, Commit, Manifest)] == [1, 1, 1]


@pytest.mark.django_db
class TestTheJob:
    def test_a_large_upload_is_left_to_the_job(self, owner: Caller, base, large: None) -> None:
        upload = waiting(owner)
        assert Outbox.objects.filter(queue="registry", payload={"upload_id": str(upload.pk)}).count() == 1
        assert ingest.run(upload_id=upload.pk)
        ends_well()

    def test_a_message_that_comes_twice_does_nothing_more(self, owner: Caller, base, large: None) -> None:
        upload = waiting(owner)
        assert ingest.run(upload_id=upload.pk)
        assert not ingest.run(upload_id=upload.pk)
        ends_well()

    def test_a_message_for_an_upload_that_is_open_or_unknown_does_nothing(self, owner: Caller, base) -> None:
        started = owner.start("acme/tone-bert", adapters.lora())
        assert not ingest.run(upload_id=started["id"])
        assert not ingest.run(upload_id="00000000-0000-4000-8000-000000000000")

    def test_a_refusal_by_the_job_is_told_to_who_asks_again(self, owner: Caller, base, large: None) -> None:
        upload = waiting(owner, hub={"base": "no/such"})
        ingest.run(upload_id=upload.pk)
        answer = owner.post(f"uploads/{upload.pk}/complete")
        assert (answer.status, answer["code"]) == (422, "rejected")
        assert owner.get("adapters/acme/tone-bert/versions/1/report")["verdict"] == "failed"

    def test_the_staged_bytes_are_forgotten_at_the_end(self, owner: Caller, base, large: None) -> None:
        upload = waiting(owner)
        keys = list(upload.blobs.values_list("staging_key", flat=True))
        ingest.run(upload_id=upload.pk)
        assert [blobs.store().staged(key) for key in keys] == [0] * len(keys)


def always(error: BaseException) -> Callable[..., Any]:
    """Return a function that never does anything else but fail."""

    def call(*args: Any, **kwargs: Any) -> Any:
        raise error

    return call


def later() -> None:
    """Let the pause of every upload be over."""
    Upload.objects.update(lease_expires_at=timezone.now() - datetime.timedelta(seconds=1))


# Where an ingest may be killed: module, name, and how many calls of it are let through before.
Crash = tuple[Any, str, int]
"""(module, its function, how many times it works before)"""
CRASHES: dict[str, Crash] = {
    "before_the_first_blob": (ingest, "_take", 0),
    "after_one_blob": (ingest, "_keep", 1),
    "before_the_manifest": (ingest, "_record", 0),
    "before_the_inspection": (ingest, "_inspect", 0),
    "before_the_outcome": (ingest, "_conclude", 0),
    "within_the_outcome": (evidence, "wait_for", 0),
    "before_staging_is_forgotten": (ingest, "_forget_staging", 0),
}


def killed_and_begun_again(upload: Upload, crash: Crash, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ingest that ends in the middle, and the one that follows when its lease has run out."""
    module, name, times = crash
    monkeypatch.setattr(module, name, fails(times, Killed(), getattr(module, name)))
    monkeypatch.setattr(ingest, "_free", lambda upload: None)  # who is killed frees nothing
    with pytest.raises(Killed):
        ingest.run(upload_id=upload.pk)
    Upload.objects.filter(state="ingesting").update(lease_expires_at=timezone.now())
    ingest.run(upload_id=upload.pk)


def fails(times: int, error: BaseException, original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that works so many times, fails once, and works from then on."""
    calls: Iterator[int] = iter(range(1_000_000))

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == times:
            raise error
        return original(*args, **kwargs)

    return call


def overtaken(upload: Upload, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Ingest so slowly that somebody else takes over before the outcome is written; return whether it counted."""
    original = ingest._inspect

    def slow(*given: Any) -> Any:
        findings = original(*given)
        monkeypatch.setattr(ingest, "_inspect", original)
        Upload.objects.update(lease_expires_at=timezone.now() - datetime.timedelta(seconds=1))
        assert ingest.run(upload_id=upload.pk)
        return findings

    monkeypatch.setattr(ingest, "_inspect", slow)
    return ingest.run(upload_id=upload.pk)


@pytest.mark.django_db(transaction=True)
class TestFaults:
    @pytest.mark.parametrize("where", CRASHES)
    def test_killed_anywhere_it_is_begun_again_and_ends_well(
        self, owner: Caller, base, large: None, monkeypatch: pytest.MonkeyPatch, where: str
    ) -> None:
        killed_and_begun_again(waiting(owner), CRASHES[where], monkeypatch)
        ends_well()

    def test_a_store_that_does_not_answer_leaves_the_upload_to_the_next_message(
        self, owner: Caller, base, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = blobs.store()
        monkeypatch.setattr(store, "ingest", fails(1, storage.StorageUnavailable("gone"), store.ingest))
        answer = owner.push("acme/tone-bert", adapters.lora())
        assert (answer.status, answer["status"], answer["version"]["stage"]) == (202, "validating", "ingest")
        upload = Upload.objects.get()
        assert (upload.faults, uploads.stalled()) == (0, [upload.pk])
        assert ingest.run(upload_id=upload.pk)
        ends_well()

    def test_a_store_that_stays_away_is_asked_for_ever_with_a_growing_pause(
        self, owner: Caller, base, large: None, settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.HUB_RETRY_SECONDS = 5
        upload = waiting(owner)
        monkeypatch.setattr(ingest, "_take", always(storage.StorageUnavailable("gone")))
        pauses = []
        for _ in range(9):
            before = timezone.now()
            with pytest.raises(storage.StorageUnavailable):
                ingest.run(upload_id=upload.pk)
            upload.refresh_from_db()
            pauses.append(round((upload.lease_expires_at - before).total_seconds()))
            assert not ingest.run(upload_id=upload.pk)  # it is not the time
            later()
        assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
        assert (upload.state, upload.faults) == ("ingesting", 0)
        monkeypatch.undo()
        assert ingest.run(upload_id=upload.pk)
        ends_well()

    def test_completing_while_the_same_request_has_just_done_it_all_gives_the_same_version(
        self, owner: Caller, base, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = adapters.lora()
        started = owner.start("acme/tone-bert", files)
        owner.send(started, files)
        path, look, first = f"uploads/{started['id']}/complete", uploads._check_complete, []

        def late(upload: Upload) -> None:
            monkeypatch.setattr(uploads, "_check_complete", look)
            first.append(Caller(owner.token).post(path))
            look(upload)

        monkeypatch.setattr(uploads, "_check_complete", late)
        answer = owner.post(path)
        assert (answer.status, answer["version"]["number"]) == (first[0].status, 1) == (202, 1)
        ends_well()

    def test_a_mistake_of_ours_leaves_the_version_unjudged_after_five_times(
        self, owner: Caller, base, large: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload = waiting(owner)
        monkeypatch.setattr(ingest.inspections, "inspect", always(ZeroDivisionError("a bug")))
        for n in range(5):
            assert Upload.objects.get().state == "ingesting", n
            with pytest.raises(ZeroDivisionError):
                ingest.run(upload_id=upload.pk)
        assert not ingest.run(upload_id=upload.pk)
        assert uploads.stalled() == []
        upload.refresh_from_db()
        assert (upload.state, upload.faults, upload.reserved_bytes) == ("failed", 5, 0)
        told = owner.get("adapters/acme/tone-bert/versions/1/report")
        assert (told["verdict"], told["status"], told["stage"]) == ("error", "validating", "error")
        assert told["summary"].startswith("not judged: ")
        with pytest.raises(client_errors.NotJudged):
            verdicts.judge(verdicts.Report(told.json), "acme/tone-bert:1")

    def test_files_that_kill_their_process_each_time_are_given_up(
        self, owner: Caller, base, large: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload = waiting(owner)
        for n in range(5):
            assert ingest._claim(upload.pk), n  # and then nothing more is heard: it was killed
            assert not ingest.run(upload_id=upload.pk)
            Upload.objects.update(lease_expires_at=timezone.now())
        monkeypatch.setattr(ingest, "_take", lambda upload: pytest.fail("read a sixth time"))
        assert not ingest.run(upload_id=upload.pk)
        upload.refresh_from_db()
        assert (upload.state, upload.faults) == ("failed", 5)
        told = owner.get("adapters/acme/tone-bert/versions/1/report")
        assert (told["verdict"], told["stage"]) == ("error", "error")
        assert "the process was ended each time" in told["summary"]

    @pytest.mark.parametrize("fault", [OperationalError("away"), SystemExit()])
    def test_what_is_not_our_fault_is_not_counted(
        self, owner: Caller, base, large: None, monkeypatch: pytest.MonkeyPatch, fault: BaseException
    ) -> None:
        upload = waiting(owner)
        monkeypatch.setattr(ingest.inspections, "inspect", always(fault))
        for _ in range(7):
            with pytest.raises(type(fault)):
                ingest.run(upload_id=upload.pk)
        assert Upload.objects.get().faults == 0
        monkeypatch.undo()
        assert ingest.run(upload_id=upload.pk)
        assert Upload.objects.get().faults == 0
        ends_well()

    def test_pushing_again_what_we_gave_up_on_begins_again(
        self, owner: Caller, base, large: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload = waiting(owner)
        monkeypatch.setattr(ingest.inspections, "inspect", always(ZeroDivisionError("a bug")))
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                ingest.run(upload_id=upload.pk)
        monkeypatch.undo()
        answer = owner.post(f"uploads/{upload.pk}/complete")
        assert (answer.status, answer["version"]["stage"]) == (202, "ingest")
        assert uploads.stalled() == [upload.pk]
        assert ingest.run(upload_id=upload.pk)
        ends_well()

    def test_a_small_upload_that_meets_a_mistake_of_ours_is_tried_by_the_job_as_often(
        self, owner: Caller, base, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ingest.inspections, "inspect", always(ZeroDivisionError("a bug")))
        assert owner.push("acme/tone-bert", adapters.lora()).status == 202
        assert Upload.objects.get().faults == 1
        monkeypatch.undo()
        assert ingest.run(upload_id=Upload.objects.get().pk)
        ends_well()

    def test_who_was_overtaken_changes_nothing(
        self, owner: Caller, base, large: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert not overtaken(waiting(owner), monkeypatch)
        ends_well()

    def test_the_control_without_its_fence_the_outcome_is_written_again_until_the_database_refuses(
        self, owner: Caller, base, large: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ingest, "_mine", lambda upload: Upload.objects.filter(pk=upload.pk))
        monkeypatch.setattr(ingest, "_locked", lambda upload: Version.objects.get(pk=upload.version_id))
        with pytest.raises(IntegrityError, match="never change"):
            overtaken(waiting(owner), monkeypatch)

    def test_a_blob_that_was_on_its_way_out_is_wanted_again(self, owner: Caller, base) -> None:
        owner.push("acme/one", adapters.lora(), private=True)
        Blob.objects.update(state="deleting")
        assert owner.push("acme/two", adapters.lora()).status == 202
        assert set(Blob.objects.values_list("state", flat=True)) == {"live"}

    def test_a_file_that_was_not_sent_and_is_gone_meanwhile_is_told(self, owner: Caller, base) -> None:
        owner.push("acme/one", adapters.lora())
        started = owner.start("acme/two", adapters.lora())
        assert started["blobs"] == []
        Blob.objects.update(state="gone")
        answer = owner.post(f"uploads/{started['id']}/complete")
        assert (answer.status, answer["code"]) == (422, "rejected")
        assert "push again" in answer["detail"].lower()


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Run these at the same moment, each with a connection of its own, and return what they gave or raised."""
    barrier = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(index: int, call: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            results[index] = call()
        except Exception as error:
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_of_many_jobs_one_does_it(self, owner: Caller, base, large: None) -> None:
        upload = waiting(owner)
        results = at_once(*[lambda: ingest.run(upload_id=upload.pk)] * 6)
        assert sorted(results) == [False] * 5 + [True]
        ends_well()

    def test_completing_at_the_same_moment_makes_one_version(self, owner: Caller, base) -> None:
        files = adapters.lora()
        started = owner.start("acme/tone-bert", files)
        owner.send(started, files)
        path = f"uploads/{started['id']}/complete"
        answers = at_once(*[lambda: Caller(owner.token).post(path)] * 6)
        assert {answer.status for answer in answers} == {202}
        assert {answer["version"]["number"] for answer in answers} == {1}
        ends_well()

    def test_starting_at_the_same_moment_with_one_key_makes_one_upload(self, owner: Caller, base) -> None:
        files = adapters.lora()
        answers = at_once(*[lambda: Caller(owner.token).start("acme/tone-bert", files, key="k1")] * 6)
        assert len({answer["id"] for answer in answers}) == 1
        assert sorted(answer.status for answer in answers) == [200] * 5 + [201]

    def test_many_pushes_at_once_are_numbered_without_a_gap(self, owner: Caller, base) -> None:
        calls = [
            lambda n=n: Caller(owner.token).push("acme/tone-bert", adapters.lora(value=0.01 * (n + 1)))
            for n in range(6)
        ]
        answers = at_once(*calls)
        assert {answer.status for answer in answers} == {202}
        assert sorted(answer["version"]["number"] for answer in answers) == [1, 2, 3, 4, 5, 6]

    def test_the_same_bytes_from_many_at_once_wait_for_one_run(self, owner: Caller, base) -> None:
        answers = at_once(*[lambda n=n: Caller(owner.token).push(f"acme/tone-{n}", adapters.lora()) for n in range(6)])
        assert {answer.status for answer in answers} == {202}
        judge(Run.objects.get())
        assert set(Version.objects.values_list("status", flat=True)) == {"published"}
        assert Event.objects.filter(kind="version.published").count() == 6

    def test_of_names_that_look_alike_one_is_made(self, owner: Caller, base) -> None:
        names = ["tone-bert", "Tone-Bert", "tone_bert", "tone.bert", "TONE-BERT", "tone-BERT"]
        answers = at_once(
            *[lambda name=name: Caller(owner.token).start(f"acme/{name}", adapters.lora()) for name in names]
        )
        assert sorted(answer.status for answer in answers) == [201, 409, 409, 409, 409, 409]

    def test_of_pushes_under_one_label_one_wins(self, owner: Caller, base) -> None:
        calls = [
            lambda n=n: Caller(owner.token).push("acme/tone-bert", adapters.lora(value=0.01 * (n + 1)), version="1.0")
            for n in range(4)
        ]
        answers = at_once(*calls)
        assert sorted(answer.status for answer in answers) == [202, 409, 409, 409]
        assert {answer["code"] for answer in answers if answer.status == 409} == {"label_exists"}

    def test_ingests_and_reports_at_the_same_moment_do_not_wait_for_each_other(
        self, owner: Caller, base, caplog: pytest.LogCaptureFixture
    ) -> None:
        for n in range(6):
            files = adapters.lora(value=0.01 * (n + 1))
            owner.push("acme/one", files)
            run = Run.objects.get(status="queued")
            answers = at_once(
                lambda files=files: Caller(owner.token).push("acme/one", files),
                lambda files=files: Caller(owner.token).push("acme/two", files),
                lambda files=files: Caller(owner.token).push("acme/three", files),
                lambda run=run: judge_locked(run),
            )
            assert {answer.status for answer in answers[:3]} == {202}
            assert answers[3] is None, answers[3]
            assert not Version.objects.filter(status="validating").exists()
        assert "deadlock" not in caplog.text
        assert "failed" not in caplog.text


def judge_locked(run: Run) -> None:
    """Judge a run as the service that takes reports does: its row locked first."""
    with transaction.atomic():
        judge(Run.objects.select_for_update().get(pk=run.pk))
