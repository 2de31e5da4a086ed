"""The pages of a snapshot with two adapters: what is shown of each, on the base model's page and on its own."""

import re

import pytest

from tests.registry.test_component_fits import bases, two
from tests.registry.test_fits import work
from tests.web.test_base_page import look

__all__ = ["bases", "two"]

pytestmark = pytest.mark.django_db


def words(page: str) -> str:
    """A page without its tags, each space one."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_the_matrix_has_a_row_for_each_component_with_what_it_measured(two, bases, anybody):
    work()
    page = look(anybody, "/b/tiny-bert")
    table = words(page[page.index('<table class="matrix">') :])
    assert "#ask ✓ validated 0.900 ↗" in table
    assert "#tell ✓ validated 0.800 ✗" in table
    assert page.count('<tr class="part">') == 2


def test_the_box_of_what_it_fits_names_a_base_that_only_one_of_them_fits(two, bases, anybody):
    work()
    page = look(anybody, "/a/acme/both")
    box = words(page[page.index("<h2>Fits</h2>") : page.index("Is yours another one?")])
    order = [box.index(name) for name in ("tiny-bert", "other-bert", "odd-bert")]
    assert order == sorted(order)
    odd = box[order[-1] :]
    assert odd.index("clashes") < odd.index("#ask 0.900") < odd.index("#tell")


def test_a_score_says_which_component_it_is_of(two, bases, anybody):
    page = words(look(anybody, "/a/acme/both"))
    assert "#ask acme/tone accuracy" in page
    assert "#tell acme/tone accuracy" in page
    assert "#ask acme/tone accuracy" in words(look(anybody, "/adapters"))


def test_a_private_snapshot_shows_its_components_to_its_members_alone(two, bases, owner, member, stranger, anybody):
    two.adapter.visibility = "private"
    two.adapter.save(update_fields=["visibility"])
    for who, shown in ((owner, True), (member, True), (stranger, False), (anybody, False)):
        assert ("#ask" in look(who, "/b/tiny-bert")) == shown
