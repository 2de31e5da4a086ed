"""Who would be refused anyway is refused before a byte of the body is read: reading costs time and memory."""

import uuid

import pytest
from rest_framework.parsers import MultiPartParser

from registry.api.parsers import StrictJSONParser
from registry.services import tokens
from tests.registry.cast import Caller, caller, report_for
from tests.registry.workers import push, take

pytestmark = pytest.mark.django_db

BODY = b"[" + b"[]," * 1000 + b"[]]"
WRITES = [
    ("POST", "adapters"),
    ("PATCH", "adapters/acme/x"),
    ("POST", "adapters/acme/x/uploads"),
    ("POST", "adapters/acme/x/versions/1/yank"),
    ("POST", "adapters/acme/x/versions/1/unyank"),
    ("POST", f"uploads/{uuid.UUID(int=0)}/complete"),
    ("PUT", f"uploads/{uuid.UUID(int=0)}/blobs/0"),
    ("POST", "base-models"),
    ("POST", "benchmarks"),
    ("PUT", "policies/acme"),
    ("POST", "runs/claim"),
]
RUN_WRITES = ["heartbeat", "report"]


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every parser fail the test that makes it read."""

    def read(*given: object, **more: object) -> None:
        pytest.fail("the body was read")

    for parser in (StrictJSONParser, MultiPartParser):
        monkeypatch.setattr(parser, "parse", read)


@pytest.fixture(autouse=True)
def nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is in every test here, until it says otherwise."""
    forbid_reading(monkeypatch)


def send(who: Caller, method: str, path: str) -> int:
    """Send a body that takes long to read, as what the door takes."""
    form = "multipart/form-data; boundary=x" if path == "benchmarks" else "application/json"
    return who.call(method, path, BODY, content_type=form).status


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_nobody_in_particular_gets_401(anybody: Caller, method: str, path: str) -> None:
    assert send(anybody, method, path) == 401


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_token_that_only_reads_gets_403(owner: Caller, method: str, path: str) -> None:
    assert owner.user is not None
    reading = Caller(tokens.issue(user=owner.user, scope="read")[1], owner.user)
    assert send(reading, method, path) == 403


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_workers_token_claims_and_registers_bases_and_nothing_else(worker: Caller, method: str, path: str) -> None:
    if path in ("runs/claim", "base-models"):
        with pytest.raises(pytest.fail.Exception, match="was read"):
            send(worker, method, path)
    else:
        assert send(worker, method, path) == 403


@pytest.mark.parametrize("door", RUN_WRITES)
def test_a_door_of_a_run_wants_a_run_token(owner: Caller, worker: Caller, anybody: Caller, door: str) -> None:
    for who in (anybody, owner, worker):
        assert send(who, "POST", f"runs/{uuid.uuid4()}/{door}") == 401


@pytest.mark.parametrize("door", RUN_WRITES)
def test_a_door_of_a_run_wants_a_lease_that_lives(
    owner: Caller, worker: Caller, base, benchmark, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stolen = Caller(tokens.mint("ahubrun_"))
    assert send(stolen, "POST", f"runs/{uuid.uuid4()}/{door}") == 409
    monkeypatch.undo()
    lease = take(worker, push(owner).base_fingerprint)
    lease.expire()
    forbid_reading(monkeypatch)
    assert send(lease.holder, "POST", f"runs/{lease.id}/{door}") == 409


def test_the_same_report_again_is_still_taken(
    owner: Caller, worker: Caller, base, benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    lease = take(worker, push(owner).base_fingerprint)
    report = report_for(lease.run)
    assert [lease.report(report).status for _ in range(2)] == [200, 200]
    assert lease.beat().status == 409


def test_who_may_write_is_read(owner: Caller) -> None:
    """The negative control: the parser is where it is thought to be."""
    with pytest.raises(pytest.fail.Exception, match="was read"):
        send(owner, "POST", "base-models")


def test_a_method_that_is_not_there_is_none_for_anybody(anybody: Caller) -> None:
    assert anybody.call("DELETE", "adapters").status == 405
    assert caller("dora").call("DELETE", "adapters").status == 405
