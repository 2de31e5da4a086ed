"""Train adapters on small slices of GLUE's tasks with one of the libraries, and write what that library answers with them.

Runs in whichever environment has the library (`adapters` 1.3.0 wants an older transformers):

    PYTHONPATH=. python tests/real/glue_train.py --library peft|adapters --rows FILE --base DIR --out DIR

FILE is JSON: {"classes": N (1: a number), "train": [[text, pair or null, label], ...], "asked":
[[text, pair or null], ...]}. OUT/adapter is what the library saves; OUT/answers.json holds its logits for `asked`, in
their order, computed by a fresh model that has loaded those very files, and how many parameters were trained.
"""

import argparse
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

BATCH, EPOCHS, RATE = 16, 2, 2e-3
ASKED = 64
MAX_LENGTH = 128
NAME = "glue"
Row = Sequence[Any]


def batch(tokenizer: Any, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """Sentences, or pairs of them, as one padded batch."""
    texts, pairs = [row[0] for row in rows], [row[1] for row in rows]
    second = None if pairs[0] is None else pairs
    return dict(tokenizer(texts, second, truncation=True, max_length=MAX_LENGTH, padding=True, return_tensors="pt"))


def train(model: Any, tokenizer: Any, rows: Sequence[Row], number: bool) -> None:
    """AdamW on what requires a gradient, with a rate that falls to zero."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    draw, order = random.Random(0), list(range(len(rows)))
    total = EPOCHS * -(-len(rows) // BATCH)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / total)
    model.train()
    for _ in range(EPOCHS):
        draw.shuffle(order)
        for at in range(0, len(order), BATCH):
            chosen = [rows[place] for place in order[at : at + BATCH]]
            wanted = torch.tensor([row[2] for row in chosen], dtype=torch.float32 if number else torch.long)
            logits = model(**batch(tokenizer, chosen)).logits
            if number:
                loss = torch.nn.functional.mse_loss(logits[:, 0], wanted)
            else:
                loss = torch.nn.functional.cross_entropy(logits, wanted)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            decay.step()
            optimizer.zero_grad()


def lora(base: Path, classes: int, learn: Callable[[Any], None], out: Path) -> tuple[Any, int]:
    """LoRA of rank 8 on query and value: (a fresh model with what was saved, numbers trained without the head)."""
    import peft

    def plain() -> Any:
        return transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=classes)

    settings = peft.LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"], task_type="SEQ_CLS")
    model = peft.get_peft_model(plain(), settings)
    learn(model)
    model.save_pretrained(out)
    count = sum(item.numel() for name, item in model.named_parameters() if "lora_" in name)
    return peft.PeftModel.from_pretrained(plain(), out), count


def houlsby(base: Path, classes: int, learn: Callable[[Any], None], out: Path) -> tuple[Any, int]:
    """A Houlsby adapter (arXiv:1902.00751) with AdapterHub's own head, likewise."""
    from adapters import BertAdapterModel, DoubleSeqBnConfig  # type: ignore[import-not-found]

    model = BertAdapterModel.from_pretrained(base)
    model.add_adapter(NAME, config=DoubleSeqBnConfig())
    model.add_classification_head(NAME, num_labels=classes)
    model.train_adapter(NAME)
    learn(model)
    model.save_adapter(str(out), NAME, with_head=True, use_safetensors=True)
    count = sum(item.numel() for name, item in model.named_parameters() if f"adapters.{NAME}" in name)
    fresh = BertAdapterModel.from_pretrained(base)
    fresh.load_adapter(str(out), set_active=True, use_safetensors=True)
    return fresh, count


LIBRARIES = {"peft": lora, "adapters": houlsby}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=sorted(LIBRARIES), required=True)
    for name in ("--rows", "--base", "--out"):
        parser.add_argument(name, type=Path, required=True)
    chosen = parser.parse_args()
    tokenizer = transformers.AutoTokenizer.from_pretrained(chosen.base)
    given = json.loads(chosen.rows.read_text())
    chosen.out.mkdir(parents=True)
    torch.manual_seed(0)

    def learn(model: Any) -> None:
        train(model, tokenizer, given["train"], given["classes"] == 1)

    model, count = LIBRARIES[chosen.library](chosen.base, given["classes"], learn, chosen.out / "adapter")
    model.eval()
    asked = given["asked"]
    with torch.inference_mode():
        parts = [model(**batch(tokenizer, asked[at : at + ASKED])).logits for at in range(0, len(asked), ASKED)]
    total = sum(item.numel() for item in transformers.AutoModel.from_pretrained(chosen.base).parameters())
    answers = {"logits": torch.cat(parts).tolist(), "trained": count, "total": total}
    (chosen.out / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
