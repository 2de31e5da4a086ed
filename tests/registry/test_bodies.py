"""Whatever is sent, the answer is never a 500: JSON that is deep, hostile or no JSON at all."""

import base64
import json

import pytest

from tests.registry import adapters
from tests.registry.cast import Caller

pytestmark = pytest.mark.django_db

UPLOADS = "/api/v1/adapters/acme/x/uploads"
HOSTILE = {
    "deep_list": b"[" * 100_000,
    "deep_object": b'{"a":' * 50_000,
    "deep_but_closed": b"[" * 60 + b"]" * 60,
    "not_json": b"hello",
    "empty": b"",
    "bad_utf8": b'{"name": "\xff"}',
    "utf16": '{"name": "x"}'.encode("utf-16"),
    "bom": b"\xef\xbb\xbf{}",
    "nul": b'{"message": "a\\u0000b"}',
    "lone_surrogate": b'{"message": "\\ud800"}',
    "nan": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "overflow": b'{"a": 1e999}',
    "huge_integer": b'{"a": ' + b"9" * 5000 + b"}",
    "duplicate_key": b'{"private": true, "private": false}',
    "trailing": b"{} {}",
}
WRONG = {
    "list": b"[]",
    "text": b'"x"',
    "null": b"null",
    "number": b"1",
    "manifest_is_text": b'{"manifest": "x"}',
    "files_of_files": b'{"manifest": {"files": [[]]}}',
    "message_is_object": b'{"manifest": {}, "message": {}}',
    "facts_is_list": b'{"manifest": {}, "facts": []}',
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("path", [UPLOADS, "/api/v1/adapters", "/api/v1/base-models", "/api/v1/policies/acme"])
def test_a_body_that_cannot_be_read_is_a_400_problem(owner: Caller, name: str, path: str) -> None:
    method = "PUT" if "policies" in path else "POST"
    answer = owner.call(method, path, HOSTILE[name], content_type="application/json")
    assert answer.status in ((400, 422) if name == "empty" else (400,)), answer.json
    assert answer["detail"]
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("path", [UPLOADS, "/api/v1/adapters", "/api/v1/base-models"])
def test_a_body_of_another_shape_is_a_422_problem(owner: Caller, name: str, path: str) -> None:
    answer = owner.call("POST", path, WRONG[name], content_type="application/json")
    assert answer.status == 422
    assert answer["code"] == "invalid"


def test_a_body_that_is_too_long_is_told(owner: Caller) -> None:
    answer = owner.call("POST", UPLOADS, b'{"message": "' + b"x" * (2 << 20) + b'"}', content_type="application/json")
    assert (answer.status, answer["code"]) == (413, "too_large")


def test_a_body_of_another_media_type_is_told(owner: Caller) -> None:
    answer = owner.call("POST", UPLOADS, b"a=b", content_type="application/x-www-form-urlencoded")
    assert answer.status == 415
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "adapters?q=%00",
        "adapters?q=a%00b&sort=recent",
        "adapters/ac%00me/x",
        "adapters/acme/x/versions/%00",
        "base-models/%00",
        "benchmarks/a%00",
        "resolve?ref=a%00",
        "resolve?ref=a&base=%00",
    ],
)
def test_a_nul_in_the_address_is_a_400_problem(owner: Caller, path: str) -> None:
    assert owner.get(path).status == 400


@pytest.mark.parametrize("sort", ["recent", "pulls", "size", "score", "gain", "name"])
@pytest.mark.parametrize(
    "cursor",
    [
        "[Infinity, 1]", "[NaN, 1]", '["inf", 1]', '["nan", 1]', '["-inf", 1]', "[1e999, 1]", '["a\\u0000", 1]',
        '["\\ud800", 1]', '["\ud800", 1]', '[{"a": 1}, 1]', "[[], 1]", "[true, -1]", "[1, 1e3]", "[" * 1000,
        f"[{'9' * 400}, 1]", '["x", 1, 2]', '["x"]', "{}", "1",
    ],
)  # fmt: skip
def test_a_cursor_that_was_made_up_is_a_400_problem(owner: Caller, sort: str, cursor: str) -> None:
    if sort == "name" and "inf" in cursor + cursor.replace("nan", "inf") and '"' in cursor:
        pytest.skip("a name like any other")
    written = base64.urlsafe_b64encode(cursor.encode("utf-8", "surrogatepass")).decode()
    answer = owner.get(f"adapters?sort={sort}&cursor={written}")
    assert answer.status == 400, answer.json


@pytest.mark.parametrize(
    "query",
    [
        "sort=evil", "cursor=x", "cursor=%ff", "cursor=W10", "cursor=bnVsbA", "cursor=WzEsIngiXQ", "status=x",
        "limit=x", "limit=-1", "limit=%D9%A3", "q=" + "x" * 300,
    ],
)  # fmt: skip
def test_a_query_that_means_nothing_is_a_400_problem(owner: Caller, query: str) -> None:
    answer = owner.get(f"adapters?{query}")
    assert answer.status == 400, answer.json


@pytest.mark.parametrize(
    "query", ["q='; DROP TABLE registry_run; --", "q=%25%25", "q=((", "q=a | & ! b", "q=\\", "q=😀"]
)
def test_a_strange_search_finds_nothing_and_breaks_nothing(owner: Caller, query: str) -> None:
    assert owner.get(f"adapters?{query}").status == 200


def test_the_same_key_twice_in_a_query_is_no_fault(owner: Caller) -> None:
    assert owner.get("adapters?q=a&q=b").status == 200


def test_an_unknown_route_is_a_problem_too(owner: Caller) -> None:
    answer = owner.get("nothing/here")
    assert (answer.status, answer["code"]) == (404, "not_found")
    assert answer["request_id"] == answer.headers["X-Request-Id"]


def test_a_method_that_is_not_there_is_a_problem_too(owner: Caller) -> None:
    answer = owner.call("DELETE", "me")
    assert answer.status == 405
    assert "GET" in answer.headers["Allow"]
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_the_api_speaks_json_to_browsers_too(owner: Caller) -> None:
    answer = owner.get("me?format=html", headers={"Accept": "text/html"})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"


def test_the_callers_request_id_is_repeated_in_the_problem(anybody: Caller) -> None:
    answer = anybody.get("me", headers={"X-Request-Id": "abc-1234567"})
    assert answer["request_id"] == "abc-1234567"


def test_a_mistake_of_ours_is_told_without_details(
    owner: Caller, base, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from registry.queries import search

    def broken(*given: object) -> None:
        raise RuntimeError("the secret is xyzzy")

    monkeypatch.setattr(search, "search", broken)
    answer = owner.get("adapters")
    assert (answer.status, answer["code"]) == (500, "internal")
    assert "xyzzy" not in json.dumps(answer.json)
    assert "the secret is xyzzy" in caplog.text


@pytest.mark.parametrize("offset", ["-1", "x", "1e3", "", "9" * 30, "%00"])
def test_an_offset_that_is_none_is_told(owner: Caller, base, offset: str) -> None:
    url = owner.start("acme/x", adapters.lora())["blobs"][0]["url"]
    assert owner.put(f"{url}?offset={offset}", b"x").status == 400
