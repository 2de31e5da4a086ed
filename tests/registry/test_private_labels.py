"""What a private benchmark calls its classes, and what stands in its rows, is told to nobody who may not see it."""

from typing import Any

import pytest

from hub.spec.report import check, result_digest
from registry.models import Run, Version
from registry.services import namespaces
from tests.registry import adapters
from tests.registry.cast import Caller, caller, report_for
from tests.registry.test_benchmarks import add
from tests.registry.workers import Lease, take
from workers.jobs import unjudged

pytestmark = pytest.mark.django_db

LABELS = ("gracious", "hostile")
DEFINITION = adapters.BENCHMARK.replace("negative", LABELS[0]).replace("positive", LABELS[1])
REPORT = "adapters/bees/tone/versions/1/report"
DATA = {
    name: data.replace(b"negative", b"gracious").replace(b"positive", b"hostile")
    for name, data in (("dev_tsv", adapters.DEV), ("train_tsv", adapters.TRAIN))
}


@pytest.fixture
def publisher(admin: Caller, base: Any) -> Caller:
    """Bea, whose team has to pass acme's benchmark: an operator has said so in its policy."""
    person = caller("bea")
    namespaces.create(name="bees", owner=person.user)
    return person


def asked(owner: Caller, admin: Caller, visibility: str) -> None:
    made = add(owner, definition=f"{DEFINITION}visibility: {visibility}\n", **DATA)
    assert made.status == 201, made.json
    assert admin.put("policies/bees", {"required": ["acme/tone"]}).status == 200


def of_three_classes() -> dict[str, bytes]:
    tensors = adapters.lora_tensors(value=0.1)
    tensors[f"{adapters.PREFIX}classifier.weight"] = ([3, adapters.WIDTH], 0.1)
    tensors[f"{adapters.PREFIX}classifier.bias"] = ([3], 0.1)
    return adapters.lora(weights=adapters.safetensors(tensors), hub={})


def leased(publisher: Caller, worker: Caller) -> Lease:
    assert publisher.push("bees/tone", adapters.lora(value=0.1, hub={})).status == 202
    return take(worker, Run.objects.get().base_fingerprint)


@pytest.mark.parametrize("visibility", ["private", "public"])
def test_a_head_of_another_size_is_told_the_labels_of_a_public_benchmark_only(
    publisher: Caller, owner: Caller, admin: Caller, visibility: str
) -> None:
    asked(owner, admin, visibility)
    answer = publisher.push("bees/tone", of_three_classes())
    assert Version.objects.get().status == "rejected"
    for shown in (answer.body.decode(), publisher.get(REPORT).body.decode()):
        assert "the head has 3 classes, but the benchmark has 2 labels" in shown, "what is wrong is told"
        assert any(label in shown for label in LABELS) == (visibility == "public")


@pytest.mark.parametrize(
    "told",
    [
        "the head has 3 classes, but the benchmark has 2 labels: gracious, hostile",
        "acme/tone: the adapter's labels are kind, harsh, the benchmark's gracious, hostile",
    ],
)
def test_a_check_that_lists_the_labels_is_kept_from_who_may_not_see_them(
    publisher: Caller, owner: Caller, admin: Caller, worker: Caller, told: str
) -> None:
    asked(owner, admin, "private")
    lease = leased(publisher, worker)
    report = report_for(lease.run, verdict="failed")
    report["checks"] = [check("head", "failed", told, "labels are gracious, hostile")]
    report["components"] = [{"folder": "", "scores": []}]
    report["result_digest"] = result_digest(report)
    answer = lease.report(report)
    assert answer.status == 200, answer.json
    shown = publisher.get(REPORT)
    assert shown["verdict"] == "failed"
    assert not any(label in shown.body.decode() for label in LABELS)
    assert told in admin.get(REPORT).body.decode()


def test_a_fault_that_quotes_a_row_is_kept_from_who_may_not_see_it(
    publisher: Caller, owner: Caller, admin: Caller, worker: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.services.attempts.MAX_ATTEMPTS", 1)
    asked(owner, admin, "private")
    fault = "ValueError: could not convert 'hostile' of the row 'harsh words'"
    assert leased(publisher, worker).report(unjudged(fault, 1.0)).status == 200
    shown = publisher.get(REPORT)
    assert shown["verdict"] == "error"
    assert "hostile" not in shown.body.decode() and "harsh" not in shown.body.decode()
    assert admin.get(REPORT)["error"] == fault


def test_a_fault_in_words_of_our_own_is_told(
    publisher: Caller, owner: Caller, admin: Caller, worker: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.services.attempts.MAX_ATTEMPTS", 1)
    asked(owner, admin, "private")
    fault = "time limit passed while effect"
    assert leased(publisher, worker).report(unjudged(fault, 1.0)).status == 200
    assert publisher.get(REPORT)["error"] == fault


@pytest.mark.parametrize("visibility", ["private", "public"])
def test_a_policy_names_a_private_benchmark_to_its_members_only(
    publisher: Caller, owner: Caller, admin: Caller, anybody: Caller, visibility: str
) -> None:
    asked(owner, admin, visibility)
    shown = (["acme/tone"], 0)
    kept_back = ([], 1) if visibility == "private" else shown
    for who, expected in ((owner, shown), (admin, shown), (publisher, kept_back), (anybody, kept_back)):
        policy = who.get("policies/bees").json
        assert (policy["required"], policy["hidden"]) == expected
