"""What the lists say of an adapter: kept in line with its versions, whoever changes them at once, and cheap to ask for."""

import contextlib
import threading
import time

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from registry.errors import BadRequest
from registry.models import Adapter, Namespace, Pull, Run, Version
from registry.queries import base_models, blobs, resolve, search, versions
from registry.queries.viewers import ANYBODY, Viewer
from registry.services import adapters as services
from registry.services import users
from tests.registry import adapters
from tests.registry import factories as make
from tests.registry.cast import Caller, judge, publish
from tests.registry.workers import take

REF = "acme/tone-bert"


def described(text: str, **more: object) -> dict[str, bytes]:
    """Return the files of an adapter that say this of themselves."""
    return adapters.lora(readme=f"# Tiny\n\n{text}\n", **more)


# --- Description ------------------------------------------------------------------------------------------------------
@pytest.mark.django_db
class TestDescription:
    def test_without_one_of_the_publisher_the_files_say_it(self, owner: Caller, base) -> None:
        publish(owner, REF, described("from the files"))
        assert owner.get(f"adapters/{REF}")["description"] == "from the files"

    def test_the_publishers_own_outlasts_every_push(self, owner: Caller, base) -> None:
        publish(owner, REF, described("from the files"))
        assert owner.patch(f"adapters/{REF}", {"description": "mine"})["description"] == "mine"
        publish(owner, REF, described("from newer files", value=0.5))
        assert owner.get(f"adapters/{REF}")["description"] == "mine"
        assert search.search(search.SearchQuery(q="mine"), ANYBODY).results

    def test_one_given_when_the_adapter_is_made_outlasts_every_push(self, owner: Caller, base) -> None:
        owner.post("adapters", {"namespace": "acme", "name": "tone-bert", "description": "mine"})
        publish(owner, REF, described("from the files"))
        assert owner.get(f"adapters/{REF}")["description"] == "mine"

    def test_taken_back_the_files_say_it_again(self, owner: Caller, base) -> None:
        publish(owner, REF, described("from the files"))
        owner.patch(f"adapters/{REF}", {"description": "mine"})
        assert owner.patch(f"adapters/{REF}", {"description": ""})["description"] == "from the files"


# --- Two at once ------------------------------------------------------------------------------------------------------
def until_it_waits_or_is_over(other: threading.Thread) -> None:
    """Wait until a thread waits for a lock of this connection's, or has ended."""
    deadline = time.monotonic() + 60
    with connection.cursor() as cursor:
        while other.is_alive():
            cursor.execute("SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))")
            if cursor.fetchone() is not None:
                return
            assert time.monotonic() < deadline
            time.sleep(0.02)


def raced(owner: Caller) -> str:
    """Publish version 2 while somebody who knows only version 1 refreshes, and return the description that is left."""
    publish(owner, REF, described("the first"))
    owner.push(REF, described("the second", value=0.5))
    adapter, run = Adapter.objects.get(), Run.objects.get(status="queued")

    def refresh() -> None:
        services.refresh(adapter=adapter)
        connection.close()

    other = threading.Thread(target=refresh)
    with transaction.atomic():
        judge(run)
        other.start()
        until_it_waits_or_is_over(other)
    other.join()
    return Adapter.objects.get().description


@pytest.mark.django_db(transaction=True)
class TestTwoAtOnce:
    def test_the_later_one_sees_what_the_first_did(self, owner: Caller, base) -> None:
        assert raced(owner) == "the second"

    def test_the_control_without_the_lock_the_older_version_has_the_last_word(
        self, owner: Caller, base, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(services, "_row", lambda adapter: adapter)
        assert raced(owner) == "the first"

    def test_a_pull_waits_for_nobody_who_holds_the_adapter(self, owner: Caller, base) -> None:
        publish(owner, REF, adapters.lora())
        done = []

        def pull() -> None:
            done.append(services.resolve_for_pull(viewer=ANYBODY, ref=REF, base=None))
            connection.close()

        other = threading.Thread(target=pull)
        with transaction.atomic():
            services.ensure(viewer=owner.viewer, home=Namespace.objects.get(name="acme"), name="tone-bert")
            other.start()
            other.join(60)
            assert done
            assert Pull.objects.count() == 1
        assert services.count_pulls() == 1

    def test_pulls_of_an_adapter_that_somebody_holds_are_counted_later(self, owner: Caller, base) -> None:
        publish(owner, REF, adapters.lora())
        services.resolve_for_pull(viewer=ANYBODY, ref=REF, base=None)
        counted = []

        def count() -> None:
            counted.append(services.count_pulls())
            connection.close()

        with transaction.atomic():
            Adapter.objects.select_for_update().get()
            other = threading.Thread(target=count)
            other.start()
            other.join()
        assert (counted, services.count_pulls()) == ([0], 1)


# --- Cost -------------------------------------------------------------------------------------------------------------
@pytest.mark.django_db
@pytest.mark.parametrize(("sort", "index"), [("recent", "adapter_newest_first"), ("pulls", "adapter_most_pulled")])
@pytest.mark.parametrize("page", ["first", "deep"])
def test_a_page_of_a_list_reads_its_index_and_sorts_nothing(sort: str, index: str, page: str) -> None:
    home = make.make_namespace()
    Adapter.objects.bulk_create(Adapter(namespace=home, name=f"adapter-{n * 7}x", pulls=n) for n in range(5000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE registry_adapter")
    query = search.SearchQuery(sort=sort)
    rows = search._ordered(Adapter.objects.live(), query, ANYBODY)
    if page == "deep":
        query = search.SearchQuery(sort=sort, cursor=search._cursor(rows[2000]))
        rows = search._after(rows, query)
    plan = rows[:51].explain()
    assert index in plan
    assert "Sort" not in plan


@pytest.mark.django_db
@pytest.mark.parametrize("sort", ["recent", "pulls", "score", "name"])
def test_a_cursor_without_a_key_is_no_mistake_of_ours(sort: str) -> None:
    query = search.SearchQuery(sort=sort, cursor="W251bGwsNV0")  # [null,5]
    with contextlib.nullcontext() if sort == "score" else pytest.raises(BadRequest):
        search.search(query, ANYBODY)


@pytest.mark.django_db
class TestLeaves:
    def asked(self, call) -> str:
        with CaptureQueriesContext(
            connection,
        ) as found:
            call()
        return "\n".join(query["sql"] for query in found.captured_queries)

    def test_nobody_reads_the_leaves_who_does_not_need_them(self, owner, worker, base, published: Version) -> None:
        owner.push("acme/other", adapters.lora(value=0.5))
        calls = {
            "find by name": lambda: base_models.find("tiny-bert", ANYBODY),
            "find by fingerprint": lambda: base_models.find(base.pk, ANYBODY),
            "search": lambda: base_models.search("", ANYBODY),
            "detail": lambda: versions.detail(versions.get("acme", "tone-bert", "1", ANYBODY), ANYBODY),
            "resolve": lambda: resolve.resolve(REF, ANYBODY),
            "claim": lambda: take(worker, base.pk),
        }
        for name, call in calls.items():
            assert '"tensors"' not in self.asked(call), name

    def test_who_needs_them_gets_them(self, anybody: Caller, base) -> None:
        assert base_models.to_spec(base_models.get("tiny-bert", ANYBODY)).fingerprint == base.pk
        assert anybody.get(f"base-models/{base.pk}?tensors=1")["leaves"]

    def test_a_file_is_served_without_reading_the_report(self, anybody: Caller, published: Version) -> None:
        sql = self.asked(lambda: anybody.get(f"adapters/{REF}/versions/1/files/adapter_config.json"))
        assert '"registry_run"."report"' not in sql


# --- Names that last --------------------------------------------------------------------------------------------------
@pytest.mark.django_db
def test_the_report_of_a_refused_version_is_not_that_of_the_next_one_with_its_label(owner: Caller, base) -> None:
    refused = owner.push(REF, adapters.lora(hub={"base": "no/such"}), version="1.0")
    assert refused.status == 422
    published = publish(owner, REF, adapters.lora(), version="1.0")
    assert owner.get(refused["report_url"])["verdict"] == "failed"
    assert owner.get(versions.report_url(published))["verdict"] == "passed"
    assert versions.report_url(published).endswith("/versions/1.0/report")


@pytest.mark.django_db
def test_where_all_that_was_published_is_yanked_latest_is_not_what_nobody_has_judged(
    owner: Caller, anybody: Caller, published: Version
) -> None:
    make.make_version(adapter=published.adapter, status="hosted", number=2, manifest=published.manifest)
    assert anybody.get(f"resolve?ref={REF}")["version"] == "1"
    owner.post(f"adapters/{REF}/versions/1/yank", {"reason": "wrong data"})
    answer = anybody.get(f"resolve?ref={REF}")
    assert (answer.status, answer["code"]) == (410, "yanked")
    assert owner.get(f"adapters/{REF}")["latest"] is None


# --- The first user ---------------------------------------------------------------------------------------------------
@pytest.mark.django_db
def test_the_operator_of_a_new_hub_is_made_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"username": "operator", "password": "secret words"}
    with monkeypatch.context() as patch:
        patch.setattr(users.namespaces, "set_role", lambda **given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            users.make_operator(**given)
    assert not Namespace.objects.filter(name="operator").exists()
    for _ in range(2):
        users.make_operator(**given)
    user = Namespace.objects.get(name="library").memberships.get().user
    assert (user.username, user.is_staff, user.check_password("secret words")) == ("operator", True, True)
    assert Viewer(user, "push").name == "operator"


def test_the_stores_public_address_is_the_setting_and_not_the_environment(settings, monkeypatch) -> None:
    """The setting may come by file (HUB_STORAGE_PUBLIC_ENDPOINT_FILE), as every other."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("HUB_STORAGE_PUBLIC_ENDPOINT", "http://from-the-environment.example")
    settings.HUB_STORAGE = "s3://bucket/elsewhere"
    settings.HUB_STORAGE_PUBLIC_ENDPOINT = "https://files.example"
    assert (blobs.store().download_url("0" * 64, filename="x") or "").startswith("https://files.example/")
