"""Pushing over the API: announce, send, complete, be judged."""

import hashlib

import pytest
from django.utils import timezone

from registry import models
from registry.models import Adapter, Commit, Event, Outbox, Ref, Run, Upload, Version
from registry.queries import benchmarks, blobs
from registry.services import namespaces, tokens, uploads
from tests.registry import adapters
from tests.registry.cast import Caller, caller, judge, publish

pytestmark = pytest.mark.django_db

GOOD = {"benchmarks": ["acme/tone"]}


class TestTheWayToPublication:
    def test_a_push_waits_for_its_run_and_is_published_when_it_passes(self, owner: Caller, base, benchmark) -> None:
        answer = owner.push("acme/tone-bert", adapters.lora(hub=GOOD))
        assert answer.status == 202
        assert answer["status"] == "validating"
        assert answer["report_url"] == "/api/v1/adapters/acme/tone-bert/versions/1/report"
        version = Version.objects.get()
        assert version.run is not None
        assert version.run.plan["benchmarks"] == [benchmark.pk]
        assert Outbox.objects.filter(queue="runs", payload={"run_id": str(version.run_id)}).count() == 1
        judge(version.run)
        shown = owner.get("adapters/acme/tone-bert/versions/1").json
        assert (shown["status"], shown["base_model"]["name"], shown["method"]) == ("published", "tiny-bert", "lora")
        listed = owner.get("adapters/acme/tone-bert").json
        assert listed["latest"]["scores"][0]["benchmark"] == "acme/tone"
        assert (listed["task"], listed["description"]) == ("text-classification", "Says whether a sentence is kind.")

    def test_a_push_that_fails_its_run_is_rejected_and_its_label_is_free_again(self, owner: Caller, base) -> None:
        owner.push("acme/tone-bert", adapters.lora(), version="1.0")
        judge(Run.objects.get(), "failed")
        version = Version.objects.get()
        assert (version.status, version.run_passed) == ("rejected", False)
        assert owner.get("adapters/acme/tone-bert/versions/1.0/report").json["verdict"] == "failed"
        again = owner.push("acme/tone-bert", adapters.lora(value=0.02), version="1.0")
        assert (again.status, again["version"]["number"], again["version"]["label"]) == (202, 2, "1.0")

    def test_a_push_without_a_benchmark_asks_for_a_run_that_is_structural_only(self, owner: Caller, base) -> None:
        owner.push("acme/tone-bert", adapters.lora())
        assert Run.objects.get().plan["benchmarks"] == []

    def test_while_it_is_judged_the_report_says_how_far_it_has_come(self, owner: Caller, base) -> None:
        owner.push("acme/tone-bert", adapters.lora())
        report = owner.get("adapters/acme/tone-bert/versions/1/report").json
        assert (report["verdict"], report["status"], report["stage"]) == (None, "validating", "queued")
        assert report["queue"]["position"] == 0

    def test_a_push_makes_one_commit_on_main(self, owner: Caller, base) -> None:
        owner.push("acme/tone-bert", adapters.lora(), message="first")
        owner.push("acme/tone-bert", adapters.lora(value=0.02), message="second")
        first, second = Commit.objects.order_by("pk")
        assert second.parent == first
        assert Ref.objects.get(kind="head", name="main").commit == second
        assert Version.objects.get(number=2).commit == second

    def test_without_validation_a_push_is_hosted(self, owner: Caller, base, settings) -> None:
        settings.HUB_VALIDATION = "off"
        answer = owner.push("acme/tone-bert", adapters.lora(hub={"base": "nobody/knows-this"}))
        assert (answer.status, answer["status"]) == (202, "hosted")
        assert not Run.objects.exists()

    def test_a_policy_is_not_evaded_by_a_word(self, owner: Caller, base, benchmark) -> None:
        owner.put("policies/acme", {"required": ["acme/tone"]})
        refused = owner.push("acme/one", adapters.lora(hub={"task": "anything-else"}))
        assert (refused.status, refused["code"]) == (422, "rejected")
        readme = "---\npipeline_tag: translation\n---\n# Tiny\n"
        assert owner.push("acme/two", adapters.lora(hub={"task": None}, readme=readme)).status == 202
        assert Run.objects.get().plan["benchmarks"] == [benchmark.pk]

    def test_a_policy_adds_its_benchmark_to_every_push(self, owner: Caller, base, benchmark) -> None:
        owner.put("policies/acme", {"required": ["acme/tone"]})
        owner.push("acme/tone-bert", adapters.lora())
        assert Run.objects.get().plan["benchmarks"] == [benchmark.pk]


class TestEvidence:
    def test_the_same_bytes_again_are_published_on_the_evidence_there_is(self, owner: Caller, published) -> None:
        answer = owner.push("acme/tone-bert", adapters.lora(hub=GOOD))
        assert (answer["version"]["number"], answer["status"]) == (2, "published")
        assert Run.objects.count() == 1

    def test_a_new_readme_keeps_its_evidence(self, owner: Caller, published) -> None:
        answer = owner.push("acme/tone-bert", adapters.lora(hub=GOOD, readme="# Tiny\n\nBetter words.\n"))
        assert answer["status"] == "published"
        assert answer["version"]["digest"] != f"sha256:{published.digest}"
        assert Run.objects.count() == 1

    def test_labels_that_only_the_readme_gives_are_part_of_the_question(self, owner: Caller, base, benchmark) -> None:
        readme = "---\nlabels: [{}, {}]\n---\n# Tiny\n"
        publish(owner, "acme/tone-bert", adapters.lora(hub=GOOD, readme=readme.format("negative", "positive")))
        swapped = owner.push("acme/tone-bert", adapters.lora(hub=GOOD, readme=readme.format("positive", "negative")))
        assert swapped["status"] == "validating"
        assert Run.objects.count() == 2

    def test_bytes_that_failed_are_rejected_without_a_second_run(self, owner: Caller, base) -> None:
        owner.push("acme/tone-bert", adapters.lora())
        judge(Run.objects.get(), "failed")
        answer = owner.push("acme/tone-bert", adapters.lora())
        assert (answer.status, answer["status"]) == (202, "rejected")
        assert Run.objects.count() == 1

    def test_two_pushes_of_the_same_bytes_wait_for_one_run(self, owner: Caller, stranger: Caller, base) -> None:
        owner.push("acme/tone-bert", adapters.lora())
        stranger.push("charlie/mine", adapters.lora())
        judge(Run.objects.get())
        assert set(Version.objects.values_list("status", flat=True)) == {"published"}

    def test_after_an_error_of_ours_the_same_push_asks_anew(self, owner: Caller, base) -> None:
        owner.push("acme/tone-bert", adapters.lora())
        Run.objects.update(status="error", error="the machine burned down")
        report = owner.get("adapters/acme/tone-bert/versions/1/report").json
        assert (report["verdict"], report["status"], report["stage"]) == ("error", "validating", "error")
        owner.push("acme/tone-bert", adapters.lora())
        judge(Run.objects.get(status="queued"))
        assert set(Version.objects.values_list("status", flat=True)) == {"published"}

    @pytest.mark.parametrize("key", [None, "k1"])
    def test_after_an_error_of_ours_the_same_push_under_the_same_label_waits_again(
        self, owner: Caller, base, key: str | None
    ) -> None:
        owner.push("acme/tone-bert", adapters.lora(), version="1.0", key=key)
        Run.objects.update(status="error", error="the machine burned down", attempt=3)
        answer = owner.push("acme/tone-bert", adapters.lora(), version="1.0", key=key)
        assert (answer.status, answer["version"]["number"], answer["version"]["stage"]) == (202, 1, "queued")
        run = Run.objects.get()
        assert (run.status, run.attempt) == ("queued", 0)
        assert [(event.actor, event.subject) for event in Event.objects.filter(kind="run.requeued")] == [
            ("ada", str(run.pk))
        ]
        judge(run)
        assert Version.objects.get().status == "published"

    def test_where_another_run_is_at_it_already_the_same_label_waits_for_that(self, owner: Caller, base) -> None:
        owner.push("acme/tone-bert", adapters.lora(), version="1.0")
        Run.objects.update(status="error", error="the machine burned down")
        owner.push("acme/tone-bert", adapters.lora())
        assert owner.push("acme/tone-bert", adapters.lora(), version="1.0").status == 202
        judge(Run.objects.get(status="queued"))
        assert set(Version.objects.values_list("status", flat=True)) == {"published"}

    def test_a_better_version_is_compared_with_the_one_before(self, owner: Caller, published) -> None:
        owner.push("acme/tone-bert", adapters.lora(hub=GOOD, value=0.02))
        gate = Run.objects.get(status="queued").plan["gates"]["max_drop"]
        assert gate["against"] == published.adapter_digest

    def test_the_first_version_is_compared_with_nothing(self, owner: Caller, published) -> None:
        assert published.run is not None
        assert "max_drop" not in published.run.plan["gates"]


class TestRepetition:
    def test_the_same_key_gives_the_same_upload(self, owner: Caller, base) -> None:
        files = adapters.lora()
        first = owner.start("acme/tone-bert", files, key="k1")
        again = owner.start("acme/tone-bert", files, key="k1")
        assert (first.status, again.status) == (201, 200)
        assert first["id"] == again["id"]

    def test_the_same_key_for_other_content_is_refused(self, owner: Caller, base) -> None:
        owner.start("acme/tone-bert", adapters.lora(), key="k1")
        answer = owner.start("acme/tone-bert", adapters.lora(value=0.5), key="k1")
        assert (answer.status, answer["code"]) == (409, "conflict")

    def test_the_same_key_of_another_person_is_another_upload(self, owner: Caller, stranger: Caller, base) -> None:
        owner.start("acme/tone-bert", adapters.lora(), key="k1")
        assert stranger.start("charlie/tone-bert", adapters.lora(), key="k1").status == 201

    def test_completing_twice_gives_the_same_version(self, owner: Caller, base) -> None:
        files = adapters.lora()
        started = owner.start("acme/tone-bert", files)
        owner.send(started, files)
        first = owner.post(f"uploads/{started['id']}/complete")
        again = owner.post(f"uploads/{started['id']}/complete")
        assert first["version"]["ref"] == again["version"]["ref"]
        assert Version.objects.count() == 1
        assert Run.objects.count() == 1

    def test_the_same_bytes_under_the_same_label_make_nothing_new(self, owner: Caller, base) -> None:
        publish(owner, "acme/tone-bert", adapters.lora(), version="1.0")
        started = owner.start("acme/tone-bert", adapters.lora(), version="1.0")
        assert (started.status, started["blobs"]) == (201, [])
        answer = owner.post(f"uploads/{started['id']}/complete")
        assert (answer.status, answer["status"], answer["version"]["number"]) == (202, "published", 1)
        assert Version.objects.count() == 1

    def test_starting_again_after_completion_gives_the_version(self, owner: Caller, base) -> None:
        owner.push("acme/tone-bert", adapters.lora(), key="k1")
        again = owner.start("acme/tone-bert", adapters.lora(), key="k1")
        assert (again.status, again["blobs"], again["state"]) == (200, [], "done")
        assert owner.post(f"uploads/{again['id']}/complete")["version"]["number"] == 1


class TestSendingBytes:
    def test_bytes_may_come_in_pieces(self, owner: Caller, base) -> None:
        files = adapters.lora()
        started = owner.start("acme/tone-bert", files)
        for blob in started["blobs"]:
            data = files[blob["path"]]
            half = len(data) // 2
            assert owner.put(f"{blob['url']}?offset=0", data[:half])["received"] == half
            assert owner.put(f"{blob['url']}?offset={half}", data[half:])["received"] == len(data)
        assert owner.post(f"uploads/{started['id']}/complete").status == 202

    def test_an_upload_that_was_cut_goes_on_where_it_stopped(self, owner: Caller, base) -> None:
        files = adapters.lora()
        started = owner.start("acme/tone-bert", files)
        blob = max(started["blobs"], key=lambda blob: blob["size"])
        owner.put(blob["url"], files[blob["path"]][:100])
        asked = owner.get(f"uploads/{started['id']}")
        assert {b["path"]: b["received"] for b in asked["blobs"]}[blob["path"]] == 100
        owner.send(asked, files)
        assert owner.post(f"uploads/{started['id']}/complete").status == 202

    def test_a_wrong_offset_is_told_where_to_go_on(self, owner: Caller, base) -> None:
        files = adapters.lora()
        blob = owner.start("acme/tone-bert", files)["blobs"][0]
        owner.put(blob["url"], files[blob["path"]][:10])
        answer = owner.put(f"{blob['url']}?offset=3", b"x")
        assert (answer.status, answer["code"], answer["received"]) == (409, "offset", 10)

    def test_more_than_was_announced_is_refused_and_not_kept(self, owner: Caller, base) -> None:
        files = adapters.lora()
        started = owner.start("acme/tone-bert", files)
        blob = started["blobs"][0]
        answer = owner.put(blob["url"], files[blob["path"]] + b"!")
        assert (answer.status, answer["code"]) == (413, "too_large")
        assert owner.get(f"uploads/{started['id']}")["blobs"][0]["received"] == 0

    def test_completing_without_all_bytes_names_the_files(self, owner: Caller, base) -> None:
        files = adapters.lora()
        started = owner.start("acme/tone-bert", files)
        owner.put(started["blobs"][0]["url"], b"#")
        answer = owner.post(f"uploads/{started['id']}/complete")
        assert (answer.status, answer["code"]) == (409, "incomplete")
        assert {problem["where"] for problem in answer["problems"]} == set(files)
        assert not Version.objects.exists()

    def test_bytes_that_are_not_the_announced_ones_are_refused(self, owner: Caller, base) -> None:
        files = adapters.lora()
        started = owner.start("acme/tone-bert", files)
        sent = {**files, "adapter_model.safetensors": bytes(len(files["adapter_model.safetensors"]))}
        owner.send(started, sent)
        answer = owner.post(f"uploads/{started['id']}/complete")
        assert (answer.status, answer["code"]) == (422, "rejected")
        assert answer["problems"][0]["where"] == "adapter_model.safetensors"
        version = Version.objects.get()
        assert (version.status, version.digest) == ("rejected", None)
        sent_digest = hashlib.sha256(sent["adapter_model.safetensors"]).hexdigest()
        assert not models.Blob.objects.filter(pk=sent_digest).exists()

    def test_an_upload_that_expired_is_gone(self, owner: Caller, base) -> None:
        started = owner.start("acme/tone-bert", adapters.lora(), key="k1")
        Upload.objects.update(expires_at=timezone.now())
        assert uploads.expire() == 1
        assert owner.put(started["blobs"][0]["url"], b"x").status == 410
        assert owner.post(f"uploads/{started['id']}/complete").status == 410
        assert owner.start("acme/tone-bert", adapters.lora(), key="k1").status == 410
        assert blobs.store().staged(f"{started['id']}/0") == 0

    def test_an_empty_file_needs_no_sending(self, owner: Caller, base) -> None:
        started = owner.start("acme/tone-bert", adapters.lora(LICENSE=b""))
        assert "LICENSE" in started["have"]
        assert owner.push("acme/tone-bert", adapters.lora(LICENSE=b"")).status == 202

    def test_the_same_file_twice_is_sent_once(self, owner: Caller, base) -> None:
        started = owner.start("acme/tone-bert", adapters.lora(NOTICE=b"same", LICENSE=b"same"))
        assert sum(blob["path"] in ("NOTICE", "LICENSE") for blob in started["blobs"]) == 1

    def test_nobody_else_may_touch_an_upload(self, owner: Caller, member: Caller, stranger: Caller, base) -> None:
        started = owner.start("acme/tone-bert", adapters.lora())
        for other in (member, stranger):
            assert other.get(f"uploads/{started['id']}").status == 404
            assert other.put(started["blobs"][0]["url"], b"x").status == 404
            assert other.post(f"uploads/{started['id']}/complete").status == 404


class TestWhatNeedNotBeSent:
    def test_what_the_publisher_can_read_is_not_asked_for_again(self, owner: Caller, published) -> None:
        started = owner.start("acme/tone-bert", adapters.lora(hub=GOOD, readme="# New\n"))
        assert [blob["path"] for blob in started["blobs"]] == ["README.md"]

    def test_public_bytes_are_not_asked_for_from_anybody(self, stranger: Caller, published) -> None:
        assert stranger.start("charlie/copy", adapters.lora(hub=GOOD))["blobs"] == []

    def test_bytes_of_a_private_adapter_are_asked_for_as_if_they_were_not_there(
        self, owner: Caller, stranger: Caller, base
    ) -> None:
        publish(owner, "acme/secret", adapters.lora(value=0.07), private=True)
        known = stranger.start("charlie/copy", adapters.lora(value=0.07))
        unknown = stranger.start("charlie/copy", adapters.lora(value=0.08))
        assert [blob["path"] for blob in known["blobs"]] == [blob["path"] for blob in unknown["blobs"]]
        assert known["have"] == unknown["have"] == []

    def test_a_digest_alone_opens_nothing(self, owner: Caller, stranger: Caller, base) -> None:
        version = publish(owner, "acme/secret", adapters.lora(value=0.07), private=True)
        started = stranger.start("charlie/copy", adapters.lora(value=0.07))
        assert stranger.post(f"uploads/{started['id']}/complete").status == 409
        assert stranger.get(f"resolve?ref=acme/secret@sha256:{version.digest}").status == 404

    def test_bytes_of_a_version_that_was_never_published_are_asked_for(
        self, owner: Caller, stranger: Caller, base
    ) -> None:
        owner.push("acme/open", adapters.lora(value=0.07))
        assert len(stranger.start("charlie/copy", adapters.lora(value=0.07))["blobs"]) == 4


def test_every_change_leaves_a_line_in_the_log(owner: Caller, published) -> None:
    kinds = set(Event.objects.filter(subject__startswith="acme/tone-bert").values_list("kind", flat=True))
    assert kinds == {"adapter.created", "version.published"}


def test_a_person_pushes_into_their_own_namespace(base) -> None:
    newcomer = caller("newcomer")
    assert newcomer.push("newcomer/first", adapters.lora()).status == 202


def test_a_new_member_may_push_at_once(owner: Caller, stranger: Caller, base) -> None:
    acme = models.Namespace.objects.get(name="acme")
    assert stranger.user is not None
    namespaces.set_role(namespace=acme, user=stranger.user, role="write")
    assert stranger.push("acme/tone-bert", adapters.lora()).status == 202


def test_only_what_is_published_moves_an_adapter_to_the_head_of_the_lists(owner: Caller, published) -> None:
    before = Adapter.objects.get().updated_at
    owner.push("acme/tone-bert", adapters.lora(config={"peft_type": "TELEPATHY"}))
    assert Adapter.objects.get().updated_at == before
    publish(owner, "acme/tone-bert", adapters.lora(value=0.05))
    assert Adapter.objects.get().updated_at > before


def test_bytes_without_a_length_are_refused(owner: Caller, base) -> None:
    blob = owner.start("acme/tone-bert", adapters.lora())["blobs"][0]
    assert owner.call("PUT", blob["url"]).status == 400


class TestTheRightToPush:
    def test_every_step_wants_a_token_that_may_push(self, owner: Caller, base) -> None:
        assert owner.user is not None
        reading = Caller(tokens.issue(user=owner.user, scope="read")[1], owner.user)
        files = adapters.lora()
        started = owner.start("acme/tone-bert", files)
        assert reading.put(started["blobs"][0]["url"], b"x").status == 403
        owner.send(started, files)
        assert reading.post(f"uploads/{started['id']}/complete").status == 403
        assert not Version.objects.exists()

    def test_who_is_no_member_any_more_publishes_nothing(self, member: Caller, base) -> None:
        files = adapters.lora()
        started = member.start("acme/tone-bert", files)
        member.send(started, files)
        models.Membership.objects.filter(user=member.user).update(role="read")
        for answer in (member.put(started["blobs"][0]["url"], b"x"), member.post(f"uploads/{started['id']}/complete")):
            assert (answer.status, answer["code"]) == (403, "forbidden")
        assert not Version.objects.exists()

    def test_who_loses_the_role_while_the_bytes_are_looked_at_publishes_nothing(
        self, member: Caller, base, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = adapters.lora()
        started = member.start("acme/tone-bert", files)
        member.send(started, files)
        out = models.Membership.objects.filter(user=member.user).delete
        monkeypatch.setattr(uploads, "_check_complete", lambda upload: out())
        assert member.post(f"uploads/{started['id']}/complete").status == 403
        assert not Version.objects.exists()


class TestWhatIsAskedFor:
    def test_a_benchmark_that_is_named_often_is_looked_up_once(
        self, owner: Caller, benchmark, base, django_assert_max_num_queries
    ) -> None:
        with django_assert_max_num_queries(40):
            answer = owner.start("acme/x", adapters.lora(), facts={"benchmarks": ["acme/tone"] * 20_000})
        assert answer.status == 201

    def test_benchmarks_are_looked_up_together(self, owner: Caller, benchmark, django_assert_num_queries) -> None:
        asked = ["acme/tone", f"sha256:{benchmark.pk}", *(f"no/such-{n}" for n in range(40))]
        with django_assert_num_queries(1):
            assert benchmarks.unknown(asked, owner.viewer) == asked[2:]

    def test_more_than_fifty_benchmarks_are_refused(self, owner: Caller, base) -> None:
        answer = owner.start("acme/x", adapters.lora(), facts={"benchmarks": [f"a/b{n}" for n in range(51)]})
        assert (answer.status, answer["code"]) == (422, "invalid")

    def test_one_that_is_not_there_is_named(self, owner: Caller, benchmark, base) -> None:
        answer = owner.start("acme/x", adapters.lora(), facts={"benchmarks": ["acme/tone", "no/such"]})
        assert (answer.status, answer["code"]) == (422, "unknown_benchmark")
        assert "no/such" in answer["detail"]


def test_the_problem_of_a_rejected_push_keeps_its_numeric_status(owner: Caller, base) -> None:
    answer = owner.push("acme/tone-bert", adapters.lora(config={"peft_type": "TELEPATHY"}))
    assert (answer.status, answer["status"], answer["code"]) == (422, 422, "rejected")
    assert answer["version"]["status"] == "rejected"
    assert answer["report_url"] == answer["version"]["report_url"]
