"""The pages, as owner, member, stranger and nobody see them."""

import re

import pytest
from django.template.loader import render_to_string
from django.test import Client

from registry.models import Token, User
from registry.queries import adapters
from registry.templatetags import hub
from registry.web import adapters as web
from registry.web import details
from tests.registry import factories, oddities

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> User:
    user = factories.make_user(username="olivia")
    user.set_password("a long pass phrase")
    user.save()
    return user


@pytest.fixture
def published(owner: User):
    namespace = factories.make_namespace(name="acme")
    factories.make_membership(namespace=namespace, user=owner, role="owner")
    adapter = factories.make_adapter(
        namespace=namespace,
        name="praise-bert",
        description="Tells praise from blame",
        task="text-classification",
        method="lora",
    )
    return factories.make_version(
        adapter=adapter, manifest=factories.make_manifest(files={"adapter_config.json": b"{}"})
    )


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_the_home_page_shows_what_is_published(client: Client, published) -> None:
    page = client.get("/").content.decode()
    assert "acme/praise-bert" in page
    assert "/a/acme/praise-bert" in page


def test_the_list_is_found_by_words_task_and_method(client: Client, published) -> None:
    for query in ("q=praise", "task=text-classification", "method=lora", "q=blame&task=text-classification"):
        assert "acme/praise-bert" in client.get(f"/adapters?{query}").content.decode(), query
    page = client.get("/adapters?task=translation").content.decode()
    assert "praise-bert" not in page
    assert "Drop task" in page


def test_the_adapter_page_shows_facts_and_the_snippet(client: Client, published) -> None:
    page = client.get("/a/acme/praise-bert").content.decode()
    assert "hub.pull(&quot;acme/praise-bert&quot;)" in page
    assert "Tells praise from blame" in page
    assert published.digest[:12] in page


def test_a_stranger_sees_a_private_adapter_exactly_as_a_missing_one(client: Client, published, owner: User) -> None:
    adapter = published.adapter
    adapter.visibility = "private"
    adapter.save()
    stranger = signed_in(factories.make_user(username="sam"))
    for reader in (client, stranger):
        private, missing = reader.get("/a/acme/praise-bert"), reader.get("/a/acme/no-such-one")
        assert private.status_code == missing.status_code == 404
        same = re.sub("praise-bert", "no-such-one", strip_csrf(private.content.decode()))
        assert same == strip_csrf(missing.content.decode())
        assert "praise-bert" not in reader.get("/adapters").content.decode()
    assert signed_in(owner).get("/a/acme/praise-bert").status_code == 200


def test_a_rejected_version_is_its_namespaces_own_business(client: Client, published, owner: User) -> None:
    factories.make_version(adapter=published.adapter, status="rejected", number=7, manifest=published.manifest)
    assert client.get("/a/acme/praise-bert/v/7/report").status_code == 404
    assert signed_in(owner).get("/a/acme/praise-bert/v/7/report").status_code == 200


def test_no_page_is_kept_by_a_shared_cache(client: Client, published) -> None:
    for address in ("/", "/adapters", "/a/acme/praise-bert", "/a/acme/praise-bert/v/1/report", "/a/acme/missing"):
        answer = client.get(address)
        assert answer["Cache-Control"] == "private, no-store", address
        assert "Cookie" in answer["Vary"], address


def test_every_page_forbids_foreign_scripts_and_frames(client: Client, published) -> None:
    for address in ("/", "/adapters", "/a/acme/praise-bert", "/login"):
        policy = client.get(address)["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy


def test_pages_hold_no_inline_script_and_no_inline_style(client: Client, published) -> None:
    """The content policy would switch them off."""
    for address in ("/", "/adapters", "/a/acme/praise-bert", "/a/acme/praise-bert/v/1/report", "/login"):
        page = client.get(address).content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)", page), address
        assert " style=" not in page, address


def test_nobody_makes_a_token_without_signing_in(client: Client) -> None:
    assert client.get("/settings/tokens").status_code == 302
    assert client.post("/settings/tokens", {"name": "x", "scope": "push"}).status_code == 302
    assert not Token.objects.exists()


def test_a_new_token_is_shown_once(owner: User) -> None:
    client = signed_in(owner)
    answer = client.post("/settings/tokens", {"name": "laptop", "scope": "push", "days": "30"})
    assert answer["Cache-Control"] == "private, no-store"
    secret = re.search(r"ahub_[0-9A-Za-z]{36}", answer.content.decode())
    assert secret
    assert secret[0] not in str(dict(client.session))  # nobody who reads the database finds it
    second = client.get("/settings/tokens").content.decode()
    assert secret[0] not in second
    assert "laptop" in second


def test_a_form_that_is_sent_twice_makes_one_token(owner: User) -> None:
    """The answer to a POST can be reloaded by accident, and the browser sends the form again."""
    client = signed_in(owner)
    page = client.get("/settings/tokens").content.decode()
    form = re.search(r'name="once" value="([^"]+)"', page)
    assert form
    sent = {"name": "laptop", "scope": "push", "days": "30", "once": form[1]}
    assert [client.post("/settings/tokens", sent).status_code for _ in range(2)] == [200, 302]
    assert Token.objects.count() == 1


def test_a_person_is_offered_no_operators_scope(owner: User) -> None:
    client = signed_in(owner)
    assert "worker" not in client.get("/settings/tokens").content.decode()
    client.post("/settings/tokens", {"name": "sly", "scope": "admin", "days": "30"})
    assert not Token.objects.filter(user=owner).exists()


def test_one_revokes_ones_own_tokens_only(owner: User) -> None:
    client = signed_in(owner)
    own, other = factories.make_token(user=owner), factories.make_token()
    client.post("/settings/tokens", {"revoke": str(own.pk)})
    assert client.post("/settings/tokens", {"revoke": str(other.pk)}).status_code == 404
    own.refresh_from_db()
    other.refresh_from_db()
    assert own.revoked_at
    assert other.revoked_at is None


def test_forms_without_their_csrf_token_are_refused(owner: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    assert client.post("/settings/tokens", {"name": "x", "scope": "push"}).status_code == 403
    assert client.post("/logout").status_code == 403


def test_signing_in_leads_nowhere_else(owner: User) -> None:
    secret = {"username": "olivia", "password": "a long pass phrase"}
    assert Client().post("/login?next=https://evil.example/", secret)["Location"] == "/"
    assert Client().post("/login", secret | {"next": "//evil.example/"})["Location"] == "/"
    assert Client().post("/login", secret | {"next": "/settings/tokens"})["Location"] == "/settings/tokens"


def test_a_bad_filter_is_told_and_not_a_crash(client: Client) -> None:
    for query in ("sort=nonsense", "status=nonsense", "cursor=%00", "cursor=e30", "q=" + "a" * 300, "q=%00"):
        assert client.get(f"/adapters?{query}").status_code in (200, 400), query


@pytest.mark.parametrize(
    "address",
    ["/a/%00/x", "/a/acme/%00", "/a/acme/praise-bert/v/%00", "/a/acme/x/v/%00/report", "/adapters?task=%00", "/?x=%00"],
)
def test_a_nul_in_the_address_is_a_400_page(client: Client, published, address: str) -> None:
    assert client.get(address).status_code == 400


@pytest.mark.parametrize("front", ["a: [", "- a", "&a b: *a", "a: !!python/object:os.system x", "\tx: y"])
def test_a_readme_with_broken_front_matter_is_shown_as_it_is(
    client: Client, published, owner: User, front: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "readme", lambda *given: f"---\n{front}\n---\n# Title <script>")
    for reader in (client, signed_in(owner)):
        answer = reader.get("/a/acme/praise-bert")
        page = answer.content.decode()
        assert answer.status_code == 200
        assert "shown as plain text" in page
        assert "# Title &lt;script&gt;" in page


ODD = [None, "x", [], {}, [[1]], -1, 2**70, True, "items", {"items": 1}]


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_a_report_that_holds_anything_anywhere_has_a_page(odd: object) -> None:
    score = {
        "benchmark": "b", "digest": "0", "metric": "accuracy", "direction": "up", "value": 0.9, "interval": [0.8, 1.0], "n": 4,
        "baselines": {"probe": 0.5, "majority": 0.5, "adapter_off": 0.5},
        "gain": {"value": 0.1, "interval": [0.0, 0.2], "method": "m", "mcnemar": {"better": 3, "worse": 1, "p": 0.625}},
        "also": [{"metric": "f1", "value": 0.8, "interval": [0.7, 0.9]}], "claimed": 0.95,
        "details": {
            "classes": [{"label": "bad", "precision": 1.0, "recall": 0.5, "f1": 0.667, "support": 2}],
            "confusion": {"labels": ["bad", "good"], "counts": [[1, 1], [0, 2]]},
            "confused": [{"truth": "bad", "said": "good", "rows": 1}],
        },
        "gates": [{"gate": "min_gain", "passed": True, "decided": True, "bound": 0.1, "threshold": 0.0}],
        "runtime": "reference", "evidence": "ran",
    }  # fmt: skip
    layers = [{"module": "encoder.layer.0.attention.self.query", "ratio": 0.02, "lost": 0.1}]
    good = {
        "verdict": "passed", "summary": "s", "components": [{"folder": "", "scores": [score], "hidden": [{"gates": []}]}],
        "checks": [{"name": "files", "status": "passed", "message": "m", "hint": "h", "evidence": {"a": 1}},
                   {"name": "merge", "status": "passed", "message": "m", "evidence": {"lost": 0.1, "layers": layers}},
                   {"name": "drift", "status": "passed", "message": "m", "evidence": {"": {"cosine": 0.9}, "b": {"cosine": 1}}}],
        "revalidation": {"at": "2026-01-01", "verdict": "failed", "same_result": False, "environment": {"torch": ["1", "2"]}, "protocol": ["1", "2"]},
        "base_model": {"fingerprint": "base:0", "name": "n", "state": "observed"}, "adapter_digest": "sha256:0",
        "environment": {"python": "3"}, "seconds": 1.0, "result_digest": "0", "policy": None,
    }  # fmt: skip
    for _, report in oddities.spoilt(good, odd):
        chosen = web.readable(report)
        page = render_to_string(
            "registry/report.html", {"adapter": {"url": "/a/a/b"}, "version": {"status": "published"}, "report": chosen}
        )
        assert "Validation report" in page
        for each in web.scores(report):
            hub.score_bar(each)


def test_a_confusion_is_darker_the_larger_its_share_of_the_truth() -> None:
    score = {"details": {"confusion": {"labels": ["a", "b"], "counts": [[9, 1], [0, 0]]}}}
    shown = details.of(score)
    assert [[cell["shade"] for cell in row["cells"]] for row in shown["rows"]] == [[8, 1], [0, 0]]
    page = render_to_string("registry/_details.html", {"shown": shown | {"classes": [{"label": "a", "f1": 0.9}]}})
    assert '<td class="h8">9</td><td class="h1">1</td>' in page
    assert "0.900" in page


def strip_csrf(page: str) -> str:
    return re.sub(r'name="csrfmiddlewaretoken" value="[^"]*"', "", page)


def test_sizes_and_shares_are_written_as_the_command_line_writes_them_and_never_broken() -> None:
    sizes = [hub.size(n) for n in (178, 303_284, 22_713_216, 5 * 10**12)]
    shares = [hub.percent(n) for n in (0.0, 0.0034, 0.32)]
    assert not any(" " in text for text in sizes + shares), "a figure and its unit stand on one line"
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in sizes] == ["178 B", "303.3 KB", "22.7 MB", "5000.0 GB"]
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in shares] == ["0.00 %", "< 0.01 %", "0.32 %"]
