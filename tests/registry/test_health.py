"""For those who watch over the hub."""

import pytest

from registry.models import Version
from registry.queries import blobs, health
from tests.registry.cast import Caller

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def forgetful() -> None:
    """Nothing is remembered from the test before."""
    health._remembered.clear()


def test_the_process_lives_without_asking_anybody(anybody: Caller, django_assert_num_queries) -> None:
    with django_assert_num_queries(0):
        assert anybody.get("/livez").status == 200


def test_without_a_broker_the_hub_is_degraded_and_serves(anybody: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise OSError("away")

    monkeypatch.setattr(health, "_broker", away)
    answer = anybody.get("/readyz")
    assert (answer.status, answer["status"]) == (200, "degraded")
    assert answer["checks"] | {"broker": ""} == {"database": "ok", "migrations": "ok", "storage": "ok", "broker": ""}


def test_with_everything_in_place_it_is_ready(anybody: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_broker", lambda: None)
    assert anybody.get("/readyz")["status"] == "ready"


def test_without_its_store_it_is_not_ready_and_says_no_more_than_that(
    anybody: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(sha256: str) -> int:
        raise OSError("s3://secret-bucket is away")

    monkeypatch.setattr(health, "_broker", lambda: None)
    monkeypatch.setattr(blobs.store(), "size", away)
    answer = anybody.get("/readyz")
    assert (answer.status, answer["status"]) == (503, "unready")
    assert "bucket" not in str(answer.json)


def test_the_figures_count_and_name_nobody(anybody: Caller, published: Version) -> None:
    text = anybody.client.get("/metrics").content.decode()
    assert 'hub_runs{status="passed"} 1' in text
    assert "hub_published_without_run 0" in text
    assert "acme" not in text
