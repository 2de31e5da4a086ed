"""Every method that PEFT writes for an encoder answers here as it does in PEFT."""

import copy
import shutil
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from hub import runtime
from hub.spec.methods import peft_table
from hub.spec.methods.peft_runs import RUNS
from tests.engine.test_parity import same
from tests.formats import options, zoo


def method(name: str) -> str:
    """The peft_type of one of PEFT's configuration classes."""
    return next(str(kind.value) for kind, known in PEFT_TYPE_TO_CONFIG_MAPPING.items() if known.__name__ == name)


# without a head there is nothing to compare: PEFT saves none with trainable tokens alone
NOT_HERE = ("TrainableTokensConfig",)


def cannot(option: options.Option) -> bool:
    """Whether PEFT itself cannot run it (Poly on a pooler, which reads no row of tokens), or the file leaves out what it takes
    to run it (UniLoRA's places)."""
    _, name, settings = option
    pooled = name == "PolyConfig" and "dense" in settings["target_modules"]
    return pooled or (name == "UniLoraConfig" and not settings["save_indices"])


BESIDE: list[options.Option] = [
    ("bert", "PolyConfig", {"r": 2, "n_tasks": 2, "n_skills": 2, "n_splits": 2, "target_modules": ["query", "output.dense"]}),
    ("bert", "DeftConfig", {"r": 3, "decomposition_method": "qr", "alpha": 5, "target_modules": ["query", "dense"]}),
    ("bert", "PsoftConfig", {"r": 4, "use_cayley_neumann": True, "cayley_neumann_eps": 0.3, "num_cayley_neumann_terms": 3,
                             "ab_svd_init": "pissa_init", "target_modules": ["query", "dense"]}),
    ("bert", "PsoftConfig", {"r": 4, "psoft_svd": "lowrank", "psoft_alpha": 5, "target_modules": ["value"]}),
    ("bert", "PeanutConfig", {"r": 4, "depth": 2, "act_fn": "gelu", "scaling": 0.5, "target_modules": ["query", "dense"]}),
    ("bert", "LilyConfig", {"r": 4, "num_B": 3, "scaling": 2.0, "target_modules": ["query", "dense"]}),
    ("bert", "WaveFTConfig", {"n_frequency": 40, "use_idwt": False, "scaling": 3.0, "target_modules": ["query", "dense"]}),
    ("bert", "TinyLoraConfig", {"r": 3, "u": 8, "weight_tying": 0.6, "projection_seed": 5, "save_projection": False,
                                "target_modules": ["query", "key", "dense", "word_embeddings"]}),
    ("bert", "SupertuningConfig", {"r": 3, "lora_alpha": 5, "select_top": False, "save_precomputed_indices": False,
                                   "target_modules": ["query", "dense"]}),
]  # fmt: skip
"""Settings that change what is reckoned, and not what is in the file."""
OPTIONS = [
    option
    for option in options.every()
    if option[0] == "bert" and option[1] not in NOT_HERE and peft_table.TABLE[method(option[1])].name in RUNS
    if not cannot(option)
] + BESIDE
STEP = {"FourierFTConfig": 0.005}
"""How far numbers are moved. FourierFT multiplies by 150: a tenth there would drown the base model."""
GIVEN = {
    "input_ids": torch.arange(36).reshape(4, 9) % 37 + 3,
    "attention_mask": torch.tensor([[1] * 9, [1] * 9, [1] * 5 + [0] * 4, [1] * 9]),
}


def tiny_bert(folder: Path) -> Any:
    """A tiny BERT with a head, saved in a folder with a tokenizer."""
    from tests.engine.makers import SPECIMENS

    model = zoo.make("bert")
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SPECIMENS / "tiny-bert" / name, folder)
    return model


def written(model: Any, folder: Path, name: str, settings: dict[str, Any]) -> Any:
    """Let PEFT make an adapter, move every number it trains (an untrained one changes nothing), and save it."""
    torch.manual_seed(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(copy.deepcopy(model), getattr(peft, name)(**{**settings, "task_type": "SEQ_CLS"}))
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * STEP.get(name, 0.1))
        shutil.rmtree(folder, ignore_errors=True)
        adapted.save_pretrained(folder)
    return adapted.eval()


def asked(settings: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The inputs, and which task each row is for, where there are several."""
    many = "num_tasks" in settings or "n_tasks" in settings
    return GIVEN | ({"task_ids": torch.tensor([0, 1, 1, 0])} if many else {})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """(tiny BERT with a head, the folder it lies in with a tokenizer)"""
    folder = tmp_path_factory.mktemp("base")
    return tiny_bert(folder), folder


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option[1])
def test_a_method_answers_as_it_does_in_peft(option: options.Option, base: tuple[Any, Path], tmp_path: Path) -> None:
    _, name, settings = option
    reference = written(base[0], tmp_path / "adapter", name, settings)
    model, _ = runtime.load(tmp_path / "adapter", base[1])
    given = asked(settings)
    with torch.no_grad():
        theirs, ours = reference(**given).logits, model(**given).logits
        assert same(ours, theirs)
        model.adapter.enabled = False
        assert not same(model(**given).logits, theirs), "the adapter did nothing"
        model.adapter.enabled = True
        assert torch.equal(model(**given).logits, ours), "on again is what it was"
        model.adapter.detach()
    assert runtime.rehash(runtime.open_backbone(base[1])) == model.base.fingerprint
