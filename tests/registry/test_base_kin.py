"""Base models by what their bytes say: copies in other formats, quantised ones, one changed tensor; and whose word counts."""

import copy as copies_of
import threading

import pytest
import torch
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from hub.spec import base_model
from registry.models import BaseModel, BaseRelation, Event
from registry.queries.viewers import Viewer
from registry.services import base_models, fits, kin
from tests.registry import adapters, copies
from tests.registry.cast import Caller, publish
from tests.registry.test_fits import level, work

pytestmark = pytest.mark.django_db

FORMATS = {
    "bf16": (torch.bfloat16,),
    "fp16": (torch.float16,),
    "bf16 of fp16": (torch.float16, torch.bfloat16),
}


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What a worker sends of the tiny base model, of its copies and of what only looks like one."""
    root = tmp_path_factory.mktemp("copies")
    found = {name: copies.copy(root / name.replace(" ", "-"), copies.cast(*steps)) for name, steps in FORMATS.items()}
    return found | {
        "fp32": copies.told(adapters.TINY),
        "packed": copies.copy(root / "packed", copies.packed, **copies.PACKED),
        "packed in fp32": copies.copy(
            root / "packed-32", lambda tensors: copies.packed(tensors, torch.float32), **copies.PACKED
        ),
        "packed, other norm": copies.copy(
            root / "norm",
            copies.with_other(copies.NORM, lambda tensors: copies.packed(tensors, torch.float32)),
            **copies.PACKED,
        ),
        "packed, other words": copies.copy(
            root / "words", copies.with_other(copies.WORDS, copies.packed), **copies.PACKED
        ),
        "changed": copies.copy(root / "changed", copies.with_other(copies.WORDS)),
    }


def bare(given: dict) -> dict:
    """The same without what only a worker is believed."""
    return {key: value for key, value in given.items() if key != "cast_roots"}


def ask(who: Caller, given: dict, ref: str = "acme/tone-bert") -> dict:
    """What `compat/check` says of one adapter on a base that nobody has to have registered."""
    asked = {"config": given["config"], "leaves": given["leaves"], "adapter": ref}
    return who.post("compat/check", asked)["results"][0]["compatibility"]


class TestSameValues:
    @pytest.mark.parametrize("copy", FORMATS)
    def test_a_copy_in_another_format_is_known_by_its_values(self, published, worker, owner, anybody, sent, copy):
        assert worker.post("base-models", sent["fp32"])["cast_roots"].keys() == {"bf16", "fp16", "bf16_of_fp16"}
        other = owner.post("base-models", sent[copy] | {"name": "acme/copy"})
        work()
        assert other["state"] == "claimed"
        assert level(anybody, "acme/copy") == "same_values"
        found = anybody.get("base-models/tiny-bert/matrix")
        relations = {column["base_model"]["name"]: column["relation"] for column in found["columns"]}
        assert relations == {"tiny-bert": "itself", "acme/copy": "same_values"}
        assert [cell["level"] for cell in found["rows"][0]["cells"]] == ["validated", "same_values"]

    @pytest.mark.parametrize("copy", FORMATS)
    def test_a_copy_that_nobody_registered_is_known_too(self, published, worker, anybody, sent, copy):
        assert ask(anybody, sent[copy])["level"] == "shape_only", "nobody has computed the cast roots yet"
        worker.post("base-models", sent["fp32"])
        found = ask(anybody, sent[copy])
        assert (found["level"], found["evidence"]["base_model"]["name"]) == ("same_values", "tiny-bert")

    def test_a_worker_that_observes_later_tells_the_cast_roots(self, owner, worker, sent):
        owner.post("base-models", sent["fp32"])
        assert BaseModel.objects.get().cast_roots == {}
        worker.post("base-models", bare(sent["fp32"]))
        worker.post("base-models", sent["fp32"])
        base = BaseModel.objects.get()
        assert (base.cast_roots, base.cast_roots_by) == (sent["fp32"]["cast_roots"], "worker")

    def test_a_workers_word_goes_before_an_operators(self, worker, admin, sent):
        other = {"bf16": {"root": "1" * 64, "backbone": "2" * 64}}
        admin.post("base-models", sent["fp32"] | {"cast_roots": other})
        assert BaseModel.objects.get().cast_roots_by == "operator"
        worker.post("base-models", sent["fp32"])
        admin.post("base-models", sent["fp32"] | {"cast_roots": other})
        base = BaseModel.objects.get()
        assert (base.cast_roots, base.cast_roots_by) == (sent["fp32"]["cast_roots"], "worker")


class TestWhoseWordCounts:
    def lie(self, base: BaseModel, sent: dict) -> dict:
        """A fine-tuned model of somebody's, said to have the validated one as its bf16 copy."""
        return sent["changed"] | {"cast_roots": {"bf16": {"root": "1" * 64, "backbone": base.roots["backbone"]}}}

    def test_nobody_makes_a_base_the_same_by_saying_so(self, published, base, owner, stranger, anybody, sent):
        for who, name in ((owner, "acme/tuned"), (stranger, "charlie/tuned")):
            assert who.post("base-models", self.lie(base, sent) | {"name": name})["cast_roots"] == {}
        work()
        assert level(anybody, "acme/tuned") == "shape_only"

    def test_the_control_who_is_believed_would_have_raised_the_level(self, published, base, admin, anybody, sent):
        admin.post("base-models", self.lie(base, sent) | {"name": "tuned"})
        work()
        assert level(anybody, "tuned") == "same_values"

    def test_a_person_changes_nothing_of_what_a_worker_told(self, base, worker, owner, sent):
        worker.post("base-models", sent["changed"])
        owner.post("base-models", self.lie(base, sent))
        kept = BaseModel.objects.get(roots__embeddings=base_root(sent["changed"]))
        assert kept.cast_roots == sent["changed"]["cast_roots"]

    @pytest.mark.parametrize(
        ("copy", "more", "word"),
        [
            ("fp32", {"cast_roots": {"bf16": {"root": "nonsense"}}}, "cast_roots: bf16"),
            ("fp32", {"cast_roots": []}, "cast_roots"),
            ("fp32", {"logical": {"pooler.dense.weight": [32, 32]}}, "logical"),
            ("packed", {"cast_roots": {"bf16": {"root": "1" * 64}}}, "cast_roots"),
            ("packed", {"logical": {"pooler.dense.weight": [32, 32]}}, "logical"),
            ("packed", {"logical": "4bit"}, "logical"),
        ],
    )
    def test_what_cannot_be_is_refused_and_named(self, owner, sent, copy, more, word):
        answer = owner.post("base-models", sent[copy] | more)
        assert (answer.status, answer["code"]) == (422, "invalid")
        assert word in answer["detail"]
        assert not BaseModel.objects.exists()

    def test_a_shape_that_the_packed_bytes_cannot_have_is_refused(self, owner, sent):
        given = copies_of.deepcopy(sent["packed"])
        given["logical"]["pooler.dense.weight"] = [32, 64]
        answer = owner.post("base-models", given)
        assert (answer.status, "pooler.dense.weight" in answer["detail"]) == (422, True)
        given["logical"] |= {"pooler.dense.weight": [32, 32], "no.such.weight": [1]}
        answer = owner.post("base-models", given)
        assert (answer.status, "no.such.weight" in answer["detail"]) == (422, True)


def base_root(given: dict) -> str:
    """The root over the tables of embeddings."""
    return base_model.roots(base_model.parse_leaves(given["leaves"]))["embeddings"]


class TestQuantised:
    def test_it_has_the_architecture_and_the_shapes_of_its_parent(self, base, worker, sent):
        made = worker.post("base-models", sent["packed"])
        assert (made["quantisation"], made["architecture"]) == ("bitsandbytes-4bit", base.architecture)
        assert made["parameters"] == base.parameters
        packed = BaseModel.objects.get(pk=made["fingerprint"])
        assert packed.offer_id == base.offer_id
        assert made["roots"]["backbone"] != base.roots["backbone"]

    @pytest.mark.parametrize("copy", ["packed", "packed in fp32"])
    @pytest.mark.parametrize("turned", [False, True])
    def test_whichever_comes_last_what_was_left_alone_tells_the_parent(self, worker, sent, copy, turned):
        order = ["fp32", copy]
        made = {name: worker.post("base-models", sent[name])["fingerprint"] for name in order[:: -1 if turned else 1]}
        (relation,) = BaseRelation.objects.all()
        assert (relation.base_id, relation.parent_id) == (made[copy], made["fp32"])
        assert (relation.kind, relation.state, relation.claimed_by) == ("quantised", "observed", "")
        for name in order:
            worker.post("base-models", sent[name])
        assert BaseRelation.objects.count() == 1
        assert Event.objects.filter(kind="base.related").count() == 1

    def test_an_adapter_of_the_parent_is_derived_on_it(self, published, worker, admin, anybody, sent):
        worker.post("base-models", sent["fp32"])
        worker.post("base-models", sent["packed"])
        admin.post("base-models", sent["packed"] | {"name": "tiny-bert-bnb-4bit"})
        work()
        assert level(anybody, "tiny-bert-bnb-4bit") == "derived"
        (relation,) = anybody.get("base-models/tiny-bert-bnb-4bit")["relations"]
        assert (relation["kind"], relation["direction"], relation["base_model"]["name"]) == (
            "quantised",
            "parent",
            "tiny-bert",
        )

    def test_of_leaves_that_somebody_sent_it_is_a_claim_until_a_worker_has_the_bytes(
        self, published, worker, owner, anybody, sent
    ):
        worker.post("base-models", sent["fp32"])
        owner.post("base-models", sent["packed"] | {"name": "acme/packed"})
        work()
        assert BaseRelation.objects.get().state == "claimed"
        assert level(anybody, "acme/packed") == "shape_only"
        worker.post("base-models", sent["packed"])
        assert BaseRelation.objects.get().state == "observed"
        assert level(anybody, "acme/packed") == "derived"

    @pytest.mark.parametrize("copy", ["packed, other words", "packed, other norm"])
    def test_the_control_where_a_tensor_that_was_left_alone_differs_nothing_is_noted(self, worker, sent, copy):
        worker.post("base-models", sent["fp32"])
        worker.post("base-models", sent[copy])
        assert not BaseRelation.objects.exists()

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("queue", [True, False])
    def test_of_two_that_arrive_at_once_the_second_sees_the_first(self, worker, sent, monkeypatch, queue):
        """The control: without the queue neither sees the other, as both are still open."""
        if not queue:
            monkeypatch.setattr(kin, "_queue_up", lambda base: None)
        viewer = Viewer(worker.user, "worker")
        base_models.register(viewer=viewer, **sent["fp32"])
        BaseModel.objects.all().delete()  # what both offer is there: else they would wait for each other's row of it

        def second() -> None:
            try:
                base_models.register(viewer=viewer, **sent["packed"])
            finally:
                connection.close()

        thread = threading.Thread(target=second)
        with transaction.atomic():
            base_models.register(viewer=viewer, **sent["fp32"])
            thread.start()
            thread.join(timeout=1 if queue else 20)
            assert thread.is_alive() is queue
        thread.join(timeout=20)
        assert BaseModel.objects.count() == 2
        assert BaseRelation.objects.exists() is queue

    def test_the_packed_shapes_come_with_the_tensor_table(self, worker, anybody, sent):
        made = worker.post("base-models", sent["packed"])
        assert anybody.get(made["tensors_url"])["logical"] == sent["packed"]["logical"]
        assert "logical" not in made.json

    def test_shapes_that_nobody_told_are_filled_in_by_a_worker(self, worker, sent):
        made = worker.post("base-models", sent["packed"] | {"logical": None})
        assert BaseModel.objects.get().logical is None
        again = worker.post("base-models", sent["packed"])
        assert (again["fingerprint"], BaseModel.objects.get().logical) == (
            made["fingerprint"],
            sent["packed"]["logical"],
        )
        assert again["architecture"] != made["architecture"]

    def test_shapes_that_nobody_told_are_filled_in_by_who_registered_it_or_an_operator(
        self, owner, stranger, admin, sent
    ):
        packed = bare(sent["packed"])
        for first, then in ((owner, owner), (stranger, admin)):
            first.post("base-models", packed | {"logical": None})
            then.post("base-models", packed)
            assert BaseModel.objects.get().logical == sent["packed"]["logical"]
            assert BaseModel.objects.get().state == "claimed"
            BaseModel.objects.all().delete()

    def test_shapes_that_nobody_told_are_not_filled_in_by_anybody_else(self, owner, stranger, sent):
        packed = bare(sent["packed"])
        owner.post("base-models", packed | {"logical": None})
        stranger.post("base-models", packed)
        assert BaseModel.objects.get().logical is None

    def test_what_an_earlier_edition_did_not_note_is_derived_once(self, base, worker, sent):
        """Its columns were empty, its architecture went over packed bytes, and what told its shapes was not kept."""
        worker.post("base-models", sent["fp32"])
        made = worker.post("base-models", sent["packed"])["fingerprint"]
        rows, kept = BaseModel.objects.filter(pk=made), BaseModel.objects.values().get(pk=made)
        rows.update(quantisation="", logical=None, architecture="0" * 64, parameters=1, offer=None)
        assert fits.note_missing()["base models"] == 1
        assert rows.get().quantisation == "bitsandbytes-4bit"
        worker.post("base-models", sent["packed"])
        after = BaseModel.objects.values().get(pk=made)
        assert {key: value for key, value in after.items() if key != "updated_at"} == {
            key: value for key, value in kept.items() if key != "updated_at"
        }
        assert fits.note_missing()["base models"] == 0


class TestOneChangedTensor:
    def test_it_is_named(self, published, base, owner, anybody, sent):
        owner.post("base-models", sent["changed"] | {"name": "acme/changed"})
        work()
        told = f"{copies.WORDS} differs from that of tiny-bert: 1 of {len(sent['fp32']['leaves'])} tensors"
        assert level(anybody, "acme/changed") == "shape_only"
        assert told in anybody.get("resolve?ref=acme/tone-bert&base=acme/changed")["compatibility"]["reasons"]
        assert told in ask(anybody, sent["changed"])["reasons"]

    def test_of_many_three_are_named_and_all_are_counted(self, published, base, anybody, sent):
        given = copies_of.deepcopy(sent["fp32"])
        given["leaves"] = [[*leaf[:3], leaf[3][::-1]] for leaf in given["leaves"]]
        count = len(given["leaves"])
        (reason,) = ask(anybody, given)["reasons"][1:]
        assert reason.endswith(f"and {count - 3} more differ from those of tiny-bert: {count} of {count} tensors")

    def test_nothing_is_named_of_a_base_that_the_viewer_may_not_know_of(
        self, published, base, owner, stranger, anybody, sent
    ):
        BaseModel.objects.filter(pk=base.pk).update(visibility="private", owner=published.adapter.namespace)
        assert copies.WORDS in " ".join(ask(owner, sent["changed"])["reasons"])
        for who in (stranger, anybody):
            assert copies.WORDS not in " ".join(ask(who, sent["changed"])["reasons"])

    def test_tables_of_tensors_are_read_for_one_adapter_and_for_no_list(self, published, base, owner, anybody, sent):
        owner.post("base-models", sent["changed"] | {"name": "acme/changed"})
        work()
        with CaptureQueriesContext(connection) as asked:
            anybody.get("base-models/acme/changed/adapters")
            anybody.get("base-models/acme/changed/matrix")
            anybody.get("/b/acme/changed")
        assert not [query["sql"] for query in asked if '"tensors"' in query["sql"] or '"logical"' in query["sql"]]
        with CaptureQueriesContext(connection) as asked:
            anybody.get("resolve?ref=acme/tone-bert&base=acme/changed")
        assert [query["sql"] for query in asked if '"tensors"' in query["sql"]], "the control"


class TestOwners:
    def test_the_namespace_of_its_name_owns_a_base_else_its_sender(self, owner, member, stranger, sent):
        assert owner.post("base-models", sent["fp32"] | {"name": "acme/mine"})["owner"] == "acme"
        assert member.post("base-models", sent["fp32"] | {"name": "acme/ours"})["owner"] == "acme"
        assert stranger.post("base-models", sent["changed"])["owner"] == "charlie"

    def test_nobody_owns_what_workers_and_operators_register(self, worker, admin, sent):
        assert worker.post("base-models", sent["fp32"])["owner"] is None
        assert admin.post("base-models", sent["changed"])["owner"] is None
        assert admin.post("base-models", sent["fp16"] | {"name": "tiny-16"})["owner"] is None

    def test_the_name_of_a_private_base_is_told_to_its_members_only(
        self, published, base, owner, member, reader, stranger, anybody
    ):
        """On every way that leads to a public adapter on a private base."""
        ways = (
            "adapters/acme/tone-bert",
            "adapters/acme/tone-bert/versions/1",
            "adapters/acme/tone-bert/versions/1/report",
            "adapters",
            "resolve?ref=acme/tone-bert",
            "/a/acme/tone-bert",
            "/a/acme/tone-bert/v/1/report",
            "/adapters",
            "/",
        )
        assert [way for way in ways if "tiny-bert" not in anybody.get(way).body.decode()] == [], "the control"
        BaseModel.objects.filter(pk=base.pk).update(visibility="private", owner=published.adapter.namespace)
        for who in (stranger, anybody):
            for way in (*ways, "base-models", f"base-models/{base.pk}", f"/b/{base.pk}"):
                assert "tiny-bert" not in who.get(way).body.decode(), way
            found = who.get("resolve?ref=acme/tone-bert")["base_model"]
            assert (found["fingerprint"], found["locations"]) == (base.pk, []), "whoever has it knows it again"
        for who in (owner, member, reader):
            for way in ways[:5]:
                assert "tiny-bert" in who.get(way).body.decode(), way


class TestLocations:
    @pytest.fixture
    def located(self, admin, sent) -> str:
        """The tiny base model, said by an operator to lie on Hugging Face."""
        where = {"locations": [{"kind": "hub", "name": "google/tiny", "revision": "abc"}]}
        return admin.post("base-models", sent["fp32"] | where)["fingerprint"]

    @pytest.mark.parametrize("state", ["gone", "gated", "renamed"])
    def test_an_operator_says_what_became_of_one_and_the_name_means_the_same_base(self, located, admin, anybody, state):
        answer = admin.patch(f"base-models/{located}/locations", {"name": "google/tiny", "state": state})
        assert (answer.status, answer["locations"][0]["state"]) == (200, state)
        assert anybody.get("base-models/google/tiny")["fingerprint"] == located
        assert state in anybody.get(f"/b/{located}").body.decode()

    def test_a_name_that_something_else_has_now_means_that(self, located, admin, anybody, sent):
        admin.patch(f"base-models/{located}/locations", {"name": "google/tiny", "state": "gone"})
        other = admin.post("base-models", sent["changed"] | {"name": "google/tiny"})["fingerprint"]
        assert anybody.get("base-models/google/tiny")["fingerprint"] == other
        back = admin.patch(f"base-models/{located}/locations", {"name": "google/tiny", "state": "live"})
        assert (back.status, back["code"]) == (409, "conflict")

    def test_located_again_it_is_live_again(self, located, admin, sent):
        admin.patch(f"base-models/{located}/locations", {"name": "google/tiny", "state": "gone"})
        where = {"locations": [{"kind": "mirror", "name": "google/tiny"}]}
        found = admin.post("base-models", sent["fp32"] | where)["locations"]
        assert found == [{"kind": "mirror", "name": "google/tiny", "revision": "", "state": "live"}]

    def test_nobody_else_says_it(self, located, owner, worker, stranger, anybody):
        given = {"name": "google/tiny", "state": "gone"}
        for who, status in ((owner, 403), (worker, 403), (stranger, 403), (anybody, 401)):
            assert who.patch(f"base-models/{located}/locations", given).status == status

    def test_what_cannot_be_is_refused(self, located, admin):
        for given, status in (
            ({"name": "google/tiny", "state": "asleep"}, 422),
            ({"name": "no/such", "state": "gone"}, 404),
            ({"state": "gone"}, 422),
        ):
            assert admin.patch(f"base-models/{located}/locations", given).status == status
        assert admin.patch("base-models/no/such/locations", {"name": "google/tiny", "state": "gone"}).status == 404


class TestTrainedOn:
    def push(self, owner, *, name: str = "tiny-bert", **hub):
        config = adapters.lora_config(base_model_name_or_path=name)
        publish(owner, "acme/tone-bert", adapters.lora(config=config, hub=hub))
        return owner.get("resolve?ref=acme/tone-bert")["trained_on"]

    def test_the_name_in_the_configuration_is_a_guess_and_told_as_one(self, base, owner, anybody):
        found = self.push(owner, name="unsloth/tiny-bert-bnb-4bit")
        assert found == {"name": "unsloth/tiny-bert-bnb-4bit", "quantised": True, "guessed": True, "base_model": None}
        assert owner.get("adapters/acme/tone-bert/versions/1")["trained_on"] == found
        page = anybody.get("/a/acme/tone-bert").body.decode()
        assert "unsloth/tiny-bert-bnb-4bit" in page
        assert "guessed by its name" in page

    def test_hub_json_says_it_and_the_base_is_known_here(self, base, owner, worker, admin, anybody, sent):
        worker.post("base-models", sent["packed"])
        packed = admin.post("base-models", sent["packed"] | {"name": "tiny-packed"})["fingerprint"]
        found = self.push(owner, name="unsloth/other-GPTQ", trained_on="tiny-packed")
        assert (found["quantised"], found["guessed"], found["base_model"]["fingerprint"]) == (True, False, packed)
        assert "by its name" not in anybody.get("/a/acme/tone-bert").body.decode()

    def test_a_fingerprint_will_do(self, base, owner, worker, sent):
        packed = worker.post("base-models", sent["packed"])["fingerprint"]
        assert self.push(owner, trained_on=packed)["base_model"]["fingerprint"] == packed

    def test_nothing_is_told_where_it_is_the_base_itself_or_nobody_says(self, base, owner):
        assert self.push(owner, trained_on="tiny-bert") is None

    def test_nobody_says_it(self, published, anybody):
        assert anybody.get("resolve?ref=acme/tone-bert")["trained_on"] is None

    def test_a_name_that_is_none_is_refused(self, base, owner):
        files = adapters.lora(hub={"trained_on": "/home/me/model"})
        answer = owner.push("acme/tone-bert", files)
        assert (answer.status, "trained_on" in str(answer.json)) == (422, True)
