"""Train a Houlsby adapter with the AdapterHub library itself, and write what that library answers with it.

Needs an environment of its own, because `adapters` 1.3.0 wants transformers 4.57 (`make real` makes it in .venv-adapters):

    pip install torch==2.13.0 && pip install adapters==1.3.0
    PYTHONPATH=. python tests/real/train_houlsby.py --data DIR --base DIR --out DIR

OUT/adapter is what `save_adapter` writes. OUT/answers.json holds the logits for the rows of dev.tsv, in their order,
computed by a fresh model that has loaded those very files.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import adapters  # type: ignore[import-not-found]
import torch
import transformers
from adapters import BertAdapterModel, DoubleSeqBnConfig  # type: ignore[import-not-found]

from demo.train import LABELS, Schedule, read_rows, steps, train_file

NAME = "sst2"
ROWS = 64
MAX_LENGTH = 128


def trained(base: Path, token_ids: Sequence[Sequence[int]], labels: Sequence[int]) -> Any:
    """A Houlsby adapter (arXiv:1902.00751) with the library's own classification head, trained as the demo trains LoRA."""
    torch.manual_seed(0)
    model = BertAdapterModel.from_pretrained(base, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model.add_adapter(NAME, config=DoubleSeqBnConfig())
    model.add_classification_head(NAME, num_labels=len(LABELS), id2label=dict(enumerate(LABELS)))
    model.train_adapter(NAME)
    for _ in steps(model, token_ids, labels, Schedule.for_rows(len(labels)), seed=0):
        pass
    return model


def answers(base: Path, folder: Path, tokenizer: Any, sentences: Sequence[str]) -> torch.Tensor:
    """Logits [rows, labels] of the adapter in a folder, as any user of the library gets them."""
    model = BertAdapterModel.from_pretrained(base)
    model.load_adapter(str(folder), set_active=True, use_safetensors=True)
    model.eval()
    found = []
    with torch.inference_mode():
        for at in range(0, len(sentences), ROWS):
            rows = list(sentences[at : at + ROWS])
            given = tokenizer(rows, truncation=True, max_length=MAX_LENGTH, padding=True, return_tensors="pt")
            found.append(model(**given).logits)
    return torch.cat(found)


def main() -> None:
    """The command line: --data (train*.tsv, dev.tsv), --base (the base model's folder), --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--base", "--out"):
        parser.add_argument(name, type=Path, required=True)
    chosen = parser.parse_args()
    tokenizer = transformers.AutoTokenizer.from_pretrained(chosen.base)
    sentences, labels = read_rows(train_file(chosen.data))
    token_ids = tokenizer(sentences, truncation=True, max_length=MAX_LENGTH)["input_ids"]
    chosen.out.mkdir(parents=True, exist_ok=True)
    model = trained(chosen.base, token_ids, labels)
    model.save_adapter(str(chosen.out / "adapter"), NAME, with_head=True, use_safetensors=True)
    asked, _ = read_rows(chosen.data / "dev.tsv")
    logits = answers(chosen.base, chosen.out / "adapter", tokenizer, asked)
    versions = {module.__name__: module.__version__ for module in (adapters, transformers, torch)}
    (chosen.out / "answers.json").write_text(json.dumps({"versions": versions, "logits": logits.tolist()}))


if __name__ == "__main__":
    main()
