"""Adapters on all-MiniLM-L6-v2 with random weights and a random head: what they cost does not hang on what they know."""

import json
from pathlib import Path
from typing import Any

SAMPLE = Path(__file__).resolve().parents[2] / "tests" / "specimens" / "adapterhub" / "double_seq_bn"
ON_TOP = "LoRA on the upper three layers"


def peft_adapter(folder: Path, base: Path, seed: int, config: Any) -> Path:
    """An adapter of PEFT's by its configuration, with a classifier of two classes."""
    import peft
    import torch
    from transformers import AutoModelForSequenceClassification, logging

    logging.set_verbosity_error()  # a new head is what is wanted here
    logging.disable_progress_bar()
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    trained = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            if parameter.requires_grad and "modules_to_save" not in name:
                parameter.copy_(torch.randn_like(parameter) * 0.02 + (1.0 if "ia3" in name else 0.0))
    trained.save_pretrained(folder)
    return folder


def lora(folder: Path, base: Path, seed: int, **more: Any) -> Path:
    import peft

    options = {"task_type": "SEQ_CLS", "r": 8, "target_modules": ["query", "value"], **more}
    return peft_adapter(folder, base, seed, peft.LoraConfig(**options))


def bottleneck(folder: Path, width: int = 384, layers: int = 6, reduction: int = 4) -> Path:
    """AdapterHub's `double_seq_bn` on MiniLM as its library would write it, from the sample's configuration, with random numbers."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    for name in ("adapter_config.json", "head_config.json"):
        said = json.loads((SAMPLE / name).read_text()) | {"hidden_size": width, "model_name": "all-MiniLM-L6-v2"}
        if name == "head_config.json":
            said["config"] |= {"num_labels": 2, "label2id": {"negative": 0, "positive": 1}}
        (folder / name).write_text(json.dumps(said))
    generator, small = torch.Generator().manual_seed(5), width // reduction
    shapes = {
        "down.0.weight": (small, width),
        "down.0.bias": (small,),
        "up.weight": (width, small),
        "up.bias": (width,),
    }
    blocks = {
        f"bert.encoder.layer.{layer}.{place}.adapters.task.adapter_{name}": shape
        for layer in range(layers) for place in ("attention.output", "output") for name, shape in shapes.items()
    }  # fmt: skip
    head = {"1.weight": (width, width), "1.bias": (width,), "4.weight": (2, width), "4.bias": (2,)}
    heads = {f"heads.task.{name}": shape for name, shape in head.items()}
    for file, parts in {"adapter.safetensors": blocks, "model_head.safetensors": heads}.items():
        save_file({key: torch.randn(shape, generator=generator) * 0.02 for key, shape in parts.items()}, folder / file)
    return folder


def of_methods(folder: Path, base: Path) -> dict[str, Path]:
    """One adapter of several methods each."""
    import peft

    return {
        "LoRA": lora(folder / "lora", base, 1),
        ON_TOP: lora(folder / "top", base, 2, layers_to_transform=[3, 4, 5]),
        "IA3": peft_adapter(folder / "ia3", base, 3, peft.IA3Config(
            task_type="SEQ_CLS", target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"])),
        "prefix of 16": peft_adapter(folder / "prefix", base, 4, peft.PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=16)),
        "bottleneck of 96, two a layer": bottleneck(folder / "bottleneck"),
    }  # fmt: skip
