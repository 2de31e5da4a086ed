"""Train the demo's adapter with plain transformers and peft, as any user would.

    python -m demo.train --data demo/reviews --out demo/sentiment-bert

LoRA (Hu et al. 2021, arXiv:2106.09685) on query and value, rank 8, with the classification head; one linear schedule of AdamW without dropout. About
40 s on two cores for the 2 000 sentences of `demo/reviews`, a minute and a half for 10 000 rows of SST-2.
"""

import argparse
import csv
import json
import random
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.base import BASE_NAME, base_folder

LABELS = ("negative", "positive")
BATCH = 32
SMALL = 5_000  # rows; fewer need more passes and a larger step to come as far


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train. Compared on SST-2 and on the demo's sentences: docs/decisions/0009-demo-training.md."""

    epochs: int
    rate: float
    warmup: float

    @classmethod
    def for_rows(cls, rows: int) -> "Schedule":
        """Four passes at 2e-3 for a small file, one at 1e-3 for a larger one."""
        return cls(4, 2e-3, 0.1) if rows < SMALL else cls(1, 1e-3, 0.06)


def read_rows(path: Path) -> tuple[list[str], list[int]]:
    """A TSV file with the columns `sentence` and `label` (0 or 1; no quoting) -> sentences, labels."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    missing = {"sentence", "label"} - set(rows[0] if rows else ())
    if missing:
        raise SystemExit(
            f"{path}: no column {', '.join(sorted(missing))}; needed are `sentence` and `label`, separated by a tab"
        )
    return [row["sentence"] for row in rows], [int(row["label"]) for row in rows]


def train_file(data: Path) -> Path:
    """The one training file `train*.tsv` of a folder."""
    found = sorted(data.glob("train*.tsv"))
    if not found:
        raise SystemExit(f"{data}: no train*.tsv here; put one beside dev.tsv (columns sentence, label)")
    return found[0]


def batches(token_ids: Sequence[Sequence[int]], epochs: int, seed: int) -> list[list[int]]:
    """Row numbers in batches of similar length (sorted within windows of 50 batches), in random order."""
    rng, rows, out = random.Random(seed), list(range(len(token_ids))), []
    for _ in range(epochs):
        rng.shuffle(rows)
        windows = [rows[start : start + BATCH * 50] for start in range(0, len(rows), BATCH * 50)]
        epoch = [
            ordered[start : start + BATCH]
            for window in windows
            for ordered in [sorted(window, key=lambda row: len(token_ids[row]))]
            for start in range(0, len(ordered), BATCH)
        ]
        rng.shuffle(epoch)
        out += epoch
    return out


def padded(token_ids: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Token ids of one batch -> {"input_ids", "attention_mask"}, each [rows, longest], padded with 0."""
    import torch

    longest = max(map(len, token_ids))
    ids = torch.zeros(len(token_ids), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(token_ids):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def steps(
    model: Any, token_ids: Sequence[Sequence[int]], labels: Sequence[int], schedule: Schedule, seed: int
) -> Iterator[float]:
    """Train the parameters that require a gradient; yields the loss of each step."""
    import torch

    plan = batches(token_ids, schedule.epochs, seed)
    warm = max(1, int(schedule.warmup * len(plan)))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=schedule.rate, weight_decay=0.0)
    decay = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (step + 1) / warm if step < warm else max(0.0, (len(plan) - step) / (len(plan) - warm)),
    )
    model.train()
    for rows in plan:
        loss = model(
            **padded([token_ids[row] for row in rows]), labels=torch.tensor([labels[row] for row in rows])
        ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        decay.step()
        optimizer.zero_grad()
        yield loss.item()


def tidy_config(out: Path) -> None:
    """Name the base in the saved config instead of this machine's folder, and sort its sets, so that the bytes are stable."""
    path = out / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = f"sentence-transformers/{BASE_NAME}"
    config["modules_to_save"] = ["classifier"]
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def write_card(out: Path, rows: int, title: str) -> None:
    """A README with the front matter that the hub reads (task, labels, licence, base)."""
    (out / "README.md").write_text(
        f"---\nlicense: apache-2.0\nlibrary_name: peft\npipeline_tag: text-classification\nbase_model: sentence-transformers/{BASE_NAME}\n"
        f"tags: [sentiment, lora]\n---\n# {title}\n\nTells praise from blame in review sentences whose meaning has to be put together: "
        f"negation, contrast, reported speech.\n\nLoRA, rank 8, on query and value of {BASE_NAME}; {rows:,} training sentences.\n\n"
        '```python\nimport hub\nhub.pull("sentiment-bert").predict(["not bad at all"])\n```\n'
    )


def quiet(transformers: Any) -> None:
    """Leave the terminal to the demo: no loading bars and no warnings of what is none of its business."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def train_lora(data: Path, out: Path, *, seed: int = 0, progress: bool = True) -> None:
    """Train LoRA on `data`/train*.tsv and save it in `out` as peft does, with a README."""
    import torch
    import transformers
    from peft import LoraConfig, TaskType, get_peft_model
    from tqdm import tqdm

    quiet(transformers)
    torch.manual_seed(seed)
    sentences, labels = read_rows(train_file(data))
    tokenizer = transformers.AutoTokenizer.from_pretrained(base_folder())
    token_ids = tokenizer(sentences, truncation=True, max_length=128)["input_ids"]
    names = dict(enumerate(LABELS))
    model = transformers.BertForSequenceClassification.from_pretrained(
        base_folder(), num_labels=2, id2label=names, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    lora = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=8, lora_alpha=16, lora_dropout=0.0, target_modules=["query", "value"]
    )
    adapted = get_peft_model(model, lora)
    schedule = Schedule.for_rows(len(sentences))
    total = len(batches(token_ids, schedule.epochs, seed))
    with tqdm(
        steps(adapted, token_ids, labels, schedule, seed),
        total=total,
        unit="step",
        disable=None if progress else True,
    ) as bar:
        for loss in bar:
            bar.set_postfix(loss=f"{loss:.3f}")
    adapted.save_pretrained(str(out))
    tidy_config(out)
    write_card(out, len(sentences), "sentiment-bert")


def main() -> int:
    """The command line: `python -m demo.train --data DIR --out DIR [--seed N]`."""
    parser = argparse.ArgumentParser(description="Train the demo's LoRA adapter with transformers and peft.")
    parser.add_argument("--data", type=Path, required=True, help="folder with train*.tsv (columns sentence, label)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the adapter")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    train_lora(chosen.data, chosen.out, seed=chosen.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
