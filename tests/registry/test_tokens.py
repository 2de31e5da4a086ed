"""Tokens: how they look, what they open, how they end."""

import datetime
import re

import pytest
from django.utils import timezone

from registry.errors import Forbidden, Invalid, LookAlike, NotFound
from registry.models import Event, Membership, Namespace, Token, User
from registry.queries import tokens as questions
from registry.queries import viewers
from registry.services import namespaces, tokens, users
from tests.registry.cast import Caller, caller

pytestmark = pytest.mark.django_db


class TestSecrets:
    def test_a_scanner_finds_every_secret_by_its_looks(self) -> None:
        secrets = [tokens.mint() for _ in range(1000)]
        assert len(set(secrets)) == 1000
        assert all(questions.PATTERN.fullmatch(secret) and questions.wellformed(secret) for secret in secrets)

    def test_a_mistyped_secret_is_seen_without_the_database(self, django_assert_num_queries) -> None:
        secret = tokens.mint()
        other = "0" if secret[10] != "0" else "1"
        with django_assert_num_queries(0):
            assert not questions.wellformed(secret[:10] + other + secret[11:])
            assert not questions.wellformed(secret + "0")
            assert not questions.wellformed(secret.replace("ahub_", "ahubrun_"))

    def test_a_run_token_is_no_token_of_the_hub(self, owner: Caller) -> None:
        assert Caller(tokens.mint(questions.RUN_PREFIX)).get("me").status == 401

    def test_only_the_hash_of_a_secret_is_kept(self, owner: Caller) -> None:
        row = Token.objects.get(user=owner.user)
        kept = " ".join(str(value) for value in vars(row).values())
        assert owner.token is not None
        assert owner.token not in kept
        assert owner.token.startswith(row.prefix)


class TestMe:
    def test_a_token_knows_its_owner_scope_and_namespaces(self, owner: Caller) -> None:
        me = owner.get("me").json
        assert (me["user"], me["scope"], me["expires_at"]) == ("ada", "push", None)
        assert me["namespaces"] == [{"name": "acme", "role": "owner"}, {"name": "ada", "role": "owner"}]

    def test_without_a_token_there_is_no_me(self, anybody: Caller) -> None:
        answer = anybody.get("me")
        assert (answer.status, answer["code"]) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.headers["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize(
        "header", ["Bearer", "Bearer ", "Basic YTpi", "Bearer ahub_x", "ahub_x", "Bearer \x00", "Token " + "a" * 41]
    )
    def test_a_bad_header_is_refused_everywhere(self, anybody: Caller, header: str) -> None:
        for path in ("me", "adapters", "resolve?ref=x"):
            assert anybody.get(path, headers={"Authorization": header}).status == 401

    def test_a_session_is_no_token(self, owner: Caller, anybody: Caller) -> None:
        assert owner.user is not None
        anybody.client.force_login(owner.user)
        assert anybody.get("me").status == 401

    def test_the_use_of_a_token_is_noted_once_a_minute(self, owner: Caller, django_assert_num_queries) -> None:
        owner.get("me")
        first = Token.objects.get(user=owner.user).last_used_at
        owner.get("me")
        assert Token.objects.get(user=owner.user).last_used_at == first


class TestTheEndOfATokens:
    def test_an_expired_token_opens_nothing(self, owner: Caller) -> None:
        Token.objects.update(expires_at=timezone.now())
        assert owner.get("me").status == 401

    def test_a_revoked_token_opens_nothing(self, owner: Caller) -> None:
        assert owner.user is not None
        token = Token.objects.get(user=owner.user)
        tokens.revoke(user=owner.user, token_id=token.pk)
        tokens.revoke(user=owner.user, token_id=token.pk)
        assert owner.get("me").status == 401

    def test_nobody_revokes_the_token_of_another(self, owner: Caller, stranger: Caller) -> None:
        assert stranger.user is not None
        with pytest.raises(NotFound):
            tokens.revoke(user=stranger.user, token_id=Token.objects.get(user=owner.user).pk)
        assert owner.get("me").status == 200

    def test_the_token_of_somebody_who_left_opens_nothing(self, owner: Caller) -> None:
        User.objects.filter(username="ada").update(is_active=False)
        assert owner.get("me").status == 401


class TestIssuing:
    def test_scopes_of_operators_are_for_operators(self, owner: Caller) -> None:
        assert owner.user is not None
        for scope in ("worker", "admin"):
            with pytest.raises(Forbidden):
                tokens.issue(user=owner.user, scope=scope)

    def test_an_unknown_scope_and_a_date_that_is_over_are_refused(self, owner: Caller) -> None:
        assert owner.user is not None
        with pytest.raises(Invalid):
            tokens.issue(user=owner.user, scope="root")
        with pytest.raises(Invalid):
            tokens.issue(user=owner.user, scope="push", expires_at=timezone.now() - datetime.timedelta(days=1))

    def test_the_console_makes_users_and_operators(self, db) -> None:
        with pytest.raises(NotFound):
            tokens.issue_by_operator(username="grace", scope="admin")
        secret = tokens.issue_by_operator(username="grace", scope="admin", create=True)
        assert re.fullmatch(r"ahub_[0-9A-Za-z]{36}", secret)
        assert Caller(secret).get("me")["scope"] == "admin"
        assert User.objects.get(username="grace").is_staff
        assert Membership.objects.get(user__username="grace").namespace.name == "grace"

    def test_a_workers_token_makes_nobody_an_operator(self, owner: Caller) -> None:
        secret = tokens.issue_by_operator(username="ada", scope="worker")
        assert Caller(secret).get("me")["scope"] == "worker"
        assert Caller(secret).post("runs/claim", {"worker": "w", "bases": []}).status == 204
        ada = User.objects.get(username="ada")
        assert not ada.is_staff
        for scope in ("worker", "admin"):
            with pytest.raises(Forbidden):
                tokens.issue(user=ada, scope=scope)

    def test_an_operator_who_is_made_is_told_to_the_log(self, owner: Caller) -> None:
        for _ in range(2):
            tokens.issue_by_operator(username="ada", scope="admin")
        assert User.objects.get(username="ada").is_staff
        assert [(e.actor, e.subject) for e in Event.objects.filter(kind="user.operator")] == [("console", "ada")]

    def test_a_token_for_reading_changes_nothing_of_its_user(self, owner: Caller) -> None:
        for scope in ("read", "push"):
            tokens.issue_by_operator(username="ada", scope=scope)
        assert not User.objects.get(username="ada").is_staff


class TestNamespaces:
    @pytest.mark.parametrize("name", ["api", "Admin", "l0gin", "log-in", "-x", "x..y", "library", "LIBRARY", ""])
    def test_a_name_that_is_reserved_or_malformed_is_nobodys(self, owner: Caller, name: str) -> None:
        assert owner.user is not None
        with pytest.raises((Invalid, LookAlike)):
            namespaces.create(name=name, owner=owner.user)

    def test_a_namespace_that_looks_like_another_is_refused(self, owner: Caller) -> None:
        assert owner.user is not None
        for name in ("ACME", "a-c-m-e", "acme.", "a.cme"):
            with pytest.raises((Invalid, LookAlike)):
                namespaces.create(name=name, owner=owner.user)

    def test_a_user_whose_name_is_taken_is_not_made(self, owner: Caller) -> None:
        with pytest.raises(LookAlike):
            users.create(username="a-da")
        assert not User.objects.filter(username="a-da").exists()

    def test_a_role_can_be_changed(self, owner: Caller, member: Caller) -> None:
        acme = Namespace.objects.get(name="acme")
        assert member.user is not None
        namespaces.set_role(namespace=acme, user=member.user, role="read")
        assert viewers.role_in(member.viewer, acme) != "write"
        with pytest.raises(Invalid):
            namespaces.set_role(namespace=acme, user=member.user, role="king")


def test_a_personal_namespace_comes_with_the_user(db) -> None:
    assert caller("solo").get("me")["namespaces"] == [{"name": "solo", "role": "owner"}]
