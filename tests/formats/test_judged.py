"""What PEFT writes and this hub runs is accepted by the engine as well: on, every tensor at work, with an effect, and off again.

Structure only, no benchmark. Here one setting of each method on a third of its families; `make formats` takes all of them.
"""

import copy
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from hub import runtime
from hub.runtime.base import Backbone
from hub.spec import families, validation
from tests.engine import makers
from tests.engine.makers import check
from tests.formats import options, zoo
from tests.formats.options import Option
from tests.formats.written import SOME, named

FAMILIES = tuple(name for name in zoo.MAKE if name in families.RUNS)
WORDS = 164
"""Rows of the tokenizer's table."""
STEP = {"FourierFTConfig": 0.005}
"""How far numbers are moved. FourierFT multiplies by 150: a tenth there would drown the base model."""

BIASES: list[Option] = [
    ("bert", "LoraConfig", {"r": 2, "target_modules": ["query"], "bias": bias, "task_type": "SEQ_CLS"})
    for bias in ("all", "lora_only")
]
"""PEFT writes the biases of a saved head three times under `all`."""
Judged = Callable[[Option], tuple[validation.Inspection, dict[str, Any]]]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Backbone]]:
    """Family -> (the model that adapters are made on, the same opened from disk)."""
    place, found = tmp_path_factory.mktemp("bases"), {}
    for name in FAMILIES:
        model = zoo.make(name)
        torch.manual_seed(1)
        model.resize_token_embeddings(WORDS)
        model.save_pretrained(place / name)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(makers.TINY / file, place / name)
        found[name] = model, runtime.open_backbone(place / name)
    return found


@pytest.fixture(scope="module")
def judged(bases: dict[str, tuple[Any, Backbone]], tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """Let PEFT write an adapter with every trained number moved, and judge it: (what its files say, the report)."""
    folder = tmp_path_factory.mktemp("written") / "adapter"

    def run(option: Option) -> tuple[validation.Inspection, dict[str, Any]]:
        family, name, settings = option
        model, backbone = bases[family]
        write(copy.deepcopy(model), name, settings, folder)
        if "num_tasks" in settings or "n_tasks" in settings:
            (folder / "hub.json").write_text('{"usage": {"task": 1}}')
        given = makers.assignment(folder, backbone.folder, fingerprint=backbone.fingerprint)
        found = validation.inspect(runtime.open_snapshot(folder), backbone.base, to_run=False)
        return found, makers.judged(given, backbone, folder.parent)

    return run


def write(model: Any, name: str, settings: dict[str, Any], folder: Path) -> None:
    torch.manual_seed(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained = peft.get_peft_model(model, getattr(peft, name)(**settings))
        with torch.no_grad():
            for parameter in trained.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * STEP.get(name, 0.1))
        shutil.rmtree(folder, ignore_errors=True)
        trained.save_pretrained(folder)


def accepted(option: Option, judged: Judged) -> bool:
    """Whether an adapter runs here; if it does, it has to pass, and if not, the report has to say that it is not run."""
    found, report = judged(option)
    told = f"{named(option)} {option[2]}: {report['summary']}"
    assert found.ok, told
    unrun = [text for component in found.components for text in component.unrun]
    if unrun:
        assert report["verdict"] == "failed", told
        assert all(re.search("does not run|cannot run", str(problem)) for problem in report["problems"]), told
        return False
    assert report["verdict"] == "passed", told
    evidence = check(report, "applied")["evidence"]
    assert evidence["consumed"] == evidence["tensors"] > 0, told
    return True


@pytest.mark.parametrize("option", [*(option for option in SOME if option[0] in FAMILIES), *BIASES], ids=named)
def test_a_setting_of_each_method_is_accepted(option: Option, judged: Judged) -> None:
    accepted(option, judged)


def pooled(option: Option) -> bool:
    """Poly on BERT's pooler, which reads no row of tokens: PEFT itself cannot run it."""
    family, name, settings = option
    return family == "bert" and name == "PolyConfig" and "dense" in settings["target_modules"]


@pytest.mark.formats
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_setting_is_accepted(family: str, judged: Judged) -> None:
    chosen = [option for option in options.every() if option[0] == family and not pooled(option)]
    ran, all_ = Counter(), Counter()
    for option in chosen:
        all_[option[1]] += 1
        ran[option[1]] += accepted(option, judged)
    print(f"\n{family}: {ran.total()} of {all_.total()} settings run here, and all of these are accepted")
    print("  not run:", {name: all_[name] - ran[name] for name in all_ if all_[name] > ran[name]})
    assert ran.total() > 0
