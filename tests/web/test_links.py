"""What pages link to is read by whoever is signed in there and sees the page; a session writes nothing."""

import re
from typing import Any

import pytest
from django.test import Client, RequestFactory
from django.urls import resolve

from registry.models import BaseModel, Run, Version
from tests.registry import adapters
from tests.registry.cast import Caller
from tests.registry.test_answers import SAID, answering
from tests.registry.workers import take

pytestmark = pytest.mark.django_db
PAGE = "/a/acme/tone-bert/v/1"


@pytest.fixture
def links(owner: Caller, worker: Caller, base: BaseModel, benchmark: Any) -> list[str]:
    """Every address of the API on the pages of a private adapter that was published."""
    answer = owner.push("acme/tone-bert", adapters.lora(hub={"benchmarks": ["acme/tone"]}), private=True)
    lease = take(worker, Run.objects.get(pk=answer["version"]["queue"]["run"]).base_fingerprint)
    assert lease.report(answering(lease)).status == 200
    browser = owner.browser()
    pages = [browser.get(address).content.decode() for address in (PAGE, f"{PAGE}/report")]
    return [link for page in pages for link in re.findall(r'href="(/api/v1/adapters/[^"]*)"', page)]


def test_who_is_signed_in_reads_what_the_pages_of_a_private_adapter_link_to_and_strangers_do_not(
    links: list[str], owner: Caller, member: Caller, reader: Caller, stranger: Caller, anybody: Caller
) -> None:
    assert {"answers", "files", "report"} <= {word for link in links for word in link.split("/")}
    for who in (owner, member, reader):
        browser = who.browser()
        for link in links:
            answer = browser.get(link)
            assert (answer.status_code, answer["Cache-Control"]) == (200, "private, no-store"), link
            assert browser.head(link).status_code in (200, 405)
    (answers,) = (link for link in links if "/answers/" in link)
    assert len(reader.browser().get(answers).getvalue().splitlines()) == len(SAID)
    for who in (stranger, anybody):
        assert {who.browser().get(link).status_code for link in links} == {404}


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_elsewhere_that_opens_a_link_does_not_learn_what_its_visitor_may_see(
    links: list[str], owner: Caller, stranger: Caller, anybody: Caller, site: str
) -> None:
    def told(who: Caller, link: str) -> tuple[Any, ...]:
        answer = who.browser().get(link, headers={"Sec-Fetch-Site": site, "X-Request-Id": "abc-1234567"})
        return answer.status_code, answer.getvalue(), answer.headers, answer.cookies

    for link in links:
        for near in ("same-origin", "none"):
            answer = owner.browser().get(link, headers={"Sec-Fetch-Site": near})
            assert answer.status_code == 200, "the control: the hub's own page, or what was typed"
        assert told(owner, link)[0] == 404
        assert told(owner, link) == told(stranger, link) == told(anybody, link)


def vary(answer: Any) -> list[str]:
    """The headers of a request that an answer says it depends on."""
    return sorted(answer.headers.get("Vary", "").replace(" ", "").split(","))


def test_a_public_file_is_kept_once_for_all_who_bring_no_cookie(published: Version, owner: Caller) -> None:
    link = f"/api/v1/adapters/acme/tone-bert/versions/sha256:{published.digest}/files/README.md"
    for browser, wanted in ((Client(), ["Authorization"]), (owner.browser(), ["Authorization", "Cookie"])):
        answer = browser.get(link)
        assert answer["Cache-Control"] == "public, max-age=31536000, immutable"
        assert vary(answer) == wanted


def test_what_a_session_opened_says_so_whatever_else_stands_around_the_door(links: list[str], owner: Caller) -> None:
    browser = owner.browser()
    for link in links:
        assert vary(browser.get(link)) == ["Authorization", "Cookie"]
        request = RequestFactory().get(link)
        request.user, request.COOKIES = owner.user, {name: one.value for name, one in browser.cookies.items()}
        door = resolve(link)
        answer = door.func(request, *door.args, **door.kwargs)
        assert (answer.status_code, vary(answer)) == (200, ["Authorization", "Cookie"]), "without any middleware"


def test_a_bad_token_is_refused_whoever_is_signed_in(links: list[str], owner: Caller) -> None:
    assert owner.browser().get(links[0], headers={"Authorization": "Bearer ahub_x"}).status_code == 401


def test_a_session_writes_nothing_and_is_no_token_elsewhere(links: list[str], owner: Caller, base: BaseModel) -> None:
    browser = owner.browser()
    for address in ("/api/v1/me", "/api/v1/adapters/acme/tone-bert/versions/1"):
        assert browser.get(address).status_code in (401, 404)
    answers = [
        browser.post("/api/v1/adapters/acme/tone-bert/versions/1/yank", {"reason": "mine"}, "application/json"),
        *(browser.generic(method, links[0]) for method in ("POST", "PUT", "PATCH", "DELETE")),
        browser.generic("DELETE", f"/api/v1/base-models/{base.pk}"),
    ]
    assert {answer.status_code for answer in answers} <= {401, 405}
