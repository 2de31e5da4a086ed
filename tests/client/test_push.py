"""Push: every problem before a byte travels; resumable, repeatable uploads; the verdict."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hub import base_folder, errors, verdicts
from hub.client import Client
from hub.spec import tensors
from tests.client import specimens
from tests.client.conftest import quick
from tests.client.records import Version
from tests.client.simulator import OWNER, PART, Simulator
from tests.specimens.spec import builders
from tests.specimens.torch import build, hostile

PASSED = {
    "verdict": "passed",
    "summary": "published: 9 of 9 checks passed",
    "checks": [{"name": "effect", "status": "passed", "message": "the adapter changes the output"}],
    "components": [],
}
FAILED = {
    "verdict": "failed",
    "summary": "rejected: 1 of 9 checks failed",
    "checks": [{"name": "effect", "status": "failed", "message": "the adapter changes nothing", "hint": "B is zero"}],
    "components": [],
}
BROKEN = {"verdict": "error", "summary": "not judged", "error": "the worker died three times", "checks": []}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return specimens.write(tmp_path / "sentiment", specimens.lora())


def know_base(sim: Simulator, name: str = "tiny-bert") -> str:
    described = base_folder.read(specimens.BASE)
    sim.bases[described.fingerprint] = {**described.to_json(), "name": name, "state": "observed", "aliases": [name]}
    return described.fingerprint


def judged(report: dict[str, object], status: str) -> Callable[[Version], None]:
    def judge(version: Version) -> None:
        version.report, version.status = report, status

    return judge


def test_a_push_arrives_byte_for_byte(sim: Simulator, owner: Client, folder: Path) -> None:
    done = owner.push(folder, "owner/sentiment", version="1.0", message="first")
    assert (done.status, done.ref, done.verdict) == ("validating", "owner/sentiment:1.0", None)
    assert sim.versions[0].files == specimens.lora()
    assert not (folder / "hub.json").exists()


def test_without_a_name_the_folders_is_taken(sim: Simulator, owner: Client, folder: Path) -> None:
    assert owner.push(folder).ref == "owner/sentiment:1"


def test_facts_travel_in_hub_json_and_the_folder_stays_as_it_is(sim: Simulator, owner: Client, folder: Path) -> None:
    fingerprint = know_base(sim)
    sim.benchmarks["glue/sst2"] = {"name": "glue/sst2", "labels": ["negative", "positive"]}
    before = sorted(os.listdir(folder))
    owner.push(folder, "owner/a", base="tiny-bert", benchmarks=["glue/sst2"], labels=["negative", "positive"])
    facts = json.loads(sim.versions[0].files["hub.json"])
    assert facts == {"base": fingerprint, "benchmarks": ["glue/sst2"], "labels": ["negative", "positive"]}
    assert sorted(os.listdir(folder)) == before


def test_the_command_line_wins_over_hub_json_and_says_so(
    sim: Simulator, owner: Client, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "hub.json").write_text('{"task": "text-classification", "labels": ["a", "b"]}')
    owner.push(folder, "owner/a", labels=["negative", "positive"])
    facts = json.loads(sim.versions[0].files["hub.json"])
    assert facts == {"task": "text-classification", "labels": ["negative", "positive"]}
    assert "the command line is used" in caplog.text
    assert json.loads((folder / "hub.json").read_text())["labels"] == ["a", "b"]


def test_a_hub_json_that_says_the_same_is_sent_as_it_is(sim: Simulator, owner: Client, folder: Path) -> None:
    text = '{ "labels" : ["a", "b"] }'
    (folder / "hub.json").write_text(text)
    owner.push(folder, "owner/a", labels=["a", "b"])
    assert sim.versions[0].files["hub.json"] == text.encode()


def test_every_problem_is_told_at_once_and_no_byte_travels(sim: Simulator, owner: Client, folder: Path) -> None:
    (folder / "adapter_model.bin").write_bytes(b"\x80\x04pickle")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "target_modules": ["query", "value"]}')
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "hub.json").write_text("{not json")
    with pytest.raises(errors.Rejected) as told:
        owner.push(folder, "owner/a")
    text = str(told.value)
    for word in ("adapter_model.bin", "link", "hub.json", "nothing was sent"):
        assert word in text
    assert sim.count("POST .*") == 0
    assert sim.received == {}


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """The same adapter, saved by torch.save."""
    files = specimens.lora()
    data = files.pop("adapter_model.safetensors")
    length = tensors.header_length(data[:8], len(data))
    found = tensors.parse_header(data, len(data))
    shapes = {
        tensor.name: (list(tensor.shape), data[8 + length + tensor.start : 8 + length + tensor.end]) for tensor in found
    }
    return specimens.write(tmp_path / "older", {**files, "adapter_model.bin": build.raw_state(shapes)})


def test_weights_of_torch_are_sent_as_they_are_and_the_conversion_is_told_in_one_line(
    sim: Simulator, owner: Client, older: Path, caplog: pytest.LogCaptureFixture
) -> None:
    know_base(sim)
    done = owner.push(older, "owner/older", base="tiny-bert")
    assert sim.versions[0].files["adapter_model.bin"] == (older / "adapter_model.bin").read_bytes()
    (line,) = [record.message for record in caplog.records if "adapter_model" in record.message]
    assert line.startswith("adapter_model.bin is sent as it is") and line.endswith("keeps adapter_model.safetensors")
    assert done.ref == "owner/older:1"


def test_weights_of_torch_are_judged_by_what_they_become(sim: Simulator, owner: Client, older: Path) -> None:
    know_base(sim)
    told = owner.prepare(older, base="tiny-bert").to_json()
    assert told["ok"], told["problems"]
    assert told["components"][0]["parameters"] > 0
    assert {file["path"] for file in told["files"]} >= {"adapter_model.bin"}


def test_weights_of_torch_that_would_run_something_are_refused_before_a_byte_travels(
    sim: Simulator, owner: Client, older: Path, tmp_path: Path
) -> None:
    data = hostile.corpus(tmp_path / "canary")["object made by INST"].data
    (older / "adapter_model.bin").write_bytes(data)
    with pytest.raises(errors.Rejected, match="INST at byte"):
        owner.push(older, "owner/older")
    assert sim.received == {}
    assert not (tmp_path / "canary").exists()


def test_both_forms_of_the_weights_are_one_too_many(sim: Simulator, owner: Client, folder: Path, older: Path) -> None:
    (folder / "adapter_model.bin").write_bytes((older / "adapter_model.bin").read_bytes())
    with pytest.raises(errors.Rejected, match="keep the safetensors file"):
        owner.push(folder, "owner/both")
    assert sim.received == {}


def test_tensors_of_a_wrong_shape_are_named_before_a_byte_travels(
    sim: Simulator, owner: Client, tmp_path: Path
) -> None:
    know_base(sim)
    folder = specimens.write(tmp_path / "wide", specimens.lora(hidden=48))
    with pytest.raises(errors.Rejected) as told:
        owner.push(folder, "owner/a", base="tiny-bert")
    assert "encoder.layer.0.attention.self.query" in str(told.value)
    assert any(check["status"] == "failed" for check in told.value.report["checks"])
    assert sim.received == {}


def test_a_base_model_in_a_folder_needs_no_hub_to_compare(sim: Simulator, owner: Client, tmp_path: Path) -> None:
    folder = specimens.write(tmp_path / "wide", specimens.lora(hidden=48))
    with pytest.raises(errors.Rejected):
        owner.push(folder, "owner/a", base=specimens.BASE)
    assert sim.seen == []


def test_a_head_of_another_size_than_the_benchmark_is_refused_here(sim: Simulator, owner: Client, folder: Path) -> None:
    sim.benchmarks["three"] = {"name": "three", "labels": ["a", "b", "c"]}
    with pytest.raises(errors.Rejected, match="3 labels"):
        owner.push(folder, "owner/a", benchmarks=["three"])


def test_unknown_names_are_answered_with_likely_ones(sim: Simulator, owner: Client, folder: Path) -> None:
    know_base(sim, "bert-base-uncased")
    sim.benchmarks["glue/sst2"] = {"name": "glue/sst2", "labels": ["a", "b"]}
    with pytest.raises(errors.NotFound, match="did you mean bert-base-uncased"):
        owner.push(folder, "owner/a", base="bert-base-uncase")
    with pytest.raises(errors.NotFound, match="did you mean glue/sst2"):
        owner.push(folder, "owner/a", benchmarks=["glue/sst-2"])


@pytest.fixture
def speaker(folder: Path) -> Path:
    """A LoRA for text generation: it brings no head."""
    head = (f"{builders.PREFIX}classifier.{part}" for part in ("weight", "bias"))
    made = builders.lora({"task_type": "CAUSAL_LM"}, dict.fromkeys(head, builders.REMOVE))
    return specimens.write(folder, made)


@pytest.mark.parametrize("named", [True, False], ids=["named", "required by the namespace"])
def test_an_adapter_without_a_head_is_refused_before_a_byte_travels(
    sim: Simulator, owner: Client, speaker: Path, named: bool
) -> None:
    sim.benchmarks["glue/sst2"] = {"name": "glue/sst2", "task": "text-classification", "labels": ["a", "b"]}
    sim.policies["owner"] = {"required": [] if named else ["glue/sst2"], "gates": {}}
    with pytest.raises(errors.Rejected) as told:
        owner.push(speaker, "owner/a", benchmarks=["glue/sst2"] if named else [])
    (problem,) = told.value.problems
    assert "was made for text-generation (task_type CAUSAL_LM) and brings no head" in problem.message
    assert problem.message.endswith("they are for text-classification")
    assert problem.hint.startswith(
        'choose benchmarks for text-generation, or train it with a head: task_type="SEQ_CLS"'
    )
    assert sim.versions == [] and not any(entry.method != "GET" for entry in sim.seen), "nothing was sent"


def test_one_that_no_benchmark_asks_for_a_head_is_pushed(sim: Simulator, owner: Client, speaker: Path) -> None:
    sim.benchmarks["acme/prose"] = {"name": "acme/prose", "task": "text-generation", "labels": []}
    owner.push(speaker, "owner/a", benchmarks=["acme/prose"])
    assert len(sim.versions) == 1


def test_a_base_model_that_cannot_speak_is_refused_before_a_byte_travels(
    sim: Simulator, owner: Client, speaker: Path
) -> None:
    know_base(sim)
    sim.benchmarks["acme/prose"] = {"name": "acme/prose", "task": "text-generation", "labels": []}
    with pytest.raises(errors.Rejected) as told:
        owner.push(speaker, "owner/a", base="tiny-bert", benchmarks=["acme/prose"])
    (problem,) = [problem for problem in told.value.problems if problem.check == "head"]
    assert problem.message.endswith("language-model head; tiny-bert (bert) has none")
    assert sim.versions == []


def test_a_base_model_known_by_its_headers_only_is_told_as_that(sim: Simulator, owner: Client, folder: Path) -> None:
    sim.bases["located"] = {"fingerprint": None, "name": "org/big", "state": "located", "config": {}}
    sim.bases["located"]["tensors"] = [["encoder.layer.0.output.dense.weight", "F32", [4, 4]]]
    with pytest.raises(errors.NotFound, match="nobody has hashed it"):
        owner.push(folder, "owner/sentiment", base="org/big")
    assert sim.versions == []


def test_a_dry_run_sends_nothing_and_needs_no_hub(owner: Client, sim: Simulator, folder: Path) -> None:
    with quick("http://127.0.0.1:9", None) as lonely:
        prepared = lonely.prepare(folder, base="tiny-bert")
    assert not prepared.problems
    assert {file.path for file in prepared.manifest.files} == {*specimens.lora(), "hub.json"}
    assert sim.seen == []


def test_hidden_files_are_left_out_and_named(owner: Client, sim: Simulator, folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("secret")
    (folder / "__pycache__").mkdir()
    prepared = owner.prepare(folder)
    assert prepared.to_json()["left_out"] == [".git", "__pycache__"]


def test_what_a_trainer_leaves_beside_an_adapter_stays_at_home(owner: Client, sim: Simulator, folder: Path) -> None:
    know_base(sim)
    for name in ("training_args.bin", "optimizer.pt", "rng_state_0.pth", "trainer_state.json", "train.log"):
        (folder / name).write_bytes(b"\x80\x04")
    (folder / "checkpoint-500").mkdir()
    prepared = owner.prepare(folder)
    assert not prepared.problems
    assert len(prepared.to_json()["left_out"]) == 6


def test_a_stranger_cannot_push(sim: Simulator, stranger: Client, folder: Path) -> None:
    with pytest.raises(errors.AuthError, match="may not write"):
        stranger.push(folder, "owner/a")
    assert sim.versions == []


# -- the upload ----------------------------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("hub.transfer.upload.STEP", PART // 2)
    return specimens.write(tmp_path / "large", specimens.lora(padding=4 * PART))


def total(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_a_connection_cut_at_half_goes_on_from_there(sim: Simulator, owner: Client, large: Path) -> None:
    sim.faults.upload_cuts.extend([PART // 4, 1000, PART // 3, 1, PART // 2, 77_777])
    owner.push(large, "owner/a", check=False)
    assert sim.versions[0].files["README.md"] == (large / "README.md").read_bytes()
    assert sum(sim.received.values()) <= 1.3 * total(large)


def test_a_client_that_was_killed_at_half_goes_on_from_there(sim: Simulator, owner: Client, large: Path) -> None:
    """The same content is the same upload: a second process finds what the first has sent."""
    sim.faults.slow = 0.01
    environment = {**os.environ, "HUB_TOKEN": OWNER}
    command = [sys.executable, str(Path(__file__).with_name("puller.py")), "push", str(large), "owner/a"]
    process = subprocess.Popen(command, env=environment)
    while sum(sim.received.values()) < total(large) // 2 and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.wait()
    sim.faults.slow = 0.0
    sim.wait_until_idle()
    assert sim.versions == []
    owner.push(large, "owner/a", check=False)
    assert sim.versions[0].files["README.md"] == (large / "README.md").read_bytes()
    assert len(sim.uploads) == 1
    assert sum(sim.received.values()) <= 1.3 * total(large)


def test_a_hub_that_forgets_is_sent_the_same_bytes_again(
    sim: Simulator, owner: Client, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: where what came before a cut is lost, the same cuts cost far more than 1.3 times the file."""
    monkeypatch.setattr("hub.transfer.upload.STEP", 100 * PART)
    sim.faults.forget = True
    sim.faults.upload_cuts.extend([3 * PART] * 3)
    owner.push(large, "owner/a", check=False)
    assert sum(sim.received.values()) > 1.3 * total(large)


def test_parts_go_to_their_presigned_addresses_without_the_token(store_sim: Simulator, tmp_path: Path) -> None:
    folder = specimens.write(tmp_path / "large", specimens.lora(padding=4 * PART))
    store_sim.faults.upload_cuts.extend([PART // 2, 10, 10_000_000, PART - 1])
    with quick(store_sim.url, OWNER) as client:
        client.push(folder, "owner/a", check=False)
    assert store_sim.versions[0].files["README.md"] == (folder / "README.md").read_bytes()
    assert all(entry.token is None for entry in store_sim.seen if entry.server == "store")
    assert sum(store_sim.received.values()) <= total(folder) + 3 * PART


def test_expired_upload_addresses_are_renewed(store_sim: Simulator, tmp_path: Path) -> None:
    folder = specimens.write(tmp_path / "large", specimens.lora(padding=2 * PART))
    store_sim.faults.expired = {f"s{number}" for number in range(1, 4)}
    with quick(store_sim.url, OWNER) as client:
        client.push(folder, "owner/a", check=False)
    assert store_sim.versions[0].files["README.md"] == (folder / "README.md").read_bytes()


def test_lost_answers_make_no_second_version(sim: Simulator, owner: Client, folder: Path) -> None:
    sim.faults.lost.extend(["/uploads", "/complete"])
    owner.push(folder, "owner/a")
    assert (len(sim.uploads), len(sim.versions)) == (1, 1)


def test_answers_lost_before_a_quick_refusal_make_no_second_version(
    sim: Simulator, owner: Client, folder: Path
) -> None:
    """Both answers are lost, and the run was refused before the second is asked for again: still the same push."""
    sim.faults.lost.extend(["/uploads", "/complete"])
    publish = sim.publish

    def publish_and_judge(repo: str, files: dict[str, bytes], **more: object) -> Version:
        return publish(repo, files, **more | {"status": "rejected", "report": FAILED})

    sim.publish = publish_and_judge  # type: ignore[method-assign]
    assert owner.push(folder, "owner/a").status == "rejected"
    assert (len(sim.uploads), len(sim.versions)) == (1, 1)


def test_without_its_key_a_lost_answer_would_make_two(sim: Simulator, owner: Client, folder: Path) -> None:
    """The control: the hub of these tests does make an upload for each call that has a key of its own."""
    content = owner.prepare(folder).manifest.to_json()
    for key in ("one", "two"):
        body = {"manifest": content}
        owner.request("POST", "adapters/owner/a/uploads", json=body, headers={"Idempotency-Key": key})
    assert len(sim.uploads) == 2


def test_two_pushes_of_the_same_bytes_at_once_are_one_version(sim: Simulator, folder: Path) -> None:
    done: list[str] = []

    def push() -> None:
        with quick(sim.url, OWNER) as client:
            done.append(client.push(folder, "owner/a").ref)

    threads = [threading.Thread(target=push) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (done, len(sim.versions)) == (["owner/a:1"] * 4, 1)


def test_pushing_again_what_was_rejected_asks_again(sim: Simulator, owner: Client, folder: Path) -> None:
    sim.verdict = judged(FAILED, "rejected")
    with pytest.raises(errors.Rejected):
        owner.push(folder, "owner/a", wait=True)
    sim.verdict = judged(PASSED, "published")
    assert owner.push(folder, "owner/a", wait=True).ref == "owner/a:2"


def test_a_file_that_changes_while_it_is_pushed_is_told(sim: Simulator, owner: Client, large: Path) -> None:
    prepared = owner.prepare(large, check=False)
    (large / "README.md").write_text("shorter now")
    from hub import publication, retrieval

    with pytest.raises(errors.HubError, match="became shorter|changed"):
        publication.send(owner.wire, prepared, retrieval.parse("owner/a"))
    assert sim.versions == []


def test_a_file_larger_than_announced_is_the_hubs_to_refuse(sim: Simulator, owner: Client, folder: Path) -> None:
    body = {"status": 413, "code": "too_large", "detail": "README.md: more than the 17 bytes that were announced."}
    sim.put = lambda *_: (413, body, {})  # type: ignore[method-assign]
    with pytest.raises(errors.UsageError, match="announced"):
        owner.push(folder, "owner/a")


# -- the verdict ---------------------------------------------------------------------------------------------------


def test_a_push_that_waits_returns_the_report(sim: Simulator, owner: Client, folder: Path) -> None:
    sim.verdict = judged(PASSED, "published")
    report = owner.push(folder, "owner/a", wait=True)
    assert (report.verdict, report.status, report.ref) == ("passed", "published", "owner/a:1")


def test_a_rejection_carries_the_report(sim: Simulator, owner: Client, folder: Path) -> None:
    sim.verdict = judged(FAILED, "rejected")
    with pytest.raises(errors.Rejected) as told:
        owner.push(folder, "owner/a", wait=True)
    assert told.value.exit_code == 7
    assert told.value.report["checks"][0]["name"] == "effect"
    assert "B is zero" in str(told.value)


def test_a_broken_worker_is_no_rejection(sim: Simulator, owner: Client, folder: Path) -> None:
    sim.verdict = judged(BROKEN, "validating")
    with pytest.raises(errors.NotJudged) as told:
        owner.push(folder, "owner/a", wait=True)
    assert told.value.exit_code == 10
    assert "died three times" in str(told.value)


def test_time_that_is_up_is_no_rejection(sim: Simulator, owner: Client, folder: Path) -> None:
    with pytest.raises(errors.NotJudged, match=r"hub status owner/a:1 --follow"):
        owner.push(folder, "owner/a", wait=True, timeout=0.3)


def test_a_hub_that_goes_away_while_we_wait_is_no_rejection(sim: Simulator, owner: Client, folder: Path) -> None:
    owner.push(folder, "owner/a")
    owner.wire.retry = type(owner.wire.retry)(attempts=1, first_contact=1, first=0.001)
    sim.faults.answers.extend([(503, None, {})] * 1000)
    with pytest.raises(errors.NotJudged):
        verdicts.wait(owner.wire, "owner/a", "1", timeout=0.3)


def test_a_hub_that_comes_back_while_we_wait_is_asked_on(sim: Simulator, owner: Client, folder: Path) -> None:
    owner.push(folder, "owner/a")
    owner.wire.retry = type(owner.wire.retry)(attempts=1, first_contact=1, first=0.001)
    sim.verdict = judged(PASSED, "published")
    sim.faults.answers.extend([(503, None, {})] * 3)
    assert verdicts.wait(owner.wire, "owner/a", "1", timeout=20).verdict == "passed"


def test_progress_is_told_once_for_each_change(sim: Simulator, owner: Client, folder: Path) -> None:
    told: list[str] = []
    polls = iter([("queued", None), ("queued", None), ("score", None), ("", PASSED)])

    def advance(version: Version) -> None:
        stage, report = next(polls)
        version.report = report or {"verdict": None, "stage": stage, "queue": None}
        version.status = "published" if report else "validating"

    sim.verdict = advance
    owner.push(folder, "owner/a", wait=True, tell=lambda report: told.append(str(report.get("stage"))))
    assert told == ["queued", "score", "None"]


def test_a_refusal_at_the_end_of_the_upload_is_a_rejection(sim: Simulator, owner: Client, folder: Path) -> None:
    problem = {"code": "shapes", "where": "query", "message": "[2, 48] does not fit", "hint": "", "check": "shapes"}
    url = "/api/v1/adapters/owner/a/versions/1/report"
    body = {"code": "rejected", "detail": "query: ...", "problems": [problem], "report_url": url}
    sim.faults.refusal = (422, body, {})
    sim.publish("owner/a", {}, status="rejected", report=FAILED)
    with pytest.raises(errors.Rejected, match="does not fit") as told:
        owner.push(folder, "owner/a")
    assert told.value.report["verdict"] == "failed"


def test_a_version_is_yanked_and_taken_back(sim: Simulator, owner: Client, stranger: Client) -> None:
    sim.publish("owner/a", specimens.lora())
    with pytest.raises(errors.UsageError, match="reason"):
        owner.yank("owner/a:1")
    with pytest.raises(errors.UsageError, match="names no version"):
        owner.yank("owner/a", "bad")
    with pytest.raises(errors.AuthError):
        stranger.yank("owner/a:1", "envy")
    assert owner.yank("owner/a:1", "labels swapped")["yanked"]["reason"] == "labels swapped"
    assert owner.yank("owner/a:1", undo=True)["yanked"] is None


def test_status_and_report_of_the_newest(sim: Simulator, owner: Client) -> None:
    sim.publish("owner/a", specimens.lora(), report=PASSED)
    sim.publish("owner/a", specimens.lora(seed=1), status="rejected", report=FAILED)
    assert owner.status("owner/a").status == "rejected"
    assert owner.report("owner/a").verdict == "passed"
    with pytest.raises(errors.Rejected):
        owner.status("owner/a", follow=True)


def test_warnings_reach_a_program_as_log_records(
    sim: Simulator, owner: Client, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sim.faults.answers.append((503, None, {}))
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "nobody/knows"}))
    with caplog.at_level(logging.WARNING, "hub"):
        owner.prepare(folder)
    assert "shapes were not compared" in caplog.text
