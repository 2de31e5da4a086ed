"""The questions QuerySets answer, the joins without a column, and the migrations there and back."""

import re
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from registry import models
from tests.registry import factories as make
from tests.registry.refusals import attempt, delete

SUBJECTS = {m.__name__.lower() for m in apps.get_app_config("registry").get_models()}
COLUMNS = {f.column for m in apps.get_app_config("registry").get_models() for f in m._meta.concrete_fields}
NOW = timezone.now()
LATER, EARLIER = NOW + timedelta(hours=1), NOW - timedelta(hours=1)


@pytest.mark.django_db
class TestVisibility:
    """Owner, member, stranger."""

    @pytest.fixture
    def private(self):
        self.owner, self.member, self.stranger = make.make_user(), make.make_user(), make.make_user()
        namespace = make.make_namespace(name="acme", owner=self.owner)
        make.make_membership(namespace=namespace, user=self.member, role="read")
        return make.make_adapter(namespace=namespace, visibility="private")

    def test_owner_and_member_see_a_private_adapter_and_a_stranger_does_not(self, private):
        assert private in models.Adapter.objects.visible_to(self.owner)
        assert private in models.Adapter.objects.visible_to(self.member)
        assert private not in models.Adapter.objects.visible_to(self.stranger)
        assert private not in models.Adapter.objects.visible_to(None)

    def test_everybody_sees_a_public_adapter(self, private):
        public = make.make_adapter()
        for viewer in (self.owner, self.stranger, None):
            assert public in models.Adapter.objects.visible_to(viewer)

    def test_nobody_sees_a_deleted_adapter(self, private):
        private.deleted_at = NOW
        private.save()
        assert private not in models.Adapter.objects.visible_to(self.owner)

    def test_roles_sort_into_those_who_write_and_others(self, private):
        make.make_membership(namespace=private.namespace, role="write")
        make.make_membership(namespace=private.namespace, role="read")
        assert models.Membership.objects.writing().count() == 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    "query",
    [
        "sentiment",
        "bert",
        "sentiment-bert",
        "SENTIMENT",
        "lora",
        "text-classification",
        "classification",
        "reviews",
        '"film reviews"',
    ],
)
def test_an_adapter_is_found_by_the_words_of_its_name_task_method_and_description(query):
    found = make.make_adapter(
        name="sentiment_bert.v2", task="text-classification", method="lora", description="For film reviews."
    )
    make.make_adapter(name="ner-roberta", description="names of places")
    assert list(models.Adapter.objects.matching(query)) == [found]


@pytest.mark.django_db
def test_the_words_of_an_adapter_follow_its_description():
    adapter = make.make_adapter(description="first")
    models.Adapter.objects.filter(pk=adapter.pk).update(description="second")
    assert not models.Adapter.objects.matching("first")
    assert models.Adapter.objects.matching("second").get() == adapter


@pytest.mark.django_db
def test_a_namespace_is_found_by_what_looks_like_it():
    namespace = make.make_namespace(name="lily-book")
    assert models.Namespace.objects.looking_like("L1LYB00K").get() == namespace
    assert not models.Namespace.objects.looking_like("lily-cook")


@pytest.mark.django_db
def test_a_tombstone_is_found_by_what_looks_like_it():
    adapter = make.make_adapter(namespace=make.make_namespace(name="lily-book"), name="sent.bert")
    grave = make.make_tombstone(namespace=adapter.namespace, name="Sent-Bert")
    house = make.make_tombstone(namespace=adapter.namespace)
    assert models.Tombstone.objects.of_adapter(adapter).get() == grave
    assert models.Tombstone.objects.of_namespace("L1LYB00K").get() == house
    assert not models.Tombstone.objects.of_namespace("lily-cook")


@pytest.mark.django_db
def test_a_token_is_usable_until_it_expires_or_is_revoked():
    forever, fresh = make.make_token(), make.make_token(expires_at=LATER)
    make.make_token(expires_at=EARLIER)
    make.make_token(revoked_at=EARLIER)
    assert set(models.Token.objects.usable(NOW)) == {forever, fresh}


@pytest.mark.django_db
def test_latest_chooses_from_what_is_offered():
    adapter = make.make_adapter()
    first = make.make_version(adapter=adapter)
    yanked = make.make_version(adapter=adapter, yanked_at=NOW)
    make.make_version(adapter=adapter, quarantined_at=NOW)
    make.make_version(adapter=adapter, status="rejected")
    hosted = make.make_version(adapter=adapter, status="hosted")
    assert list(models.Version.objects.offered()) == [first]
    assert set(models.Version.objects.served()) == {first, yanked, hosted}
    assert models.Version.objects.published().count() == 3


@pytest.mark.django_db
def test_the_queue_is_oldest_first_and_what_pauses_may_not_be_claimed():
    second, first = make.make_run(), make.make_run(created_at=EARLIER)
    make.make_run(status="leased")
    pausing = make.make_run(not_before=timezone.now() + timedelta(hours=1))
    over = make.make_run(not_before=EARLIER)
    assert list(models.Run.objects.waiting()) == [first, second, pausing, over]
    assert list(models.Run.objects.claimable()) == [first, second, over]


@pytest.mark.django_db
def test_a_hosted_version_is_offered_only_where_nothing_was_ever_published():
    adapter = make.make_adapter()
    hosted = make.make_version(adapter=adapter, status="hosted")
    newer = make.make_version(adapter=adapter, status="hosted")
    assert set(models.Version.objects.offered()) == {hosted, newer}
    published = make.make_version(adapter=adapter)
    assert list(models.Version.objects.offered()) == [published]
    models.Version.objects.filter(pk=published.pk).update(yanked_at=NOW)
    assert list(models.Version.objects.offered()) == []


@pytest.mark.django_db
def test_a_run_is_found_by_its_evidence_key_unless_it_ended_without_a_verdict():
    manifest, base, plan = make.make_manifest(), make.make_base_model(), make.make_plan()
    key = (manifest.adapter_digest, base.fingerprint, make.digest_of(plan))
    make.make_run(manifest=manifest, base=base, plan=plan, status="error")
    assert not models.Run.objects.evidence_for(*key)
    run = make.make_run(manifest=manifest, base=base, plan=plan, status="passed")
    assert models.Run.objects.evidence_for(*key).get() == run


@pytest.mark.django_db
def test_uploads_expire_or_stall():
    late = make.make_upload(expires_at=EARLIER)
    fresh = make.make_upload()
    never_begun = make.make_upload(state="ingesting", expires_at=EARLIER)
    make.make_upload(state="ingesting", lease_expires_at=LATER)
    lost = make.make_upload(state="ingesting", lease_expires_at=EARLIER)
    make.make_upload(state="done", expires_at=EARLIER)
    assert models.Upload.objects.expired(NOW).get() == late
    assert set(models.Upload.objects.stalled(NOW)) == {never_begun, lost}
    assert fresh in models.Upload.objects.pending()


@pytest.mark.django_db
def test_the_outbox_is_sent_in_order():
    first, second = make.make_outbox(), make.make_outbox()
    make.make_outbox(sent_at=NOW)
    assert list(models.Outbox.objects.unsent()) == [first, second]


@pytest.mark.django_db
def test_a_version_knows_its_manifest_and_base_without_a_column_of_its_own():
    version = make.make_version()
    found = models.Version.objects.select_related("manifest", "base_model").get(pk=version.pk)
    assert found.manifest.digest == found.digest
    assert found.base_model.fingerprint == found.base_fingerprint
    assert list(found.manifest.versions.all()) == [found]
    assert models.Version.objects.filter(base_model__state="observed").get() == version
    assert found.run.base_model == found.base_model
    draft = models.Version.objects.create(adapter=version.adapter, number=9)
    assert (draft.manifest, draft.base_model) == (None, None)


@pytest.mark.django_db
def test_an_adapter_that_was_never_public_can_be_deleted_with_all_its_history():
    version = make.make_version(status="rejected")
    adapter = version.adapter
    child = make.make_commit(adapter=adapter, parent=version.commit)
    make.make_version(adapter=adapter, status="draft", commit=child, manifest=child.manifest)
    make.make_alias(version=version)
    make.make_ref(commit=child)
    make.make_upload(adapter=adapter, version=version)
    make.make_tombstone(namespace=adapter.namespace, name=adapter.name, last_number=2)
    adapter.delete()
    assert not models.Commit.objects.exists()
    assert models.Run.objects.count() == 1, "evidence outlives whom it was made for"


@pytest.mark.django_db
def test_an_adapter_with_a_public_version_cannot_be_deleted():
    version = make.make_version()
    make.make_tombstone(namespace=version.adapter.namespace, name=version.adapter.name)
    assert attempt(*delete(version)).diag.constraint_name == "version_public_is_never_deleted"
    with pytest.raises(Exception, match="never deleted"):
        version.adapter.delete()


def plan_of(queryset) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        # as a table that nobody has analysed yet: what other tests left in the statistics must not choose the index
        table = queryset.model._meta.db_table
        cursor.execute("SELECT pg_clear_relation_stats('public', %s)", [table])
        cursor.execute(
            "SELECT pg_clear_attribute_stats('public', %s, attname, false) FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            [table, table],
        )
    return queryset.explain()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda: models.Run.objects.claimable()[:1], "run_queue"),
        (lambda: models.Run.objects.filter(status="leased", lease_expires_at__lte=NOW), "run_leases"),
        (lambda: models.Outbox.objects.unsent()[:10], "outbox_unsent"),
        (lambda: models.Upload.objects.expired(NOW), "upload_expiring"),
        (lambda: models.Adapter.objects.matching("bert"), "adapter_by_words"),
        (lambda: models.Adapter.objects.live().order_by("-updated_at", "-pk")[:20], "adapter_newest_first"),
    ],
    ids=["queue", "leases", "outbox", "uploads", "search", "list"],
)
def test_what_is_asked_often_has_its_index(ask, index):
    assert index in plan_of(ask())


PAGE = Path(__file__).parents[2] / "docs" / "data-model.md"
# Unique keys that only serve as targets of foreign keys, Django's own names, and families the page names by pattern.
UNNAMED = re.compile(
    r"_key$|^registry_|_is_known$|_is_sha256$|_is_sha1$|_is_base$|_is_never_truncated$|_name_(is|reads)_"
)
# Plain keys and grammars, which need no word of explanation.
PLAIN = re.compile(r"_is_one_a|_is_wellformed$|_is_positive$|_come_together$|_was_public$|_names_its_dead$|^redirect_")


@pytest.mark.django_db
def test_the_page_on_the_data_model_names_each_constraint_and_no_other():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid::regclass::text LIKE 'registry\\_%' AND contype <> 'n'"
            " UNION SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
            " UNION SELECT indexrelid::regclass::text FROM pg_index"
            " WHERE indisunique AND indrelid::regclass::text LIKE 'registry\\_%'"
        )
        there = {name for (name,) in cursor.fetchall()}
    words = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", PAGE.read_text()))
    invented = {word for word in words if word.partition("_")[0] in SUBJECTS and word not in there}
    assert not invented - COLUMNS
    assert not {name for name in there - words if not UNNAMED.search(name) and not PLAIN.search(name)}


@pytest.mark.django_db
def test_the_migrations_say_all_that_the_models_say():
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


@pytest.mark.django_db(transaction=True)
def test_the_migrations_go_back_to_nothing_and_forth_again():
    try:
        call_command("migrate", "registry", "zero", verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_proc WHERE proname LIKE 'registry\\_%'")
            assert cursor.fetchone() == (0,)
            cursor.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'registry\\_%'")
            assert cursor.fetchone() == (0,)
    finally:
        call_command("migrate", verbosity=0)
    assert make.library().pk == 1
    assert make.make_namespace().pk == 2


@pytest.mark.django_db(transaction=True)
def test_the_migrations_go_back_over_rows_that_the_edition_before_does_not_know():
    file, name = make.make_base_file(), make.make_base_alias()
    make.make_base_alias(base=file.base, kind="stored")
    make.make_located_base()
    try:
        call_command("migrate", "registry", "0008", verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM registry_basealias")
            assert cursor.fetchall() == [(name.name,)]
    finally:
        call_command("migrate", verbosity=0)


@pytest.mark.django_db(transaction=True)
def test_committed_rows_are_tidied_up_and_the_guards_stand_again():
    make.make_version()
    call_command("flush", verbosity=0, interactive=False)
    assert not models.Version.objects.exists()
    assert make.library().pk == 1
    with pytest.raises(Exception, match="never emptied") as caught, connection.cursor() as cursor:
        cursor.execute("TRUNCATE registry_event")
    assert isinstance(caught.value.__cause__, psycopg.errors.IntegrityError)
