"""A live model is known again by where it came from and a few of its tensors; and is refused by what differs in it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hub
from hub import base_folder, errors
from hub.client import Client
from tests.client import specimens
from tests.client.simulator import Simulator
from tests.client.test_fitting import TABLE, know, weight_bytes
from tests.client.test_pull import base_of

LARGE = {TABLE, "encoder.layer.0.intermediate.dense.weight", "encoder.layer.1.output.dense.weight"}


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the tensors of live models that are hashed, in order."""
    from hub import live

    names: list[str] = []
    leaf: Callable[..., Any] = live._leaf

    def count(name: str, tensor: Any, digest: str | None = None) -> Any:
        if digest is None:
            names.append(name)
        return leaf(name, tensor, digest)

    monkeypatch.setattr(live, "_leaf", count)
    return names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(specimens.BASE, tmp_path / "tiny-bert")


def load(folder: Path, **more: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoModel.from_pretrained(folder, **more)


def from_a_hub(model: Any, name: str = "tiny/bert", commit: str = "c" * 40) -> Any:
    """The model as if it had been loaded from a repository of Hugging Face's at a commit."""
    model.config._name_or_path, model.config._commit_hash = name, commit
    return model


@pytest.fixture
def small_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a large model, not all tensors of a layer can be hashed."""
    for name in ("LAST", "MIDDLE", "TABLES"):
        monkeypatch.setattr(f"hub.live.{name}", 8 << 10)


@pytest.mark.usefixtures("small_budgets")
def test_a_model_from_a_folder_that_was_hashed_is_looked_up(
    sim: Simulator, anybody: Client, folder: Path, hashed: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "hub")
    sim.publish("library/a", specimens.lora(), base=base_of())
    model = load(folder)
    anybody.pull("a", base=model)
    total = len(hashed)
    assert len(set(hashed)) == total == len(base_folder.read(folder).leaves)  # nothing is known of the folder yet
    anybody.check("a", base=folder)
    hashed.clear()
    anybody.pull("a", base=model)
    assert 3 <= len(hashed) < total and not LARGE & set(hashed)
    assert {name.split(".")[2] for name in hashed if name.startswith("encoder")} == {"0", "1"}
    assert "looked up as tiny-bert" in caplog.text


@pytest.mark.usefixtures("small_budgets")
def test_a_model_from_a_repository_is_looked_up_by_its_commit(
    sim: Simulator, anybody: Client, folder: Path, hashed: list[str]
) -> None:
    base = know(sim, name="tiny/bert")
    place = {"kind": "hub", "name": "tiny/bert", "revision": "c" * 40, "state": "ok"}
    sim.bases[base.fingerprint]["locations"] = [place]
    sim.publish("library/a", specimens.lora(), base=base_of())
    everything = len(base.leaves)
    found = anybody.search(base=from_a_hub(load(folder)))
    assert found[0]["compatibility"]["level"] == "validated"
    assert 3 <= len(hashed) < everything and not LARGE & set(hashed)
    hashed.clear()
    anybody.search(base=from_a_hub(load(folder), commit="d" * 40))
    assert len(hashed) == everything


@pytest.mark.usefixtures("small_budgets")
def test_a_changed_tensor_of_a_live_model_is_named_though_it_was_looked_up(
    sim: Simulator, anybody: Client, folder: Path
) -> None:
    torch = pytest.importorskip("torch")
    know(sim)
    sim.publish("library/a", specimens.lora(), base=base_of())
    anybody.check("a", base=folder)
    model = load(folder)
    with torch.no_grad():
        model.encoder.layer[1].attention.self.value.weight[0, 0] += 1
    with pytest.raises(
        errors.IncompatibleBaseModel, match=r"encoder.layer.1.attention.self.value.weight differs \(1 of"
    ):
        anybody.pull("a", base=model)
    assert weight_bytes(sim, specimens.lora()) == 0


def test_a_model_with_another_head_is_looked_up_and_its_head_is_hashed(
    sim: Simulator, anybody: Client, folder: Path, hashed: list[str]
) -> None:
    transformers = pytest.importorskip("transformers")
    know(sim)
    sim.publish("library/a", specimens.lora(), base=base_of())
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    expected = hub.fingerprint(model)
    anybody.check("a", base=folder)
    hashed.clear()
    told = anybody.check("a", base=model)
    assert told["compatibility"]["level"] == "validated"
    assert told["base"]["fingerprint"] == expected
    assert {"classifier.weight", "classifier.bias"} <= set(hashed)


@pytest.mark.parametrize("wrapped", [True, False])
def test_adapters_within_a_live_model_are_left_out(folder: Path, wrapped: bool) -> None:
    peft = pytest.importorskip("peft")
    model = load(folder)
    expected = hub.fingerprint(folder)
    config = peft.LoraConfig(target_modules=["query", "dense"], modules_to_save=["value"], r=2)
    inside = peft.get_peft_model(model, config)
    assert any("base_layer" in name for name in model.state_dict())
    assert hub.fingerprint(inside if wrapped else model) == expected


def test_a_cast_model_is_known_again_where_the_hub_knows_its_casts(
    sim: Simulator, anybody: Client, folder: Path
) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("numpy")
    know(sim, casts=True)
    sim.publish("library/a", specimens.lora(), base=base_of())
    model = load(folder).to(torch.bfloat16)
    assert anybody.check("a", base=model)["compatibility"]["level"] == "same_values"
    assert anybody.pull("a", base=model).version == "1"


def test_a_cast_model_only_warns_where_nobody_knows_its_casts(
    sim: Simulator, anybody: Client, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch = pytest.importorskip("torch")
    know(sim)
    sim.publish("library/a", specimens.lora(), base=base_of())
    assert anybody.pull("a", base=load(folder).to(torch.bfloat16)).version == "1"
    assert "another number format" in caplog.text


def test_a_model_whose_weights_are_not_in_memory_is_told_so(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(errors.UsageError, match="not in memory"):
        hub.fingerprint(load(folder).to(torch.device("meta")))
