"""Base models by their headers: who may locate them, what fits them, and who may say which ones they are."""

import copy
import hashlib

import pytest

from registry import jobs
from registry.models import BaseAlias, BaseModel, LocatedBase, Namespace, Outbox
from registry.services import outbox
from tests.registry import adapters
from tests.registry.cast import Caller, publish

pytestmark = pytest.mark.django_db

COMMIT = "c" * 40
FILES = [
    {"path": f"model-{n}.safetensors", "size": 1000 + n, "sha256": hashlib.sha256(bytes([n])).hexdigest()}
    for n in range(3)
]
RENAMED = [{**file, "path": f"weights/{file['path']}"} for file in reversed(FILES)]


@pytest.fixture
def tiny() -> dict:
    """What a client sends of the tiny base model once it has hashed it."""
    found = adapters.tiny().to_json()
    return {key: copy.deepcopy(found[key]) for key in ("leaves", "config", "tokenizer_digest")}


@pytest.fixture
def headers(tiny: dict) -> dict:
    """What a client sends of it when it has read headers only. The file holds a copy of the embeddings as decoder."""
    tensors = [leaf[:3] for leaf in tiny["leaves"]]
    words = next(leaf for leaf in tensors if leaf[0].endswith("word_embeddings.weight"))
    return {
        "name": "org/big",
        "source": "org/big",
        "revision": COMMIT,
        "config": tiny["config"],
        "tensors": [*tensors, ["cls.predictions.decoder.weight", *words[1:]]],
        "files": FILES,
        "tokenizer_digest": tiny["tokenizer_digest"],
    }


def compare() -> None:
    for row in Outbox.objects.filter(kind=outbox.COMPARE):
        jobs.compare(**row.payload)


class TestWho:
    def test_an_operator_locates_for_everybody(self, admin: Caller, anybody: Caller, headers: dict) -> None:
        made = admin.post("base-models/located", headers)
        assert made.status == 201, made.json
        assert (made["fingerprint"], made["state"], made["name"]) == (None, "located", "org/big")
        found = anybody.get("base-models/org/big")
        assert found["locations"] == [{"kind": "hub", "name": "org/big", "revision": COMMIT, "state": "live"}]
        assert found["files"] == FILES and found["claim"] is None and "tensors" not in found.json
        assert anybody.get(found["tensors_url"])["tensors"] == headers["tensors"]
        assert [row["name"] for row in anybody.get("base-models?q=big")["results"]] == ["org/big"]
        assert admin.post("base-models/located", headers).status == 200

    def test_a_person_locates_in_their_own_namespace_only(self, owner, stranger, reader, headers: dict) -> None:
        assert owner.post("base-models/located", headers).status == 403
        mine = {**headers, "name": "acme/my-base"}
        assert owner.post("base-models/located", mine).status == 201
        assert owner.get("base-models/acme/my-base")["owner"] == "acme"
        for other in (stranger, reader):
            assert other.post("base-models/located", {**headers, "name": "acme/other"}).status == 403
        assert not LocatedBase.objects.filter(namespace=None).exists()

    def test_nobody_and_no_worker_locates(self, anybody: Caller, worker: Caller, headers: dict) -> None:
        assert anybody.post("base-models/located", headers).status == 401
        assert worker.post("base-models/located", headers).status == 403

    def test_a_private_one_looks_missing_to_strangers(self, owner, stranger, anybody, headers: dict) -> None:
        hidden = {**headers, "name": "acme/secret", "private": True}
        assert owner.post("base-models/located", hidden).status == 201
        assert owner.get("base-models/acme/secret").status == 200
        for other in (stranger, anybody):
            for asked in ("", "/adapters", "/matrix"):
                missing = other.get(f"base-models/acme/nothing{asked}")
                answer = other.get(f"base-models/acme/secret{asked}")
                assert (answer.status, answer["detail"].replace("secret", "nothing")) == (404, missing["detail"])
            assert other.get("base-models")["results"] == []
            assert other.get("base-models/located")["results"] == []
            assert other.get("base-models/located?bytes=3003")["results"] == []
            assert other.get("/b/acme/secret").status == 404

    def test_what_was_private_stays_so_and_what_was_not_may_become_it(self, owner, stranger, headers: dict) -> None:
        mine = {**headers, "name": "acme/secret"}
        assert owner.post("base-models/located", mine).status == 201
        assert stranger.get("base-models/acme/secret").status == 200
        assert owner.post("base-models/located", {**mine, "private": True}).status == 201
        assert stranger.get("base-models/acme/secret").status == 404
        assert owner.post("base-models/located", mine).status == 200
        assert owner.post("base-models/located", {**mine, "revision": "d" * 40}).status == 201
        assert stranger.get("base-models/acme/secret").status == 404

    def test_a_private_name_is_not_told_once_somebody_holds_its_files(
        self, admin, owner, worker, stranger, anybody, tiny: dict, headers: dict
    ) -> None:
        owner.post("base-models/located", {**headers, "name": "acme/secret", "private": True})
        fingerprint = worker.post("base-models", {**tiny, "files": FILES})["fingerprint"]
        for other in (stranger, anybody):
            for asked in (f"base-models/{fingerprint}", "base-models?q=secret", "base-models", f"/b/{fingerprint}"):
                assert b"secret" not in other.get(asked).body
        mine = owner.get("base-models/acme/secret")
        assert mine["claim"] == {"fingerprint": fingerprint, "claimed_by": "gpu-farm"}

    def test_a_private_base_model_is_not_told_by_its_files(
        self, admin, owner, worker, stranger, anybody, tiny: dict, headers: dict
    ) -> None:
        admin.post("base-models/located", headers)
        fingerprint = worker.post("base-models", {**tiny, "files": FILES})["fingerprint"]
        acme = Namespace.objects.get(name="acme")
        BaseModel.objects.filter(pk=fingerprint).update(visibility="private", owner=acme)
        their = f"{stranger.get('me')['namespaces'][0]['name']}/copy"
        told = stranger.post("base-models/located", {**headers, "name": their})
        assert told.status == 201 and told["fingerprint"] is None and told["claim"] is None
        assert stranger.get(f"base-models/{their}").status == 200
        worker.post("base-models", {**tiny, "files": FILES})
        assert stranger.get(f"base-models/{their}")["claim"] is None

    def test_a_library_name_is_not_private(self, admin: Caller, headers: dict) -> None:
        assert admin.post("base-models/located", {**headers, "private": True}).status == 422


class TestWhat:
    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("tensors", []),
            ("tensors", [["a", "F32", [1], "0" * 64]]),
            ("tensors", "x"),
            ("files", []),
            ("files", [{"path": "a", "size": 1, "sha256": "x"}]),
            ("files", [FILES[0], FILES[0]]),
            ("files", [{**FILES[0], "size": -1}]),
            ("files", [{**FILES[0], "size": True}]),
            ("revision", "main"),
            ("source", "../x"),
            ("source", "a/b/c"),
            ("name", "base:" + "0" * 64),
            ("name", "org/located"),
        ],
    )
    def test_what_cannot_be_is_refused(self, admin: Caller, headers: dict, key: str, value: object) -> None:
        assert admin.post("base-models/located", {**headers, key: value}).status == 422
        assert not LocatedBase.objects.exists()

    def test_a_later_commit_takes_the_place_of_the_earlier_one(self, admin, anybody, headers: dict) -> None:
        admin.post("base-models/located", headers)
        assert admin.post("base-models/located", {**headers, "revision": "d" * 40}).status == 201
        assert anybody.get("base-models/org/big")["locations"][0]["revision"] == "d" * 40
        assert LocatedBase.objects.count() == 2

    def test_who_holds_as_many_bytes_is_told_what_is_awaited(self, admin, anybody, headers: dict) -> None:
        admin.post("base-models/located", headers)
        assert [row["name"] for row in anybody.get("base-models/located?bytes=3003")["results"]] == ["org/big"]
        assert anybody.get("base-models/located?bytes=3004")["results"] == []
        assert anybody.get("base-models/located?bytes=many").status == 400


class TestFits:
    def test_what_fits_is_known_by_shapes_before_anybody_has_hashed_it(
        self, admin, anybody, published, headers: dict
    ) -> None:
        admin.post("base-models/located", headers)
        compare()
        for path in ("base-models/org/big/adapters", "adapters?base=org/big"):
            found = anybody.get(path)["results"]
            assert [(row["ref"], row["compatibility"]["level"]) for row in found] == [("acme/tone-bert", "shape_only")]
        table = anybody.get("base-models/org/big/matrix")
        assert table["base_model"] == {"fingerprint": None, "name": "org/big", "state": "located"}
        assert table["columns"][0]["counts"]["shape_only"] == 1
        assert table["rows"][0]["cells"][0]["level"] == "shape_only"
        one = anybody.get("base-models/org/big/matrix?adapter=acme/tone-bert")
        assert one["rows"][0]["cells"][0]["level"] == "shape_only"
        shown = anybody.get("/b/org/big").body.decode()
        assert "nobody has hashed its" in shown and "tone-bert" in shown

    def test_what_needs_a_fingerprint_says_why_there_is_none(self, admin, owner, published, headers: dict) -> None:
        admin.post("base-models/located", headers)
        assert owner.get("resolve?ref=acme/tone-bert&base=org/big")["compatibility"]["level"] == "shape_only"
        answer = owner.post("base-models/org/big/relations", {"parent": "tiny-bert", "kind": "derived"})
        assert answer.status == 404 and "nobody has hashed it" in answer["detail"]


class TestFilledIn:
    def test_a_worker_that_holds_the_files_tells_everybody_who_it_is(
        self, admin, worker, anybody, tiny: dict, headers: dict
    ) -> None:
        admin.post("base-models/located", headers)
        told = worker.post("base-models", {**tiny, "files": RENAMED})
        found = anybody.get("base-models/org/big")
        assert found["fingerprint"] == told["fingerprint"] == adapters.tiny().fingerprint
        assert (found["name"], found["state"]) == ("org/big", "observed")
        assert found["locations"] == [{"kind": "hub", "name": "org/big", "revision": COMMIT, "state": "live"}]
        assert len(anybody.get("base-models")["results"]) == 1

    def test_the_same_files_under_another_name_are_known_at_once(self, admin, owner, worker, tiny, headers) -> None:
        admin.post("base-models/located", headers)
        worker.post("base-models", {**tiny, "files": FILES})
        again = owner.post("base-models/located", {**headers, "name": "acme/copy", "files": RENAMED})
        assert again["fingerprint"] == adapters.tiny().fingerprint
        assert owner.get("base-models/acme/copy")["fingerprint"] == adapters.tiny().fingerprint

    def test_a_place_that_an_operator_named_is_known_at_once(self, admin, owner, anybody, tiny, headers) -> None:
        place = [{"kind": "hub", "name": "org/big", "revision": COMMIT}]
        known = admin.post("base-models", {**tiny, "locations": place})["fingerprint"]
        assert admin.post("base-models/located", headers)["fingerprint"] == known
        assert len(anybody.get("base-models")["results"]) == 1

    def test_a_person_cannot_say_which_files_a_place_holds(self, admin, owner, anybody, tiny, headers) -> None:
        """Else files of another base model of the same shapes, located later, would be taken for this one."""
        place = [{"kind": "hub", "name": "org/big", "revision": COMMIT}]
        admin.post("base-models", {**tiny, "locations": place})
        assert owner.post("base-models/located", {**headers, "name": "acme/x"})["fingerprint"] is None
        other = {**headers, "name": "org/tuned", "source": "org/tuned"}
        assert admin.post("base-models/located", other)["fingerprint"] is None

    def test_a_person_only_claims_it(self, admin, stranger, anybody, tiny: dict, headers: dict) -> None:
        admin.post("base-models/located", headers)
        made = stranger.post("base-models", {**tiny, "files": FILES})
        found = anybody.get("base-models/org/big")
        assert found["fingerprint"] is None
        assert found["claim"] == {"fingerprint": made["fingerprint"], "claimed_by": "charlie"}
        assert made["aliases"] == [] and not BaseAlias.objects.exists()

    def test_a_lie_leads_nobody_anywhere_and_a_worker_mends_it(
        self, admin, stranger, owner, worker, anybody, tiny: dict, headers: dict
    ) -> None:
        """The stranger says that weights of his own are those of org/big."""
        admin.post("base-models/located", headers)
        forged = copy.deepcopy(tiny)
        forged["leaves"] = [[*leaf[:3], leaf[3][::-1]] for leaf in forged["leaves"]]
        lie = stranger.post("base-models", {**forged, "files": FILES})["fingerprint"]
        assert anybody.get("base-models/org/big")["fingerprint"] is None
        owner.post("base-models", {**tiny, "files": FILES})  # the truth, but only a person's
        assert anybody.get("base-models/org/big")["claim"]["fingerprint"] == lie
        worker.post("base-models", {**tiny, "files": FILES})
        assert anybody.get("base-models/org/big")["fingerprint"] == adapters.tiny().fingerprint
        assert not BaseAlias.objects.filter(base=lie).exists()
        assert stranger.post("base-models", {**forged, "files": FILES}).status == 200
        assert anybody.get("base-models/org/big")["fingerprint"] == adapters.tiny().fingerprint

    def test_the_claim_is_what_keeps_the_lie_from_leading_anywhere(
        self, admin, stranger, anybody, tiny: dict, headers: dict, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Negative control: were a person believed as a worker is, the name would lead to what they say."""
        from registry.services import located

        monkeypatch.setattr(located, "_claim", located._observe)
        admin.post("base-models/located", headers)
        forged = copy.deepcopy(tiny)
        forged["leaves"] = [[*leaf[:3], leaf[3][::-1]] for leaf in forged["leaves"]]
        lie = stranger.post("base-models", {**forged, "files": FILES})["fingerprint"]
        assert anybody.get("base-models/org/big")["fingerprint"] == lie

    @pytest.mark.parametrize("change", ["shape", "dtype", "missing", "more"])
    def test_other_tensors_are_another_base_model_whatever_the_files_are_said_to_be(
        self, admin, worker, anybody, tiny: dict, headers: dict, change: str
    ) -> None:
        admin.post("base-models/located", headers)
        leaf = tiny["leaves"][3]
        tiny["leaves"][3] = [leaf[0], "F16" if change == "dtype" else leaf[1], [*leaf[2], 1], leaf[3]]
        if change == "dtype":
            tiny["leaves"][3][2] = leaf[2]
        if change == "missing":
            del tiny["leaves"][3]
        if change == "more":
            tiny["leaves"][3] = leaf
            tiny["leaves"].append(["encoder.layer.9.output.dense.weight", "F32", [2, 2], "0" * 64])
        assert worker.post("base-models", {**tiny, "files": FILES}).status == 201
        assert anybody.get("base-models/org/big")["fingerprint"] is None

    def test_other_files_fill_nothing_in(self, admin, worker, anybody, tiny: dict, headers: dict) -> None:
        admin.post("base-models/located", headers)
        worker.post("base-models", {**tiny, "files": FILES[:2]})
        worker.post("base-models", tiny)
        assert anybody.get("base-models/org/big")["fingerprint"] is None
        assert worker.post("base-models", {**tiny, "files": "x"}).status == 422

    def test_a_name_that_was_given_since_stays_where_it_leads(self, owner, worker, tiny: dict, headers: dict) -> None:
        owner.post("base-models/located", {**headers, "name": "acme/b"})
        other = copy.deepcopy(tiny)
        other["leaves"][0][3] = "0" * 64
        mine = owner.post("base-models", {**other, "name": "acme/b"})["fingerprint"]
        worker.post("base-models", {**tiny, "files": FILES})
        assert owner.get("base-models/acme/b")["fingerprint"] == mine

    def test_a_library_name_moves_to_the_later_commit(self, admin, worker, anybody, tiny: dict, headers: dict) -> None:
        other = copy.deepcopy(tiny)
        other["leaves"][0][3] = "0" * 64
        place = [{"kind": "hub", "name": "org/big", "revision": "a" * 40}]
        admin.post("base-models", {**other, "locations": place})
        admin.post("base-models/located", headers)
        worker.post("base-models", {**tiny, "files": FILES})
        assert anybody.get("base-models/org/big")["fingerprint"] == adapters.tiny().fingerprint
        assert BaseAlias.objects.filter(name="org/big", state="renamed").count() == 1


def test_published_on_what_was_located(admin, owner, worker, benchmark, tiny: dict, headers: dict) -> None:
    """The whole way: located, refused with the reason, held by a worker, published under its name."""
    admin.post("base-models/located", headers)
    files = adapters.lora(hub={"base": "org/big", "benchmarks": ["acme/tone"]})
    refused = owner.push("acme/early", files)
    assert refused.status == 422 and "nobody has hashed it" in str(refused.json)
    worker.post("base-models", {**tiny, "files": FILES})
    assert publish(owner, "acme/late", files).base_fingerprint == BaseModel.objects.get().pk


@pytest.mark.django_db(transaction=True)
def test_the_client_locates_and_whoever_holds_the_files_fills_it_in(
    live_server, admin, worker, stranger, anybody, tmp_path, monkeypatch
) -> None:
    from hub import Client, registration
    from tests.client import hugging_face

    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HOME", "HUB_CACHE", "HUB_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    hf = hugging_face.HuggingFace()
    hf.repositories["org/tiny"] = {path.name: path.read_bytes() for path in adapters.TINY.iterdir() if path.is_file()}
    with hugging_face.serving(hf) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        with Client(live_server.url, admin.token) as client:
            told = registration.add_base(client.wire, client.settings, "org/tiny")
    assert (told["fingerprint"], told["state"], told["name"]) == (None, "located", "org/tiny")
    for who in (stranger, worker):
        assert anybody.get("base-models/org/tiny")["fingerprint"] is None
        with Client(live_server.url, who.token) as client:
            registration.add_base(client.wire, client.settings, adapters.TINY)
    found = anybody.get("base-models/org/tiny")
    assert (found["fingerprint"], found["state"]) == (adapters.tiny().fingerprint, "observed")
    assert found["locations"][0]["revision"] == hugging_face.COMMIT
