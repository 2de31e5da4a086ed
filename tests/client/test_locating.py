"""A base model of a Hugging Face hub, known by its headers; and the files by which whoever holds it gives it a fingerprint."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub import base_folder, cli, errors, registration
from hub.client import Client
from tests.client import hugging_face, specimens
from tests.client.hugging_face import COMMIT, HuggingFace
from tests.client.simulator import Simulator

constants = pytest.importorskip("huggingface_hub.constants")


@pytest.fixture
def hf(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[HuggingFace]:
    """Such a hub as HF_ENDPOINT, with an empty cache."""
    hub = HuggingFace()
    with hugging_face.serving(hub) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_HUB_CACHE", str(home / "hf"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hf"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "hf-token"))
        yield hub


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def sharded(size: int, shards: int = 4, layers: int = 8) -> dict[str, bytes]:
    """A base model of about `size` bytes in several files, as save_pretrained writes it."""
    width = int((size / layers / 4) ** 0.5)
    files = {"config.json": json.dumps({"model_type": "bert", "hidden_size": width}).encode(), "vocab.txt": b"a\nb\n"}
    table = {}
    for n in range(shards):
        names = [f"encoder.layer.{i}.output.dense.weight" for i in range(n, layers, shards)]
        path = f"model-{n + 1:05}-of-{shards:05}.safetensors"
        files[path] = specimens.safetensors({name: ([width, width], b"\1" * (4 * width * width)) for name in names})
        table |= dict.fromkeys(names, path)
    return files | {"model.safetensors.index.json": json.dumps({"weight_map": table}).encode()}


def test_of_fifty_megabytes_not_a_hundredth_is_read(hf: HuggingFace, sim: Simulator, owner: Client) -> None:
    hf.repositories["org/big"] = files = sharded(50 << 20)
    weights = {path: data for path, data in files.items() if path.endswith(".safetensors")}
    told = registration.add_base(owner.wire, owner.settings, "org/big", name="owner/big")
    total = sum(map(len, weights.values()))
    assert total > 49 << 20
    assert told["read"] == hf.bytes < total / 100, f"{hf.bytes} of {total} bytes"
    sent = sim.located["owner/big"]
    assert (sent["source"], sent["revision"]) == ("org/big", COMMIT)
    assert {file["path"]: file["sha256"] for file in sent["files"]} == {
        path: hashlib.sha256(data).hexdigest() for path, data in weights.items()
    }
    assert sorted(name for name, _, _ in sent["tensors"]) == sorted(
        name for path in weights for name in tensors_of_bytes(files[path])
    )
    assert told["fingerprint"] is None and told["state"] == "located"


def tensors_of_bytes(data: bytes) -> list[str]:
    return [key for key in json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]) if key != "__metadata__"]


def test_at_most_eight_headers_are_read_at_once(hf: HuggingFace, owner: Client, sim: Simulator) -> None:
    hf.repositories["org/many"] = sharded(1 << 20, shards=24, layers=24)
    registration.add_base(owner.wire, owner.settings, "org/many", name="owner/many")
    assert len({path for path, _ in hf.sent if path.endswith(".safetensors")}) == 24
    assert 1 < hf.most_at_once <= 8


def test_what_the_headers_tell_is_what_hashing_tells(hf: HuggingFace, sim: Simulator, owner: Client) -> None:
    hf.repositories["org/tiny"] = files_of(specimens.BASE)
    registration.add_base(owner.wire, owner.settings, f"org/tiny@{COMMIT}", name="owner/tiny")
    sent, base = sim.located["owner/tiny"], base_folder.read(specimens.BASE)
    assert sent["tokenizer_digest"] == base.tokenizer_digest
    assert sent["config"] == base.config
    assert {leaf.name: [leaf.dtype, list(leaf.shape)] for leaf in base.leaves}.items() <= {
        name: [dtype, shape] for name, dtype, shape in sent["tensors"]
    }.items()


def test_weights_that_git_holds_are_hashed_here(hf: HuggingFace, sim: Simulator, owner: Client) -> None:
    hf.repositories["org/tiny"] = files = files_of(specimens.BASE)
    hf.no_lfs.add("model.safetensors")
    registration.add_base(owner.wire, owner.settings, "org/tiny", name="owner/tiny")
    assert sim.located["owner/tiny"]["files"][0]["sha256"] == hashlib.sha256(files["model.safetensors"]).hexdigest()


@pytest.mark.parametrize("why", ["gated", "private", "missing", "revision", "pickle", "config", "index", "damaged"])
def test_what_cannot_be_located_is_told_with_the_mend(hf: HuggingFace, sim: Simulator, owner: Client, why: str) -> None:
    files = sharded(1 << 16)
    hf.repositories["org/big"] = files
    source, kind, words = "org/big", errors.UsageError, ""
    if why == "gated":
        hf.gated.add("org/big")
        kind, words = errors.AuthError, "ask for access"
    elif why == "private":
        hf.private.add("org/big")
        kind, words = errors.NotFound, "HF_TOKEN"
    elif why == "missing":
        source, kind, words = "org/nothing", errors.NotFound, "no repository org/nothing"
    elif why == "revision":
        source, kind, words = "org/big@v9", errors.NotFound, "no revision v9"
    elif why == "pickle":
        hf.repositories["org/big"] = {"config.json": b"{}", "pytorch_model.bin": b"\x80\x04"}
        words = "save_pretrained"
    elif why == "config":
        del files["config.json"]
        words = "no config.json"
    elif why == "index":
        del files["model-00002-of-00004.safetensors"]
        words = "model-00002-of-00004.safetensors, which is not there"
    elif why == "damaged":
        files["model-00002-of-00004.safetensors"] = b"\xff" * 100
        words = "model-00002-of-00004.safetensors is not a safetensors file"
    with pytest.raises(kind) as told:
        registration.add_base(owner.wire, owner.settings, source, name="owner/big")
    assert words in str(told.value)
    assert sim.located == {}


def test_with_a_token_the_gated_and_the_private_one_are_read(
    hf: HuggingFace, sim: Simulator, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    hf.repositories["org/big"] = sharded(1 << 16)
    hf.gated.add("org/big")
    hf.private.add("org/big")
    monkeypatch.setenv("HF_TOKEN", HuggingFace.TOKEN)
    registration.add_base(owner.wire, owner.settings, "org/big", name="owner/big")
    assert sim.located["owner/big"]["private"] is True


def test_a_repository_that_moved_is_located_under_its_new_name(hf: HuggingFace, sim: Simulator, owner: Client) -> None:
    hf.repositories["org/new"] = sharded(1 << 16)
    hf.moved["org/old"] = "org/new"
    told = registration.add_base(owner.wire, owner.settings, "org/old")
    assert (told["source"], told["name"]) == ("org/new", "org/new")


@pytest.mark.parametrize("variable", ["HUB_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_it_is_told_which_variable_says_so(
    hf: HuggingFace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", variable == "HF_HUB_OFFLINE")
    assert cli.main(["base", "add", "org/big"]) == 9
    assert f"{variable} is set" in capsys.readouterr().err
    assert hf.sent == []


def cached(home: Path, name: str, folder: Path) -> dict[str, str]:
    """Lay a base model into the cache as Hugging Face's libraries do; return the SHA-256 of what LFS would hold."""
    root = home / "hf" / f"models--{name.replace('/', '--')}"
    snapshot = root / "snapshots" / COMMIT
    for part in (root / "blobs", snapshot, root / "refs"):
        part.mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    digests = {}
    for path in folder.iterdir():
        if not path.is_file():
            continue
        lfs = path.suffix == ".safetensors"
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if lfs else hashlib.sha1(path.read_bytes()).hexdigest()
        shutil.copy(path, root / "blobs" / digest)
        (snapshot / path.name).symlink_to(Path("../../blobs") / digest)
        digests |= {path.name: digest} if lfs else {}
    return digests


def test_what_the_cache_holds_is_hashed_and_nothing_is_fetched(
    hf: HuggingFace, sim: Simulator, owner: Client, home: Path
) -> None:
    hf.repositories["org/tiny"] = files_of(specimens.BASE)
    cached(home, "org/tiny", specimens.BASE)
    told = registration.add_base(owner.wire, owner.settings, "org/tiny", name="owner/tiny")
    assert told["fingerprint"] == base_folder.fingerprint(specimens.BASE)
    assert hf.sent == [] and sim.located == {}


def test_a_cache_that_lacks_weights_is_not_taken_for_the_base_model(
    hf: HuggingFace, sim: Simulator, owner: Client, home: Path
) -> None:
    hf.repositories["org/tiny"] = files_of(specimens.BASE)
    digests = cached(home, "org/tiny", specimens.BASE)
    blob = home / "hf" / "models--org--tiny" / "blobs" / digests["model.safetensors"]
    blob.write_bytes(blob.read_bytes()[:-1])
    told = registration.add_base(owner.wire, owner.settings, "org/tiny", name="owner/tiny")
    assert told["fingerprint"] is None and "owner/tiny" in sim.located


def test_download_fetches_it_whole(hf: HuggingFace, sim: Simulator, owner: Client) -> None:
    hf.repositories["org/tiny"] = files_of(specimens.BASE)
    told = registration.add_base(owner.wire, owner.settings, "org/tiny", name="owner/tiny", download=True)
    assert told["fingerprint"] == base_folder.fingerprint(specimens.BASE)


def test_without_a_token_it_is_only_looked_at(hf: HuggingFace, sim: Simulator, anybody: Client) -> None:
    hf.repositories["org/big"] = sharded(1 << 16)
    told = registration.add_base(anybody.wire, anybody.settings, "org/big")
    assert not told["registered"] and sim.located == {}


class TestWhoHoldsIt:
    def test_files_are_told_where_the_hub_waits_for_as_many_bytes(
        self, sim: Simulator, owner: Client, tmp_path: Path
    ) -> None:
        base = shutil.copytree(specimens.BASE, tmp_path / "base")
        size = (base / "model.safetensors").stat().st_size
        sim.located["org/tiny"] = {"files": [{"path": "x", "size": size, "sha256": "0" * 64}]}
        told = registration.add_base(owner.wire, owner.settings, base)
        data = (base / "model.safetensors").read_bytes()
        assert sim.files_of[told["fingerprint"]] == [
            {"path": "model.safetensors", "size": size, "sha256": hashlib.sha256(data).hexdigest()}
        ]

    def test_where_nobody_waits_nothing_is_hashed_twice(
        self, sim: Simulator, owner: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sim.located["org/other"] = {"files": [{"path": "x", "size": 1, "sha256": "0" * 64}]}
        monkeypatch.setattr(base_folder, "weight_files", lambda _: pytest.fail("hashed for nobody"))
        told = registration.add_base(owner.wire, owner.settings, specimens.BASE)
        assert sim.files_of[told["fingerprint"]] is None

    def test_the_cache_names_a_file_by_its_digest(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        digests = cached(home, "org/tiny", specimens.BASE)
        expected: Any = base_folder.weight_files(specimens.BASE)
        monkeypatch.setattr(base_folder, "_sha256", lambda _: pytest.fail("read to its end"))
        found = base_folder.weight_files(home / "hf/models--org--tiny/snapshots" / COMMIT)
        assert found == expected
        assert found[0].sha256 == digests["model.safetensors"]


def test_a_file_beside_the_weights_that_is_larger_than_any_is_not_fetched(
    hf: HuggingFace, owner: Client, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    hf.repositories["org/fat"] = sharded(1 << 20) | {"tokenizer.json": b" " * 5000}
    monkeypatch.setattr(base_folder, "MAX_JSON", 4999)
    with pytest.raises(errors.UsageError, match=r"tokenizer\.json has 5000 bytes"):
        registration.add_base(owner.wire, owner.settings, "org/fat", name="owner/fat")
    assert "tokenizer.json" not in {path for path, _ in hf.sent}


def test_a_hub_that_cannot_be_reached_is_told_with_the_way_round(
    hf: HuggingFace, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(errors.NetworkError) as found:
        registration.add_base(owner.wire, owner.settings, "org/tiny")
    assert "HF_ENDPOINT" in found.value.hint
    assert "hub base add DIR" in found.value.hint
