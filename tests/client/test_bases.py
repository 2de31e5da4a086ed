"""Base models: their identity from a folder, and finding the right one."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import hub
from hub import base_folder, bases, config, descriptions, errors, registration
from hub.client import Client
from tests.client import specimens
from tests.client.simulator import Simulator
from tests.client.test_pull import base_of


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return shutil.copytree(specimens.BASE, tmp_path / "base")


def tensors_of(path: Path) -> dict[str, tuple[list[int], bytes]]:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {
        name: (entry["shape"], data[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]])
        for name, entry in header.items()
    }


def test_sharding_order_prefix_and_metadata_change_no_fingerprint(base: Path, tmp_path: Path) -> None:
    expected = hub.fingerprint(base)
    tensors = tensors_of(base / "model.safetensors")
    (base / "model.safetensors").unlink()
    names = sorted(tensors, reverse=True)
    table = {}
    for number in range(1, 4):
        file = f"model-{number:05}-of-00003.safetensors"
        part = {f"bert.{name}": tensors[name] for name in names[number - 1 :: 3]}
        (base / file).write_bytes(specimens.safetensors(part, format="pt"))
        table |= dict.fromkeys(part, file)
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    assert hub.fingerprint(base) == expected
    found, whole = base_folder.read(base, casts=True), base_folder.read(specimens.BASE, casts=True)
    assert (found.roots, found.cast_roots) == (whole.roots, whole.cast_roots)


def test_one_other_bit_is_another_base_model(base: Path) -> None:
    expected = hub.fingerprint(base)
    data = bytearray((base / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (base / "model.safetensors").write_bytes(data)
    assert hub.fingerprint(base) != expected


def test_the_library_that_wrote_the_file_agrees(base: Path) -> None:
    safetensors_numpy = pytest.importorskip("safetensors.numpy")
    from blake3 import blake3

    described = {leaf.name: leaf.digest for leaf in base_folder.read(base).leaves}
    for name, array in safetensors_numpy.load_file(base / "model.safetensors").items():
        if name in described:
            assert described[name] == blake3(array.tobytes()).hexdigest()


def test_a_live_model_has_the_fingerprint_of_its_folder(base: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModel.from_pretrained(base)
    assert hub.fingerprint(model) == hub.fingerprint(base)


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"config.json": b"{}", "pytorch_model.bin": b"\x80\x04"}, "save_pretrained"),
        ({"config.json": b"{}"}, "model.safetensors"),
        ({"model.safetensors": b"12345678"}, "config.json"),
        ({"config.json": b"{", "model.safetensors": b"12345678"}, "config.json"),
        ({"config.json": b"{}", "model.safetensors": b"123"}, "safetensors"),
        ({"config.json": b"{}", "model.safetensors": b"\xff" * 64}, "safetensors"),
        ({"config.json": b"{}", "model.safetensors.index.json": b'{"weight_map": {"a": "../x"}}'}, "weight_map"),
        ({"config.json": b"{}", "model.safetensors.index.json": b'{"weight_map": {"a": "gone.safetensors"}}'}, "gone"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_mend(tmp_path: Path, files: dict[str, bytes], word: str) -> None:
    with pytest.raises(errors.UsageError) as told:
        base_folder.read(specimens.write(tmp_path / "bad", files))
    assert word in str(told.value)


def test_padding_and_truncation_do_not_make_another_tokenizer(base: Path) -> None:
    expected = base_folder.tokenizer_digest(base)
    table = json.loads((base / "tokenizer.json").read_text())
    table |= {"padding": {"strategy": "BatchLongest"}, "truncation": {"max_length": 8}}
    (base / "tokenizer.json").write_text(json.dumps(table, indent=3))
    assert base_folder.tokenizer_digest(base) == expected
    table["normalizer"] = None
    (base / "tokenizer.json").write_text(json.dumps(table))
    assert base_folder.tokenizer_digest(base) != expected


def test_folders_are_searched_and_hashed_once(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    specimens.write(tmp_path / "bad", {"config.json": b"{}", "model.safetensors": b"x"})
    expected = {hub.fingerprint(base): base}

    def found() -> dict[str, Path]:
        return {known.fingerprint: at for at, known in descriptions.catalogue([tmp_path], cache=tmp_path / "cache")}

    assert found() == expected
    assert "bad is passed over" in caplog.text
    monkeypatch.setattr("hub.hashing.blake3", lambda *_: pytest.fail("hashed again"))
    assert found() == expected


def test_a_changed_file_is_hashed_again(base: Path, tmp_path: Path) -> None:
    before = descriptions.describe(base, cache=tmp_path / "cache").fingerprint
    data = bytearray((base / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (base / "model.safetensors").write_bytes(data)
    assert descriptions.describe(base, cache=tmp_path / "cache").fingerprint != before


def test_the_base_model_is_found_in_hub_bases_then_where_it_was_remembered(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = base_of(base)
    with pytest.raises(errors.NotFound, match="HUB_BASES"):
        bases.locate(wanted, config.read())
    config.remember_base(config.read(), str(wanted["fingerprint"]), base, None)
    assert bases.locate(wanted, config.read()) == base
    shutil.move(base, tmp_path / "moved")
    monkeypatch.setenv("HUB_BASES", str(tmp_path))
    assert bases.locate(wanted, config.read()) == tmp_path / "moved"


def test_another_base_model_than_the_adapters_is_refused(base: Path) -> None:
    wanted: dict[str, Any] = {"fingerprint": "base:" + "0" * 64, "name": "other", "roots": {"backbone": "0" * 64}}
    with pytest.raises(errors.IncompatibleBaseModel, match="other"):
        bases.locate(wanted, config.read(), base=base)


def test_the_same_backbone_under_another_pooler_will_do_for_an_adapter_that_does_not_read_it(base: Path) -> None:
    wanted = {**base_of(base), "fingerprint": "base:" + "0" * 64}
    assert bases.locate(wanted | {"reads_pooler": False}, config.read(), base=base) == base
    with pytest.raises(errors.IncompatibleBaseModel):
        bases.locate(wanted, config.read(), base=base)


@pytest.mark.parametrize("way", ["architecture", "tokenizer_digest"])
def test_the_same_weights_that_compute_or_read_otherwise_are_another_base_model(base: Path, way: str) -> None:
    """`hidden_act: relu` under the same weights: half of the answers are wrong, and nothing would show it."""
    with pytest.raises(errors.IncompatibleBaseModel):
        bases.locate({**base_of(base), way: "0" * 64}, config.read(), base=base)


def test_adding_a_base_model_registers_and_remembers_it(sim: Simulator, owner: Client, base: Path) -> None:
    told = registration.add_base(owner.wire, owner.settings, base, name="owner/tiny")
    assert told["registered"]
    assert sim.bases[told["fingerprint"]]["name"] == "owner/tiny"
    assert config.remembered_bases(owner.settings)[told["fingerprint"]]["folder"] == str(base)
    listed = registration.list_bases(owner.wire, owner.settings)
    assert [(entry["name"], entry["folder"]) for entry in listed] == [("owner/tiny", str(base))]


def test_added_again_without_a_name_it_keeps_the_one_it_had(owner: Client, base: Path) -> None:
    told = registration.add_base(owner.wire, owner.settings, base, name="owner/tiny")
    registration.add_base(owner.wire, owner.settings, base)
    assert config.remembered_bases(owner.settings)[told["fingerprint"]]["name"] == "owner/tiny"


def test_every_page_of_the_hubs_list_is_read(sim: Simulator, owner: Client, base: Path) -> None:
    sim.bases |= {
        f"base:{n:064x}": {"fingerprint": f"base:{n:064x}", "name": f"b{n}", "state": "claimed"} for n in range(5)
    }
    registration.add_base(owner.wire, owner.settings, base, name="owner/tiny")
    sim.bases_a_page = 2
    listed = registration.list_bases(owner.wire, owner.settings)
    assert [entry["name"] for entry in listed] == [*(f"b{n}" for n in range(5)), "owner/tiny"]
    assert "local" not in {entry["state"] for entry in listed}


def test_what_is_known_of_its_casts_is_told_with_it(owner: Client, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    ask = owner.wire.request
    monkeypatch.setattr(owner.wire, "request", lambda *a, **more: (sent.append(more.get("json")), ask(*a, **more))[1])
    known = descriptions.describe(base, cache=owner.settings.cache / "bases", casts=True)
    registration.add_base(owner.wire, owner.settings, base, name="owner/tiny")
    assert sent[-1]["cast_roots"] == known.cast_roots
    assert "logical" not in sent[-1], "it is not quantised"


def test_without_a_token_a_base_model_is_only_remembered(sim: Simulator, anybody: Client, base: Path) -> None:
    assert not registration.add_base(anybody.wire, anybody.settings, base)["registered"]
    assert sim.bases == {}
    assert registration.list_bases(anybody.wire, anybody.settings)[0]["state"] == "local"


def test_predictions_come_with_labels(
    sim: Simulator, anybody: Client, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    files = {**specimens.lora(), "hub.json": b'{"labels": ["negative", "positive"]}'}
    sim.publish("library/a", files, base=base_of(base))
    adapter = anybody.pull("a")
    with pytest.raises(errors.NotFound, match="HUB_BASES"):
        adapter.load()
    monkeypatch.setenv("HUB_BASES", str(base))
    adapter = hub.pull("a")
    found = adapter.predict(["a b c", "d"])
    assert [set(entry) for entry in found] == [{"label", "score"}] * 2
    assert all(entry["label"] in {"negative", "positive"} and 0.5 <= entry["score"] <= 1 for entry in found)
    with pytest.raises(errors.UsageError, match="list"):
        adapter.predict("a b c")
    model, tokenizer = adapter.load(base)
    assert model(**tokenizer("a b c", return_tensors="pt")).logits.shape == (1, 2)
