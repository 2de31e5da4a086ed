"""Nobody goes through a list of passwords at `/login` or `/admin/login/`."""

from datetime import timedelta
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from registry.models import SignIn, User
from registry.services import signins
from tests.registry import factories

pytestmark = pytest.mark.django_db
DOORS = ["/login", "/admin/login/"]
RIGHT = "a long pass phrase"


@pytest.fixture
def olivia(settings: Any) -> User:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # many attempts, quickly
    user = factories.make_user(username="olivia", is_staff=True)
    user.set_password(RIGHT)
    user.save()
    return user


def attempt(door: str, password: str = "wrong", name: str = "olivia", **more: Any) -> HttpResponse:
    return Client().post(door, {"username": name, "password": password}, **more)


def later() -> None:
    """Let five minutes go by."""
    SignIn.objects.update(at=timezone.now() - timedelta(minutes=5, seconds=1))


@pytest.mark.parametrize("door", DOORS)
def test_after_ten_failures_nobody_is_let_in_for_a_while(olivia: User, door: str) -> None:
    assert {attempt(door).status_code for _ in range(10)} == {200}
    refused = attempt(door, RIGHT)
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= 300
    assert "too many attempts" in refused.content.decode()
    assert RIGHT not in refused.content.decode()
    later()
    assert attempt(door, RIGHT).status_code == 302


def test_both_doors_count_together_and_the_case_of_a_name_is_no_way_round(olivia: User) -> None:
    for n in range(10):
        attempt(DOORS[n % 2], name=["olivia", "Olivia", " OLIVIA "][n % 3])
    assert {attempt(door).status_code for door in DOORS} == {429}


def test_who_tries_on_is_not_shut_out_for_ever(olivia: User) -> None:
    for _ in range(30):
        attempt("/login")
    assert SignIn.objects.filter(subject=signins._subject("name", "olivia")).count() == 10


def test_who_gets_in_begins_anew(olivia: User) -> None:
    for _ in range(3):
        for _ in range(9):
            attempt("/login")
        assert attempt("/login", RIGHT).status_code == 302


def test_another_person_is_let_in_meanwhile(olivia: User) -> None:
    for _ in range(11):
        attempt("/login", name="somebody-else")
    assert attempt("/login", RIGHT).status_code == 302


def test_one_address_goes_through_fifty_names_and_no_more(olivia: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signins, "MOST_AN_ADDRESS", 12)
    answers = [attempt("/login", name=f"user-{n}").status_code for n in range(13)]
    assert answers == [200] * 12 + [429]
    assert attempt("/login", RIGHT, REMOTE_ADDR="203.0.113.9").status_code == 302


def test_a_visitor_who_is_signed_in_frees_nobodys_name(olivia: User) -> None:
    for _ in range(10):
        attempt("/login")
    mallory = Client()
    mallory.force_login(factories.make_user(username="mallory"))
    assert mallory.post("/login", {"username": "olivia", "password": "x"}).status_code in (302, 429)
    assert attempt("/login").status_code == 429


def test_behind_a_proxy_the_address_is_what_the_proxy_says_last(
    olivia: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signins, "MOST_AN_ADDRESS", 3)
    settings.HUB_BEHIND_PROXY = True
    for n in range(4):
        last = attempt("/login", name=f"a-{n}", HTTP_X_FORWARDED_FOR=f"10.0.0.{n}, 203.0.113.7")
    assert last.status_code == 429
    assert attempt("/login", name="b", HTTP_X_FORWARDED_FOR="203.0.113.7, 198.51.100.1").status_code == 200
    assert {attempt("/login", name=f"c-{n}").status_code for n in range(5)} == {200}  # a proxy that says nothing


def test_without_a_proxy_nobody_chooses_an_address(olivia: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signins, "MOST_AN_ADDRESS", 3)
    answers = [attempt("/login", name=f"a-{n}", HTTP_X_FORWARDED_FOR=f"10.0.0.{n}").status_code for n in range(4)]
    assert answers[-1] == 429


def test_a_customers_version_6_addresses_are_one() -> None:
    assert signins._network("2001:db8::1") == signins._network("2001:db8::ffff:1") != signins._network("2001:db8:1::1")
    assert signins._network("not an address") == "not an address"


@pytest.mark.parametrize("name", ["", "\0", "x" * 10_000, "\ud800", "ä'; --"])
def test_whatever_is_typed_as_a_name_is_no_fault(olivia: User, name: str) -> None:
    try:
        assert attempt("/login", name=name).status_code == 200
    except UnicodeEncodeError:
        assert name == "\ud800"  # no browser sends it


def test_what_people_type_is_not_kept(olivia: User) -> None:
    attempt("/login", name="my-password-by-mistake")
    assert "mistake" not in str(list(SignIn.objects.values_list("subject", flat=True)))


def test_looking_at_the_form_counts_as_nothing(olivia: User) -> None:
    for door in DOORS:
        assert Client().get(door).status_code == 200
    assert not SignIn.objects.exists()
