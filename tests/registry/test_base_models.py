"""Base models over the API: computed here, claimed or observed, named by who may."""

import copy

import pytest

from registry.models import BaseAlias, BaseModel
from tests.registry import adapters
from tests.registry import factories as make
from tests.registry.cast import Caller

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def tiny() -> dict:
    """What a client sends of the tiny base model."""
    found = adapters.tiny().to_json()
    return {key: found[key] for key in ("leaves", "config", "tokenizer_digest")}


def test_the_fingerprint_is_computed_here(owner: Caller, tiny: dict) -> None:
    answer = owner.post("base-models", tiny)
    assert answer.status == 201
    assert answer["fingerprint"] == adapters.tiny().fingerprint
    assert (answer["state"], answer["parameters"]) == ("claimed", adapters.tiny().parameters)


def test_registering_again_gives_the_same(owner: Caller, stranger: Caller, tiny: dict) -> None:
    first = owner.post("base-models", tiny)
    again = stranger.post("base-models", tiny)
    assert (again.status, again["fingerprint"]) == (200, first["fingerprint"])
    assert BaseModel.objects.count() == 1


def test_the_order_of_the_leaves_does_not_matter(owner: Caller, tiny: dict) -> None:
    turned = {**tiny, "leaves": list(reversed(tiny["leaves"]))}
    assert owner.post("base-models", turned)["fingerprint"] == adapters.tiny().fingerprint


def test_one_other_byte_is_another_base(owner: Caller, tiny: dict) -> None:
    changed = copy.deepcopy(tiny)
    changed["leaves"][0][3] = "0" * 64
    assert owner.post("base-models", changed)["fingerprint"] != adapters.tiny().fingerprint


def test_what_a_worker_hashed_is_observed_and_stays_so(owner: Caller, worker: Caller, tiny: dict) -> None:
    assert owner.post("base-models", tiny)["state"] == "claimed"
    assert worker.post("base-models", tiny)["state"] == "observed"
    assert owner.post("base-models", tiny)["state"] == "observed"


def test_what_a_worker_saw_replaces_what_was_claimed(owner: Caller, worker: Caller, tiny: dict) -> None:
    owner.post("base-models", {**tiny, "config": {**tiny["config"], "layer_norm_eps": 7.0}})
    worker.post("base-models", tiny)
    assert BaseModel.objects.get().config == tiny["config"]


def test_a_claim_changes_nothing_of_what_was_observed(owner: Caller, worker: Caller, tiny: dict) -> None:
    worker.post("base-models", tiny)
    owner.post("base-models", {**tiny, "config": {**tiny["config"], "layer_norm_eps": 7.0}})
    assert BaseModel.objects.get().config == tiny["config"]


class TestNames:
    def test_a_name_in_a_namespace_is_its_members(self, owner, member, stranger: Caller, tiny: dict) -> None:
        assert member.post("base-models", {**tiny, "name": "acme/my-base"})["aliases"] == ["acme/my-base"]
        answer = stranger.post("base-models", {**tiny, "name": "acme/other"})
        assert (answer.status, answer["code"]) == (403, "forbidden")

    @pytest.mark.parametrize("name", ["my-base", "google/bert"])
    def test_bare_and_hugging_face_names_are_for_operators(
        self, owner: Caller, admin: Caller, tiny: dict, name: str
    ) -> None:
        assert owner.post("base-models", {**tiny, "name": name}).status == 403
        assert not BaseModel.objects.exists()
        assert admin.post("base-models", {**tiny, "name": name})["aliases"] == [name]

    def test_a_worker_names_nothing(self, worker: Caller, tiny: dict) -> None:
        assert worker.post("base-models", {**tiny, "name": "gpu-farm/x"}).status == 403

    def test_a_name_that_means_another_base_is_not_taken_over(self, owner: Caller, admin: Caller, tiny: dict) -> None:
        other = copy.deepcopy(tiny)
        other["leaves"][0][3] = "0" * 64
        owner.post("base-models", {**tiny, "name": "acme/base"})
        assert owner.post("base-models", {**other, "name": "acme/base"}).status == 409
        admin.post("base-models", {**tiny, "name": "bert"})
        moved = admin.post("base-models", {**other, "name": "bert"})
        assert moved.status == 201
        assert owner.get("base-models/bert")["fingerprint"] == moved["fingerprint"]
        assert BaseAlias.objects.filter(name="bert", state="renamed").count() == 1

    def test_a_base_is_found_by_fingerprint_and_by_every_name(self, admin: Caller, anybody: Caller, tiny: dict) -> None:
        made = admin.post("base-models", {**tiny, "name": "bert"})
        admin.post("base-models", {**tiny, "name": "google/bert"})
        for name in (made["fingerprint"], "bert", "google/bert"):
            assert anybody.get(f"base-models/{name}")["fingerprint"] == made["fingerprint"]
        assert anybody.get("base-models/nothing").status == 404
        assert anybody.get("base-models?q=google")["results"][0]["fingerprint"] == made["fingerprint"]
        assert anybody.get("base-models?q=nothing")["results"] == []

    def test_the_tensor_table_comes_on_request(self, admin: Caller, anybody: Caller, tiny: dict) -> None:
        made = admin.post("base-models", tiny)
        assert "leaves" not in anybody.get(f"base-models/{made['fingerprint']}").json
        whole = anybody.get(made["tensors_url"])
        assert len(whole["leaves"]) == len(adapters.tiny().leaves)
        assert whole["config"]["model_type"] == "bert"

    def test_locations_are_set_by_operators(self, owner: Caller, admin: Caller, tiny: dict) -> None:
        where = {**tiny, "locations": [{"kind": "hub", "name": "google/tiny", "revision": "abc"}]}
        assert owner.post("base-models", where).status == 403
        found = admin.post("base-models", where)["locations"]
        assert found == [{"kind": "hub", "name": "google/tiny", "revision": "abc", "state": "live"}]
        assert admin.post("base-models", where).status == 200

    @pytest.mark.parametrize("name", ["base:" + "0" * 64, "/", "x" * 201, "a\nb"])
    def test_what_is_no_name_is_refused(self, admin: Caller, tiny: dict, name: str) -> None:
        assert admin.post("base-models", {**tiny, "name": name}).status in (403, 422)


class TestWhoAndWhat:
    def test_nobody_registers_without_a_token(self, anybody: Caller, tiny: dict) -> None:
        assert anybody.post("base-models", tiny).status == 401

    @pytest.mark.parametrize(
        "leaves",
        [
            [],
            [["x"]],
            [["x", "F32", [-1], "0" * 64]],
            [["x", "F32", [1], "zz"]],
            [["x", "F32", "1", "0" * 64]],
            [[1, "F32", [1], "0" * 64]],
            [["x", "F32", [1], "0" * 64], ["x", "F32", [2], "0" * 64]],
        ],
    )
    def test_leaves_that_cannot_be_are_refused(self, owner: Caller, leaves: list) -> None:
        answer = owner.post("base-models", {"leaves": leaves, "config": {"model_type": "bert"}})
        assert (answer.status, answer["code"]) == (422, "invalid")

    @pytest.mark.parametrize("shape", [[2**62, 2**62], [2**62, 2], [2**40] * 8])
    def test_more_parameters_than_can_be_kept_are_refused(self, owner: Caller, shape: list) -> None:
        leaves = [["x", "F32", shape, "0" * 64]]
        answer = owner.post("base-models", {"leaves": leaves, "config": {"model_type": "bert"}})
        assert answer.status == 422

    @pytest.mark.parametrize("leaves", [None, "x", 1, {}, {"a": []}])
    def test_leaves_that_are_no_list_are_refused(self, owner: Caller, leaves: object) -> None:
        assert owner.post("base-models", {"leaves": leaves, "config": {}}).status == 422


class TestWhatItIsCalled:
    def test_who_registered_it_says_what_it_is_called(self, owner: Caller, tiny: dict) -> None:
        owner.post("base-models", tiny)
        assert owner.post("base-models", {**tiny, "name": "acme/mine"})["name"] == "acme/mine"

    def test_a_stranger_has_a_word_for_it_and_no_name(
        self, worker: Caller, stranger: Caller, admin: Caller, anybody: Caller, tiny: dict
    ) -> None:
        made = worker.post("base-models", tiny)
        answer = stranger.post("base-models", {**tiny, "name": "charlie/official-bert"})
        assert (answer["name"], answer["aliases"]) == ("", ["charlie/official-bert"])
        assert anybody.get("base-models/charlie/official-bert")["fingerprint"] == made["fingerprint"]
        assert admin.post("base-models", {**tiny, "name": "bert"})["name"] == "bert"

    def test_who_came_first_does_not_name_what_the_library_has_a_name_for(
        self, stranger, worker, admin, anybody, tiny: dict
    ) -> None:
        mine = f"{stranger.get('me')['namespaces'][0]['name']}/free-bert"
        fingerprint = stranger.post("base-models", {**tiny, "name": mine})["fingerprint"]
        worker.post("base-models", tiny)
        assert anybody.get(f"base-models/{fingerprint}")["name"] == mine
        admin.post("base-models", {**tiny, "locations": [{"kind": "mirror", "name": "mirror.example/bert"}]})
        assert anybody.get(f"base-models/{fingerprint}")["name"] == mine
        admin.post("base-models", {**tiny, "name": "org/bert"})
        found = anybody.get(f"base-models/{fingerprint}")
        assert (found["name"], found["aliases"]) == ("org/bert", ["mirror.example/bert", "org/bert", mine])


class TestManyOfThem:
    def test_a_list_goes_on_until_all_were_shown_once(self, owner: Caller, anybody: Caller, monkeypatch) -> None:
        monkeypatch.setattr("registry.queries.base_models.PAGE", 2)
        monkeypatch.setattr("registry.queries.located.PAGE", 2)
        names = [make.make_base_model().name for _ in range(5)]
        names += [make.make_located_base(base=None, state="open", claimed_by="").name for _ in range(3)]
        names += [row.name for row in BaseModel.objects.exclude(name__in=names)]
        found, address = [], "base-models"
        while address:
            page = anybody.get(address).json
            found += [entry["name"] for entry in page["results"]]
            address = (page["next"] or "").removeprefix("/api/v1/")
        assert sorted(found) == sorted(names)
        only = anybody.get("base-models/located").json
        assert (len(only["results"]), bool(only["next"])) == (2, True)

    @pytest.mark.parametrize("cursor", ["x", "base:x", "located x"])
    def test_a_cursor_that_names_nothing_is_refused(self, anybody: Caller, cursor: str) -> None:
        assert anybody.get(f"base-models?cursor={cursor}").status == 400
