"""Good adapters of many methods on the tiny random BERT, each with a benchmark that it is good at: what spoilt ones are made of.

A good adapter answers its own benchmark: the labels are its own answers, one in twenty of them flipped. Numbers are drawn from a seed.
"""

import functools
import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

from hub import runtime
from tests.engine import makers
from tests.engine.makers import SPECIMENS, TINY
from workers.assignment import BenchmarkFiles

NARROW, WIDE = ["query", "value"], ["query", "key", "value", "dense"]
NAMES = {2: ("negative", "positive"), 3: ("low", "mid", "high")}
ROWS, TRAIN = 120, 160
FLIPPED = 20


@dataclass(frozen=True)
class Good:
    """An adapter that passes, and the benchmark that it passes."""

    name: str
    method: str
    """PEFT's peft_type, or `bottleneck`."""
    folder: Path
    files: BenchmarkFiles

    @property
    def weights(self) -> str:
        """The file of its weights."""
        return "adapter.safetensors" if self.method == "bottleneck" else "adapter_model.safetensors"

    @property
    def head(self) -> str:
        """The file of its head."""
        return "model_head.safetensors" if self.method == "bottleneck" else self.weights

    @property
    def labels(self) -> tuple[str, ...]:
        return self.files.benchmark.labels

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "adapter_config.json").read_text()))


@dataclass(frozen=True)
class Recipe:
    """How a good adapter is made: PEFT's configuration class with its arguments, or a folder that AdapterHub's library wrote."""

    written_by: str
    step: float = 0.5
    """How far trained numbers are moved from where the library starts them."""
    labels: int = 2
    options: dict[str, Any] | None = None


RECIPES = {
    "LoRA of rank 4": Recipe("LoraConfig", options={"r": 4, "lora_alpha": 8, "target_modules": NARROW}),
    "LoRA of rank 1 on every layer": Recipe("LoraConfig", options={"r": 1, "lora_alpha": 2, "target_modules": WIDE}),
    "LoRA of rank 8 on the last layer": Recipe(
        "LoraConfig", options={"r": 8, "lora_alpha": 8, "target_modules": WIDE, "layers_to_transform": [1]}
    ),
    "LoRA with ranks by module": Recipe(
        "LoraConfig", options={"r": 3, "lora_alpha": 6, "target_modules": WIDE, "rank_pattern": {"query": 2}, "alpha_pattern": {"value": 3}}
    ),
    "LoRA for three labels": Recipe("LoraConfig", labels=3, options={"r": 4, "lora_alpha": 8, "target_modules": WIDE}),
    "LoRA with biases": Recipe("LoraConfig", options={"r": 4, "lora_alpha": 8, "target_modules": NARROW, "bias": "lora_only"}),
    "rsLoRA": Recipe("LoraConfig", options={"r": 6, "lora_alpha": 6, "target_modules": WIDE, "use_rslora": True}),
    "DoRA": Recipe("LoraConfig", options={"r": 4, "lora_alpha": 8, "target_modules": NARROW, "use_dora": True}),
    "AdaLoRA": Recipe("AdaLoraConfig", 0.7, options={"init_r": 4, "target_r": 4, "lora_alpha": 16, "total_step": 10, "target_modules": WIDE}),
    "LoHa": Recipe("LoHaConfig", options={"r": 4, "alpha": 8, "target_modules": WIDE}),
    "LoKr": Recipe("LoKrConfig", options={"r": 2, "alpha": 4, "target_modules": WIDE}),
    "VeRA": Recipe("VeraConfig", 1.0, options={"r": 16, "target_modules": NARROW, "save_projection": True}),
    "VB-LoRA": Recipe("VBLoRAConfig", 1.0, options={"r": 2, "num_vectors": 10, "vector_length": 4, "target_modules": WIDE}),
    "FourierFT": Recipe("FourierFTConfig", 0.1, options={"n_frequency": 40, "target_modules": WIDE}),
    "SHiRA": Recipe("ShiraConfig", 1.0, options={"r": 4, "target_modules": WIDE}),
    "OFT": Recipe("OFTConfig", options={"oft_block_size": 8, "target_modules": WIDE}),
    "IA3": Recipe("IA3Config", 1.0, options={"target_modules": ["query", "value", "output.dense"], "feedforward_modules": ["output.dense"]}),
    "LoRA with rows of tokens": Recipe(
        "LoraConfig",
        options={"r": 4, "lora_alpha": 8, "target_modules": NARROW, "trainable_token_indices": {"word_embeddings": [5, 20, 60]}},
    ),
    "Houlsby": Recipe("double_seq_bn", labels=3),
    "Pfeiffer": Recipe("seq_bn", labels=3),
}  # fmt: skip
LORAS = tuple(name for name in RECIPES if "LoRA" in name and "VB" not in name and "Ada" not in name)


class Goods:
    """Every good adapter, made when it is first asked for."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._made: dict[str, Good] = {}

    def __getitem__(self, name: str) -> Good:
        if name not in self._made:
            self._made[name] = _made(self.place / f"{len(self._made)}", name, RECIPES[name])
        return self._made[name]


def _made(place: Path, name: str, recipe: Recipe) -> Good:
    seed = list(RECIPES).index(name)
    folder = place / "adapter"
    bottleneck = recipe.options is None
    written = _from_adapterhub if bottleneck else _from_peft
    written(folder, recipe, seed)
    config = json.loads((folder / "adapter_config.json").read_text())
    method = "bottleneck" if bottleneck else str(config["peft_type"])
    head = folder / ("model_head.safetensors" if bottleneck else "adapter_model.safetensors")
    _centre(folder, head, makers.sentences(200, seed=99))
    return Good(name, method, folder, _benchmark(place / "benchmark", folder, NAMES[recipe.labels], seed))


def _from_peft(folder: Path, recipe: Recipe, seed: int) -> None:
    torch.manual_seed(seed)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(TINY, num_labels=recipe.labels)
    assert recipe.options is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = getattr(peft, recipe.written_by)(**recipe.options, task_type="SEQ_CLS")
        model = peft.get_peft_model(plain, settings)
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                if parameter.requires_grad and "ranknum" not in parameter_name:
                    step = 1.0 if "modules_to_save" in parameter_name else recipe.step
                    parameter.add_(torch.randn_like(parameter) * step)
        model.save_pretrained(folder)


def _from_adapterhub(folder: Path, recipe: Recipe, seed: int) -> None:
    """The library's own files with every number moved."""
    shutil.copytree(SPECIMENS / "adapterhub" / recipe.written_by, folder)
    drawn = torch.Generator().manual_seed(seed)
    for path in sorted(folder.glob("*.safetensors")):
        tensors = load_file(path)
        save_file(
            {key: value + recipe.step * torch.randn(value.shape, generator=drawn) for key, value in tensors.items()},
            path,
        )


def _centre(folder: Path, head: Path, texts: list[str]) -> None:
    """Shift the head so that every class is answered about equally often."""
    middle = _logits(folder, texts).median(0).values
    tensors = load_file(head)
    key = max(key for key in tensors if key.endswith(".bias") and tensors[key].shape == middle.shape)
    save_file(tensors | {key: tensors[key] - middle}, head)


def _logits(folder: Path, texts: list[str]) -> torch.Tensor:
    model, tokenizer = runtime.load(folder, TINY)
    with torch.no_grad():
        return model(**tokenizer(texts, padding=True, return_tensors="pt")).logits


def _benchmark(place: Path, folder: Path, names: tuple[str, ...], seed: int) -> BenchmarkFiles:
    texts = makers.sentences(ROWS + TRAIN, seed=1000 + seed)
    truth = _logits(folder, texts).argmax(-1).tolist()
    lines = [
        f"{text}\t{(label + (row % FLIPPED == 0)) % len(names)}"
        for row, (text, label) in enumerate(zip(texts, truth, strict=True))
    ]
    return makers.write_benchmark(place, lines[:ROWS], lines[ROWS:], labels=list(names), name=f"tests/of-{seed}")
