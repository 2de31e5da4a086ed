"""Methods of PEFT's later editions, spoilt: what their numbers point at is checked before anything is reckoned with it."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from hub import runtime
from hub.runtime.base import Backbone
from tests.engine import makers
from tests.engine.makers import check, edit_json, failed, judged
from tests.engine.test_parity import answer, inputs, same

Spoil = Callable[[dict[str, torch.Tensor]], None]
LAYERS = {"target_modules": ["query", "value"], "task_type": "SEQ_CLS"}


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., tuple[Any, Path]]:
    def saved(name: str, **settings: Any) -> tuple[Any, Path]:
        torch.manual_seed(1)
        plain = transformers.AutoModelForSequenceClassification.from_pretrained(makers.TINY, num_labels=2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = peft.get_peft_model(plain, getattr(peft, name)(**LAYERS, **settings))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(tmp_path / "good")
        return model.eval(), tmp_path / "good"

    return saved


def spoilt(good: Path, target: Path, change: Spoil) -> Path:
    folder = Path(shutil.copytree(good, target))
    found = load_file(folder / "adapter_model.safetensors")
    change(found)
    save_file({key: tensor.contiguous() for key, tensor in found.items()}, folder / "adapter_model.safetensors")
    return folder


def with_first(role: str, make: Callable[[torch.Tensor], torch.Tensor]) -> Spoil:
    """Change the first tensor whose name has a role in it."""

    def change(found: dict[str, torch.Tensor]) -> None:
        key = next(key for key in sorted(found) if role in key)
        found[key] = make(found[key])

    return change


def placed(place: int) -> Callable[[torch.Tensor], torch.Tensor]:
    def make(places: torch.Tensor) -> torch.Tensor:
        found = places.long()
        found.view(-1)[0] = place
        return found

    return make


def renamed(old: str, new: str) -> Spoil:
    def change(found: dict[str, torch.Tensor]) -> None:
        for key in [key for key in found if old in key]:
            found[key.replace(old, new)] = found[key].clone()

    return change


PLACES = {
    "SuperTuning": ("SupertuningConfig", {}, "supertuning_indices"),
    "UniLoRA": ("UniLoraConfig", {"r": 2, "theta_d_length": 32, "save_indices": True}, "unilora_indices_A"),
    "FRoD": ("FrodConfig", {}, "frod_s_indices"),
}


@pytest.mark.parametrize("place", [-1, 32 * 32 + 1, 2**40], ids=["before the first", "behind the last", "far away"])
@pytest.mark.parametrize("name", PLACES)
def test_places_out_of_range_are_refused_and_named(
    name: str, place: int, save: Callable[..., tuple[Any, Path]], backbone: Backbone, tmp_path: Path
) -> None:
    config, settings, role = PLACES[name]
    _, good = save(config, **settings)
    folder = spoilt(good, tmp_path / "bad", with_first(role, placed(place)))
    found = judged(makers.assignment(folder, makers.TINY), backbone, tmp_path)
    assert failed(found) == ["load"], found["summary"]
    assert role in check(found, "load")["message"] and "names place" in check(found, "load")["message"]
    assert runtime.rehash(backbone) == backbone.fingerprint
    assert judged(makers.assignment(good, makers.TINY), backbone, tmp_path)["verdict"] == "passed", "the control"


OTHERS: dict[str, tuple[str, dict[str, Any], Spoil, str, str]] = {
    "a matrix of FRoD's that no layer uses": (
        "FrodConfig", {}, renamed(".self_value", ".output_dense"), "load", "frod_V.output_dense"),
    "a size of FRoD's that is another layer's": (
        "FrodConfig", {}, with_first("frod_s_size", lambda size: size * 1000), "load", "frod_s_size"),
    "places of FRoD's for other numbers": (
        "FrodConfig", {}, with_first("frod_s_indices", lambda places: places[:, :-1]), "load", "frod_s_indices"),
    "a vector of TinyLoRA's that no layer takes": (
        "TinyLoraConfig", {"u": 8}, renamed("tinylora_v.0", "tinylora_v.4"), "load", "tinylora_v"),
    "a path of GLoRA's as wide as it likes": (
        "GloraConfig", {"config_D_E": "vector"}, with_first("glora_D.X", lambda path: path[:, None].repeat(1, 3)), "load",
        "glora_D and glora_E"),
    "directions of OSF's that the layer does not have": (
        "OSFConfig", {"effective_rank": 4}, lambda found: found.update({key: torch.cat([tensor] * 2, dim=int("U_low" in key))
                                                               for key, tensor in found.items() if "osf_" in key}),
        "load", "directions"),
    "values that are no numbers": (
        "HiraConfig", {"r": 2}, with_first("hira_B", lambda tensor: tensor * float("nan")), "finite", "hira_B"),
    "skills of another task": (
        "PolyConfig", {"r": 2, "n_tasks": 1}, with_first("module_logits", lambda logits: logits.repeat(3, 1)), "shapes",
        "module_logits"),
    "an expert of Lily's less": (
        "LilyConfig", {"r": 2}, with_first("lily_router", lambda router: router[:1]), "shapes", "lily_"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_what_does_not_belong_together_is_refused_and_named(
    name: str, save: Callable[..., tuple[Any, Path]], backbone: Backbone, tmp_path: Path
) -> None:
    config, settings, spoil, refused_by, named = OTHERS[name]
    _, good = save(config, **settings)
    found = judged(makers.assignment(spoilt(good, tmp_path / "bad", spoil), makers.TINY), backbone, tmp_path)
    assert refused_by in failed(found), found["summary"]
    assert named in check(found, refused_by)["message"]
    assert runtime.rehash(backbone) == backbone.fingerprint


VARIANTS: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "PVeRA at random": ("PveraConfig", {"r": 4}, {"sample_at_inference": True}, "answers at random"),
    "a wavelet that nobody has": ("WaveFTConfig", {"n_frequency": 9}, {"wavelet_family": "tsunami"}, "PEFT 0.21"),
    "fewer layers than PEANuT's depth": ("PeanutConfig", {"r": 2, "depth": 1}, {"depth": 2}, "depth 2"),
    "a shape of an activation": ("PeanutConfig", {"r": 2}, {"act_fn": "xielu"}, "act_fn"),
    "a share above one": ("TinyLoraConfig", {"u": 4}, {"weight_tying": 2}, "weight_tying"),
    "iterations without end": (
        "PsoftConfig",
        {"r": 4},
        {"psoft_svd": "lowrank", "psoft_svd_lowrank_niter": 10**9},
        "niter",
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_that_is_not_run_says_why(
    name: str, save: Callable[..., tuple[Any, Path]], backbone: Backbone, tmp_path: Path
) -> None:
    config, settings, changes, told = VARIANTS[name]
    _, folder = save(config, **settings)
    edit_json(folder / "adapter_config.json", **changes)
    found = judged(makers.assignment(folder, makers.TINY), backbone, tmp_path)
    assert found["verdict"] == "failed"
    assert any(told in item["message"] + item["hint"] for item in found["checks"] if item["status"] == "failed")


# adapters that mix


def test_poly_answers_for_the_task_that_is_asked_for(save: Callable[..., tuple[Any, Path]]) -> None:
    reference, folder = save("PolyConfig", r=2, n_tasks=3, n_skills=2)
    model, _ = runtime.load(folder, makers.TINY)
    given = inputs(makers.TINY)
    answers = []
    for task in range(3):
        asked = given | {"task_ids": torch.full((5,), task)}
        model.adapter.answer_for(task)
        answers.append(answer(model, given))
        assert same(answers[-1], answer(reference, asked))
        assert torch.equal(answer(model, asked), answers[-1])
    assert not torch.equal(answers[0], answers[1])


def test_lily_sees_every_token_of_a_call(save: Callable[..., tuple[Any, Path]], tmp_path: Path) -> None:
    """Its mean is over all of them: the short way of reading first tokens alone would answer otherwise."""
    reference, folder = save("LilyConfig", r=2, num_B=3, scaling=5.0)
    backbone = runtime.open_backbone(makers.TINY)
    texts = [text for text in makers.sentences(400, seed=3) if len(text.split()) == 4][:8]
    truth = answer(reference, inputs(makers.TINY, texts)).argmax(-1).tolist()
    lines = [f"{text}\t{label}" for text, label in zip(texts, truth, strict=True)]
    files = makers.write_benchmark(tmp_path / "bench", lines, [])
    (found,) = judged(makers.assignment(folder, makers.TINY, files), backbone, tmp_path)["predictions"].values()
    assert found["labels"] == truth
