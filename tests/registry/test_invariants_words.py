"""Every column with a vocabulary or a grammar is held to it by the database: asked in SQL, row by row."""

import pytest
from django.apps import apps
from django.db import models
from django.utils import timezone

from registry.models.rules import DigestField
from tests.registry import factories as make
from tests.registry.refusals import alone, attempt, insert_like, refused, update

pytestmark = pytest.mark.django_db

MODELS = {m.__name__: m for m in apps.get_app_config("registry").get_models()}


def one(name: str) -> models.Model:
    """Return one row of a table."""
    made = {
        "Namespace": make.make_namespace,
        "Membership": make.make_membership,
        "Token": make.make_token,
        "Adapter": make.make_adapter,
        "Commit": make.make_commit,
        "Ref": lambda: make.make_ref(commit=make.make_commit()),
        "Redirect": lambda: make.make_redirect(adapter=make.make_adapter(), name="old"),
        "Tombstone": lambda: make.make_tombstone(namespace=make.make_namespace()),
        "Blob": make.make_blob,
        "Manifest": make.make_manifest,
        "ManifestFile": lambda: make.make_manifest().files.first(),
        "Component": make.make_component,
        "Version": lambda: make.make_version(status="draft"),
        "Alias": make.make_alias,
        "Run": make.make_run,
        "Score": make.make_score,
        "BaseModel": make.make_base_model,
        "BaseAlias": make.make_base_alias,
        "Benchmark": make.make_benchmark,
        "Policy": make.make_policy,
        "Upload": make.make_upload,
        "UploadBlob": make.make_upload_blob,
        "Event": make.make_event,
        "Outbox": make.make_outbox,
        "User": make.make_user,
        "SignIn": make.make_sign_in,
        "Need": make.make_need,
        "Offer": make.make_offer,
        "Content": make.make_content,
        "BaseRelation": make.make_base_relation,
        "LocatedBase": make.make_located_base,
        "BaseFile": make.make_base_file,
    }
    return made[name]()


def columns(wanted) -> list[tuple[str, str]]:
    return [(n, f.column) for n, m in sorted(MODELS.items()) for f in m._meta.concrete_fields if wanted(f)]


WORDS = columns(lambda f: f.choices)
DIGESTS = columns(lambda f: isinstance(f, DigestField))
FINGERPRINTS = [("BaseModel", "fingerprint"), *columns(lambda f: f.column == "base_fingerprint")]
AMOUNTS = columns(lambda f: f.get_internal_type().startswith("Positive"))


def test_the_lists_below_are_not_empty():
    assert ("Version", "status") in WORDS
    assert ("Run", "status") in WORDS
    assert len(WORDS) >= 16
    assert ("Blob", "sha256") in DIGESTS
    assert ("Token", "digest") in DIGESTS
    assert len(DIGESTS) >= 16
    assert ("Blob", "size") in AMOUNTS
    assert len(FINGERPRINTS) == 5


@pytest.mark.parametrize("table_column", WORDS, ids=".".join)
@pytest.mark.parametrize("word", ["nonsense", ""])
def test_an_unknown_word_is_refused(table_column, word):
    name, column = table_column
    row = one(name)
    with alone(row._meta.db_table):
        besides = ["tombstone_names_its_dead"] if table_column == ("Tombstone", "kind") else []
        refused(*update(row, **{column: word}), by=f"{name.lower()}_{column}_is_known", besides=besides)


@pytest.mark.parametrize("name", ["Version", "Run"])
def test_a_status_in_capitals_is_unknown(name):
    row = one(name)
    refused(*update(row, status=row.status.upper()), by=f"{name.lower()}_status_is_known")


HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize("table_column", DIGESTS, ids=".".join)
@pytest.mark.parametrize("bad", [HEX.upper(), HEX[:-1], HEX[:-1] + "g", HEX[:-1] + "\n", ""])
def test_a_digest_is_64_lowercase_hex_digits(table_column, bad):
    name, column = table_column
    row = one(name)
    with alone(row._meta.db_table):
        besides = []
        if (name, column) in [("Version", "digest"), ("Version", "adapter_digest")]:
            besides = ["version_digests_come_together"]
        if (name, column) == ("Run", "lease_token_digest"):
            besides = ["run_leased_means_token_and_expiry"]
        refused(*update(row, **{column: bad}), by=f"{name.lower()}_{column}_is_sha256", besides=besides)


@pytest.mark.parametrize("table_column", FINGERPRINTS, ids=".".join)
@pytest.mark.parametrize("bad", [HEX, "base:" + HEX.upper(), "base:" + HEX[:-1], "bert-base-uncased", ""])
def test_a_fingerprint_is_base_and_64_hex_digits(table_column, bad):
    name, column = table_column
    row = one(name)
    with alone(row._meta.db_table):
        refused(*update(row, **{column: bad}), by=f"{name.lower()}_{column}_is_base")


@pytest.mark.parametrize("table_column", AMOUNTS, ids=".".join)
def test_an_amount_is_not_negative(table_column):
    name, column = table_column
    row = one(name)
    with alone(row._meta.db_table):
        besides = {
            ("Version", "number"): ["version_number_is_positive"],
            ("UploadBlob", "size"): ["uploadblob_received_within_announced"],
        }.get(table_column, [])
        refused(*update(row, **{column: -1}), by=f"registry_{name.lower()}_{column}_check", besides=besides)


def test_a_version_is_numbered_from_one():
    draft = make.make_version(status="draft")
    refused(*insert_like(draft, number=0), by="version_number_is_positive")


@pytest.mark.parametrize("oid", ["0" * 39, "0" * 39 + "G", "A" * 40])
def test_a_commit_hash_is_40_hex_digits(oid):
    refused(*insert_like(make.make_commit(), oid=oid), by="commit_oid_is_sha1")


def test_a_score_is_a_number_within_an_ordered_interval():
    score = make.make_score()
    for value in ("NaN", "Infinity", "-Infinity"):
        refused(*insert_like(score, value=value, runtime="other"), by="score_value_is_finite")
    refused(*insert_like(score, low=0.9, high=0.8, runtime="other"), by="score_interval_is_ordered")


def test_the_digests_of_a_version_come_together():
    draft = make.make_version(status="draft", commit=None)
    lone = insert_like(draft, number=2, commit_id=None, adapter_digest=None)
    refused(*lone, by="version_digests_come_together")


def test_leased_means_a_token_and_an_expiry():
    queued, leased = make.make_run(), make.make_run(status="leased")
    by = "run_leased_means_token_and_expiry"
    refused(*update(queued, status="leased"), by=by)
    refused(*update(queued, lease_expires_at=timezone.now()), by=by)
    refused(*update(queued, lease_token_digest=HEX), by=by)
    refused(*update(leased, status="queued"), by=by)
    refused(*update(leased, lease_token_digest=None), by=by)
    refused(*update(leased, lease_expires_at=None), by=by)
    freed = {"status": "queued", "lease_token_digest": None, "lease_expires_at": None}
    assert attempt(*update(leased, **freed)) is None


def test_an_upload_receives_no_more_than_it_announced():
    blob = make.make_upload_blob(size=100)
    refused(*update(blob, received=101), by="uploadblob_received_within_announced")
    assert attempt(*update(blob, received=100)) is None


def test_an_idempotency_key_is_used_once_a_user():
    upload = make.make_upload(idempotency_key="push-1")
    again = insert_like(upload, id="11111111-1111-4111-8111-111111111111")
    refused(*again, by="upload_idempotency_key_is_one_a_user")


def test_a_base_does_not_come_from_itself():
    relation = make.make_base_relation()
    refused(*update(relation, parent_id=relation.base_id), by="baserelation_is_between_two")
    refused(*insert_like(relation), by="baserelation_is_one_a_kind")


def test_nobodys_cast_roots_are_kept():
    base, roots = make.make_base_model(), '{"bf16": {}}'
    refused(*update(base, cast_roots=roots), by="basemodel_cast_roots_have_a_witness")
    base.cast_roots, base.cast_roots_by = {"bf16": {}}, "worker"
    base.save()
    refused(*update(base, cast_roots_by="nobody"), by="basemodel_cast_roots_have_a_witness")


def test_only_what_is_packed_had_another_shape():
    base = make.make_base_model(quantisation="gptq", logical={"x.weight": [1]})
    refused(*update(base, quantisation=""), by="basemodel_only_packed_shapes_are_told")


def test_a_live_name_leads_to_one_base():
    for namespace in (None, make.make_namespace()):
        alias = make.make_base_alias(name="org/bert", namespace=namespace)
        other = make.make_base_model()
        refused(*insert_like(alias, base_id=other.pk), by="basealias_live_name_is_one")
        assert attempt(*insert_like(alias, base_id=other.pk, state="renamed")) is None


@pytest.mark.parametrize("label", ["", "-1", ".1", "a b", "a/b", "a:b", "é", "1\n", "#1", "@1"])
def test_a_label_is_wellformed(label):
    draft = make.make_version(status="draft")
    refused(*update(draft, label=label), by="version_label_is_wellformed")


@pytest.mark.parametrize("label", ["latest", "LATEST", "Latest"])
def test_latest_is_nobodys_label(label):
    refused(*update(make.make_version(status="draft"), label=label), by="version_label_is_not_latest")


def test_a_label_of_digits_is_the_versions_own_number():
    draft = make.make_version(status="draft", number=3)
    for label in ("2", "03", "999999999999999999999999"):
        refused(*update(draft, label=label), by="version_label_of_digits_is_its_number")
    assert attempt(*update(draft, label="3")) is None


def test_an_alias_is_not_a_number():
    refused(*update(make.make_alias(), name="2"), by="alias_is_not_a_number")
