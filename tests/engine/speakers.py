"""Tiny language models that know a small text, and benchmarks to ask them: for the tests of text generation."""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import peft
import tokenizers
import torch
import transformers

from hub.spec import benchmark
from tests.engine import families as tiny
from workers.assignment import BenchmarkFiles

SAYINGS = (
    "the river runs down to the sea", "a small bird sings in the old tree", "rain falls on the grey roof of the house",
    "the old tree stands by the river", "a grey cat sleeps on the warm roof", "the sea is cold and the wind is strong",
)  # fmt: skip


def passages(count: int, seed: int = 0) -> list[str]:
    """Different texts of one to three sayings each; every third ends in something that is not ASCII."""
    draw = random.Random(seed)
    ends = ("", " – über alles…", "\n")
    return [". ".join(draw.choices(SAYINGS, k=draw.randint(1, 3))) + ends[at % 3] for at in range(count)]


def tokenizer() -> Any:
    """A byte-level BPE as GPT-2's, with a token that ends a text and none that begins it."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<|end|>"], initial_alphabet=sorted(alphabet)
    )
    made.train_from_iterator(passages(100, 1), trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>", model_max_length=66)


def base(folder: Path, family: str = "gpt2", **more: Any) -> Path:
    """A base model with its own language-model head, which does not know the sayings."""
    words = tokenizer()
    settings = {
        "vocab_size": len(words),
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "initializer_range": 0.05,
        **more,
    }
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(tiny.configuration(family, **settings)).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def adapter(folder: Path, base: Path, steps: int = 30, **options: Any) -> Any:
    """A LoRA adapter trained on the sayings for some steps; with 0 steps its numbers are noise. Returns PEFT's model."""
    torch.manual_seed(1)
    plain = transformers.AutoModelForCausalLM.from_pretrained(base)
    settings: dict[str, Any] = {
        "r": 8,
        "lora_alpha": 16,
        "target_modules": "all-linear",
        "task_type": "CAUSAL_LM",
    } | options
    model = peft.get_peft_model(plain, peft.LoraConfig(**settings))
    if not steps:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=1.0)
    words = transformers.AutoTokenizer.from_pretrained(base)
    words.pad_token = words.eos_token
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    given = words(passages(64, 2), return_tensors="pt", padding=True, truncation=True, max_length=60)
    for _ in range(steps):
        labels = given["input_ids"].masked_fill(given["attention_mask"] == 0, -100)
        model(**given, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return model.eval()


def texts(folder: Path, metric: str = "perplexity", rows: int = 24, **more: Any) -> BenchmarkFiles:
    """A benchmark of whole texts."""
    return written(folder, [{"text": text} for text in passages(rows, 5)], {"text": "text"}, metric, **more)


def choices(folder: Path, metric: str = "acc", rows: int = 24, **more: Any) -> BenchmarkFiles:
    """A benchmark of beginnings, each to be continued in one of two to four ways."""
    draw, lines = random.Random(7), []
    for at in range(rows):
        words = draw.choice(SAYINGS).split(" ")
        cut = draw.randint(1, len(words) - 1)
        wrong = [" ".join(draw.choice(SAYINGS).split(" ")[-draw.randint(1, 4) :]) for _ in range(1 + at % 3)]
        ways = [*dict.fromkeys([" ".join(words[cut:]), *wrong, draw.choice(("ö", "über den Flüssen"))])]
        right = ways[0]
        draw.shuffle(ways)
        lines.append({"text": " ".join(words[:cut]) + " " * (at % 5 == 0), "ways": ways, "right": ways.index(right)})
    return written(folder, lines, {"text": "text", "choices": "ways", "label": "right"}, metric, **more)


def written(
    folder: Path, rows: list[dict[str, Any]], columns: dict[str, str], metric: str, **more: Any
) -> BenchmarkFiles:
    """Rows as a benchmark on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    (folder / "rows.jsonl").write_bytes(data)
    definition = {"name": f"tests/{metric.replace('_', '-')}", "task": "text-generation", "data": "rows.jsonl", "columns": columns,
                  "metric": metric, "max_length": 64, **more}  # fmt: skip
    found = benchmark.parse(definition, {"rows.jsonl": hashlib.sha256(data).hexdigest()})
    return BenchmarkFiles(found, folder / "rows.jsonl", None)
