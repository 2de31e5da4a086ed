"""Names: grammar, look-alikes, reserved words, labels, tombstones. Asked in SQL, and by many at once."""

import random
import string
import threading

import pytest
from django.db import IntegrityError, connection, connections

from hub.spec import errors, reference
from registry import models
from registry.models import rules
from tests.registry import factories as make
from tests.registry.refusals import attempt, delete, insert_like, refused, undone, update

pytestmark = pytest.mark.django_db

LOOK_ALIKES = ["l1ly-bo0k", "LILY-BOOK", "lilybook", "lily_book", "lily.book", "Ii1y-b00k", "1i1y-BO0k", "l.i.l.y-book"]


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_a_namespace_that_looks_like_another_is_refused(name):
    first = make.make_namespace(name="lily-book")
    refused(*insert_like(first, name=name), by="namespace_looks_like_no_other")


@pytest.mark.parametrize("name", ["lily-cook", "lily-book2", "my-lily-book"])
def test_a_namespace_that_looks_different_is_welcome(name):
    first = make.make_namespace(name="lily-book")
    assert attempt(*insert_like(first, name=name)) is None


@pytest.mark.parametrize("name", ["Sentiment-Bert", "sentiment_bert", "sentiment.bert", "SENTIMENT_.-BERT"])
def test_an_adapter_that_looks_like_its_neighbour_is_refused(name):
    first = make.make_adapter(name="sentiment-bert")
    besides = ["adapter_name_reads_well"]
    refused(*insert_like(first, name=name), by="adapter_looks_like_no_other", besides=besides)


@pytest.mark.parametrize("name", ["sentimentbert", "sent1ment-bert", "sentiment-bert-2"])
def test_within_a_namespace_only_case_and_separators_look_alike(name):
    first = make.make_adapter(name="sentiment-bert")
    assert attempt(*insert_like(first, name=name)) is None


@pytest.mark.parametrize("name", ["sentimentbert", "sent1ment-bert", "SentlmentBert"])
def test_in_the_library_the_strong_rule_holds(name):
    first = make.make_adapter(namespace=make.library(), name="sentiment-bert")
    refused(*insert_like(first, name=name), by="adapter_looks_like_no_other")


def test_the_same_name_lives_in_two_namespaces():
    first = make.make_adapter(name="sentiment-bert")
    assert attempt(*insert_like(first, namespace_id=make.make_namespace().pk)) is None


def test_a_deleted_adapter_still_holds_its_name():
    first = make.make_adapter(name="sentiment-bert")
    first.deleted_at = first.created_at
    first.save()
    refused(*insert_like(first), by="adapter_looks_like_no_other")


@pytest.mark.parametrize("name", sorted(reference.RESERVED_NAMESPACES))
def test_a_reserved_namespace_is_refused(name):
    refused(*insert_like(make.make_namespace(), name=name), by="namespace_is_not_reserved")


@pytest.mark.parametrize("name", ["API", "ap1", "A.P.I", "l0g1n", "Sett1ngs", "d0cs", "0"])
def test_what_looks_reserved_is_refused(name):
    refused(*insert_like(make.make_namespace(), name=name), by="namespace_is_not_reserved")


def test_the_list_is_that_of_the_house():
    house = """api a b t u o models datasets spaces settings static docs new search compare adapters login
    logout admin livez readyz metrics raw client"""
    assert sorted(reference.RESERVED_NAMESPACES) == sorted(house.split())


def test_the_library_is_there_from_the_start_and_the_only_one():
    library = make.library()
    assert (library.pk, library.kind) == (rules.LIBRARY_ID, "library")
    by = "namespace_library_is_the_first"
    refused(*insert_like(library, name="another-library"), by=by)
    refused(*update(library, kind="org"), by=by)
    refused(*update(make.make_namespace(), kind="library"), by=by)
    for name in ("library", "Library", "1ibrary", "lib-rary"):
        refused(*insert_like(make.make_namespace(), name=name), by="namespace_looks_like_no_other", besides=[by])


def test_the_first_namespace_of_a_user_is_not_the_library():
    assert make.make_namespace().pk > rules.LIBRARY_ID


@pytest.mark.parametrize("name", ["", "-x", ".x", "_x", "x y", "x/y", "x:y", "x@y", "x#y", "é", "а", "x\n", "x\u200by"])
def test_a_name_is_made_of_plain_letters(name):
    refused(*insert_like(make.make_namespace(), name=name), by="namespace_name_is_wellformed")
    refused(*insert_like(make.make_adapter(), name=name), by="adapter_name_is_wellformed")


@pytest.mark.parametrize("name", ["x--y", "x..y", "x-", "x.", "x.git"])
def test_a_name_reads_well(name):
    refused(*insert_like(make.make_namespace(), name=name), by="namespace_name_reads_well")
    refused(*insert_like(make.make_adapter(), name=name), by="adapter_name_reads_well")


def test_two_users_do_not_differ_by_case_only():
    user = make.make_user(username="Lily")
    refused(*insert_like(user, username="lily"), by="user_username_is_unique_in_any_case")


def test_a_member_has_one_role_a_namespace():
    membership = make.make_membership()
    refused(*insert_like(membership, role="read"), by="membership_is_one_a_user")


# Labels


@pytest.mark.parametrize("status", ["draft", "validating", "published", "hosted"])
def test_a_label_is_taken(status):
    first = make.make_version(status=status, label="1.0")
    refused(*insert_like(first, number=2), by="version_label_is_one_an_adapter")


def test_a_label_is_free_again_when_its_version_was_rejected():
    first = make.make_version(status="rejected", label="1.0")
    assert attempt(*insert_like(first, number=2)) is None


def test_a_rejected_version_does_not_come_back_to_a_label_that_was_taken():
    first = make.make_version(status="rejected", label="1.0")
    make.make_version(adapter=first.adapter, label="1.0", status="validating")
    refused(*update(first, status="validating"), by="version_label_is_one_an_adapter")


def test_a_number_is_given_once():
    first = make.make_version(status="rejected")
    refused(*insert_like(first), by="version_number_is_one_an_adapter")


# Tombstones


def settle():
    """Run the checks that wait for the end of the transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def buried_namespace(name="acme", owner=None):
    namespace = make.make_namespace(name=name)
    make.make_tombstone(namespace=namespace, owner=owner)
    namespace.delete()
    return namespace


def test_a_namespace_is_not_deleted_or_renamed_without_a_tombstone():
    namespace = make.make_namespace(name="acme")
    refused(*delete(namespace), by="namespace_deleted_leaves_tombstone")
    refused(*update(namespace, name="beta"), by="namespace_renamed_leaves_tombstone")
    assert attempt(*update(namespace, name="ACME")) is None, "another spelling is the same name"


def test_an_adapter_is_not_deleted_or_moved_without_a_tombstone_or_redirect():
    adapter = make.make_adapter(name="old-name")
    refused(*delete(adapter), by="adapter_deleted_leaves_tombstone")
    refused(*update(adapter, name="new-name"), by="adapter_moved_leaves_tombstone")
    refused(*update(adapter, namespace_id=make.make_namespace().pk), by="adapter_moved_leaves_tombstone")
    make.make_redirect(adapter=adapter, name="old-name")
    assert attempt(*update(adapter, name="new-name")) is None
    besides = ["registry_redirect_adapter_id%"]
    refused(*delete(adapter), by="adapter_deleted_leaves_tombstone", besides=besides)


def test_a_stranger_cannot_make_a_deleted_namespace_again():
    owner = make.make_user()
    buried_namespace(owner=owner)
    like = insert_like(make.make_namespace(), name="acme")
    refused(*like, by="namespace_is_reclaimed_by_its_owner")


@pytest.mark.parametrize("name", ["acme", "ACME", "a.c.m.e"])
def test_a_look_alike_of_a_deleted_namespace_is_refused_too(name):
    buried_namespace(owner=make.make_user())
    like = insert_like(make.make_namespace(), name=name)
    refused(*like, by="namespace_is_reclaimed_by_its_owner")


def test_only_the_owner_makes_a_deleted_namespace_again():
    owner, stranger = make.make_user(), make.make_user()
    buried_namespace(owner=owner)
    with undone():
        make.make_namespace(name="acme", owner=owner)
        settle()
    with undone():
        make.make_namespace(name="acme", owner=stranger)
        with pytest.raises(IntegrityError, match="only its owner"):
            settle()


def test_the_name_of_a_forgotten_owner_is_nobodys():
    owner = make.make_user()
    buried_namespace(owner=owner)
    owner.delete()
    assert models.Tombstone.objects.get().owner is None
    like = insert_like(make.make_namespace(), name="acme")
    refused(*like, by="namespace_is_reclaimed_by_its_owner")


def test_an_adapter_name_is_made_again_by_its_namespace_and_numbering_goes_on():
    adapter = make.make_adapter(name="sentiment")
    make.make_tombstone(namespace=adapter.namespace, name="sentiment", last_number=5)
    adapter.delete()
    again = make.make_adapter(namespace=adapter.namespace, name="Sentiment")
    version = make.make_version(adapter=again, number=6, status="draft")
    refused(*insert_like(version, number=5), by="version_numbering_goes_on")


def test_an_adapter_of_a_namespace_that_changed_hands_is_not_made_again():
    owner, heir = make.make_user(), make.make_user()
    namespace = make.make_namespace(name="acme", owner=owner)
    make.make_tombstone(namespace=namespace, name="sentiment", owner=owner)
    make.make_tombstone(namespace=namespace, owner=owner)
    namespace.delete()
    again = make.make_namespace(name="acme", owner=owner)
    settle()
    models.Membership.objects.filter(namespace=again).update(user=heir)
    like = insert_like(make.make_adapter(namespace=again), name="sentiment")
    refused(*like, by="adapter_is_reclaimed_by_its_owner")
    models.Membership.objects.filter(namespace=again).update(user=owner)
    assert attempt(*like) is None


def test_a_tombstone_never_changes_and_never_goes_away():
    grave = make.make_tombstone(namespace=make.make_namespace(name="acme"), owner=make.make_user())
    for change in ({"namespace_name": "beta"}, {"owner_id": make.make_user().pk}, {"last_number": 9}):
        refused(*update(grave, **change), by="tombstone_is_kept")
    refused(*delete(grave), by="tombstone_is_never_deleted")


def test_a_tombstone_says_what_is_dead():
    grave = make.make_tombstone(namespace=make.make_namespace())
    refused(*insert_like(grave, kind="adapter"), by="tombstone_names_its_dead")
    refused(*insert_like(grave, name="sentiment"), by="tombstone_names_its_dead")


# The same rule in Python


def generated(table: str, column: str = "skeleton") -> str:
    """Return the expression of a generated column as PostgreSQL holds it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef"
            " JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum WHERE adrelid = %s::regclass AND attname = %s",
            [table, column],
        )
        return cursor.fetchone()[0]


def names(n: int) -> list[str]:
    """Return generated names, rich in what looks alike."""
    dice = random.Random(20)
    alphabet = "lLiI1oO0._-" * 4 + string.ascii_letters + string.digits
    return ["".join(dice.choices(alphabet, k=dice.randint(1, 40))) for _ in range(n)]


def skeletons(table: str, namespace_id: int, given: list[str]) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {generated(table)} FROM (SELECT name, n, %s AS namespace_id"
            " FROM unnest(%s::text[]) WITH ORDINALITY AS given (name, n)) AS row ORDER BY n",
            [namespace_id, given],
        )
        return [row[0] for row in cursor.fetchall()]


def test_python_and_sql_draw_the_same_skeletons():
    given = names(4000)
    strong = [reference.skeleton_strong(name) for name in given]
    mild = [reference.skeleton_mild(name) for name in given]
    assert skeletons("registry_namespace", 7, given) == strong
    assert skeletons("registry_adapter", rules.LIBRARY_ID, given) == strong
    assert skeletons("registry_adapter", 7, given) == mild
    assert len(set(strong)) < len(set(mild)) < len(given), "the names were too tame to tell"


def test_what_python_accepts_the_database_takes():
    for name in names(1500):
        accepted = {"namespace": True, "adapter": True}
        for kind, check in (("namespace", reference.check_namespace), ("adapter", reference.check_name)):
            try:
                check(name)
            except errors.SpecError:
                accepted[kind] = False
        if accepted["namespace"]:
            assert attempt(*insert_like(models.Namespace(name="x", kind="user"), name=name)) is None, name
        if accepted["adapter"]:
            adapter = models.Adapter(namespace_id=rules.LIBRARY_ID)
            assert attempt(*insert_like(adapter, name=name)) is None, name


# Many at once


def rush(names_wanted: list[str], insert) -> list[str]:
    """Insert every name from a thread and a connection of its own, all at once; return those that got through."""
    start = threading.Barrier(len(names_wanted))
    made: list[str] = []

    def one(name: str) -> None:
        try:
            connection.ensure_connection()
            start.wait()
            insert(name)
            made.append(name)
        except IntegrityError:
            pass
        finally:
            connections.close_all()

    threads = [threading.Thread(target=one, args=(name,)) for name in names_wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return made


CROWD = [
    a + b + c
    for a in ("lily", "LILY", "1i1y", "Iiiy")
    for b in ("-", "_", ".", "")
    for c in ("book", "BOOK", "b00k", "bo0k")
]


@pytest.mark.django_db(transaction=True)
def test_of_64_look_alike_namespaces_at_once_one_is_made():
    assert len(set(CROWD)) == 64
    made = rush(CROWD, lambda name: models.Namespace.objects.create(name=name, kind="user"))
    assert len(made) == 1
    assert models.Namespace.objects.exclude(kind="library").count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_64_look_alike_library_adapters_at_once_one_is_made():
    made = rush(CROWD, lambda name: models.Adapter.objects.create(namespace_id=rules.LIBRARY_ID, name=name))
    assert len(made) == 1


@pytest.mark.django_db(transaction=True)
def test_without_the_constraint_the_crowd_gets_through():
    """The negative control of the two tests above: it is the constraint that keeps the others out, not chance."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE registry_namespace DROP CONSTRAINT namespace_looks_like_no_other")
    try:
        made = rush(CROWD, lambda name: models.Namespace.objects.create(name=name, kind="user"))
        assert len(made) == 64
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE registry_namespace DISABLE TRIGGER USER")
            cursor.execute("DELETE FROM registry_namespace WHERE kind <> 'library'")
            cursor.execute("ALTER TABLE registry_namespace ENABLE TRIGGER USER")
            cursor.execute(
                "ALTER TABLE registry_namespace ADD CONSTRAINT namespace_looks_like_no_other UNIQUE (skeleton)"
            )
