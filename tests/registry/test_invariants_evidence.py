"""Nothing is published without a passed run for exactly its adapter, base and plan: asked in SQL."""

import pytest
from django.utils import timezone

from tests.registry import factories as make
from tests.registry.refusals import attempt, delete, insert_like, refused, update

pytestmark = pytest.mark.django_db

CHECK = "version_published_has_evidence"
EVIDENCE = "version_evidence_fk"


@pytest.fixture
def published():
    return make.make_version(label="1.0")


def sibling(version, **changes):
    """Return the INSERT of a second published version of the same adapter, equal to the first but for `changes`."""
    return insert_like(version, number=2, label=None, **changes)


def test_a_version_with_its_evidence_is_published(published):
    assert attempt(*sibling(published)) is None


def test_a_change_of_the_readme_keeps_its_evidence(published):
    files = {f.path: f"{f.path} {f.pk}".encode() for f in published.manifest.files.all()}
    first = make.make_manifest(files=files)
    second = make.make_manifest(files=files | {"README.md": b"# a better text"})
    assert first.adapter_digest == second.adapter_digest
    assert first.digest != second.digest
    run = make.make_run(manifest=first, status="passed")
    version = make.make_version(manifest=first, run=run)
    commit = make.make_commit(adapter=version.adapter, manifest=second)
    assert attempt(*sibling(version, digest=second.digest, commit_id=commit.pk)) is None


def test_published_without_a_run_is_refused(published):
    refused(*sibling(published, run_id=None), by=CHECK)
    refused(*sibling(published, run_id=None, run_passed=None), by=CHECK)


@pytest.mark.parametrize("column", ["run_passed", "base_fingerprint", "base_observed", "plan_digest", "run_id"])
def test_published_with_a_part_of_its_evidence_missing_is_refused(published, column):
    refused(*sibling(published, **{column: None}), by=CHECK)


@pytest.mark.parametrize("column", ["commit_id", "published_at"])
def test_published_without_content_or_time_is_refused(published, column):
    refused(*sibling(published, **{column: None}), by="version_public_has_content")
    hosted = make.make_version(status="hosted")
    refused(*sibling(hosted, **{column: None}), by="version_public_has_content")


def test_published_without_any_digest_is_refused(published):
    changes = {"digest": None, "adapter_digest": None}
    refused(*sibling(published, **changes), by="version_public_has_content", besides=[CHECK])
    refused(*sibling(published, **changes), by=CHECK, besides=["version_public_has_content"])


@pytest.mark.parametrize("status", ["queued", "leased", "failed", "error", "superseded"])
def test_published_on_a_run_that_did_not_pass_is_refused(published, status):
    run = make.make_run(manifest=published.manifest, base=published.base_model, status=status)
    changes = {"run_id": run.pk, "plan_digest": run.plan_digest}
    refused(*sibling(published, **changes, run_passed=True), by=EVIDENCE)
    refused(*sibling(published, **changes, run_passed=False), by=CHECK)


def test_published_with_a_run_of_another_adapter_is_refused(published):
    other = make.make_manifest()
    commit = make.make_commit(adapter=published.adapter, manifest=other)
    changes = {"digest": other.digest, "adapter_digest": other.adapter_digest, "commit_id": commit.pk}
    refused(*sibling(published, **changes), by=EVIDENCE)


def test_published_with_the_adapter_digest_of_another_manifest_is_refused(published):
    """The evidence is borrowed: another manifest's digest beside the adapter digest that passed."""
    other = make.make_manifest()
    commit = make.make_commit(adapter=published.adapter, manifest=other)
    refused(*sibling(published, digest=other.digest, commit_id=commit.pk), by="version_manifest_fk")


def test_published_with_a_digest_nobody_stored_is_refused(published):
    wrong = make.sha256("never uploaded")
    refused(*sibling(published, digest=wrong), by="version_manifest_fk", besides=["version_commit_fk"])


def test_published_with_a_commit_of_another_content_or_adapter_is_refused(published):
    other_content = make.make_commit(adapter=published.adapter)
    other_adapter = make.make_commit(manifest=published.manifest)
    refused(*sibling(published, commit_id=other_content.pk), by="version_commit_fk")
    refused(*sibling(published, commit_id=other_adapter.pk), by="version_commit_fk")


def test_published_with_a_run_on_another_base_is_refused(published):
    other = make.make_base_model(state="observed")
    refused(*sibling(published, base_fingerprint=other.fingerprint), by=EVIDENCE)


def test_published_with_a_run_of_another_plan_is_refused(published):
    weaker = make.sha256("a plan without gates")
    refused(*sibling(published, plan_digest=weaker), by=EVIDENCE)


def test_published_on_a_base_nobody_observed_is_refused():
    claimed = make.make_base_model(state="claimed")
    manifest = make.make_manifest()
    run = make.make_run(manifest=manifest, base=claimed, status="passed")
    version = make.make_version(status="validating", manifest=manifest, run=run, published_at=timezone.now())
    publish = {"status": "published", "run_passed": True}
    refused(*update(version, **publish, base_observed=True), by="version_base_is_observed_fk")
    refused(*update(version, **publish, base_observed=False), by=CHECK)
    refused(*update(version, **publish, base_observed=None), by=CHECK)


@pytest.mark.parametrize("state", ["observed", "located"])
def test_a_base_that_gets_observed_lets_its_version_be_published(state):
    claimed = make.make_base_model(state="claimed")
    run = make.make_run(base=claimed, status="queued")
    version = make.make_version(status="validating", run=run, run_passed=False)
    assert version.base_observed is False
    claimed.state = state
    claimed.save()
    run.status, run.report = "passed", {"verdict": "passed"}
    run.result_digest, run.finished_at = make.sha256("r"), timezone.now()
    run.save()
    version.refresh_from_db()
    assert (version.base_observed, version.run_passed) == (True, True)
    assert attempt(*update(version, status="published", published_at=timezone.now())) is None


@pytest.mark.parametrize("status", ["failed", "queued", "error", "superseded"])
def test_a_run_that_published_something_cannot_be_flipped(published, status):
    refused(*update(published.run, status=status), by=CHECK)


def test_a_base_that_published_something_cannot_become_claimed_again(published):
    refused(*update(published.base_model, state="claimed"), by=CHECK)


def test_a_run_that_published_something_cannot_be_deleted(published):
    refused(*delete(published.run), by=EVIDENCE, besides=["registry_version_run_id%"])


def test_a_base_that_published_something_cannot_be_deleted(published):
    besides = ["run_base_fk", "registry_baseal%"]
    refused(*delete(published.base_model), by="version_base_is_observed_fk", besides=besides[:1])


def test_yanking_needs_the_evidence_too(published):
    yanked = {"yanked_at": timezone.now(), "yank_reason": "mislabelled data"}
    assert attempt(*update(published, **yanked)) is None
    refused(*update(published, **yanked, run_id=None), by=CHECK)
    refused(*sibling(published, **yanked, run_passed=None), by=CHECK)
    refused(*sibling(published, **yanked, plan_digest=make.sha256("other")), by=EVIDENCE)


def test_only_what_was_public_is_yanked():
    rejected = make.make_version(status="rejected")
    refused(*update(rejected, yanked_at=timezone.now()), by="version_yanked_was_public")


def test_hosted_needs_no_verdict_but_is_never_published_by_name_only():
    hosted = make.make_version(status="hosted")
    assert hosted.run is None
    refused(*update(hosted, status="published"), by=CHECK)


def test_a_rejection_says_why():
    draft = make.make_version(status="draft")
    refused(*update(draft, status="rejected"), by="version_rejected_says_why")
    draft.status, draft.report = "rejected", {"verdict": "failed"}
    draft.save()


def test_a_judged_run_has_its_report():
    queued = make.make_run()
    for status in ("passed", "failed"):
        refused(*update(queued, status=status), by="run_judged_has_report")


def test_a_run_judges_files_that_are_there_on_a_base_that_is_known():
    run = make.make_run()
    besides = ["run_keys_are_kept"]
    other = make.make_manifest()
    refused(*update(run, manifest_id=other.digest), by="run_manifest_fk", besides=besides)
    nowhere = "base:" + make.sha256("nowhere")
    refused(*update(run, base_fingerprint=nowhere), by="run_base_fk", besides=besides)


def test_a_ref_an_alias_and_a_parent_stay_within_their_adapter():
    version, stranger = make.make_version(), make.make_version()
    alias = make.make_alias(version=version)
    ref = make.make_ref(commit=version.commit)
    refused(*update(alias, version_id=stranger.pk), by="alias_version_fk")
    refused(*update(ref, commit_id=stranger.commit_id), by="ref_commit_fk")
    oid = make.sha256("child")[:40]
    refused(*insert_like(version.commit, oid=oid, parent_id=stranger.commit_id), by="commit_parent_fk")


def test_a_manifest_says_the_size_its_blob_has():
    manifest = make.make_manifest()
    file = manifest.files.first()
    refused(*insert_like(file, path="other.json", size=file.size + 1), by="manifestfile_size_fk")


def test_one_run_an_evidence_key_unless_it_ended_without_a_verdict():
    for status in ("queued", "leased", "passed", "failed"):
        run = make.make_run(status=status)
        again = {"id": "11111111-1111-4111-8111-111111111111"}
        refused(*insert_like(run, **again), by="run_is_one_an_evidence_key")
    for status in ("error", "superseded"):
        run = make.make_run(status=status)
        assert attempt(*insert_like(run, **again)) is None
