"""Configurations through the registry: what could harm a reader is served in other words, what was sent is never served."""

import json
from pathlib import Path
from typing import Any

import pytest

from hub.client import Client
from hub.spec.methods.rewriting import UNREAD
from registry.models import Manifest, ManifestFile, Original, Upload, Version
from registry.queries import blobs
from registry.services import ingest, rewrites
from tests.registry import adapters
from tests.registry.cast import Caller, judge, publish
from tests.registry.test_convert import BIN, digest_of, sha256
from tests.registry.test_convert import lora as older
from tests.registry.test_ingest import CRASHES, killed_and_begun_again
from tests.registry.workers import take

CONFIG = "adapter_config.json"
BOMB = "(([a-z.]+)+)+query"
LAPTOP = "/home/ann/models/tiny-bert"
MODULES = [adapters.QUERY.format(layer) for layer in range(adapters.LAYERS)]
HOSTILE: dict[str, dict[str, Any]] = {
    "a pattern that never ends": {"target_modules": BOMB},
    "a pattern that excludes": {"exclude_modules": BOMB},
    "a pattern for layers": {"layers_pattern": BOMB},
    "code to import": {"auto_mapping": {"parent_library": "transformers.models.bert", "base_model_class": "BertModel"}},
    "a revision": {"revision": "refs/pr/13"},
    "a path of a laptop": {"base_model_name_or_path": LAPTOP},
    "a path of Windows": {"base_model_name_or_path": "C:\\Users\\ann\\tiny-bert"},
    "a key that nobody knows": {"use_tomorrow": False},
    "a nested file": {"corda_config": {"cache_file": "/home/ann/cache.pt"}},
    "a nested hub id": {"loftq_config": {"teacher": "eve/model"}},
}


def lora(**config: Any) -> dict[str, bytes]:
    """A good adapter with these keys in its configuration."""
    return adapters.lora(config=adapters.lora_config(**config), hub={"benchmarks": ["acme/tone"]})


def served(who: Caller, version: str = "1") -> dict[str, Any]:
    return json.loads(who.get(f"adapters/acme/tone-bert/versions/{version}/files/{CONFIG}").body)


@pytest.mark.django_db
class TestAStranger:
    @pytest.mark.parametrize("title", HOSTILE)
    def test_pulls_nothing_of_it(self, owner: Caller, anybody: Caller, base, benchmark, title: str) -> None:
        files = lora(**HOSTILE[title])
        assert publish(owner, "acme/tone-bert", files).status == "published"
        found = served(anybody)
        ((key, value),) = HOSTILE[title].items()
        assert found.get(key) in (None, MODULES)
        assert json.dumps(value) not in json.dumps(found)
        assert found["r"] == 4 and found["modules_to_save"] == ["classifier", "score"]
        listed = {file["path"]: file["sha256"] for file in anybody.get("resolve?ref=acme/tone-bert")["files"]}
        assert listed[CONFIG] == sha256(anybody.get(f"adapters/acme/tone-bert/versions/1/files/{CONFIG}").body)

    def test_gets_the_sent_bytes_where_nothing_is_wrong(self, owner: Caller, anybody: Caller, base, benchmark) -> None:
        files = lora()
        publish(owner, "acme/tone-bert", files)
        assert anybody.get(f"adapters/acme/tone-bert/versions/1/files/{CONFIG}").body == files[CONFIG]
        assert not Original.objects.exists()
        assert anybody.get("adapters/acme/tone-bert/versions/1")["rewritten"] == []

    def test_would_get_it_if_nobody_rewrote_it(
        self, owner: Caller, anybody: Caller, base, benchmark, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rewrites, "rewrite", lambda content, rewritten: (content, ()))
        publish(owner, "acme/tone-bert", lora(target_modules=BOMB))
        assert served(anybody)["target_modules"] == BOMB

    def test_gets_the_original_by_no_route(
        self, owner: Caller, anybody: Caller, admin: Caller, worker: Caller, base, benchmark
    ) -> None:
        owner.push("acme/tone-bert", lora(target_modules=BOMB, base_model_name_or_path=LAPTOP))
        lease = take(worker, base.fingerprint)
        original, announced = Original.objects.get().blob_id, Upload.objects.get().digest
        assert lease.holder.get(f"runs/{lease.id}/blobs/{original}").status == 404
        judge(Version.objects.get().run)
        for who in (owner, anybody, admin):
            for digest in (announced, original):
                assert who.get(f"resolve?ref=acme/tone-bert@sha256:{digest}").status == 404
                assert who.get(f"adapters/acme/tone-bert/versions/sha256:{digest}/files/{CONFIG}").status == 404
            assert who.get(f"adapters/acme/tone-bert/versions/1/files/{original}").status == 404
        for path in ("resolve?ref=acme/tone-bert", "adapters/acme/tone-bert", "adapters/acme/tone-bert/versions/1",
                     "adapters/acme/tone-bert/versions/1/report", "/acme/tone-bert", "/acme/tone-bert/files",
                     "/a/acme/tone-bert", "/a/acme/tone-bert/v/1/report",
                     f"/acme/tone-bert/resolve/main/{CONFIG}", "/api/models/acme/tone-bert"):  # fmt: skip
            body = anybody.get(path).body
            assert original.encode() not in body and b"/home/ann" not in body and BOMB.encode() not in body, path


@pytest.mark.django_db
class TestAPush:
    def test_what_was_sent_stays_stored_as_evidence(self, owner: Caller, base, benchmark) -> None:
        files = lora(target_modules=BOMB)
        owner.push("acme/tone-bert", files)
        original = Original.objects.get()
        assert (original.path, original.converted, original.blob_id) == (CONFIG, CONFIG, sha256(files[CONFIG]))
        assert blobs.store().read(original.blob_id) == files[CONFIG]
        assert original.manifest == Manifest.objects.get()

    def test_it_says_what_was_changed(self, owner: Caller, anybody: Caller, base, benchmark) -> None:
        sent = {"target_modules": ".*query", "auto_mapping": {"base_model_class": "BertModel"}}
        answer = owner.push("acme/tone-bert", lora(**sent))
        told = [f"auto_mapping: {UNREAD}", "target_modules: the list of the 2 modules that the tensors prove"]
        assert answer["version"]["rewritten"] == [{"path": CONFIG, "changes": told}]
        judge(Version.objects.get().run)
        assert anybody.get("adapters/acme/tone-bert/versions/1")["rewritten"] == [{"path": CONFIG, "changes": told}]
        for page in ("/a/acme/tone-bert", "/a/acme/tone-bert/v/1/report"):
            assert told[1] in anybody.get(page).body.decode(), page

    def test_who_sent_the_served_words_is_told_of_no_change(
        self, owner: Caller, member: Caller, base, benchmark
    ) -> None:
        owner.push("acme/tone-bert", lora(target_modules=BOMB))
        clean = blobs.store().read(ManifestFile.objects.get(path=CONFIG).blob_id)
        answer = member.push("acme/mine", lora() | {CONFIG: clean})
        assert (answer.status, answer["version"]["rewritten"]) == (202, [])
        assert answer["version"]["digest"] == f"sha256:{Version.objects.earliest('pk').digest}"
        assert len(set(Version.objects.values_list("run", flat=True))) == 1

    def test_pushing_it_again_under_its_label_is_no_conflict(
        self, owner: Caller, member: Caller, base, benchmark
    ) -> None:
        files = lora(target_modules=BOMB)
        assert owner.push("acme/tone-bert", files, version="1.0").status == 202
        for who in (owner, member):
            again = who.push("acme/tone-bert", files, version="1.0")
            assert again.status == 202 and again["version"]["number"] == 1
        clean = blobs.store().read(ManifestFile.objects.get(path=CONFIG).blob_id)
        assert owner.push("acme/tone-bert", files | {CONFIG: clean}, version="1.0")["version"]["number"] == 1
        assert owner.push("acme/tone-bert", lora(target_modules=BOMB, r=4, lora_alpha=1), version="1.0").status == 409

    def test_it_is_rewritten_in_every_folder_and_beside_a_converted_file(self, owner: Caller, base, benchmark) -> None:
        files = older() | {CONFIG: lora(target_modules=BOMB)[CONFIG]}
        folders = {f"{n}/{path}": data for n in "ab" for path, data in files.items() if path in (BIN, CONFIG)}
        rest = {path: data for path, data in files.items() if path not in (BIN, CONFIG)}
        assert owner.push("acme/tone-bert", folders | rest).status == 202
        rows = {row.path: row.changes for row in Original.objects.all()}
        assert set(rows) == {f"{n}/{name}" for n in "ab" for name in (BIN, CONFIG)}
        assert [bool(rows[path]) for path in sorted(rows)] == [True, False, True, False]

    @pytest.mark.parametrize("validation", ["off", "required"])
    def test_it_is_rewritten_whether_or_not_it_is_judged(
        self, owner: Caller, base, benchmark, settings: Any, validation: str
    ) -> None:
        settings.HUB_VALIDATION = validation
        owner.push("acme/tone-bert", lora(target_modules=BOMB))
        held = json.loads(blobs.store().read(ManifestFile.objects.get(path=CONFIG).blob_id))
        assert held["target_modules"] == MODULES

    def test_a_refused_one_is_kept_as_it_was_sent(self, owner: Caller, base, benchmark) -> None:
        files = lora(target_modules=BOMB, use_tomorrow=True)
        answer = owner.push("acme/tone-bert", files)
        assert [problem["code"] for problem in answer["problems"]] == ["config.unsupported"]
        assert ManifestFile.objects.get(path=CONFIG).blob_id == sha256(files[CONFIG])
        assert not Original.objects.exists()

    def test_a_layer_that_the_rule_asked_for_and_nobody_trained_is_still_missed(
        self, owner: Caller, base, benchmark
    ) -> None:
        answer = owner.push("acme/tone-bert", lora(target_modules="all-linear"))
        assert answer.status == 422 and "are missing" in answer["detail"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("where", [*CRASHES, "before_it_is_rewritten", "after_it_is_stored"])
def test_killed_anywhere_it_is_begun_again_and_gives_the_same(
    owner: Caller, base, benchmark, settings: Any, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    settings.HUB_INLINE_INGEST_BYTES = 0
    files = lora(target_modules=BOMB)
    owner.push("acme/tone-bert", files)
    upload = Upload.objects.get()
    more = {"before_it_is_rewritten": (ingest, "_rewrite", 0), "after_it_is_stored": (rewrites.blob_rows, "keep", 4)}
    killed_and_begun_again(upload, {**CRASHES, **more}[where], monkeypatch)
    version = Version.objects.get()
    held = blobs.store().read(ManifestFile.objects.get(path=CONFIG).blob_id)
    assert (version.status, version.stage) == ("validating", "queued")
    assert version.digest == digest_of(files | {CONFIG: held})
    assert (Manifest.objects.count(), Original.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_the_client_says_it_before_and_pulls_what_is_served(
    live_server: Any, owner: Caller, base, benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    for name in ("HOME", "HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    folder = tmp_path / "mine"
    folder.mkdir()
    for path, data in lora(target_modules=".*query").items():
        (folder / path).write_bytes(data)
    with Client(live_server.url, owner.token) as client:
        prepared = client.prepare(folder, base="tiny-bert")
        assert any("rewritten: target_modules" in note for note in prepared.notes)
        done = client.push(folder, "acme/tone-bert", base="tiny-bert")
        assert done["rewritten"] == Caller.get(owner, "adapters/acme/tone-bert/versions/1")["rewritten"]
        again = client.push(folder, "acme/tone-bert", base="tiny-bert")
        assert (again["number"], again["digest"]) == (1, done["digest"])
        judge(Version.objects.get().run)
        pulled = client.pull("acme/tone-bert").snapshot
        assert json.loads((pulled / CONFIG).read_text())["target_modules"] == MODULES
        assert client.prepare(pulled, base="tiny-bert").inspection.rewritten == ()
    assert "the list of the 2 modules" in caplog.text
