"""What is set once stays, what is public is not deleted, what happened is not rewritten: asked in SQL."""

import pytest
from django.db import connection
from django.utils import timezone

from registry.models import Fit
from tests.registry import factories as make
from tests.registry.refusals import attempt, delete, insert_like, refused, update

pytestmark = pytest.mark.django_db

HEX = make.sha256("another")


def test_the_keys_of_a_blob_never_change():
    blob = make.make_blob(git_oid="a" * 40)
    for change in ({"sha256": HEX}, {"size": 7}, {"git_oid": "b" * 40}):
        refused(*update(blob, **change), by="blob_keys_are_kept")
    assert attempt(*update(blob, state="deleting", version=1)) is None


def test_the_keys_of_a_manifest_never_change():
    manifest = make.make_manifest(files={})
    for change in ({"digest": HEX}, {"adapter_digest": HEX}, {"size": 7}):
        refused(*update(manifest, **change), by="manifest_keys_are_kept")


def test_a_file_of_a_manifest_never_changes():
    file = make.make_manifest().files.first()
    blob = make.make_blob(size=file.size)
    for change in ({"path": "x.json"}, {"blob_id": blob.pk}, {"manifest_id": make.make_manifest(files={}).pk}):
        refused(*update(file, **change), by="manifestfile_is_kept")


def test_what_was_sent_never_changes_and_is_never_deleted():
    row = make.make_original()
    changes = {
        "manifest_id": make.make_manifest().pk,
        "path": "pytorch_adapter.bin",
        "blob_id": make.make_blob().pk,
        "converted": "adapter.safetensors",
        "changes": '["another"]',
        "created_at": timezone.now(),
    }
    for column, value in changes.items():
        refused(*update(row, **{column: value}), by="original_is_kept")
    refused(*delete(row), by="original_is_never_deleted")


def test_the_bytes_and_the_manifest_of_what_was_sent_are_not_deleted():
    row = make.make_original()
    refused(*delete(row.blob), by=foreign_key("registry_original", "blob_id"))
    files = row.manifest.files.all()
    assert files
    refused(
        *delete(row.manifest),
        by=foreign_key("registry_original", "manifest_id"),
        besides=["registry_manifestfil_manifest_id%"],
    )


def foreign_key(table: str, column: str) -> str:
    """Return the name that Django gave to a foreign key."""
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, table)
    return next(name for name, found in constraints.items() if found["foreign_key"] and found["columns"] == [column])


@pytest.mark.parametrize("user", [make.make_version, make.make_run, make.make_commit], ids=["version", "run", "commit"])
def test_a_manifest_in_use_gains_and_loses_no_file(user):
    row = user()
    file = row.manifest.files.first()
    refused(*insert_like(file, path="extra.json"), by="manifestfile_none_is_added")
    refused(*delete(file), by="manifestfile_none_is_removed")


def test_a_manifest_nobody_uses_is_free_and_saying_it_again_is_harmless():
    free = make.make_manifest().files.first()
    assert attempt(*delete(free)) is None
    used = make.make_version().manifest.files.first()
    sql, params = insert_like(used)
    assert attempt(f"{sql} ON CONFLICT DO NOTHING", params) is None


def test_the_manifest_of_a_published_version_is_not_deleted():
    version = make.make_version()
    besides = ["registry_manifestfil_manifest_id%", "registry_commit_manifest_id%", "registry_run_manifest_id%"]
    besides += ["run_manifest_fk", "registry_component_manifest_id%"]
    refused(*delete(version.manifest), by="version_manifest_fk", besides=besides)


@pytest.mark.parametrize("column", ["oid", "message", "adapter_id", "manifest_id", "author_id", "created_at", "id"])
def test_a_commit_never_changes(column):
    commit = make.make_commit(message="first")
    changes = {
        "oid": "0" * 40,
        "message": "rewritten",
        "adapter_id": make.make_adapter().pk,
        "manifest_id": make.make_manifest().pk,
        "author_id": make.make_user().pk,
        "created_at": timezone.now(),
        "id": commit.pk + 1000,
    }
    refused(*update(commit, **{column: changes[column]}), by="commit_is_kept")


def test_a_commit_keeps_its_parent_and_the_first_gets_none():
    first = make.make_commit()
    second = make.make_commit(adapter=first.adapter, parent=first)
    refused(*update(second, parent_id=None), by="commit_parent_is_kept")
    refused(*update(first, parent_id=second.pk), by="commit_parent_is_kept")


@pytest.mark.parametrize(
    "column", ["id", "adapter_digest", "base_fingerprint", "plan_digest", "plan", "manifest_id", "created_at"]
)
def test_the_keys_of_a_run_never_change(column):
    run = make.make_run()
    changes = {
        "id": "11111111-1111-4111-8111-111111111111",
        "adapter_digest": HEX,
        "base_fingerprint": make.make_base_model().fingerprint,
        "plan_digest": HEX,
        "plan": {"gates": {}},
        "manifest_id": make.make_manifest().pk,
        "created_at": timezone.now(),
    }
    besides = ["run_manifest_fk"]  # manifest and adapter digest go together, which is another test
    refused(*update(run, **{column: changes[column]}), by="run_keys_are_kept", besides=besides)


def test_the_number_of_a_lease_only_grows():
    run = make.make_run(lease_no=4)
    refused(*update(run, lease_no=3), by="run_lease_no_only_grows")
    assert attempt(*update(run, lease_no=5)) is None


def test_the_report_of_a_passed_run_never_changes():
    run = make.make_run(status="passed")
    refused(*update(run, report={"verdict": "passed", "improved": True}), by="run_passed_result_is_kept")
    refused(*update(run, result_digest=HEX), by="run_passed_result_is_kept")


def test_a_score_never_changes():
    score = make.make_score(answers=make.make_blob())
    for change in ({"value": 0.84}, {"low": 0.7}, {"evidence": "claimed"}, {"answers_id": None}, {"gates": [1]}):
        refused(*update(score, **change), by="score_is_kept")


def test_a_score_names_no_answers_that_are_not_there_and_keeps_those_that_it_names():
    """So a report without its answers cannot be, and whoever deletes blobs one day has to leave these."""
    key = "registry_score_answers_id_00002ae3_fk_registry_blob_sha256"
    refused(*update(make.make_score(), answers_id=HEX), by=key)
    score = make.make_score(answers=make.make_blob())
    refused(*delete(score.answers), by=key)
    assert attempt(*delete(make.make_blob())) is None


def test_a_base_model_keeps_its_fingerprint_and_tensors():
    base = make.make_base_model()
    refused(*update(base, fingerprint=f"base:{HEX}"), by="basemodel_fingerprint_is_kept")
    refused(*update(base, tensors=[]), by="basemodel_tensors_are_kept")
    bare = make.make_base_model(tensors=[])
    assert attempt(*update(bare, tensors=base.tensors)) is None


def test_needs_and_offers_are_what_their_digests_say():
    need, offer, content = make.make_need(), make.make_offer(), make.make_content()
    for change in ({"digest": HEX}, {"modules": {"a": {"in": 1}}}, {"whole": {"hidden": 1}}, {"probe": "a in 1"}):
        refused(*update(need, **change), by="need_keys_are_kept")
    for change in ({"digest": HEX}, {"modules": {"a": {"in": 1}}}, {"whole": {"hidden": 1}}):
        refused(*update(offer, **change), by="offer_keys_are_kept")
    refused(*update(content, digest=HEX), by="content_is_kept")
    assert attempt(*update(need, compared_at=timezone.now())) is None


def test_a_fit_is_of_a_need_and_an_offer_that_are_there_and_stay():
    need, offer = make.make_need(), make.make_offer()
    fit = Fit.objects.create(need=need, offer=offer)
    insert = "INSERT INTO registry_fit (need_id, offer_id) VALUES (%s, %s)"
    for keys in ((need.pk + 1, offer.pk), (need.pk, offer.pk + 1)):
        refused(insert, keys, by="fit_is_of_what_there_is")
    refused(*update(fit, need_id=need.pk + 1), by="fit_is_kept")
    refused(*delete(need), by="need_is_never_deleted")
    refused(*delete(offer), by="offer_is_never_deleted")
    other = make.make_need()
    assert attempt(insert, (other.pk, offer.pk)) is None


def test_a_benchmark_is_what_its_digest_says():
    benchmark = make.make_benchmark()
    for change in ({"digest": HEX}, {"definition": {}}, {"metric": "f1"}, {"direction": "down"}, {"files": {}}):
        refused(*update(benchmark, **change), by="benchmark_is_kept")
    assert attempt(*update(benchmark, visibility="private")) is None


def test_number_label_and_adapter_of_a_version_never_change():
    version = make.make_version(status="draft", label="1.0", commit=None)
    bare = make.make_version(status="draft", adapter=version.adapter)
    for change in ({"number": 9}, {"label": "2.0"}, {"label": None}):
        refused(*update(version, **change), by="version_keys_are_kept")
    refused(
        *update(version, adapter_id=make.make_adapter().pk), by="version_keys_are_kept", besides=["version_commit_fk"]
    )
    assert attempt(*update(bare, label="1.1")) is None, "a label may still be given"


def test_the_digests_of_a_version_never_change():
    files = {"adapter_config.json": b"{}", "README.md": b"one"}
    manifest = make.make_manifest(files=files)
    reworded = make.make_manifest(files=files | {"README.md": b"two"})
    other = make.make_manifest()
    version = make.make_version(status="draft", manifest=manifest)
    besides = ["version_commit_fk"]
    refused(*update(version, digest=reworded.digest), by="version_keys_are_kept", besides=besides)
    both = {"digest": other.digest, "adapter_digest": other.adapter_digest}
    refused(*update(version, **both), by="version_keys_are_kept", besides=besides)
    refused(*update(version, commit_id=None), by="version_keys_are_kept")


def test_the_hour_of_publication_never_changes():
    version = make.make_version()
    refused(*update(version, published_at=timezone.now()), by="version_hour_is_kept")


def test_a_hosted_version_may_be_published_later_and_is_never_deleted_by_a_detour():
    run = make.make_run(status="passed")
    version = make.make_version(status="hosted", run=run)
    assert attempt(*update(version, status="published", published_at=timezone.now())) is None
    refused(*update(version, status="draft", published_at=None), by="version_hour_is_kept")
    version.status = "draft"
    version.save()
    refused(*delete(version), by="version_public_is_never_deleted")


@pytest.mark.parametrize("status", ["draft", "validating", "rejected", "hosted"])
def test_a_published_version_stays_published(status):
    refused(*update(make.make_version(), status=status), by="version_published_stays")


@pytest.mark.parametrize("column", ["name", "source", "revision", "files_digest", "size", "architecture"])
def test_what_was_read_at_a_commit_is_kept(column):
    row, other = make.make_located_base(), make.make_located_base(size=5, source="org/other")
    other.architecture, other.name = HEX, "org/unused"
    refused(*update(row, **{column: getattr(other, column)}), by="locatedbase_is_kept")


def test_who_a_located_base_was_seen_to_be_stays():
    row = make.make_located_base(state="observed")
    refused(*update(row, state="claimed"), by="locatedbase_observed_stays")
    refused(*update(row, base_id=make.make_base_model().pk), by="locatedbase_observed_stays")


def test_a_located_base_is_open_or_told_who_it_is():
    row = make.make_located_base()
    refused(*update(row, state="open"), by="locatedbase_base_is_told_or_open")
    refused(*update(row, base_id=None), by="locatedbase_base_is_told_or_open")
    refused(*update(row, claimed_by=""), by="locatedbase_claim_says_who")
    refused(*update(row, visibility="private"), by="locatedbase_private_has_namespace")
    refused(*update(row, revision="main"), by="locatedbase_revision_is_a_commit", besides=["locatedbase_is_kept"])


def test_a_file_of_a_base_model_is_the_blob_that_was_announced():
    row = make.make_base_file()
    refused(*update(row, blob_id=make.make_blob().pk), by="basefile_blob_is_what_was_announced")
    refused(*insert_like(row), by="basefile_path_is_one_a_base")


def test_a_located_name_means_one_commit_at_a_time():
    row = make.make_located_base()
    refused(*insert_like(row, revision="0" * 40), by="locatedbase_name_is_one")
    assert attempt(*insert_like(row, superseded_at=row.created_at)) is None


def test_a_published_version_stays_on_its_base():
    version = make.make_version()
    run = make.make_run(manifest=version.manifest, plan=version.plan, status="passed")
    moved = {"base_fingerprint": run.base_fingerprint, "run_id": run.pk}
    refused(*update(version, **moved), by="version_published_stays")


def test_a_published_version_may_get_newer_evidence():
    version = make.make_version()
    run = make.make_run(manifest=version.manifest, base=version.base_model, status="passed")
    assert attempt(*update(version, run_id=run.pk, plan_digest=run.plan_digest)) is None


@pytest.mark.parametrize("status", ["published", "hosted"])
def test_a_public_version_is_never_deleted(status):
    refused(*delete(make.make_version(status=status)), by="version_public_is_never_deleted")


def test_a_yanked_version_is_never_deleted():
    version = make.make_version(yanked_at=timezone.now())
    refused(*delete(version), by="version_public_is_never_deleted")


def test_a_rejected_version_may_be_deleted():
    assert attempt(*delete(make.make_version(status="rejected"))) is None


def test_a_token_keeps_its_user_secret_and_scope():
    token = make.make_token(scope="read")
    for change in ({"scope": "admin"}, {"digest": HEX}, {"user_id": make.make_user().pk}):
        refused(*update(token, **change), by="token_keys_are_kept")
    assert attempt(*update(token, revoked_at=timezone.now())) is None


def test_events_are_append_only():
    event = make.make_event(subject="acme/x:1")
    refused(*update(event, kind="nothing.happened"), by="event_is_append_only")
    refused(*update(event, data={"forged": True}), by="event_is_append_only")
    refused(*delete(event), by="event_is_append_only")
    refused("TRUNCATE registry_event", by="event_is_never_truncated")


@pytest.mark.parametrize(
    "subject", ["tombstone", "version", "commit", "run", "manifest", "manifestfile", "original", "blob"]
)
def test_what_others_rely_on_is_never_truncated(subject):
    with connection.cursor() as cursor:  # what else CASCADE would take along
        cursor.execute("SELECT tgname FROM pg_trigger WHERE tgname LIKE '%_is_never_truncated'")
        others = [name for (name,) in cursor.fetchall() if name != f"{subject}_is_never_truncated"]
    refused(f"TRUNCATE registry_{subject} CASCADE", by=f"{subject}_is_never_truncated", besides=others)
