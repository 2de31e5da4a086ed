"""A private adapter looks exactly like a missing one, on every route that exists."""

import hashlib
import re
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from hub.spec import answers
from registry.models import Adapter, Content, Version
from registry.queries import site
from registry.queries.visibility import visible_adapters
from tests.registry import adapters
from tests.registry.cast import Answer, Caller, publish

pytestmark = pytest.mark.django_db

SECRET, MISSING = "secret", "nothing"
DIGEST = "0" * 64
ANSWERS = hashlib.sha256(answers.to_lines([1, 0, 1, 0])).hexdigest()  # those of `cast.judge`
RUN = "00000000-0000-4000-8000-000000000000"

# Every route that names an adapter: method, path, body. {name} is the adapter's.
ADAPTER_ROUTES: dict[str, list[tuple[str, str, Any]]] = {
    "adapters/<str:namespace>/<str:name>": [
        ("GET", "adapters/acme/{name}", None),
        ("PATCH", "adapters/acme/{name}", {"description": "mine now"}),
    ],
    "adapters/<str:namespace>/<str:name>/uploads": [
        (
            "POST",
            "adapters/acme/{name}/uploads",
            {"manifest": {"files": [{"path": "a.md", "sha256": DIGEST, "size": 1}]}},
        ),
    ],
    "adapters/<str:namespace>/<str:name>/versions": [("GET", "adapters/acme/{name}/versions", None)],
    "adapters/<str:namespace>/<str:name>/versions/<str:version>": [
        ("GET", "adapters/acme/{name}/versions/1", None),
        ("GET", "adapters/acme/{name}/versions/latest", None),
        ("GET", "adapters/acme/{name}/versions/sha256:{digest}", None),
    ],
    "adapters/<str:namespace>/<str:name>/versions/<str:version>/report": [
        ("GET", "adapters/acme/{name}/versions/1/report", None)
    ],
    "adapters/<str:namespace>/<str:name>/versions/<str:version>/answers/<str:sha256>": [
        ("GET", f"adapters/acme/{{name}}/versions/1/answers/{ANSWERS}", None)
    ],
    "adapters/<str:namespace>/<str:name>/versions/<str:version>/fits": [
        ("GET", "adapters/acme/{name}/versions/1/fits", None)
    ],
    "adapters/<str:namespace>/<str:name>/versions/<str:version>/files/<path:path>": [
        ("GET", "adapters/acme/{name}/versions/1/files/README.md", None),
        ("HEAD", "adapters/acme/{name}/versions/1/files/README.md", None),
    ],
    "adapters/<str:namespace>/<str:name>/versions/<str:version>/yank": [
        ("POST", "adapters/acme/{name}/versions/1/yank", {"reason": "spite"})
    ],
    "adapters/<str:namespace>/<str:name>/versions/<str:version>/unyank": [
        ("POST", "adapters/acme/{name}/versions/1/unyank", {})
    ],
    "resolve": [
        ("GET", "resolve?ref=acme/{name}", None),
        ("GET", "resolve?ref=acme/{name}:1", None),
        ("GET", "resolve?ref=acme/{name}@sha256:{digest}", None),
        ("GET", "resolve?ref=acme/{name}&base=tiny-bert", None),
    ],
    "base-models/<path:name>/matrix": [("GET", "base-models/tiny-bert/matrix?adapter=acme/{name}", None)],
    "compat/check": [
        (
            "POST",
            "compat/check",
            {"adapter": "acme/{name}", "tensors": [["a.weight", "F32", [1, 1]]], "config": {"model_type": "bert"}},
        )
    ],
}
# Routes whose path names no adapter. Those with lists are looked at below; uploads in test_push, runs in test_runs.
OTHER_ROUTES = {
    "adapters",
    "base-models",
    "base-models/<path:name>",
    "base-models/<path:name>/adapters",
    "base-models/<path:name>/files",
    "base-models/<path:name>/files/<str:path>",
    "base-models/<path:name>/locations",
    "base-models/<path:name>/relations",
    "base-models/located",
    "by-hash/<str:digest>",
    "benchmarks",
    "benchmarks/<path:name>",
    "^benchmarks/(?P<digest>sha256:[0-9a-f]{64})/files/(?P<name>[^/]+)$",
    "compat/bases",
    "me",
    "policies/<str:namespace>",
    "schema",
    "uploads/<uuid:upload_id>",
    "uploads/<uuid:upload_id>/blobs/<int:n>",
    "uploads/<uuid:upload_id>/complete",
}
CASES = [case for cases in ADAPTER_ROUTES.values() for case in cases]


def routes() -> set[str]:
    """Return every route of the API."""
    found: set[str] = set()

    def walk(patterns: list[URLPattern | URLResolver], prefix: str) -> None:
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                walk(pattern.url_patterns, route)
            elif route.startswith("api/v1/"):
                found.add(route.removeprefix("api/v1/"))

    walk(get_resolver().url_patterns, "")
    return found


@pytest.fixture
def secret(owner: Caller, base, benchmark) -> Version:
    """acme/secret: private and published, with what it answered to a benchmark that is public."""
    files = adapters.lora(value=0.07, hub={"benchmarks": ["acme/tone"]})
    return publish(owner, f"acme/{SECRET}", files, private=True)


def seen(answer: Answer, name: str) -> tuple[Any, ...]:
    """Return what a caller can see of an answer, with the name and the request's own id taken out."""
    body = dict(answer.json or {})
    body.pop("request_id", None)
    headers = {key: value for key, value in answer.headers.items() if key != "X-Request-Id"}
    text = re.sub(rf"\b{name}\b", "NAME", repr((body, sorted(headers.items()))))
    return answer.status, re.sub(r"'Content-Length', '\d+'", "", text)


def named(body: Any, name: str) -> Any:
    """Return a body that names this adapter, where it names one."""
    return body | {"adapter": f"acme/{name}"} if body and "adapter" in body else body


def test_every_route_is_in_the_matrix() -> None:
    known = set(ADAPTER_ROUTES) | OTHER_ROUTES
    assert {route for route in routes() if not route.startswith("runs/")} == known


@pytest.mark.parametrize(("method", "path", "body"), CASES, ids=[f"{method} {path}" for method, path, _ in CASES])
@pytest.mark.parametrize("who", ["anybody", "stranger", "worker"])
def test_a_private_adapter_looks_exactly_like_a_missing_one(
    request: pytest.FixtureRequest, secret: Version, who: str, method: str, path: str, body: Any
) -> None:
    caller: Caller = request.getfixturevalue(who)
    there = caller.call(method, path.format(name=SECRET, digest=secret.digest), named(body, SECRET))
    missing = caller.call(method, path.format(name=MISSING, digest=secret.digest), named(body, MISSING))
    assert there.status in (401, 403, 404)
    assert seen(there, SECRET) == seen(missing, MISSING)


@pytest.mark.parametrize(("method", "path", "body"), CASES, ids=[f"{method} {path}" for method, path, _ in CASES])
def test_the_control_an_owner_sees_the_difference(
    owner: Caller, secret: Version, method: str, path: str, body: Any
) -> None:
    there = owner.call(method, path.format(name=SECRET, digest=secret.digest), named(body, SECRET))
    assert there.status in (200, 201)


@pytest.mark.parametrize("who", ["anybody", "stranger", "worker"])
def test_no_list_and_no_count_tells_of_it(request: pytest.FixtureRequest, secret: Version, who: str) -> None:
    caller: Caller = request.getfixturevalue(who)
    for query in (
        "",
        "?q=secret",
        "?base=tiny-bert",
        "?namespace=acme",
        "?status=published",
        "?task=text-classification",
    ):
        assert caller.get(f"adapters{query}")["results"] == []
    assert caller.get("base-models/tiny-bert/adapters")["results"] == []
    matrix = caller.get("base-models/tiny-bert/matrix")
    assert (matrix["rows"], set(matrix["columns"][0]["counts"].values())) == ([], {0})
    tiny = adapters.tiny().to_json()
    asked = {"leaves": tiny["leaves"], "config": tiny["config"]}
    assert caller.post("compat/check", asked)["results"] == []
    files = secret.manifest.files.values_list("blob", flat=True)
    contents = Content.objects.filter(blob__in=files).values_list("digest", flat=True)
    assert contents
    for digest in (secret.digest, secret.adapter_digest, *files, *contents):
        there, missing = caller.get(f"by-hash/{digest}"), caller.get(f"by-hash/{DIGEST}")
        assert there.status == missing.status == 404
        assert there["detail"].replace(digest, DIGEST) == missing["detail"]


def test_a_version_that_is_not_published_is_its_namespaces_own_business(
    owner: Caller, reader: Caller, stranger: Caller, published: Version
) -> None:
    owner.push("acme/tone-bert", adapters.lora(value=0.5))
    for path in ("versions/2", "versions/2/report", "versions/2/files/README.md"):
        assert reader.get(f"adapters/acme/tone-bert/{path}").status == 200
        there = stranger.get(f"adapters/acme/tone-bert/{path}")
        missing = stranger.get(f"adapters/acme/tone-bert/{path.replace('2', '9', 1)}")
        assert there.status == missing.status == 404
        assert there["detail"].replace("'2'", "'9'") == missing["detail"]
    assert [v["number"] for v in stranger.get("adapters/acme/tone-bert/versions")["results"]] == [1]
    assert [v["number"] for v in stranger.get("adapters/acme/tone-bert")["versions"]] == [1]


def test_a_public_adapter_without_a_published_version_is_missing_for_others(
    owner: Caller, stranger: Caller, anybody: Caller, base
) -> None:
    owner.push("acme/new", adapters.lora())
    assert owner.get("adapters/acme/new").status == 200
    assert stranger.get("adapters/acme/new").status == 404
    assert anybody.get("resolve?ref=acme/new").status == 404


def test_a_reader_of_the_namespace_sees_its_private_adapters(reader: Caller, secret: Version) -> None:
    assert reader.get("adapters/acme/secret").status == 200
    assert reader.get("adapters?q=secret")["results"][0]["visibility"] == "private"


def test_a_reader_changes_nothing(reader: Caller, secret: Version) -> None:
    assert reader.post("adapters/acme/secret/versions/1/yank", {"reason": "x"}).status == 403
    assert reader.patch("adapters/acme/secret", {"private": False}).status == 403


def test_private_answers_stay_out_of_shared_caches(owner: Caller, secret: Version) -> None:
    for path in ("adapters/acme/secret", "adapters", "adapters/acme/secret/versions/1/files/README.md", "me"):
        answer = owner.get(path)
        assert "no-store" in answer.headers["Cache-Control"]
        assert "Authorization" in answer.headers["Vary"]


def test_what_was_made_private_later_is_missing_from_then_on(
    owner: Caller, stranger: Caller, published: Version
) -> None:
    assert stranger.get("resolve?ref=acme/tone-bert").status == 200
    assert owner.patch("adapters/acme/tone-bert", {"private": True}).status == 200
    assert stranger.get("resolve?ref=acme/tone-bert").status == 404


UNSEEN = "---\ndescription: The merger with Initech is on.\n---\n# Secret\n"


@pytest.fixture
def yanked(owner: Caller, published: Version) -> Version:
    """acme/tone-bert:1, yanked, and behind it a version that was refused and one that waits, both with secrets."""
    owner.push("acme/tone-bert", adapters.lora(value=0.3, readme=UNSEEN, config={"peft_type": "TELEPATHY"}))
    owner.push("acme/tone-bert", adapters.lora(value=0.4, readme=UNSEEN))
    assert owner.post("adapters/acme/tone-bert/versions/1/yank", {"reason": "typo"}).status == 200
    return published


def test_after_a_yank_what_was_never_published_stays_unseen(
    yanked: Version, stranger: Caller, anybody: Caller, owner: Caller
) -> None:
    for who in (stranger, anybody):
        shown = who.get("adapters/acme/tone-bert").json
        assert shown["description"] == "Says whether a sentence is kind."
        assert who.get("adapters?q=merger")["results"] == who.get("adapters?q=initech")["results"] == []
        assert "merger" not in str(who.get("adapters").json)
        page = who.client.get("/a/acme/tone-bert").content.decode() + who.client.get("/adapters").content.decode()
        assert "merger" not in page


def test_facets_count_what_is_served_only(owner: Caller, published: Version, stranger: Caller) -> None:
    owner.push("acme/other", adapters.lora(value=0.5, readme=UNSEEN))
    adapter = Adapter.objects.get(name="other")
    assert (adapter.task, adapter.method, adapter.description, adapter.base_fingerprint) == ("", "", "", None)
    assert [
        (row["value"], row["count"])
        for row in site.counted(visible_adapters(stranger.viewer), stranger.viewer, "method")["method"]
    ] == [("lora", 1)]


def test_a_private_draft_is_described_once_it_is_published(owner: Caller, base) -> None:
    publish(owner, "acme/mine", adapters.lora(value=0.6), private=True)
    assert Adapter.objects.get().description == "Says whether a sentence is kind."
