"""The page of a base model, and where an adapter's page leads to it: owner, member, stranger and nobody."""

import html
import re

import pytest
from django.test import Client

from registry.models import Adapter, BaseModel
from tests.registry import adapters
from tests.registry import factories as make
from tests.registry.cast import Caller, publish
from tests.registry.test_fits import siblings, work

__all__ = ["siblings"]

pytestmark = pytest.mark.django_db


def look(who: Caller, address: str) -> str:
    """What somebody who has signed in sees."""
    answer = who.browser().get(address)
    assert answer.status_code == 200, address
    return answer.content.decode()


def without_token(answer) -> str:
    """A page without the token that differs each time."""
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", answer.content.decode())


def test_it_is_found_by_name_and_fingerprint_and_says_what_it_is(published, base, anybody):
    for name in ("tiny-bert", base.pk):
        page = look(anybody, f"/b/{name}")
        for word in (base.pk, "observed", base.roots["backbone"], "acme/tone-bert", "validated"):
            assert word in page


def test_the_matrix_shows_its_kin(published, siblings, anybody):
    make.make_base_relation(base=siblings["other-bert"], parent=siblings["tiny-bert"])
    work()
    page = look(anybody, "/b/tiny-bert")
    assert "derived from it is" in page
    assert page.count('class="cell') == 3
    assert look(anybody, "/b/wide-bert").count('class="cell') == 0


def test_a_level_narrows_the_list(published, siblings, anybody):
    work()
    assert "acme/tone-bert" in look(anybody, "/b/other-bert?level=shape_only")
    assert "No adapter here fits" in look(anybody, "/b/other-bert?level=validated")


def test_a_private_adapter_is_on_its_members_page_only(published, base, owner, member, stranger, anybody):
    Adapter.objects.update(visibility="private")
    for who in (owner, member):
        assert "acme/tone-bert" in look(who, "/b/tiny-bert")
    for who in (stranger, anybody):
        assert "acme/" not in look(who, "/b/tiny-bert")


def test_a_private_base_has_no_page_for_a_stranger_and_looks_like_a_missing_one(
    published, base, owner, stranger, anybody
):
    BaseModel.objects.update(visibility="private", owner=published.adapter.namespace)
    assert look(owner, "/b/tiny-bert")
    for who in (stranger, anybody):
        client = Client()
        if who.user:
            client.force_login(who.user)
        there, missing = client.get("/b/tiny-bert"), client.get("/b/tiny-bird")
        assert there.status_code == missing.status_code == 404
        same = re.sub("tiny-bert", "tiny-bird", without_token(there))
        assert same == without_token(missing)


def test_the_adapters_page_tells_what_else_it_fits(published, siblings, anybody):
    work()
    page = look(anybody, "/a/acme/tone-bert")
    fits = page[page.index("<h2>Fits</h2>") :]
    assert fits.index("tiny-bert") < fits.index("other-bert")
    assert "wide-bert" not in fits
    assert "hub check acme/tone-bert \\\n  --base ./my-model" in page
    assert f"/b/{siblings['tiny-bert'].pk}" in page


def test_the_list_of_a_base_tells_the_level_of_each(published, siblings, anybody):
    work()
    page = look(anybody, "/adapters?base=other-bert")
    assert "shapes fit" in page
    assert "About the base model" in page


FACET = re.compile(r'<li><a href="([^"]+)">[^<]+</a><span class="soft">(\d+)</span></li>')


@pytest.mark.parametrize(
    "narrowed", ["", "q=tiny", "base=other-bert", "made_for=tiny-bert", "method=lora&base=tiny-bert"]
)
def test_a_facet_counts_what_its_link_lists(published, siblings, owner, member, stranger, anybody, narrowed):
    """Four adapters: two for one base, one for another, which they all fit, and one that its members alone see."""
    publish(owner, "acme/also-tiny", adapters.lora(value=0.2, hub={"task": "text-classification"}))
    publish(owner, "acme/for-other", adapters.lora(value=0.3, hub={"base": "other-bert"}))
    publish(owner, "acme/secret", adapters.lora(value=0.4, hub={"base": "other-bert"}), private=True)
    work()
    for who in (owner, member, stranger, anybody):
        links = FACET.findall(look(who, f"/adapters?{narrowed}"))
        assert links, narrowed
        for link, count in links:
            page = look(who, f"/adapters{html.unescape(link)}")
            assert page.count('<a class="name" href="/a/') == int(count), link


def test_what_was_made_for_a_base_is_less_than_what_fits_it(published, siblings, owner, anybody):
    publish(owner, "acme/for-other", adapters.lora(value=0.3, hub={"base": "other-bert"}))
    work()
    for name in ("other-bert", siblings["other-bert"].pk):
        assert [row["name"] for row in anybody.get(f"adapters?made_for={name}")["results"]] == ["for-other"]
    assert len(anybody.get("adapters?base=other-bert")["results"]) == 2
    assert anybody.get("adapters?made_for=no-such-bert")["results"] == []
    page = look(anybody, f"/adapters?made_for={siblings['other-bert'].pk}")
    assert "made for: other-bert" in page
    assert "All that fits it" in page


def test_the_name_of_a_private_base_is_not_told_by_a_filter(published, base, owner, stranger):
    BaseModel.objects.update(visibility="private", owner=published.adapter.namespace)
    asked = f"/adapters?made_for={base.pk}&task=none"
    assert "tiny-bert" in look(owner, asked)
    assert "tiny-bert" not in look(stranger, asked)


def test_the_page_holds_no_inline_style(published, siblings, anybody):
    work()
    assert " style=" not in look(anybody, "/b/tiny-bert")


@pytest.mark.parametrize("address", ["/b/no/such", "/b/base:00", "/b/tiny%00bert", "/b/tiny-bert?level=x"])
def test_what_is_not_there_is_told(base, anybody, address):
    assert Client().get(address).status_code in (400, 404)
