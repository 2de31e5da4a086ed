"""Adapters as PEFT writes them, on tiny random models, and those models as base models."""

import copy
import logging
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import pytest

from hub import base_folder
from hub.spec.base_model import BaseModel
from hub.spec.snapshot import MemorySnapshot
from tests.formats import zoo
from tests.formats.options import Option


@dataclass(frozen=True)
class Written:
    """What PEFT wrote, and what it says of it: trainable parameters, and the modules that it wrapped (its names)."""

    option: Option
    files: dict[str, bytes]
    trainable: int
    wrapped: tuple[str, ...]

    @property
    def snapshot(self) -> MemorySnapshot:
        return MemorySnapshot(self.files)


@pytest.fixture(scope="session")
def models() -> dict[str, Any]:
    return {name: zoo.make(name) for name in zoo.MAKE}


@pytest.fixture(scope="session")
def bases(models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, BaseModel]:
    """The same as base models, from the files that transformers writes."""
    place = tmp_path_factory.mktemp("bases")
    for name, model in models.items():
        model.save_pretrained(place / name)
    return {name: base_folder.read(place / name) for name in models}


@pytest.fixture(scope="session")
def write(models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Option], Written]:
    """Let PEFT write an adapter under an option."""
    place = tmp_path_factory.mktemp("written") / "adapter"

    def written(option: Option) -> Written:
        family, name, settings = option
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            try:
                model = peft.get_peft_model(copy.deepcopy(models[family]), getattr(peft, name)(**settings))
                shutil.rmtree(place, ignore_errors=True)
                model.save_pretrained(place)
            finally:
                logging.disable(logging.NOTSET)
        files = {
            path.name: path.read_bytes() for path in Path(place).iterdir() if path.suffix in (".json", ".safetensors")
        }
        wrapped = tuple(getattr(model.base_model, "targeted_module_names", ()))
        return Written(option, files, model.get_nb_trainable_parameters()[0], wrapped)

    return written
