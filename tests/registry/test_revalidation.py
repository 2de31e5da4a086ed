"""What was published is judged again: behind all others, flagged where it fails, and never withdrawn."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction

from registry.errors import Forbidden
from registry.models import Event, Run, Version
from registry.queries.viewers import Viewer
from registry.services import revalidation
from tests.registry import adapters
from tests.registry import factories as make
from tests.registry.cast import report_for
from tests.registry.workers import ERROR, push, take

pytestmark = pytest.mark.django_db
REPORT = "adapters/acme/tone-bert/versions/1/report"


@pytest.fixture
def published(owner, worker, base, benchmark) -> Run:
    """acme/tone-bert:1, published on this run."""
    lease = take(worker, push(owner).base_fingerprint)
    assert lease.report(report_for(lease.run))["status"] == "passed"
    return lease.run


def command(*arguments: str) -> str:
    told = StringIO()
    call_command("revalidate", *arguments, stdout=told)
    return told.getvalue().strip()


def again(worker, run: Run, verdict: str, value: float = 0.9) -> Run:
    """Have a run judged again, with this verdict."""
    command("--all")
    lease = take(worker, run.base_fingerprint)
    assert lease.run.repeats_id == run.pk
    assert lease.report(report_for(lease.run, verdict, value)).status == 200
    return lease.run


def version() -> Version:
    return Version.objects.get(adapter__name="tone-bert", number=1)


def test_a_version_that_passes_again_stays_as_it_is(worker, published, anybody):
    assert command("--all") == "1 run waits to be judged again"
    lease = take(worker, published.base_fingerprint)
    lease.report(report_for(lease.run))
    assert version().regressed_at is None
    told = anybody.get(REPORT)["revalidation"]
    assert (told["verdict"], told["same_result"], told["environment"]) == ("passed", True, {})


def test_what_no_longer_passes_is_flagged_and_stays_published(worker, published, anybody):
    repeated = again(worker, published, "failed")
    found = version()
    assert (found.status, found.run_id, found.run_passed) == ("published", published.pk, True)
    assert found.regressed_at is not None
    event = Event.objects.get(kind="version.regressed")
    assert (event.subject, event.data["run"]) == ("acme/tone-bert:1", str(repeated.pk))
    assert anybody.get("adapters/acme/tone-bert/versions/1")["regressed"]["at"]
    assert anybody.get("adapters")["results"][0]["latest"]["regressed"]["at"]
    assert anybody.get("resolve?ref=acme/tone-bert")["regressed"]["at"], "it is still served, and says so"
    assert anybody.get(REPORT)["verdict"] == "passed", "the report of the publication is the one that is shown"
    assert anybody.get(REPORT)["revalidation"]["verdict"] == "failed"


def test_a_later_pass_takes_the_flag_back(worker, published, anybody):
    again(worker, published, "failed")
    again(worker, published, "passed")
    assert version().regressed_at is None
    assert list(Event.objects.filter(kind__startswith="version.re").order_by("pk").values_list("kind", flat=True)) == [
        "version.regressed",
        "version.recovered",
    ]
    assert anybody.get("adapters/acme/tone-bert/versions/1")["regressed"] is None


def test_an_error_says_nothing_of_the_adapter(worker, published):
    again(worker, published, "failed")
    command("--all")
    for _ in range(3):
        Run.objects.filter(status="queued").update(not_before=None)
        take(worker, published.base_fingerprint).report(ERROR)
    assert version().regressed_at is not None, "the last judgement still stands"
    assert Run.objects.filter(repeats=published, status="error").count() == 1


def test_asking_twice_queues_once(published):
    assert command("--all") == "1 run waits to be judged again"
    assert command("--all") == "0 runs wait to be judged again"
    assert Run.objects.filter(repeats=published).count() == 1
    with pytest.raises(IntegrityError, match="run_is_repeated_once_at_a_time"), transaction.atomic():
        Run.objects.create(
            **{
                name: getattr(published, name)
                for name in ("adapter_digest", "base_fingerprint", "plan_digest", "plan", "manifest")
            },
            repeats=published,
        )


def test_a_repetition_waits_behind_what_was_pushed_later(owner, worker, published):
    command("--all")
    pushed = push(owner, value=0.02)
    assert take(worker, published.base_fingerprint).id == str(pushed.pk)
    assert take(worker, published.base_fingerprint).run.repeats_id == published.pk


def test_a_push_counts_no_repetition_before_it(owner, published):
    command("--all")
    answer = owner.push("acme/tone-bert", adapters.lora(hub={"benchmarks": ["acme/tone"]}, value=0.03))
    assert answer["version"]["queue"]["position"] == 0


def test_a_repetition_is_no_evidence_for_another_version(owner, worker, published):
    """The same files pushed again under a label: published on the first run, and flagged as it is."""
    again(worker, published, "failed")
    push_again = owner.push("acme/tone-too", adapters.lora(hub={"benchmarks": ["acme/tone"]}))
    assert push_again.status == 202
    found = Version.objects.get(adapter__name="tone-too")
    assert (found.status, found.run_id) == ("published", published.pk)
    assert found.regressed_at is not None


def test_versions_are_chosen_by_base_benchmark_and_lot(owner, worker, published, base, benchmark):
    push_more = push(owner, value=0.04)
    lease = take(worker, push_more.base_fingerprint)
    lease.report(report_for(lease.run))
    other = make.make_base_model()
    assert command("--base", other.pk).startswith("0 ")
    assert command("--benchmark", "acme/tone", "--sample", "1").startswith("1 ")
    assert command("--base", base.pk).startswith("1 "), "the one that does not wait yet"
    for asked in ([], ["--sample", "0"], ["--base", "no/such"], ["--benchmark", "no/such"]):
        with pytest.raises(CommandError):
            command(*asked)


def test_what_was_refused_or_is_in_quarantine_is_not_asked_again(owner, worker, base, benchmark):
    lease = take(worker, push(owner).base_fingerprint)
    lease.report(report_for(lease.run, "failed"))
    assert command("--all").startswith("0 ")


def test_only_an_operator_may_ask(published, owner):
    with pytest.raises(Forbidden):
        revalidation.queue(viewer=Viewer(owner.user, "push"), everything=True)


def test_what_a_run_repeats_never_changes(published):
    command("--all")
    repeated = Run.objects.get(repeats=published)
    with pytest.raises(IntegrityError, match="what a run repeats never changes"), transaction.atomic():
        Run.objects.filter(pk=repeated.pk).update(repeats=None)
