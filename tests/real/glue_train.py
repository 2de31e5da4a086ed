"""Train an adapter on a GLUE task with one of the libraries, and write what that library answers with it.

Runs in whichever environment has the library (`adapters` 1.3.0 wants an older transformers):

    PYTHONPATH=. python tests/real/glue_train.py --library peft|adapters --rows FILE --base DIR --out DIR

FILE is JSON: {"classes": N (1: a number), "max_length": tokens, "train": [[text, pair or null, label], ...], "asked":
[[text, pair or null], ...]}. OUT/adapter is what the library saves; OUT/answers.json holds its logits for `asked`, in
their order, computed by a fresh model that has loaded those very files, and how many parameters were trained.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from demo.train import Schedule, batches

SCHEDULE = Schedule(epochs=2, rate=2e-3, warmup=0.1)
LONGEST = 128
"""Tokens of a row to train on."""
ASKED = 64
NAME = "glue"
QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
"""No dropout: with so few steps it costs more than it gives."""
Row = Sequence[Any]
Encoded = list[dict[str, list[int]]]


def encoded(tokenizer: Any, rows: Sequence[Row], longest: int) -> Encoded:
    """Token ids of sentences, or of pairs of them, row by row."""
    texts, pairs = [row[0] for row in rows], [row[1] for row in rows]
    found = tokenizer(texts, None if pairs[0] is None else pairs, truncation=True, max_length=longest)
    return [{name: column[at] for name, column in found.items()} for at in range(len(rows))]


def train(model: Any, tokenizer: Any, rows: Encoded, wanted: torch.Tensor) -> None:
    """AdamW on what requires a gradient; `wanted` [rows] are classes (int64) or numbers (float32). Rates rise, then fall to zero."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    plan = batches([row["input_ids"] for row in rows], SCHEDULE.epochs, seed=0)
    warm = max(1, int(SCHEDULE.warmup * len(plan)))
    optimizer = torch.optim.AdamW(trained, lr=SCHEDULE.rate, weight_decay=0.0)
    decay = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (len(plan) - step) / (len(plan) - warm))
    )
    model.train()
    for chosen in plan:
        with torch.autocast("cpu", torch.bfloat16):  # a third less time where the processor knows it
            found = model(**tokenizer.pad([rows[row] for row in chosen], return_tensors="pt")).logits
        logits, right = found.float(), wanted[chosen]
        if right.is_floating_point():
            loss = torch.nn.functional.mse_loss(logits[:, 0], right)
        else:
            loss = torch.nn.functional.cross_entropy(logits, right)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        decay.step()
        optimizer.zero_grad()


def answers(model: Any, tokenizer: Any, rows: Encoded) -> torch.Tensor:
    """Logits [rows, classes], in the order of the rows; rows of like length meet in a batch."""
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]["input_ids"]))
    parts = []
    model.eval()
    with torch.inference_mode():
        for at in range(0, len(order), ASKED):
            chosen = [rows[row] for row in order[at : at + ASKED]]
            parts.append(model(**tokenizer.pad(chosen, return_tensors="pt")).logits)
    return torch.cat(parts)[torch.tensor(order).argsort()]


def lora(base: Path, classes: int, learn: Callable[[Any], None], out: Path) -> tuple[Any, int]:
    """LoRA of rank 8 on query and value: (a fresh model with what was saved, numbers trained without the head)."""
    import peft

    def plain() -> Any:
        return transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=classes, **QUIET)

    settings = peft.LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"], task_type="SEQ_CLS")
    model = peft.get_peft_model(plain(), settings)
    learn(model)
    model.save_pretrained(out)
    count = sum(item.numel() for name, item in model.named_parameters() if "lora_" in name)
    return peft.PeftModel.from_pretrained(plain(), out), count


def houlsby(base: Path, classes: int, learn: Callable[[Any], None], out: Path) -> tuple[Any, int]:
    """A Houlsby adapter (arXiv:1902.00751) with AdapterHub's own head, likewise."""
    from adapters import BertAdapterModel, DoubleSeqBnConfig  # type: ignore[import-not-found]

    model = BertAdapterModel.from_pretrained(base, **QUIET)
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
    known = encoded(tokenizer, given["train"], LONGEST)
    kind = torch.float32 if given["classes"] == 1 else torch.int64
    wanted = torch.tensor([row[2] for row in given["train"]], dtype=kind)

    def learn(model: Any) -> None:
        train(model, tokenizer, known, wanted)

    model, count = LIBRARIES[chosen.library](chosen.base, given["classes"], learn, chosen.out / "adapter")
    said = answers(model, tokenizer, encoded(tokenizer, given["asked"], given["max_length"]))
    total = sum(item.numel() for item in transformers.AutoModel.from_pretrained(chosen.base).parameters())
    (chosen.out / "answers.json").write_text(json.dumps({"logits": said.tolist(), "trained": count, "total": total}))


if __name__ == "__main__":
    main()
