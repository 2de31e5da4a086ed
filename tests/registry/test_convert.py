"""PyTorch's files through the registry: converted by a child, kept as evidence, never served; hostile ones refused."""

import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hub import errors as client_errors
from hub.client import Client
from hub.spec import manifest as manifests
from hub.spec import torch_file
from hub.spec.errors import SpecError
from hub.spec.snapshot import MemorySnapshot
from registry.models import Blob, Manifest, ManifestFile, Original, Upload, Version
from registry.queries import blobs
from registry.services import conversions, ingest
from registry.storage import base as storage
from tests.registry import adapters
from tests.registry.cast import Caller, judge, publish
from tests.registry.test_ingest import CRASHES, killed_and_begun_again
from tests.registry.workers import take
from tests.specimens.torch import build, hostile

BIN, SAFE = "adapter_model.bin", "adapter_model.safetensors"


def lora(data: bytes | None = None, **more: Any) -> dict[str, bytes]:
    """A good adapter whose weights are a file of torch.save."""
    files = adapters.lora(**more)
    del files[SAFE]
    return {**files, BIN: build.state(adapters.lora_tensors()) if data is None else data}


def kept(files: dict[str, bytes]) -> dict[str, bytes]:
    """What the hub holds of such an adapter."""
    found = {path: data for path, data in files.items() if path != BIN}
    return {**found, SAFE: b"".join(torch_file.convert(MemorySnapshot(files), BIN))}


def digest_of(files: dict[str, bytes]) -> str:
    listed = [manifests.File(path, hashlib.sha256(data).hexdigest(), len(data)) for path, data in files.items()]
    return manifests.Manifest(tuple(listed)).digest


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.django_db
class TestAPush:
    def test_the_file_is_converted_and_the_version_waits_for_its_run(self, owner: Caller, base) -> None:
        files = lora()
        answer = owner.push("acme/tone-bert", files)
        assert (answer.status, answer["status"], answer["version"]["stage"]) == (202, "validating", "queued")
        assert answer["version"]["digest"] == f"sha256:{digest_of(kept(files))}"
        paths = {row.path: row.blob_id for row in ManifestFile.objects.all()}
        assert paths == {path: sha256(data) for path, data in kept(files).items()}
        assert blobs.store().read(paths[SAFE]) == kept(files)[SAFE]

    def test_it_is_published_and_pulled_as_safetensors(self, owner: Caller, anybody: Caller, base, benchmark) -> None:
        files = lora(hub={"benchmarks": ["acme/tone"]})
        version = publish(owner, "acme/tone-bert", files)
        assert version.status == "published"
        found = anybody.get("resolve?ref=acme/tone-bert")
        assert {file["path"] for file in found["files"]} == set(kept(files))
        assert anybody.get(f"adapters/acme/tone-bert/versions/1/files/{SAFE}").body == kept(files)[SAFE]

    def test_what_was_sent_stays_stored_as_evidence(self, owner: Caller, base) -> None:
        files = lora()
        owner.push("acme/tone-bert", files)
        original = Original.objects.get()
        assert (original.path, original.converted, original.blob_id) == (BIN, SAFE, sha256(files[BIN]))
        assert original.manifest == Manifest.objects.get()
        assert blobs.store().read(original.blob_id) == files[BIN]

    def test_the_same_file_gives_the_same_digest_and_run_for_everybody(
        self, owner: Caller, member: Caller, base
    ) -> None:
        answers = [who.push(f"acme/{name}", lora()) for who, name in ((owner, "one"), (member, "two"))]
        assert len({answer["version"]["digest"] for answer in answers}) == 1
        assert len(set(Version.objects.values_list("run", flat=True))) == 1
        assert Original.objects.count() == 1

    def test_whoever_converts_it_before_gets_the_same_digest(self, owner: Caller, base) -> None:
        sent = owner.push("acme/one", lora())
        made = owner.push("acme/two", kept(lora()))
        assert sent["version"]["digest"] == made["version"]["digest"]

    def test_two_files_with_the_same_tensors_are_one_manifest_and_two_originals(self, owner: Caller, base) -> None:
        other = build.archive(build.entries(*tensors_of(adapters.lora_tensors()), root="elsewhere"))
        answers = [owner.push("acme/one", lora()), owner.push("acme/two", lora(other))]
        assert len({answer["version"]["digest"] for answer in answers}) == 1
        assert Original.objects.count() == 2 and Manifest.objects.count() == 1

    def test_a_file_in_a_folder_is_converted_in_its_folder(self, owner: Caller, base) -> None:
        files = {f"sub/{path}" if path in (BIN, "adapter_config.json") else path: data for path, data in lora().items()}
        assert owner.push("acme/tone-bert", files).status == 202
        assert ManifestFile.objects.filter(path=f"sub/{SAFE}").exists()

    def test_pushing_it_again_under_its_label_is_no_conflict(self, owner: Caller, member: Caller, base) -> None:
        assert owner.push("acme/tone-bert", lora(), version="1.0").status == 202
        for who in (owner, member):
            again = who.push("acme/tone-bert", lora(), version="1.0")
            assert again.status == 202 and again["version"]["number"] == 1
        assert owner.push("acme/tone-bert", kept(lora()), version="1.0")["version"]["number"] == 1
        other = build.state(adapters.lora_tensors(value=0.5))
        assert owner.push("acme/tone-bert", lora(other), version="1.0").status == 409

    def test_with_validation_off_it_is_hosted_as_safetensors(self, owner: Caller, settings: Any) -> None:
        settings.HUB_VALIDATION = "off"
        assert owner.push("acme/tone-bert", lora())["status"] == "hosted"
        assert set(ManifestFile.objects.values_list("path", flat=True)) == set(kept(lora()))


def tensors_of(values: dict[str, tuple[list[int], float]]) -> tuple[bytes, dict[str, bytes]]:
    """The pickle and the storages of `build.state`."""
    found = build.state(values)
    size = len(found)
    from hub.spec import torch_archive

    archive = torch_archive.read(lambda start, end: found[start:end], size, "x")
    pickle = found[archive.pickle.start : archive.pickle.end]
    return pickle, {key: found[entry.start : entry.end] for key, entry in archive.storages.items()}


@pytest.mark.django_db
class TestNobodyGetsTheOriginal:
    @pytest.fixture
    def version(self, owner: Caller, base, benchmark) -> Version:
        return publish(owner, "acme/tone-bert", lora(hub={"benchmarks": ["acme/tone"]}))

    def test_by_no_path_of_a_version(self, owner: Caller, anybody: Caller, admin: Caller, version: Version) -> None:
        numbers = ("1", "latest", f"sha256:{version.digest}")
        for who in (owner, anybody, admin):
            for number in numbers:
                for path in (BIN, f"./{BIN}", sha256(lora()[BIN])):
                    assert who.get(f"adapters/acme/tone-bert/versions/{number}/files/{path}").status == 404
                    assert who.head(f"adapters/acme/tone-bert/versions/{number}/files/{path}").status == 404

    def test_its_digest_is_the_name_of_nothing(
        self, owner: Caller, anybody: Caller, admin: Caller, version: Version
    ) -> None:
        announced = Upload.objects.get().digest
        original = Original.objects.get().blob_id
        for who in (owner, anybody, admin):
            for digest in (announced, original):
                assert who.get(f"resolve?ref=acme/tone-bert@sha256:{digest}").status == 404
                assert who.get(f"adapters/acme/tone-bert/versions/sha256:{digest}").status == 404
                assert who.get(f"adapters/acme/tone-bert/versions/sha256:{digest}/files/{BIN}").status == 404
                assert who.get(f"benchmarks/sha256:{digest}/files/{BIN}").status == 404

    def test_no_answer_and_no_page_names_it(self, anybody: Caller, version: Version) -> None:
        original = Original.objects.get().blob_id
        for path in ("resolve?ref=acme/tone-bert", "adapters/acme/tone-bert", "adapters/acme/tone-bert/versions/1",
                     "adapters/acme/tone-bert/versions/1/report", "/acme/tone-bert", "/acme/tone-bert/files",
                     "/acme/tone-bert/resolve/main/adapter_model.bin", "/acme/tone-bert/resolve/main/README.md",
                     "/api/models/acme/tone-bert", "/api/models/acme/tone-bert/tree/main"):  # fmt: skip
            answer = anybody.get(path)
            assert original.encode() not in answer.body, path
            assert BIN.encode() not in answer.body or answer.status == 404, path

    def test_not_even_a_worker_gets_it(self, worker: Caller, owner: Caller, base, benchmark) -> None:
        owner.push("acme/tone-bert", lora(hub={"benchmarks": ["acme/tone"]}))
        lease = take(worker, base.fingerprint)
        weights = ManifestFile.objects.get(path=SAFE).blob_id
        assert lease.holder.get(f"runs/{lease.id}/blobs/{weights}").status == 200
        assert lease.holder.get(f"runs/{lease.id}/blobs/{Original.objects.get().blob_id}").status == 404

    def test_who_knows_its_digest_must_send_it_all_the_same(
        self, owner: Caller, stranger: Caller, version: Version
    ) -> None:
        for who, ref in ((owner, "acme/again"), (stranger, "charlie/mine")):
            started = who.start(ref, lora())
            assert BIN in {blob["path"] for blob in started["blobs"]}

    def test_a_manifest_that_names_it_otherwise_is_not_helped(self, owner: Caller, version: Version) -> None:
        files = {**adapters.lora(), "vocab.txt": lora()[BIN]}
        assert owner.push("acme/other", files).status == 422


@pytest.mark.django_db
class TestAHostileFile:
    @pytest.mark.parametrize("title", ["global 'os system'", "object made by INST", "opcode EXT1 alone", "data.pkl twice",
                                       "a billion laughs", "expanded to 2^60", "cut at 4", "no archive: a bare pickle"])  # fmt: skip
    def test_it_is_rejected_with_what_was_found(self, owner: Caller, base, tmp_path: Path, title: str) -> None:
        there = tmp_path / "canary"
        item = hostile.corpus(there).get(title) or hostile.corpus(there)[f"a view {title}"]
        answer = owner.push("acme/tone-bert", lora(item.data))
        assert (answer.status, answer["code"]) == (422, "rejected")
        (problem,) = answer["problems"]
        assert (problem["code"], problem["where"], problem["check"]) == (item.code, BIN, "scan")
        report = owner.get("adapters/acme/tone-bert/versions/1/report")
        assert report["verdict"] == "failed"
        assert [check["name"] for check in report["checks"] if check["status"] == "failed"] == ["scan"]
        assert not there.exists()
        assert not Manifest.objects.exists() and not Original.objects.exists()

    def test_the_opcode_is_named(self, owner: Caller, base, tmp_path: Path) -> None:
        answer = owner.push("acme/tone-bert", lora(hostile.corpus(tmp_path / "x")["object made by INST"].data))
        assert "INST at byte" in answer["detail"]

    def test_it_is_refused_beside_the_safetensors_it_would_become(self, owner: Caller, base) -> None:
        answer = owner.push("acme/tone-bert", {**adapters.lora(), BIN: lora()[BIN]})
        assert (answer.status, answer["problems"][0]["code"]) == (422, "torch.both")

    def test_every_bad_file_is_told_at_once(self, owner: Caller, base) -> None:
        bad = {f"{n}/{BIN}": b"no archive" for n in range(3)}
        answer = owner.push("acme/tone-bert", {**lora(), **bad})
        assert {problem["where"] for problem in answer["problems"]} == set(bad)

    def test_too_many_are_refused_before_one_is_read(
        self, owner: Caller, base, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(conversions, "_stored", lambda file: pytest.fail("read"))
        files = {**lora(), **{f"{n}/{BIN}": b"x" for n in range(conversions.MAX_FILES)}}
        answer = owner.push("acme/tone-bert", files)
        assert (answer.status, answer["problems"][0]["code"]) == (422, "torch.many")


def convert(data: bytes) -> None:
    """Convert bytes as the hub does, without a database."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(data)
        source.flush()
        conversions._run(manifests.File(BIN, sha256(data), len(data)), source, target)


def program(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this program run where the reader would, within its walls."""
    walls = "torch_child.confine(*map(int, sys.argv[1:5]));"
    begin = "import sys; sys.path.insert(0, sys.argv.pop(1)); from registry.services import torch_child;"
    begin += "import json, os, socket, subprocess;"
    monkeypatch.setattr(conversions, "_BEGIN", f"{begin} {walls}\n{code}")


class TestTheWalls:
    def test_a_child_that_takes_too_long_is_a_refusal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(conversions, "SECONDS", 1)
        for code in ("import time; time.sleep(600)", "while True: pass"):
            program(code, monkeypatch)
            begun = time.monotonic()
            with pytest.raises(SpecError, match="more than 1 seconds") as told:
                convert(lora()[BIN])
            assert told.value.problems[0].code == "torch.time"
            assert time.monotonic() - begun < 10

    def test_a_child_that_runs_out_of_memory_is_a_refusal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(conversions, "MEMORY", 160 << 20)
        count = 10_000 * 10_000
        turned = build.tensor(build.storage("Byte", count=count), (10_000, 10_000), (1, 10_000))
        with pytest.raises(SpecError, match="more than 160 MiB of memory") as told:
            convert(build.saved(build.dictionary({"w": turned}), {"0": bytes(count)}))
        assert (told.value.problems[0].code, told.value.problems[0].check) == ("torch.memory", "scan")

    @pytest.mark.parametrize(
        ("code", "wanted"),
        [
            ("os.write(2, json.dumps(sorted(os.environ)).encode())", '["LC_CTYPE"]'),
            (
                "os.write(2, json.dumps([n for n in range(99) if os.path.exists(f'/proc/self/fd/{n}')]).encode())",
                "[0, 1, 2]",
            ),
            ("socket.create_connection(('127.0.0.1', 1))", "Too many open files"),
            ("open('/etc/hostname')", "Too many open files"),
            ("os.close(0); socket.socket().connect(('127.0.0.1', 1))", "Network is unreachable"),
            ("[os.write(1, bytes(99_000_000)) for _ in range(2)]", "File too large"),
            ("os.fork()", "Resource temporarily unavailable"),
            ("os.close(0); subprocess.run(['/bin/true'])", "Too many open files"),
            ("bytes(2 << 30)", "MemoryError"),
        ],
    )
    def test_what_is_not_needed_is_not_there(self, monkeypatch: pytest.MonkeyPatch, code: str, wanted: str) -> None:
        if "Network" in wanted and os.geteuid() != 0:
            pytest.skip("another network can be made by root only, or where the kernel lets everybody")
        monkeypatch.setenv("HUB_SECRET_KEY", "secret " * 20)
        program(f"{code}\nos._exit(9)", monkeypatch)
        with pytest.raises(RuntimeError) as told:
            convert(lora()[BIN])
        assert wanted in str(told.value) and "secret" not in str(told.value)

    def test_a_child_whose_parent_is_gone_ends(self) -> None:
        done = subprocess.run([sys.executable, "-I", "-c", conversions._BEGIN, conversions._ROOT, "1", "9", str(1 << 30), "9", BIN],
                              stdin=subprocess.DEVNULL, capture_output=True)  # fmt: skip
        assert (done.returncode, done.stdout) == (1, b"")

    def test_no_descriptor_is_left_open_and_no_process_stays(self) -> None:
        def held() -> tuple[int, str]:
            return len(os.listdir("/proc/self/fd")), Path(
                f"/proc/self/task/{threading.get_native_id()}/children"
            ).read_text()

        before = held()
        convert(lora()[BIN])
        assert held() == before

    def test_a_child_that_dies_for_no_known_reason_is_no_verdict(self, monkeypatch: pytest.MonkeyPatch) -> None:
        program("import os; os.kill(os.getpid(), 9)", monkeypatch)
        with pytest.raises(RuntimeError, match="ended with status -9"):
            convert(lora()[BIN])


@pytest.mark.django_db(transaction=True)
class TestFaults:
    @pytest.fixture
    def waiting(self, owner: Caller, base, settings: Any) -> Upload:
        settings.HUB_INLINE_INGEST_BYTES = 0
        assert owner.push("acme/tone-bert", lora())["version"]["stage"] == "ingest"
        return Upload.objects.get()

    @pytest.mark.parametrize(
        "where", [*CRASHES, "before_the_conversion", "before_what_comes_of_it_is_stored", "after_it_is_stored"]
    )
    def test_killed_anywhere_it_is_begun_again_and_gives_the_same(
        self, waiting: Upload, monkeypatch: pytest.MonkeyPatch, where: str
    ) -> None:
        more = {
            "before_the_conversion": (ingest, "_convert", 0),
            "before_what_comes_of_it_is_stored": (conversions, "_store", 0),
            "after_it_is_stored": (conversions.blob_rows, "keep", 4),
        }
        killed_and_begun_again(waiting, {**CRASHES, **more}[where], monkeypatch)
        version = Version.objects.get()
        assert (version.status, version.stage, version.digest) == ("validating", "queued", digest_of(kept(lora())))
        assert (Manifest.objects.count(), Original.objects.count()) == (1, 1)
        assert judge(version.run).status == "passed"

    def test_a_file_beyond_the_limits_is_rejected_and_not_tried_again(
        self, waiting: Upload, owner: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(conversions, "SECONDS", 1)
        program("while True: pass", monkeypatch)
        assert ingest.run(upload_id=waiting.pk)
        assert not ingest.run(upload_id=waiting.pk)
        told = owner.get("adapters/acme/tone-bert/versions/1/report")
        assert (told["verdict"], told["status"]) == ("failed", "rejected")
        assert "takes more than 1 seconds" in told["checks"][0]["message"]

    def test_a_full_disk_is_no_fault_of_the_file(self, waiting: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
        program("import os; os._exit(torch_child.FULL)", monkeypatch)
        with pytest.raises(storage.StorageFull):
            ingest.run(upload_id=waiting.pk)
        monkeypatch.undo()
        waiting.refresh_from_db()
        assert (waiting.state, waiting.faults) == ("ingesting", 0)

    def test_a_blob_that_has_rotted_is_noticed_before_it_is_converted(
        self, waiting: Upload, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(type(blobs.store()), "open", lambda *_: iter([b"rotten"]))
        with pytest.raises(storage.BlobRotten):
            ingest.run(upload_id=waiting.pk)

    def test_what_was_staged_on_the_way_is_forgotten(self, waiting: Upload) -> None:
        folder = Path(blobs.store().address.removeprefix("file://")) / "staging"

        def staged() -> list[Path]:  # of this upload alone: others share the store, and other tests run beside this one
            return [path for path in folder.rglob("*") if path.is_file() and str(waiting.pk) in str(path)]

        assert staged()
        assert ingest.run(upload_id=waiting.pk)
        assert staged() == []
        assert Blob.objects.filter(pk=Original.objects.get().blob_id, state="live").exists()


@pytest.mark.django_db(transaction=True)
def test_a_folder_of_older_weights_is_pushed_and_pulled_by_the_client(
    live_server: Any,
    owner: Caller,
    base,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("HOME", "HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    folder = tmp_path / "older"
    folder.mkdir()
    for path, data in lora().items():
        (folder / path).write_bytes(data)
    with Client(live_server.url, owner.token) as client:
        done = client.push(folder, "acme/tone-bert", base="tiny-bert")
        assert (done.status, done["number"]) == ("validating", 1)
        held = Version.objects.get()
        assert done["digest"] == f"sha256:{held.digest}"
        again = client.push(folder, "acme/tone-bert", base="tiny-bert")
        assert (again["number"], again["digest"]) == (1, done["digest"])
        judge(held.run)
        pulled = client.pull("acme/tone-bert")
        assert (pulled.snapshot / SAFE).read_bytes() == kept(lora())[SAFE]
        assert not (pulled.snapshot / BIN).exists()
        (folder / BIN).write_bytes(hostile.corpus(tmp_path / "canary")["object made by INST"].data)
        with pytest.raises(client_errors.Rejected, match="INST at byte"):
            client.push(folder, "acme/tone-bert", base="tiny-bert", check=False)
    assert caplog.text.count("adapter_model.bin is sent as it is") == 3
