"""Benchmarks and policies over the API."""

import datetime

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from hub.spec.report import check, result_digest, summary_line
from registry.models import Benchmark, Blob, Policy, Run, Version
from registry.queries import benchmarks, discretion
from registry.queries.viewers import ANYBODY
from registry.services import namespaces
from tests.registry import adapters
from tests.registry.cast import Answer, Caller, caller, publish, report_for
from tests.registry.workers import push, take
from workers.jobs import unjudged

pytestmark = pytest.mark.django_db


def add(who: Caller, name: str = "acme/tone", definition: str | None = None, **files: bytes) -> Answer:
    """Send a benchmark as a form."""
    text = (definition or adapters.BENCHMARK).format(name=name)
    data = {
        "dev.tsv": adapters.DEV,
        "train.tsv": adapters.TRAIN,
        **{k.replace("_tsv", ".tsv"): v for k, v in files.items()},
    }
    form = {"definition": SimpleUploadedFile("benchmark.yaml", text.encode())}
    form |= {key: SimpleUploadedFile(key, value) for key, value in data.items() if value is not None}
    headers = {"Authorization": f"Bearer {who.token}"} if who.token else {}
    response = who.client.post("/api/v1/benchmarks", form, headers=headers)
    return Answer(response.status_code, response.json(), response)


class TestAdding:
    def test_a_benchmark_is_its_definition_and_its_data(self, owner: Caller, anybody: Caller) -> None:
        made = add(owner)
        assert made.status == 201
        assert (made["name"], made["rows"], made["labels"]) == ("acme/tone", 4, ["negative", "positive"])
        assert {file["path"]: file["size"] for file in made["files"]} == {
            "dev.tsv": len(adapters.DEV),
            "train.tsv": len(adapters.TRAIN),
        }
        for file in made["files"]:
            answer = anybody.get(file["url"])
            assert answer.body in (adapters.DEV, adapters.TRAIN)
            assert answer.headers["ETag"] == f'"{file["sha256"]}"'

    def test_adding_it_again_gives_the_same(self, owner: Caller) -> None:
        first, again = add(owner), add(owner)
        assert (again.status, again["digest"]) == (200, first["digest"])

    def test_other_data_is_another_benchmark_and_the_name_means_the_newest(
        self, owner: Caller, anybody: Caller
    ) -> None:
        first = add(owner)
        second = add(owner, dev_tsv=adapters.DEV + b"more words\t1\n")
        assert second["digest"] != first["digest"]
        assert anybody.get("benchmarks/acme/tone")["digest"] == second["digest"]
        assert anybody.get(f"benchmarks/{first['digest']}")["rows"] == 4
        assert [row["digest"] for row in anybody.get("benchmarks")["results"]] == [second["digest"]]

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"dev_tsv": None}, "dev.tsv"),
            ({"dev_tsv": b"sentence\tlabel\nx\t7\n"}, "row 1"),
            ({"dev_tsv": b"text\tlabel\nx\t1\n"}, "sentence"),
            ({"dev_tsv": b"\xff\xfe"}, "UTF-8"),
            ({"dev_tsv": b"sentence\tlabel\n"}, "no rows"),
            ({"other_tsv": b"x"}, "other.tsv"),
            ({"definition": "name: {name}\ntask: telepathy\n"}, "telepathy"),
            ({"definition": "name: &a {name}\ntask: *a\n"}, "alias"),
            ({"definition": "[" * 500 + "{name}"}, "deeper"),
        ],
    )
    def test_what_is_wrong_with_it_is_told(self, owner: Caller, changes: dict, told: str) -> None:
        answer = add(owner, **changes)
        assert (answer.status, answer["code"]) == (422, "invalid")
        assert told in answer["detail"]
        assert not Benchmark.objects.exists()

    def test_a_form_without_a_definition_is_told(self, owner: Caller) -> None:
        response = owner.client.post(
            "/api/v1/benchmarks", {"x": "y"}, headers={"Authorization": f"Bearer {owner.token}"}
        )
        assert response.status_code == 400


class TestWhose:
    def test_a_name_in_a_namespace_is_its_members(self, owner, member, stranger: Caller, anybody: Caller) -> None:
        assert add(member).status == 201
        assert add(stranger).status == 403
        assert add(anybody).status == 401

    def test_every_other_name_is_for_operators(self, owner: Caller, admin: Caller) -> None:
        assert add(owner, "glue/sst2").status == 403
        assert add(admin, "glue/sst2").status == 201

    def test_a_user_whose_name_is_that_of_a_benchmark_cannot_take_it_over(self, admin: Caller, anybody: Caller) -> None:
        theirs = add(admin, "reviews")
        imposter = caller("reviews")
        answer = add(imposter, "reviews", dev_tsv=adapters.DEV + b"more words\t1\n")
        assert (answer.status, answer["code"]) == (403, "forbidden")
        assert anybody.get("benchmarks/reviews")["digest"] == theirs["digest"]
        assert add(imposter, "reviews/mine").status == 201

    def test_a_list_of_many_costs_no_more_queries_than_one(self, owner: Caller, django_assert_num_queries) -> None:
        add(owner)
        for n in range(4):
            add(owner, f"acme/tone-{n}")
        with django_assert_num_queries(2):
            assert len(benchmarks.listing(ANYBODY)) == 5

    def test_the_store_is_written_outside_of_transactions_and_a_blob_that_went_comes_back(
        self, owner: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add(owner)
        Blob.objects.update(state="deleting")
        add(owner, "acme/other")
        assert set(Blob.objects.values_list("state", flat=True)) == {"live"}
        assert set(Blob.objects.values_list("version", flat=True)) == {1}

    def test_nobody_replaces_the_benchmark_of_another(self, owner: Caller, stranger: Caller, anybody: Caller) -> None:
        made = add(owner)
        add(stranger, dev_tsv=b"sentence\tlabel\neasy\t1\n")
        assert anybody.get("benchmarks/acme/tone")["digest"] == made["digest"]

    def test_a_private_benchmark_is_missing_for_others(self, owner: Caller, reader, stranger: Caller, anybody) -> None:
        made = add(owner, definition=adapters.BENCHMARK + "visibility: private\n")
        assert made["visibility"] == "private"
        file = made["files"][0]["url"]
        for other in (stranger, anybody):
            assert other.get("benchmarks/acme/tone").status == 404
            assert other.get(file).status == 404
            assert other.get("benchmarks")["results"] == []
        assert reader.get("benchmarks/acme/tone").status == 200
        assert reader.get(file).status == 200

    def test_a_file_of_a_benchmark_is_got_by_its_name_only(self, owner: Caller, anybody: Caller) -> None:
        made = add(owner)
        assert anybody.get(f"benchmarks/{made['digest']}/files/nothing.tsv").status == 404
        assert anybody.get(f"benchmarks/sha256:{'0' * 64}/files/dev.tsv").status == 404
        assert anybody.head(made["files"][0]["url"]).status == 200


class TestWhatAPrivateOneMeasured:
    """The report of a public adapter: everybody sees whether it passed, its members see how well."""

    @pytest.fixture
    def run(self, owner: Caller, worker: Caller, base) -> Run:
        add(owner, definition=adapters.BENCHMARK + "visibility: private\n")
        lease = take(worker, push(owner).base_fingerprint)
        report = report_for(lease.run)
        digest = lease.run.plan["benchmarks"][0]
        report["predictions"] = {f"sha256:{digest}": {"labels": [1, 0, 1, 0]}}
        report["checks"].append(check("benchmark", "passed", "acme/tone: accuracy 0.900", evidence={"acme/tone": {}}))
        report["summary"] = summary_line(report)
        report["result_digest"] = result_digest(report)
        assert lease.report(report).status == 200
        return lease.run

    def test_its_members_see_every_figure(self, run: Run, reader: Caller, owner: Caller) -> None:
        for who in (reader, owner):
            told = who.get("adapters/acme/tone-bert/versions/1/report").json
            assert told["components"][0]["scores"][0]["value"] == 0.9
            assert told["components"][0]["scores"][0]["answers"] is None, "nobody is told an answer to a row"
            assert who.get("adapters/acme/tone-bert")["latest"]["scores"]
            assert len(who.get("adapters?benchmark=acme/tone")["results"]) == 1

    def test_others_see_the_verdict_and_the_gates(self, run: Run, stranger: Caller, anybody: Caller) -> None:
        for who in (stranger, anybody):
            answer = who.get("adapters/acme/tone-bert/versions/1/report")
            told, text = answer.json, answer.body.decode()
            assert (told["verdict"], told["status"], told["benchmarks"]) == ("passed", "published", [])
            assert "answers" not in text
            part = told["components"][0]
            assert part["scores"] == []
            assert part["hidden"] == [{"gates": [{"gate": "min_gain", "passed": True, "decided": True}]}]
            pages = [who.client.get(f"/a/acme/tone-bert{more}") for more in ("", "/v/1/report")]
            lists = who.get("adapters/acme/tone-bert").body.decode() + who.get("adapters?sort=score").body.decode()
            for shown in (text, lists, *(page.content.decode() for page in pages)):
                assert "0.9" not in shown
                assert "acme/tone&quot;" not in shown and "acme/tone:" not in shown and '"acme/tone"' not in shown
            assert who.get("adapters?benchmark=acme/tone")["results"] == []

    def test_what_a_public_one_measured_is_for_everybody(self, published, anybody: Caller) -> None:
        told = anybody.get("adapters/acme/tone-bert/versions/1/report").json
        assert told["components"][0]["scores"][0]["value"] == 0.9
        assert told["components"][0]["scores"][0]["answers"]
        assert "hidden" not in told["components"][0]


def test_what_a_readme_claims_stands_beside_what_was_measured(owner: Caller, base, benchmark, anybody: Caller) -> None:
    readme = b"""---
model-index:
- results:
  - dataset: {type: acme, config: tone}
    metrics: [{type: accuracy, value: 99.5}]
---
"""
    publish(owner, "acme/boaster", adapters.lora(hub={"benchmarks": ["acme/tone"]}) | {"README.md": readme})
    (score,) = anybody.get("adapters/acme/boaster/versions/1/report")["components"][0]["scores"]
    assert (score["value"], score["claimed"]) == (0.9, pytest.approx(0.995))
    page = anybody.client.get("/a/acme/boaster/v/1/report").content.decode()
    assert "0.995</b><span>claimed by the publisher" in page


class TestAPrivateOneOfOthers:
    """Bea's team has to pass acme's private benchmark: an operator has said so in its policy."""

    @pytest.fixture
    def publisher(self, owner: Caller, admin: Caller, base) -> Caller:
        add(owner, definition=adapters.BENCHMARK + "visibility: private\n")
        person = caller("bea")
        namespaces.create(name="bees", owner=person.user)
        assert admin.put("policies/bees", {"required": ["acme/tone"]}).status == 200
        return person

    def push(self, who: Caller, ref: str, value: float) -> Answer:
        return who.push(ref, adapters.lora(value=value, hub={}))

    @pytest.fixture
    def judged(self, publisher: Caller, worker: Caller) -> Run:
        answer = self.push(publisher, "bees/tone", 0.1)
        assert answer.status == 202, answer.json
        lease = take(worker, Run.objects.get().base_fingerprint)
        report = report_for(lease.run, value=0.8765)
        report["predictions"] = {f"sha256:{lease.run.plan['benchmarks'][0]}": {"labels": [1, 0, 1, 0]}}
        report["result_digest"] = result_digest(report)
        assert lease.report(report).status == 200
        return lease.run

    def test_who_publishes_sees_a_rounded_score_and_strangers_none(
        self, judged: Run, publisher: Caller, owner: Caller, member: Caller, stranger: Caller, anybody: Caller
    ) -> None:
        path = "adapters/bees/tone/versions/1/report"
        for who in (owner, member):
            told = who.get(path).json
            assert told["components"][0]["scores"][0]["value"] == 0.8765
            assert told["components"][0]["scores"][0]["answers"] is None
        rounded = publisher.get(path)
        (score,) = rounded["components"][0]["hidden"]
        assert rounded["components"][0]["scores"] == []
        assert score["metric"] == "accuracy"
        assert score["value"] != 0.8765 and abs(score["value"] - 0.8765) <= score["step"] / 2 + 1e-9
        assert "answers" not in score
        assert "0.8765" not in rounded.body.decode()
        assert owner.get(path)["result_digest"].endswith(judged.result_digest)
        assert "result_digest" not in rounded.json, "whoever guesses the exact score could try each guess against it"
        page = publisher.client.get("/a/bees/tone/v/1/report").content.decode()
        assert "0.8765" not in page
        for who in (stranger, anybody):
            answer = who.get(path)
            assert "value" not in answer["components"][0]["hidden"][0]
            assert "0.87" not in answer.body.decode()

    def test_how_far_it_has_come_names_no_private_benchmark_and_tells_no_rows(
        self, publisher: Caller, worker: Caller
    ) -> None:
        self.push(publisher, "bees/tone", 0.1)
        lease = take(worker, Run.objects.get().base_fingerprint)
        path = "adapters/bees/tone/versions/1"
        for told in ("score acme/tone", "acme/tone fails by 30 of 872 rows, completing"):
            assert lease.beat(stage=told, progress=0.4).status == 200
            for answer in (publisher.get(path), publisher.get(f"{path}/report")):
                assert answer["stage"] == "score"
                assert "acme/tone" not in answer["stage"]
        lease.beat(stage="effect")
        assert publisher.get(path)["stage"] == "effect"

    def test_a_fault_names_no_private_benchmark(
        self, publisher: Caller, admin: Caller, worker: Caller, monkeypatch
    ) -> None:
        monkeypatch.setattr("registry.services.attempts.MAX_ATTEMPTS", 1)
        self.push(publisher, "bees/tone", 0.1)
        lease = take(worker, Run.objects.get().base_fingerprint)
        # so long a number stands in no random id and in no time of day: a shorter one did, now and then
        fault = "killed by SIGKILL while acme/tone fails by 30 of 8721937 rows, completing"
        assert lease.report(unjudged(fault, 1.0)).status == 200
        assert lease.run.status == Run.Status.ERROR
        told = publisher.get("adapters/bees/tone/versions/1/report")
        assert told["verdict"] == "error"
        assert "acme/tone" not in told.body.decode() and "8721937" not in told.body.decode()
        assert admin.get("adapters/bees/tone/versions/1/report")["error"] == fault

    def test_so_many_a_day_are_measured_and_the_owners_side_has_no_limit(
        self, publisher: Caller, owner: Caller, settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.HUB_PRIVATE_RUNS_PER_DAY = 2
        answers = [self.push(publisher, f"bees/tone{n}", 0.1 + n / 100) for n in range(3)]
        assert [answer.status for answer in answers[:2]] == [202, 202]
        told = answers[2].json
        (version,) = Version.objects.filter(adapter__name="tone2")
        assert version.status == "rejected"
        assert "2 adapters of bees measured on a benchmark that is not public" in str(told)
        assert "acme" not in str(told)
        for n in range(3):
            push(owner, f"acme/tone{n}", value=0.2 + n / 100)
        monkeypatch.setattr(discretion, "_DAY", datetime.timedelta(0))  # when a run was made never changes
        assert self.push(publisher, "bees/tone3", 0.4).status == 202


@pytest.mark.parametrize(
    ("value", "interval", "expected", "step"),
    [(0.8765, [0.80, 0.93], 0.88, 0.04), (0.5, [0.5, 0.5], 0.5, 0.001), (-0.31, [-0.5, -0.1], -0.4, 0.2)],
)
def test_a_score_is_rounded_to_its_standard_error(
    value: float, interval: list[float], expected: float, step: float
) -> None:
    found = discretion.coarse({"metric": "m", "value": value, "interval": interval})
    assert (found["value"], found["step"]) == (pytest.approx(expected), pytest.approx(step))


class TestPolicies:
    def test_without_one_the_hubs_own_decides(self, owner: Caller, anybody: Caller) -> None:
        shown = anybody.get("policies/acme").json
        assert shown["is_default"]
        assert shown["gates"]["min_gain"] == {"value": 0.0, "undecided": "fail"}

    def test_an_admin_of_the_namespace_sets_it(self, owner: Caller, anybody: Caller, benchmark) -> None:
        body = {"required": ["acme/tone"], "gates": {"min_value": {"value": 0.7}, "max_drop": None}}
        assert owner.put("policies/acme", body).status == 200
        shown = anybody.get("policies/acme").json
        assert shown["required"] == ["acme/tone"]
        assert shown["gates"]["min_value"] == {"value": 0.7, "undecided": "fail"}
        assert shown["gates"]["max_drop"] is None
        assert not shown["is_default"]

    def test_a_policy_that_was_shown_can_be_set_again(self, owner: Caller, benchmark) -> None:
        owner.put("policies/acme", {"required": ["acme/tone"], "gates": {"max_drop": None}})
        shown = owner.get("policies/acme").json
        again = owner.put("policies/acme", {"required": shown["required"], "gates": shown["gates"]})
        assert again.json == shown

    def test_a_publisher_cannot_weaken_it(self, member: Caller, reader: Caller, stranger: Caller, anybody) -> None:
        assert member.put("policies/acme", {"required": []}).status == 403
        assert reader.put("policies/acme", {"required": []}).status == 403
        assert stranger.put("policies/acme", {"required": []}).status == 403
        assert anybody.put("policies/acme", {"required": []}).status == 401
        assert not Policy.objects.exists()

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"required": ["no/such"]},
            {"required": "x"},
            {"gates": {"min_luck": 1}},
            {"gates": {"min_gain": {"value": "x"}}},
            {"gates": {"min_gain": {"value": 0, "undecided": "maybe"}}},
            {"reqired": []},
        ],
    )
    def test_what_is_no_policy_is_told(self, owner: Caller, body: dict) -> None:
        assert owner.put("policies/acme", body).status == 422

    def test_an_unknown_namespace_has_none(self, anybody: Caller) -> None:
        assert anybody.get("policies/nowhere").status == 404
