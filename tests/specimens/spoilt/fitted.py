"""Benchmarks that a linear head on the base model can answer, and heads fitted to a given adapter."""

import functools
import json
import random
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression

from hub import runtime
from tests.engine import makers
from tests.engine.makers import TINY
from tests.specimens.spoilt.goods import Good
from workers.assignment import BenchmarkFiles

ROWS, TRAIN = 200, 300
WORD = "good"
CHANCE = 0.3


def words(place: Path) -> BenchmarkFiles:
    """Is a word in the sentence? Some sentences without it are called positive, too, so that nobody can be perfect."""
    draw = random.Random(8)
    lines = []
    for text in makers.sentences(ROWS + TRAIN, seed=8):
        given = f"{text} {WORD}" if draw.random() < 0.5 else text
        lines.append(f"{given}\t{int(WORD in given.split() or draw.random() < CHANCE)}")
    return makers.write_benchmark(place, lines[:ROWS], lines[ROWS:], name="tests/word")


def fit_head(folder: Path, files: BenchmarkFiles) -> None:
    """Fit an adapter's linear head to what its body says about the train split."""
    assert files.train is not None
    rows = [line.split("\t") for line in files.train.read_text().splitlines()[1:]]
    model, tokenizer = runtime.load(folder, TINY)
    with torch.no_grad():
        given = tokenizer([text for text, _ in rows], padding=True, return_tensors="pt")
        features = model.backbone(**given).pooler_output.numpy()
    found = LogisticRegression(max_iter=2000).fit(features, [int(label) for _, label in rows])
    path = folder / "adapter_model.safetensors"
    weight, bias = (np.stack([-part[0] / 2, part[0] / 2]) for part in (found.coef_, found.intercept_[None, :]))
    tensors = load_file(path)
    for key in tensors:
        if key.endswith("classifier.weight"):
            tensors[key] = torch.tensor(weight, dtype=torch.float32)
        if key.endswith("classifier.bias"):
            tensors[key] = torch.tensor(bias.ravel(), dtype=torch.float32)
    save_file(tensors, path)


def knows(folder: Path, files: BenchmarkFiles) -> float:
    """The share of all rows of a benchmark that an adapter answers right."""
    assert files.train is not None
    rows = [line.split("\t") for path in (files.data, files.train) for line in path.read_text().splitlines()[1:]]
    model, tokenizer = runtime.load(folder, TINY)
    with torch.no_grad():
        answers = model(**tokenizer([text for text, _ in rows], padding=True, return_tensors="pt")).logits.argmax(-1)
    return sum(int(label) == answer for (_, label), answer in zip(rows, answers.tolist(), strict=True)) / len(rows)


def of_base_alone(place: Path, good: Good) -> BenchmarkFiles:
    """A benchmark labelled by the head of a good adapter on the base model alone."""
    return _of_base_alone(place / good.name.replace(" ", "-"), good.folder, good.labels)


@functools.cache
def _of_base_alone(place: Path, folder: Path, names: tuple[str, ...]) -> BenchmarkFiles:
    texts = makers.sentences(ROWS + TRAIN, seed=12)
    model, tokenizer = runtime.load(folder, TINY)
    model.adapter.enabled = False
    with torch.no_grad():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    truth = (logits - logits.median(0).values).argmax(-1).tolist()
    lines = [f"{text}\t{label}" for text, label in zip(texts, truth, strict=True)]
    more = {"labels": json.loads(json.dumps(list(names))), "name": "tests/alone"}
    return makers.write_benchmark(place, lines[:ROWS], lines[ROWS:], **more)
