"""Pull: one call, verified bytes, the cache."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import hub
from hub import base_folder, errors
from hub.client import Client
from tests.client import specimens
from tests.client.conftest import quick
from tests.client.simulator import OWNER, STRANGER, Simulator


def base_of(folder: Path = specimens.BASE) -> dict[str, object]:
    described = base_folder.read(folder)
    return {
        "fingerprint": described.fingerprint,
        "name": "tiny-bert",
        "state": "observed",
        "roots": described.roots,
        "locations": [],
    }


def test_a_pull_is_one_call_and_the_bytes(sim: Simulator, anybody: Client) -> None:
    files = specimens.lora()
    version = sim.publish("library/sentiment-bert", files, label="1.0")
    adapter = anybody.pull("sentiment-bert")
    assert {p.name: p.read_bytes() for p in Path(adapter).iterdir()} == files
    assert sim.count("GET /api/v1/resolve") == 1
    assert len(sim.seen) == 1 + len(files)
    assert adapter.ref == f"library/sentiment-bert:1.0@sha256:{version.manifest.digest}"
    assert (adapter.version, adapter.digest) == ("1.0", f"sha256:{version.manifest.digest}")
    assert (adapter.task, adapter.method, adapter.labels) == ("text-classification", "lora", ["negative", "positive"])


def test_the_face_pulls_without_a_client_in_sight(sim: Simulator) -> None:
    sim.publish("library/sentiment-bert", specimens.lora())
    assert os.fspath(hub.pull("sentiment-bert")).startswith(str(Path.home() / ".cache" / "adapter-hub"))


def test_small_files_come_with_the_answer(sim: Simulator, anybody: Client) -> None:
    sim.inline = 1 << 20
    sim.publish("library/a", specimens.lora())
    anybody.pull("a")
    assert len(sim.seen) == 1


def test_a_second_pull_fetches_no_byte(sim: Simulator, anybody: Client) -> None:
    sim.publish("library/a", specimens.lora())
    first = anybody.pull("a")
    sim.seen.clear()
    assert anybody.pull("a").path == first.path
    assert [entry.path for entry in sim.seen] == ["/api/v1/resolve"]


def test_a_pinned_pull_from_the_cache_asks_nobody(sim: Simulator, anybody: Client) -> None:
    version = sim.publish("library/a", specimens.lora())
    anybody.pull("a")
    sim.seen.clear()
    anybody.pull(f"a@sha256:{version.manifest.digest}")
    assert sim.seen == []


def test_two_versions_share_the_bytes_they_have_in_common(sim: Simulator, anybody: Client) -> None:
    sim.publish("library/a", specimens.lora())
    anybody.pull("a")
    sim.publish("library/a", specimens.lora(readme="Another text.\n"))
    sim.seen.clear()
    anybody.pull("a")
    assert sim.count("GET .*/files/.*") == 1


def test_a_version_that_nobody_may_see_looks_like_none(sim: Simulator, owner: Client, stranger: Client) -> None:
    sim.publish("owner/secret", specimens.lora(), private=True)
    assert owner.pull("owner/secret").ref.startswith("owner/secret:1@")
    with pytest.raises(errors.NotFound) as hidden:
        stranger.pull("owner/secret")
    with pytest.raises(errors.NotFound) as missing:
        stranger.pull("owner/nothing")
    assert str(hidden.value).replace("secret", "nothing") == str(missing.value)


def test_a_yanked_version_is_only_for_those_who_pinned_it(sim: Simulator, anybody: Client) -> None:
    version = sim.publish("library/a", specimens.lora(), yanked="labels were swapped")
    with pytest.raises(errors.Yanked, match="labels were swapped"):
        anybody.pull("a:1")
    assert anybody.pull(f"a@sha256:{version.manifest.digest}").version == "1"


def test_a_misspelt_name_is_answered_with_the_right_one(sim: Simulator, anybody: Client) -> None:
    sim.publish("library/sentiment-bert", specimens.lora())
    with pytest.raises(errors.NotFound, match="did you mean library/sentiment-bert"):
        anybody.pull("sentimant-bert")


@pytest.mark.parametrize(
    "text", ["", "a/b/c", "../x", "a:", "a@sha256:12", "-a", "a b", "a#../b", "a\0b", "http://x/y"]
)
def test_what_is_no_reference_never_reaches_the_hub(sim: Simulator, anybody: Client, text: str) -> None:
    with pytest.raises(errors.UsageError, match="not a reference"):
        anybody.pull(text)
    assert sim.seen == []


def test_a_copy_for_the_user_is_his_own(sim: Simulator, anybody: Client, tmp_path: Path) -> None:
    files = specimens.lora()
    sim.publish("library/a", files)
    adapter = anybody.pull("a", to=tmp_path / "mine")
    copy = tmp_path / "mine" / "README.md"
    assert adapter.path == tmp_path / "mine"
    copy.write_text("edited")
    assert anybody.pull("a").path.joinpath("README.md").read_bytes() == files["README.md"]
    with pytest.raises(errors.IntegrityError, match=r"README\.md"):
        anybody.verify(tmp_path / "mine")


def test_a_folder_with_something_in_it_is_left_alone(sim: Simulator, anybody: Client, tmp_path: Path) -> None:
    sim.publish("library/a", specimens.lora())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("three years")
    with pytest.raises(errors.UsageError, match="not empty"):
        anybody.pull("a", to=tmp_path / "full")
    assert os.listdir(tmp_path / "full") == ["thesis.tex"]


def test_the_same_copy_may_be_asked_for_twice(sim: Simulator, anybody: Client, tmp_path: Path) -> None:
    sim.publish("library/a", specimens.lora())
    assert anybody.pull("a", to=tmp_path / "b").path == anybody.pull("a", to=tmp_path / "b").path
    assert anybody.verify(tmp_path / "b")["ok"]


def test_a_plan_fetches_nothing(sim: Simulator, anybody: Client) -> None:
    files = specimens.lora()
    sim.publish("library/a", files)
    plan = anybody.plan("a")
    assert (sorted(plan["fetch"]), plan["bytes"]) == (sorted(files), sum(map(len, files.values())))
    assert sim.count("GET .*/files/.*") == 0
    anybody.pull("a")
    assert anybody.plan("a")["fetch"] == []


def test_flipped_bits_in_the_cache_are_found_and_mended(sim: Simulator, anybody: Client) -> None:
    files = specimens.lora()
    sim.publish("library/a", files)
    spoilt = anybody.pull("a").path / "adapter_model.safetensors"
    flip(spoilt)
    told = anybody.verify("a")
    assert (told["damaged"], told["healed"]) == (["adapter_model.safetensors"], True)
    assert spoilt.read_bytes() == files["adapter_model.safetensors"]
    flip(spoilt)
    assert (
        anybody.pull("a").path.joinpath("adapter_model.safetensors").read_bytes() == files["adapter_model.safetensors"]
    )


def test_damage_that_may_not_be_mended_is_an_error(sim: Simulator, anybody: Client) -> None:
    sim.publish("library/a", specimens.lora())
    flip(anybody.pull("a").path / "README.md")
    with pytest.raises(errors.IntegrityError, match=r"README\.md"):
        anybody.verify("a", heal=False)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_offline_no_connection_is_opened(
    sim: Simulator, anybody: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files = specimens.lora()
    version = sim.publish("library/a", files, label="1.0")
    anybody.pull("a")
    anybody.close()
    sim.seen.clear()
    monkeypatch.setenv("HUB_OFFLINE", "1")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was opened"))
    with Client() as offline, caplog.at_level(logging.WARNING):
        pinned = offline.pull(f"a@sha256:{version.manifest.digest}")
        assert pinned.path.joinpath("README.md").read_bytes() == files["README.md"]
        assert offline.pull("a:1.0").digest == pinned.digest
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert offline.pull("a").digest == pinned.digest
        assert "offline: library/a is what it was on" in caplog.text
        with pytest.raises(errors.NotFound, match=r"library/a:1\.0@sha256"):
            offline.pull("a:2.0")
        with pytest.raises(errors.NetworkError, match="HUB_OFFLINE"):
            offline.search("anything")
        with pytest.raises(errors.NetworkError, match="HUB_OFFLINE"):
            _ = pinned.report
    assert sim.seen == []


def test_a_name_asked_of_one_hub_means_nothing_to_another(
    sim: Simulator, anybody: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim.publish("library/a", specimens.lora())
    anybody.pull("a")
    monkeypatch.setenv("HUB_OFFLINE", "1")
    with Client("http://another.example") as other, pytest.raises(errors.NotFound):
        other.pull("a")


def test_a_base_model_that_fits_is_taken(sim: Simulator, anybody: Client, caplog: pytest.LogCaptureFixture) -> None:
    sim.publish("library/a", specimens.lora(), base=base_of())
    assert anybody.pull("a", base=specimens.BASE).base_model["name"] == "tiny-bert"  # type: ignore[index]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_base_model_that_clashes_is_told_before_any_weight(sim: Simulator, anybody: Client) -> None:
    sim.publish("library/a", specimens.lora(hidden=48))
    with pytest.raises(errors.IncompatibleBaseModel) as clash:
        anybody.pull("a", base=specimens.BASE)
    assert "encoder.layer.0.attention.self.query" in str(clash.value)
    data = specimens.lora(hidden=48)["adapter_model.safetensors"]
    asked = [e.headers["range"] for e in sim.seen if e.path.endswith(".safetensors")]
    assert asked
    assert max(int(span.split("-")[1]) for span in asked) < 8 + int.from_bytes(data[:8], "little")
    assert not (anybody.cache.root / "snapshots").exists()


def test_the_hub_may_prove_a_clash_itself(sim: Simulator, anybody: Client) -> None:
    said = {"level": "incompatible", "reasons": ["query: [2, 48] does not fit [32, 32]"]}
    sim.publish("library/a", specimens.lora(), compatibility=said)
    with pytest.raises(errors.IncompatibleBaseModel, match="query"):
        anybody.pull("a", base="some-base", allow_shape_only=True)


@pytest.fixture
def both(sim: Simulator) -> Callable[..., None]:
    """Publishes library/a: two adapters, of which the one in `tell` is too wide for the tiny base model."""

    def publish(**more: object) -> None:
        parts = {"ask": specimens.lora(), "tell": specimens.lora(hidden=48)}
        files = {f"{folder}/{path}": data for folder, part in parts.items() for path, data in part.items()}
        sim.publish("library/a", files, **more)
        sim.faults.edit = lambda answer: answer.update(components=[{"folder": folder} for folder in parts])

    return publish


@pytest.mark.parametrize("told", [True, False], ids=["the hub tells", "the headers tell"])
def test_a_folder_is_judged_alone(both: Callable[..., None], anybody: Client, told: bool) -> None:
    parts = [
        {"folder": "ask", "level": "validated", "reasons": ["it ran"]},
        {"folder": "tell", "level": "incompatible", "reasons": ["tell: [2, 48] does not fit"]},
    ]
    said = {"level": "incompatible", "reasons": ["tell: [2, 48] does not fit"], "components": parts}
    both(base=base_of(), compatibility=said if told else {"level": "unknown", "reasons": []})
    base = "some-base" if told else specimens.BASE
    for ref in ("a", "a#tell"):
        with pytest.raises(errors.IncompatibleBaseModel, match="48"):
            anybody.pull(ref, base=base, allow_shape_only=True)
    assert anybody.pull("a#ask", base=base).path.name == "ask"
    assert anybody.pull("a#tell").path.name == "tell", "what was pulled for one folder serves the other"


def test_other_weights_of_the_same_shape_need_a_word(sim: Simulator, anybody: Client, tmp_path: Path) -> None:
    known = base_folder.read(specimens.BASE, casts=False)
    sim.bases[known.fingerprint] = {**known.to_json(), "name": "tiny-bert", "aliases": [], "locations": []}
    sim.publish("library/a", specimens.lora(), base=base_of())
    other = shutil.copytree(specimens.BASE, tmp_path / "other")
    data = bytearray((other / "model.safetensors").read_bytes())
    data[8 + int.from_bytes(data[:8], "little")] ^= 1  # the first weight in the file: of the embeddings
    (other / "model.safetensors").write_bytes(data)
    with pytest.raises(errors.IncompatibleBaseModel, match="allow-shape-only"):
        anybody.pull("a", base=other)
    assert anybody.pull("a", base=other, allow_shape_only=True).version == "1"


def test_what_is_not_known_only_warns(sim: Simulator, anybody: Client, caplog: pytest.LogCaptureFixture) -> None:
    sim.publish("library/a", specimens.lora(), compatibility={"level": "unknown", "reasons": ["never heard of it"]})
    anybody.pull("a", base="some-base")
    assert "never heard of it" in caplog.text


def test_a_folder_of_a_snapshot_must_exist(sim: Simulator, anybody: Client) -> None:
    sim.publish("library/a", specimens.lora())
    with pytest.raises(errors.NotFound, match="#en"):
        anybody.pull("a#en")


def test_a_worker_downloads_into_a_folder_of_its_own(sim: Simulator, owner: Client, tmp_path: Path) -> None:
    version = sim.publish("owner/a", specimens.lora(), private=True)
    path = f"/api/v1/adapters/owner/a/versions/sha256:{version.manifest.digest}/files"
    files = [{**f.to_json(), "url": f"{path}/{f.path}"} for f in version.manifest.files]
    with quick(sim.url, STRANGER) as client:
        with pytest.raises(errors.NotFound):
            client.download(files, tmp_path / "in", token=None)
        client.download(files, tmp_path / "in", token=OWNER)
        sim.seen.clear()
        client.download(files, tmp_path / "in", token=OWNER)
    assert sim.seen == []
    assert sorted(os.listdir(tmp_path / "in")) == sorted(f.path for f in version.manifest.files)


def test_a_report_is_read_when_it_is_asked_for(sim: Simulator, anybody: Client) -> None:
    report = {"verdict": "passed", "summary": "published", "checks": [], "components": []}
    sim.publish("library/a", specimens.lora(), report=report)
    adapter = anybody.pull("a")
    assert sim.count("GET .*/report") == 0
    assert (adapter.report.verdict, adapter.report["status"]) == ("passed", "published")


def test_the_cache_says_what_a_snapshot_holds(sim: Simulator, anybody: Client) -> None:
    version = sim.publish("library/a", specimens.lora())
    folder = anybody.pull("a").path
    kept = json.loads((anybody.cache.root / "manifests" / f"{version.manifest.digest}.json").read_text())
    assert [f["path"] for f in kept["files"]] == sorted(p.name for p in folder.iterdir())
    assert all(oct(p.stat().st_mode & 0o777) == "0o444" for p in folder.iterdir())
    assert anybody.verify(folder)["ok"]
