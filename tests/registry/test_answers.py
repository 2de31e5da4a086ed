"""What an adapter answered row by row: a blob that no score is without, fetched by whom it concerns, on public benchmarks only."""

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from hub.spec import answers as spec
from hub.spec import report as reports
from registry.models import Blob, Run, Score, Version
from registry.queries import blobs
from registry.queries.viewers import Viewer
from registry.services import revalidation
from registry.storage.errors import StorageUnavailable
from tests.registry import adapters
from tests.registry import factories as make
from tests.registry.cast import Caller, report_for
from tests.registry.test_runs import seal
from tests.registry.workers import Lease, push, take

pytestmark = pytest.mark.django_db

SAID = [1, 0, 1, 1]
REPORT = "adapters/acme/tone-bert/versions/1/report"


def answering(lease: Lease, said: list[int] = SAID) -> dict[str, Any]:
    """A report that the rules accept, with these answers to its only benchmark."""
    report = report_for(lease.run)
    report["predictions"] = {score["digest"]: {"labels": said} for score in report["components"][0]["scores"]}
    return seal(report)


@pytest.fixture
def lease(owner: Caller, worker: Caller, base, benchmark) -> Lease:
    """The run of acme/tone-bert:1, claimed."""
    return take(worker, push(owner).base_fingerprint)


@pytest.fixture
def judged(lease: Lease) -> Version:
    """acme/tone-bert:1, published with its answers."""
    assert lease.report(answering(lease)).status == 200
    return Version.objects.get()


def shown(who: Caller) -> Any:
    """The file of answers that the report of acme/tone-bert:1 names to somebody."""
    return who.get(REPORT)["components"][0]["scores"][0]["answers"]


# --- Fetching -------------------------------------------------------------------------------------------------------
def test_whoever_sees_the_report_of_a_public_adapter_can_fetch_what_it_answered_row_by_row(
    judged: Version, owner: Caller, member: Caller, reader: Caller, stranger: Caller, anybody: Caller
) -> None:
    for who in (owner, member, reader, stranger, anybody):
        file = shown(who)
        answer = who.get(file["url"])
        assert answer.status == 200
        assert [json.loads(line) for line in answer.body.splitlines()] == [
            {"row": row, "answer": said} for row, said in enumerate(SAID)
        ]
        assert (hashlib.sha256(spec.to_lines(SAID)).hexdigest(), len(spec.to_lines(SAID))) == (
            file["sha256"],
            file["size"],
        )


def test_they_are_kept_by_caches_for_good_and_known_by_their_digest(judged: Version, anybody: Caller) -> None:
    file = shown(anybody)
    answer = anybody.head(file["url"])
    assert answer.headers["ETag"] == f'"{file["sha256"]}"'
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Content-Length"] == str(file["size"])
    assert f"acme-tone.{judged.run.plan['benchmarks'][0][:8]}.jsonl" in answer.headers["Content-Disposition"]
    assert anybody.get(file["url"], headers={"If-None-Match": answer.headers["ETag"]}).status == 304
    part = anybody.get(file["url"], headers={"Range": "bytes=0-7"})
    assert (part.status, part.body) == (206, spec.to_lines(SAID)[:8])


def test_those_of_a_private_adapter_are_missing_for_all_but_its_members(
    owner: Caller, member: Caller, reader: Caller, stranger: Caller, anybody: Caller, worker: Caller, base, benchmark
) -> None:
    answer = owner.push("acme/tone-bert", adapters.lora(hub={"benchmarks": ["acme/tone"]}), private=True)
    lease = take(worker, Run.objects.get(pk=answer["version"]["queue"]["run"]).base_fingerprint)
    assert lease.report(answering(lease)).status == 200
    url = shown(owner)["url"]
    for who in (owner, member, reader):
        answer = who.get(url)
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "private, no-store")
    missing = anybody.get(url.replace("tone-bert", "no-such-bert"))
    for who in (stranger, anybody):
        answer = who.get(url)
        assert (answer.status, answer["code"]) == (missing.status, missing["code"]) == (404, "not_found")


def test_answers_to_a_private_benchmark_are_shown_to_nobody_not_even_their_digest(
    judged: Version, benchmark, owner: Caller, member: Caller, stranger: Caller, anybody: Caller
) -> None:
    url = shown(owner)["url"]
    assert owner.get(url).status == 200, "the control: while the benchmark was public they were"
    type(benchmark).objects.update(visibility="private")
    sha256 = Score.objects.get().answers_id
    for who in (owner, member, stranger, anybody):
        assert who.get(url).status == 404
        assert sha256 not in who.get(REPORT).body.decode()
        assert sha256 not in who.client.get("/a/acme/tone-bert/v/1/report").content.decode()
        assert who.get(f"by-hash/{sha256}").status == 404


def test_a_digest_opens_nothing_that_the_version_did_not_answer(
    judged: Version, owner: Caller, worker: Caller, anybody: Caller
) -> None:
    file = shown(anybody)
    push(owner, ref="acme/other", value=0.5)
    second = take(worker, judged.base_fingerprint)
    assert second.report(answering(second, [0, 0, 0, 0])).status == 200
    assert anybody.get(file["url"].replace("tone-bert", "other")).status == 404
    weights = judged.manifest.files.get(path="adapter_model.safetensors").blob_id
    assert anybody.get(file["url"].replace(file["sha256"], weights)).status == 404


def test_from_what_is_served_anybody_can_compute_the_result_digest_again(judged: Version, anybody: Caller) -> None:
    report, predictions = anybody.get(REPORT).json, {}
    for part in report["components"]:
        for score in part["scores"]:
            said = spec.from_lines(anybody.get(score["answers"]["url"]).body)
            spec.put(predictions, score["digest"], part["folder"], said)
    assert report["result_digest"].endswith(reports.result_digest(report | {"predictions": predictions}))
    first = next(iter(predictions.values()))["labels"]
    first[0] = 1 - first[0]
    assert not report["result_digest"].endswith(reports.result_digest(report | {"predictions": predictions}))


# --- Writing --------------------------------------------------------------------------------------------------------
def test_a_replay_of_the_same_answers_is_the_same_blob_and_the_same_digest(
    judged: Version, admin: Caller, worker: Caller
) -> None:
    before = Blob.objects.count()
    revalidation.queue(viewer=Viewer(admin.user, "admin"), everything=True)
    again = take(worker, judged.base_fingerprint)
    report = answering(again)
    assert again.report(report).status == 200
    assert again.run.result_digest == judged.run.result_digest
    assert Score.objects.values("answers").distinct().count() == 1
    assert Blob.objects.count() == before


def test_while_the_store_fails_a_report_changes_nothing_and_counts_once_however_often_it_comes_again(
    lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StorageUnavailable("The store does not answer.")

    with monkeypatch.context() as broken:
        broken.setattr(type(blobs.store()), "put", fail)
        answer = lease.report(answering(lease))
        assert (answer.status, answer["code"]) == (503, "unavailable")
    assert (lease.run.status, lease.run.report, Score.objects.count()) == ("leased", None, 0)
    for _ in range(2):  # as where the answer to the first was lost
        assert lease.report(answering(lease)).json == {"status": "passed"}
    assert blobs.store().verify(Score.objects.get().answers_id)


def test_a_report_with_more_or_fewer_answers_than_rows_is_refused(lease: Lease) -> None:
    for said in ([1, 0, 1], [1, 0, 1, 1, 1], []):
        answer = lease.report(answering(lease, said))
        assert (answer.status, answer["code"]) == (422, "invalid")
        assert f"{len(said)} answers to 4 rows" in answer["problems"][0]["message"]
    assert lease.report(answering(lease)).status == 200


def test_what_a_worker_writes_where_the_hub_names_its_files_is_not_shown(lease: Lease, anybody: Caller) -> None:
    report = report_for(lease.run)
    report["components"][0]["scores"][0]["answers"] = {"url": "https://elsewhere.example/answers"}
    assert lease.report(seal(report)).status == 200
    assert shown(anybody) is None


def test_what_the_version_before_answered_is_for_the_holder_of_the_run_only(
    judged: Version, owner: Caller, worker: Caller, anybody: Caller
) -> None:
    push(owner, value=0.5)
    second = take(worker, judged.base_fingerprint)
    (file,) = second.claim["previous"]["answers"]
    assert second.holder.get(file["url"]).body == spec.to_lines(SAID)
    assert {who.get(file["url"]).status for who in (owner, worker, anybody)} == {401}
    other = blobs.store().put(b"of somebody else").sha256
    assert second.holder.get(file["url"].replace(file["sha256"], other)).status == 404


# --- Lost bytes -----------------------------------------------------------------------------------------------------
@pytest.fixture
def own_store(settings: Any, tmp_path: Path) -> Path:
    """A store of this test's own, which it may spoil."""
    settings.HUB_STORAGE = f"file://{tmp_path}"
    return tmp_path


def test_bytes_that_are_lost_are_told_as_lost_and_logged(
    own_store: Path, judged: Version, anybody: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    file = shown(anybody)
    assert anybody.get(file["url"]).status == 200, "the control: as long as they are there"
    (own_store / "sha256" / file["sha256"][:2] / file["sha256"]).unlink()
    with caplog.at_level(logging.ERROR):
        answer = anybody.get(file["url"])
    assert (answer.status, answer["code"]) == (404, "blob_missing")
    assert file["sha256"] in answer["detail"] and "backup" in answer["hint"]
    assert file["sha256"] in caplog.text
    assert anybody.get(REPORT)["verdict"] == "passed", "the report itself stands in the database"


# --- From an earlier edition ----------------------------------------------------------------------------------------
@pytest.fixture
def earlier(transactional_db: None) -> Iterator[Any]:
    """The tables as they were before answers went to the store; brought back at the end."""
    MigrationExecutor(connection).migrate([("registry", "0013_revalidation")])
    yield MigrationExecutor(connection).loader.project_state([("registry", "0013_revalidation")]).apps
    MigrationExecutor(connection).migrate([("registry", "0014_answers")])


@pytest.mark.django_db(transaction=True)
def test_answers_that_an_earlier_edition_kept_in_rows_are_in_the_store_afterwards_and_back(earlier: Any) -> None:
    run, benchmark = make.make_run(status="passed"), make.make_benchmark()
    kept = {"dict": {"labels": [[1, 0], [2]]}, "list": [0.25, 1.0, 3e-7], "none": None}
    for folder, predictions in kept.items():
        earlier.get_model("registry", "Score").objects.create(
            run_id=run.pk, benchmark_id=benchmark.pk, component_folder=folder, predictions=predictions, value=0.5, n=2
        )
    MigrationExecutor(connection).migrate([("registry", "0014_answers")])
    found = dict(Score.objects.values_list("component_folder", "answers"))
    assert found.pop("none") is None
    assert {folder: spec.from_lines(blobs.store().read(sha256)) for folder, sha256 in found.items()} == {
        "dict": [[1, 0], [2]],
        "list": [0.25, 1.0, 3e-7],
    }
    MigrationExecutor(connection).migrate([("registry", "0013_revalidation")])
    back = dict(earlier.get_model("registry", "Score").objects.values_list("component_folder", "predictions"))
    assert back == {"dict": kept["dict"], "list": {"labels": kept["list"]}, "none": None}
