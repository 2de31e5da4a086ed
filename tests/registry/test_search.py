"""Finding adapters: words, filters, orders, pages."""

import pytest

from registry.errors import BadRequest
from registry.models import Adapter, Benchmark
from registry.queries import search
from registry.queries.viewers import ANYBODY
from tests.registry import factories, refusals
from tests.registry.cast import Caller

pytestmark = pytest.mark.django_db


@pytest.fixture
def shelf(db: None) -> list[Adapter]:
    """Five published adapters with scores from 0.5 to 0.9, and one that only has a rejected version."""
    benchmark = factories.make_benchmark(name="glue/tiny")
    base = factories.make_base_model(name="bert-one")
    found = []
    for n in range(5):
        adapter = factories.make_adapter(
            name=f"sentiment-{n}", task="text-classification", method="lora", pulls=n, base_fingerprint=base.pk
        )
        manifest = factories.make_manifest(files={"adapter_config.json": b"{}", "w.safetensors": b"x" * (n + 1)})
        run = factories.make_run(manifest=manifest, base=base, status="passed")
        gain = {"value": 0.5 - n / 10, "interval": [0.0, 0.1]} if n < 4 else None
        factories.make_score(run=run, benchmark=benchmark, value=0.5 + n / 10, gain=gain)
        factories.make_component(manifest=manifest, variant="houlsby" if n == 2 else "lora")
        factories.make_version(adapter=adapter, run=run, manifest=manifest)
        found.append(adapter)
    factories.make_version(adapter=factories.make_adapter(name="sentiment-bad"), status="rejected")
    return found


def names(**wanted: object) -> list[str]:
    """Return the names that a search finds, over all pages of two."""
    found, cursor = [], ""
    while True:
        page = search.search(search.SearchQuery(**wanted, cursor=cursor, limit=2), ANYBODY)  # type: ignore[arg-type]
        found += [row["name"].removeprefix("sentiment-") for row in page.results]
        cursor = page.cursor
        if not cursor:
            return found


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("recent", "43210"),
        ("pulls", "43210"),
        ("score", "43210"),
        ("gain", "01234"),
        ("size", "43210"),
        ("name", "01234"),
    ],
)
def test_every_order_goes_through_all_pages_once(shelf: list[Adapter], sort: str, order: str) -> None:
    assert "".join(names(sort=sort)) == order


def test_where_low_is_good_the_lowest_score_comes_first(shelf: list[Adapter]) -> None:
    from registry.models import Score

    refusals.drop("score_is_kept")  # undone with the test
    Score.objects.update(direction="down")
    assert "".join(names(sort="score")) == "01234"


def test_words_are_found_in_name_and_description(shelf: list[Adapter]) -> None:
    Adapter.objects.filter(name="sentiment-3").update(description="Reads the tone of film critics")
    assert names(q="film critics") == ["3"]
    assert len(names(q="sentiment")) == 5
    assert names(q="ment-2") == ["2"]
    assert names(q="nothing") == []


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({"task": "text-classification"}, 5),
        ({"task": "other"}, 0),
        ({"method": "lora"}, 5),
        ({"method": "houlsby"}, 1),
        ({"base": "no/such"}, 0),
        ({"benchmark": "glue/tiny"}, 5),
        ({"benchmark": "other"}, 0),
        ({"status": "published"}, 5),
        ({"status": "rejected"}, 0),
    ],
)
def test_filters_narrow(shelf: list[Adapter], wanted: dict, count: int) -> None:
    assert len(names(**wanted)) == count


def test_a_base_is_given_by_name_or_fingerprint(shelf: list[Adapter]) -> None:
    base = shelf[0].base_fingerprint
    factories.make_base_alias(base=factories.models.BaseModel.objects.get(pk=base), name="org/bert")
    assert len(names(base=base)) == len(names(base="org/bert")) == 5


def test_a_member_finds_what_was_rejected(shelf: list[Adapter], owner: Caller) -> None:
    rejected = Adapter.objects.get(name="sentiment-bad")
    factories.make_membership(namespace=rejected.namespace, user=owner.user, role="read")
    assert [row["name"] for row in owner.get("adapters?status=rejected")["results"]] == ["sentiment-bad"]


def test_a_list_costs_the_same_few_queries_whatever_its_length(shelf, django_assert_max_num_queries) -> None:
    with django_assert_max_num_queries(8):
        search.search(search.SearchQuery(), ANYBODY)


def test_a_deleted_adapter_is_not_found(shelf: list[Adapter]) -> None:
    from django.utils import timezone

    Adapter.objects.filter(name="sentiment-0").update(deleted_at=timezone.now())
    assert "0" not in names()


def test_a_score_on_one_benchmark_orders_by_that_one(shelf: list[Adapter]) -> None:
    other: Benchmark = factories.make_benchmark(name="glue/other")
    best = shelf[0].versions.get().run
    factories.make_score(run=best, benchmark=other, value=0.99)
    assert names(sort="score")[0] == "0"
    assert names(sort="score", benchmark="glue/tiny")[0] == "4"


@pytest.mark.parametrize("wanted", [{"sort": "x"}, {"status": "x"}, {"q": "x" * 257}])
def test_a_wish_that_means_nothing_is_refused(wanted: dict) -> None:
    with pytest.raises(BadRequest):
        search.SearchQuery(**wanted)
