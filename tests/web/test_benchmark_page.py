"""The page of a benchmark: owner, member, stranger and nobody, and why it could not be run for those whom it concerns."""

import re
from typing import Any

import pytest
from django.test import Client

from registry.models import Benchmark
from registry.services import benchmarks
from tests.registry import adapters
from tests.registry.cast import Caller, publish, report_for
from tests.registry.test_runs import seal
from tests.registry.test_unfit_benchmarks import FAULT, at_once, fail
from tests.registry.workers import push, take

__all__ = ["at_once"]

pytestmark = pytest.mark.django_db
PAGE = "/t/acme/tone"


def look(who: Caller, address: str = PAGE) -> str:
    """The page as somebody who has signed in sees it."""
    answer = who.browser().get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def add_newer(owner: Caller) -> Benchmark:
    """Another benchmark of the same name: one row says something else."""
    return benchmarks.add(
        viewer=owner.viewer,
        definition=adapters.BENCHMARK.format(name="acme/tone").encode(),
        files={"dev.tsv": adapters.DEV.replace(b"kind", b"warm"), "train.tsv": adapters.TRAIN},
    )[0]


def test_it_says_what_is_measured_and_who_was_measured_by_name_and_by_digest(
    published: Any, benchmark: Benchmark, anybody: Caller, client: Client
) -> None:
    for address in (PAGE, f"/t/sha256:{benchmark.pk}"):
        page = look(anybody, address)
        for word in ("Text classification, measured by accuracy", "acme/tone-bert", "dev.tsv", "negative, positive"):
            assert word in page, word
    report = client.get("/a/acme/tone-bert/v/1/report").content.decode()
    assert f'<a href="/t/sha256:{benchmark.pk}">acme/tone</a>' in report
    assert client.get("/t/acme/none").status_code == client.get("/t/sha256:" + "0" * 64).status_code == 404


def test_an_older_one_lists_who_was_measured_on_it_and_leads_to_the_newer_one_of_its_name(
    published: Any, benchmark: Benchmark, owner: Caller, anybody: Caller
) -> None:
    assert "A newer benchmark" not in look(anybody), "the control: it is the newest"
    newer = add_newer(owner)
    assert newer.pk != benchmark.pk
    older = look(anybody, f"/t/sha256:{benchmark.pk}")
    assert 'A newer benchmark has this name: <a href="/t/acme/tone">' in older and "acme/tone-bert" in older
    newest = look(anybody)
    assert "A newer benchmark" not in newest and "No adapter that you may see" in newest
    for digest, found in ((benchmark.pk, 1), (newer.pk, 0)):
        assert len(anybody.get(f"adapters?benchmark=sha256:{digest}&sort=score")["results"]) == found


def test_the_score_beside_an_adapter_is_the_one_on_this_benchmark_whatever_others_of_its_name_gave(
    benchmark: Benchmark, owner: Caller, worker: Caller, base: Any, anybody: Caller
) -> None:
    newer = add_newer(owner)
    measured = {f"sha256:{benchmark.pk}": 0.8, f"sha256:{newer.pk}": 0.9}
    assert owner.push("acme/tone-bert", adapters.lora(hub={"benchmarks": list(measured)})).status == 202
    lease = take(worker, base.pk)
    report = report_for(lease.run)
    for score in report["components"][0]["scores"]:
        value = measured[score["digest"]]
        score |= {"value": value, "interval": [value - 0.05, value + 0.05]}
    assert lease.report(seal(report)).status == 200
    for digest, value in measured.items():
        page = look(anybody, f"/t/{digest}")
        assert [float(shown) for shown in re.findall(r"<b>(0\.\d+)</b>", page)] == [value]


def test_the_link_to_all_of_them_leads_to_those_measured_on_this_very_benchmark(
    published: Any, benchmark: Benchmark, owner: Caller, anybody: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(owner, "acme/second", adapters.lora(value=0.02, hub={"benchmarks": ["acme/tone"]}))
    assert "All of them" not in look(anybody), "the control: both are shown"
    monkeypatch.setattr("registry.web.benchmarks.SHOWN", 1)
    (link,) = re.findall(r'href="([^"]*)">All of them', look(anybody))
    assert f"benchmark=sha256%3A{benchmark.pk}" in link


def test_a_list_narrowed_to_one_by_its_digest_calls_it_by_its_name_for_who_may_know_it(
    published: Any, benchmark: Benchmark, owner: Caller, stranger: Caller
) -> None:
    address = f"/adapters?benchmark=sha256:{benchmark.pk}"
    called = f"benchmark: acme/tone ({benchmark.pk[:12]})"
    assert called in look(owner, address) and called in look(stranger, address)
    Benchmark.objects.update(visibility="private")
    assert called in look(owner, address)
    assert f"benchmark: sha256:{benchmark.pk} " in (page := look(stranger, address)) and "acme/tone (" not in page


def test_its_owners_side_reads_why_it_could_not_be_run_and_strangers_do_not(
    owner: Caller, member: Caller, reader: Caller, stranger: Caller, anybody: Caller, worker: Caller, base: Any, benchmark: Any
) -> None:  # fmt: skip
    run = push(owner)
    assert FAULT not in look(owner), "the control: nothing has failed yet"
    for _ in range(3):
        fail(worker, run, benchmark.pk)
    for who in (owner, member, reader):
        page = look(who)
        assert "It could not be run." in page and FAULT in page
    for who in (stranger, anybody):
        page = look(who)
        assert "could not be run" not in page and FAULT not in page


def test_a_private_one_and_its_data_are_there_for_its_owners_side_only(
    owner: Caller, member: Caller, stranger: Caller, anybody: Caller, benchmark: Benchmark
) -> None:
    Benchmark.objects.update(visibility="private")
    data = f"/api/v1/benchmarks/sha256:{benchmark.pk}/files/dev.tsv"
    for who in (owner, member):
        assert f'href="{data}"' in look(who)
        assert who.browser().get(data).status_code == 200
    for who in (stranger, anybody):
        assert {who.browser().get(address).status_code for address in (PAGE, f"/t/sha256:{benchmark.pk}", data)} == {
            404
        }
