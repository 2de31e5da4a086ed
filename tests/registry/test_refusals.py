"""What a push is refused for: who sends it, under which name, with which files. Nothing of it stays but the report."""

import json

import pytest

from registry import models
from registry.models import Adapter, Run, Upload, Version
from registry.services import benchmarks, tokens
from tests.registry import adapters
from tests.registry.cast import Caller, publish

pytestmark = pytest.mark.django_db

GOOD = {"benchmarks": ["acme/tone"]}


class TestWhoMayPush:
    def test_a_member_may_push(self, member: Caller, base) -> None:
        assert member.push("acme/tone-bert", adapters.lora()).status == 202

    def test_a_stranger_cannot_push(self, owner: Caller, stranger: Caller, base) -> None:
        answer = stranger.push("acme/tone-bert", adapters.lora())
        assert (answer.status, answer["code"]) == (403, "forbidden")
        assert "charlie" in answer["hint"]
        assert not Adapter.objects.exists()

    def test_a_reader_cannot_push(self, reader: Caller, base) -> None:
        assert reader.push("acme/tone-bert", adapters.lora()).status == 403

    def test_nobody_pushes_without_a_token(self, anybody: Caller, base) -> None:
        assert anybody.push("acme/tone-bert", adapters.lora()).status == 401

    def test_a_token_without_the_scope_cannot_push(self, owner: Caller, base) -> None:
        assert owner.user is not None
        reading = Caller(tokens.issue(user=owner.user, scope="read")[1], owner.user)
        answer = reading.push("acme/tone-bert", adapters.lora())
        assert (answer.status, answer["code"]) == (403, "forbidden")
        assert "push" in answer["detail"]

    def test_a_workers_token_cannot_push(self, worker: Caller, base) -> None:
        assert worker.push("gpu-farm/tone-bert", adapters.lora()).status == 403

    def test_the_answer_to_a_stranger_does_not_depend_on_the_name(self, owner, stranger: Caller, base) -> None:
        owner.push("acme/secret", adapters.lora(), private=True)
        there = stranger.push("acme/secret", adapters.lora())
        missing = stranger.push("acme/nothing", adapters.lora())
        there.json.pop("request_id"), missing.json.pop("request_id")
        assert (there.status, there.json) == (missing.status, missing.json)

    def test_the_library_is_for_operators(self, owner: Caller, admin: Caller, base) -> None:
        assert owner.push("library/tone-bert", adapters.lora()).status == 403
        assert admin.push("library/tone-bert", adapters.lora()).status == 202

    def test_an_unknown_namespace_is_told(self, owner: Caller, base) -> None:
        answer = owner.push("nowhere/tone-bert", adapters.lora())
        assert (answer.status, answer["code"]) == (404, "not_found")


class TestNamesAndLabels:
    def test_a_name_that_looks_like_another_is_refused(self, owner: Caller, base) -> None:
        owner.push("acme/tone-bert", adapters.lora())
        answer = owner.push("acme/Tone_Bert", adapters.lora())
        assert (answer.status, answer["code"]) == (409, "look_alike")
        assert "acme/tone-bert" in answer["detail"]

    def test_in_the_library_l_and_1_look_alike(self, admin: Caller, base) -> None:
        admin.push("library/lora", adapters.lora())
        assert admin.push("library/1ora", adapters.lora())["code"] == "look_alike"

    @pytest.mark.parametrize("name", ["-x", "a..b", "a--b", "x.git", "x" * 97, "ä"])
    def test_a_name_that_breaks_the_grammar_is_refused(self, owner: Caller, base, name: str) -> None:
        assert owner.start(f"acme/{name}", adapters.lora()).status == 422

    def test_a_label_that_exists_is_refused_before_a_byte_travels(self, owner: Caller, base) -> None:
        publish(owner, "acme/tone-bert", adapters.lora(), version="1.0")
        answer = owner.start("acme/tone-bert", adapters.lora(value=0.5), version="1.0")
        assert (answer.status, answer["code"]) == (409, "label_exists")

    def test_a_label_that_was_taken_meanwhile_is_refused_at_the_end(self, owner: Caller, base) -> None:
        files = adapters.lora(value=0.5)
        started = owner.start("acme/tone-bert", files, version="1.0")
        owner.send(started, files)
        publish(owner, "acme/tone-bert", adapters.lora(), version="1.0")
        answer = owner.post(f"uploads/{started['id']}/complete")
        assert (answer.status, answer["code"]) == (409, "label_exists")
        assert Version.objects.count() == 1

    @pytest.mark.parametrize("label", ["latest", "LATEST", "-1", "a b", "7", "x" * 65])
    def test_a_label_that_cannot_be_is_refused(self, owner: Caller, base, label: str) -> None:
        assert owner.start("acme/tone-bert", adapters.lora(), version=label).status == 422

    def test_a_private_push_never_lands_in_a_public_adapter(self, owner: Caller, base) -> None:
        owner.push("acme/tone-bert", adapters.lora())
        answer = owner.start("acme/tone-bert", adapters.lora(value=0.5), private=True)
        assert (answer.status, answer["code"]) == (409, "conflict")

    def test_a_key_that_is_not_known_is_refused(self, owner: Caller, base) -> None:
        answer = owner.start("acme/tone-bert", adapters.lora(), privte=True)
        assert answer.status == 422
        assert "privte" in answer["detail"]
        assert not Adapter.objects.exists()


def _extra_tensor() -> bytes:
    name = "base_model.model.bert.embeddings.word_embeddings.weight"
    return adapters.safetensors({**adapters.lora_tensors(), name: ([164, 32], 0.0)})


def _missing_tensor() -> bytes:
    tensors = adapters.lora_tensors()
    tensors.pop("base_model.model.bert.encoder.layer.1.attention.self.query.lora_B.weight")
    return adapters.safetensors(tensors)


SPECIMENS = {
    "no_config": ({"adapter_config.json": None}, "adapter_config.json"),
    "config_without_peft_type": ({"adapter_config.json": b'{"r": 4}'}, "adapter_config.json"),
    "unknown_method": (
        {"adapter_config.json": json.dumps(adapters.lora_config(peft_type="TELEPATHY")).encode()},
        "adapter_config.json",
    ),
    "config_is_no_json": ({"adapter_config.json": b"{"}, "adapter_config.json"),
    "config_with_a_key_twice": ({"adapter_config.json": b'{"peft_type": "LORA", "peft_type": "LORA"}'}, "peft_type"),
    "rank_that_disagrees": ({"adapter_config.json": json.dumps(adapters.lora_config(rank=8)).encode()}, "8"),
    "shapes_of_another_base": (
        {"adapter_model.safetensors": adapters.safetensors(adapters.lora_tensors(width=384))},
        "384",
    ),
    "backbone_tensor": ({"adapter_model.safetensors": _extra_tensor()}, "word_embeddings"),
    "missing_tensor": ({"adapter_model.safetensors": _missing_tensor()}, "lora_B"),
    "truncated": ({"adapter_model.safetensors": adapters.safetensors(adapters.lora_tensors())[:-4]}, "adapter_model"),
    "pickle_called_safetensors": ({"adapter_model.safetensors": b"\x80\x04\x95" + bytes(64)}, "adapter_model"),
    "zip_called_json": ({"vocab.json": b"PK\x03\x04" + bytes(64)}, "vocab.json"),
    "no_weights": ({"adapter_model.safetensors": None}, "adapter_model.safetensors"),
    "hub_json_with_an_unknown_key": ({"hub.json": b'{"base": "tiny-bert", "bse": 1}'}, "bse"),
    "no_base": (
        {
            "hub.json": b"{}",
            "adapter_config.json": json.dumps(adapters.lora_config(base_model_name_or_path=None)).encode(),
        },
        "base model",
    ),
    "unknown_base": ({"hub.json": b'{"base": "nobody/knows-this"}'}, "nobody/knows-this"),
    "unknown_benchmark": ({"hub.json": b'{"base": "tiny-bert", "benchmarks": ["no/such"]}'}, "no/such"),
}


class TestBadFiles:
    @pytest.mark.parametrize("name", SPECIMENS)
    def test_bad_files_are_rejected_at_once_and_the_reasons_are_kept(self, owner: Caller, base, name: str) -> None:
        changes, told = SPECIMENS[name]
        files = {path: data for path, data in (adapters.lora() | changes).items() if data is not None}
        answer = owner.push("acme/tone-bert", files, version="1.0")
        assert (answer.status, answer["code"]) == (422, "rejected"), answer.json
        assert told in answer["detail"]
        assert all(problem["message"] for problem in answer["problems"])
        assert answer["version"]["status"] == "rejected"
        report = owner.get("adapters/acme/tone-bert/versions/1.0/report").json
        assert report["verdict"] == "failed"
        assert any(check["status"] == "failed" and check["message"] for check in report["checks"])
        assert not Run.objects.exists()
        again = owner.post(f"uploads/{Upload.objects.get().pk}/complete")
        assert (again.status, again["detail"]) == (422, answer["detail"])
        assert owner.push("acme/tone-bert", adapters.lora(), version="1.0").status == 202

    @pytest.mark.parametrize(
        "path", ["pytorch_model.bin", "x.pkl", "train.py", "weights.pt", "a.npz", "run.sh", "x.zip"]
    )
    def test_a_file_of_a_refused_kind_is_refused_before_a_byte_travels(self, owner: Caller, base, path: str) -> None:
        answer = owner.start("acme/tone-bert", {**adapters.lora(), path: b"x"})
        assert (answer.status, answer["code"]) == (422, "rejected")
        assert answer["problems"][0]["where"] == path
        assert not Adapter.objects.exists()

    @pytest.mark.parametrize(
        "path", ["../x.json", "/etc/x.json", "a\\b.json", "a//b.json", "CON:.json", ".hidden.json"]
    )
    def test_a_path_that_leads_elsewhere_is_refused(self, owner: Caller, base, path: str) -> None:
        assert owner.start("acme/tone-bert", {**adapters.lora(), path: b"x"}).status == 422

    def test_an_unknown_base_is_told_before_a_byte_travels(self, owner: Caller, base) -> None:
        answer = owner.start("acme/tone-bert", adapters.lora(), facts={"base": "nobody/knows-this"})
        assert (answer.status, answer["code"]) == (422, "unknown_base")
        assert "hub base add" in answer["hint"]

    def test_an_unknown_benchmark_is_told_before_a_byte_travels(self, owner: Caller, base) -> None:
        answer = owner.start("acme/tone-bert", adapters.lora(), facts={"benchmarks": ["no/such"]})
        assert (answer.status, answer["code"]) == (422, "unknown_benchmark")

    def test_a_head_of_another_size_than_the_benchmarks_labels_is_rejected(
        self, owner: Caller, base, benchmark
    ) -> None:
        tensors = adapters.lora_tensors()
        tensors["base_model.model.classifier.weight"] = ([3, 32], 0.01)
        tensors["base_model.model.classifier.bias"] = ([3], 0.01)
        answer = owner.push("acme/tone-bert", adapters.lora(hub=GOOD, weights=adapters.safetensors(tensors)))
        assert (answer.status, answer["code"]) == (422, "rejected")
        assert "3 classes" in answer["detail"]

    @pytest.mark.parametrize("validation", ["required", "off"])
    def test_an_adapter_without_a_head_is_rejected_by_a_benchmark_that_needs_one(
        self, owner: Caller, base, benchmark, settings, validation: str
    ) -> None:
        settings.HUB_VALIDATION = validation
        tensors = {key: one for key, one in adapters.lora_tensors().items() if "classifier" not in key}
        config = adapters.lora_config(task_type="CAUSAL_LM", modules_to_save=None)
        files = adapters.lora(config=config, weights=adapters.safetensors(tensors), hub={"benchmarks": ["acme/tone"]})
        files["hub.json"] = files["hub.json"].replace(b'"task": "text-classification", ', b"")
        answer = owner.push("acme/tone-bert", files)
        if validation == "off":
            assert answer["version"]["status"] == "hosted", "where nothing is judged nothing is asked"
            return
        assert (answer.status, answer["code"]) == (422, "rejected")
        assert "was made for text-generation (task_type CAUSAL_LM) and brings no head" in answer["detail"]
        assert not Run.objects.exists()

    def test_a_base_model_that_cannot_speak_is_refused_by_a_benchmark_of_text(self, owner: Caller, base) -> None:
        prose = b"name: acme/prose\ntask: text-generation\ndata: dev.jsonl\ncolumns: {text: text}\nmetric: perplexity\n"
        rows = b'{"text": "kind words"}\n{"text": "harsh words"}\n'
        benchmarks.add(viewer=owner.viewer, definition=prose, files={"dev.jsonl": rows})
        tensors = {key: one for key, one in adapters.lora_tensors().items() if "classifier" not in key}
        config = adapters.lora_config(task_type="CAUSAL_LM", modules_to_save=None)
        files = adapters.lora(config=config, weights=adapters.safetensors(tensors), hub={"benchmarks": ["acme/prose"]})
        files["hub.json"] = files["hub.json"].replace(b'"task": "text-classification", ', b"")
        answer = owner.push("acme/tone-bert", files)
        assert (answer.status, answer["code"]) == (422, "rejected")
        assert "language-model head; tiny-bert (bert) has none" in answer["detail"]
        assert not Run.objects.exists()

    def test_all_problems_are_told_at_once(self, owner: Caller, base) -> None:
        files = adapters.lora(config={"peft_type": "TELEPATHY"}) | {
            "hub.json": b'{"base": "no/base", "benchmarks": ["no/such"]}'
        }
        told = owner.push("acme/tone-bert", files)["detail"]
        assert "TELEPATHY" in told
        assert "no/base" in told
        assert "no/such" in told

    def test_a_private_base_of_others_is_as_unknown_as_a_missing_one(
        self, owner: Caller, stranger: Caller, base
    ) -> None:
        models.BaseModel.objects.update(visibility="private")
        mine = stranger.push("charlie/x", adapters.lora())
        other = stranger.push("charlie/y", adapters.lora(hub={"base": "no-bert"}))
        assert mine["detail"].replace("tiny-bert", "no-bert") == other["detail"]

    def test_a_manifest_that_is_none_is_told(self, owner: Caller, base) -> None:
        for manifest in ({}, {"files": []}, {"files": [{"path": "a.json"}]}, {"files": "x"}):
            answer = owner.post("adapters/acme/tone-bert/uploads", {"manifest": manifest})
            assert (answer.status, answer["code"]) == (422, "invalid")

    def test_more_bytes_than_the_hub_takes_are_refused_at_the_start(self, owner: Caller, base, settings) -> None:
        settings.HUB_MAX_UPLOAD_BYTES = 100
        assert owner.start("acme/tone-bert", adapters.lora()).status == 413

    def test_too_many_uploads_at_once_are_refused(self, owner: Caller, base, settings) -> None:
        settings.HUB_MAX_OPEN_UPLOADS = 2
        answers = [owner.start(f"acme/tone-{n}", adapters.lora()).status for n in range(3)]
        assert answers == [201, 201, 409]
