"""Token classification: entities are counted as conlleval does, words are read at their first tokens."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score

from hub import runtime
from hub.runtime import answering, answers
from hub.runtime.base import Backbone
from hub.spec import rows as examples
from hub.spec.errors import SpecError
from tests.engine import makers
from tests.engine.makers import SPECIMENS, check, judged
from workers import entities
from workers.assignment import BenchmarkFiles
from workers.entities import Tags

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def found(text: str) -> list[tuple[str, int, int]]:
    """Entities of labels with spaces between; a bar starts the next text."""
    labels, rows, names = [], [], sorted({label for label in text.split() if label != "|"})
    row = 0
    for label in text.split():
        row += label == "|"
        if label != "|":
            labels.append(names.index(label))
            rows.append(row)
    tags = Tags.of(names)
    seen = entities.find(np.array(labels), np.array(rows), tags)
    return [
        (tags.types[k], f, e)
        for k, f, e in zip(seen.kind.tolist(), seen.first.tolist(), seen.last.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("O O O", []),
        ("B-PER I-PER O B-LOC", [("PER", 0, 1), ("LOC", 3, 3)]),
        ("B-PER B-PER", [("PER", 0, 0), ("PER", 1, 1)]),
        ("O I-PER I-PER", [("PER", 1, 2)]),
        ("B-PER I-LOC", [("PER", 0, 0), ("LOC", 1, 1)]),
        ("I-PER B-PER I-PER", [("PER", 0, 0), ("PER", 1, 2)]),
        ("B-PER I-PER | I-PER O", [("PER", 0, 1), ("PER", 2, 2)]),
        ("B-PER I-PER E-PER S-LOC O", [("PER", 0, 2), ("LOC", 3, 3)]),
        ("E-PER E-PER", [("PER", 0, 0), ("PER", 1, 1)]),
        ("I-PER", [("PER", 0, 0)]),
    ],
)
def test_entities_are_those_of_conlleval(text: str, expected: list[tuple[str, int, int]]) -> None:
    assert found(text) == expected


def slow_entities(labels: list[str]) -> set[tuple[str, int, int]]:
    """Word by word, written down from conlleval's description: an entity goes on while its type stays and nothing starts."""
    seen, start = set(), None
    for at, label in enumerate([*labels, "O"]):
        before = labels[at - 1] if at else "O"
        kind, other = label[2:], before[2:]
        if start is not None and (label == "O" or label[0] in "BS" or before[0] in "ES" or kind != other):
            seen.add((other, start, at - 1))
            start = None
        if start is None and label != "O":
            start = at
    return seen


@pytest.mark.parametrize("seed", range(5))
def test_f1_of_entities_is_that_of_counting_them_one_by_one(seed: int) -> None:
    draw = random.Random(seed)
    names = [*LABELS, "E-PER", "S-LOC"]
    truth = [[draw.choice(names) for _ in range(draw.randint(1, 9))] for _ in range(60)]
    said = [[label if draw.random() < 0.7 else draw.choice(names) for label in row] for row in truth]
    index = {name: at for at, name in enumerate(names)}
    flat = [np.array([index[label] for row in side for label in row]) for side in (truth, said)]
    rows = np.repeat(np.arange(60), [len(row) for row in truth])
    sums = entities.tally(*flat, rows, Tags.of(names)).sum(0)
    true, told = ([slow_entities(row) for row in side] for side in (truth, said))
    right = sum(len(a & b) for a, b in zip(true, told, strict=True))
    assert entities.f1(sums) == pytest.approx(2 * right / (sum(map(len, true)) + sum(map(len, told))))
    assert entities.accuracy(sums) == pytest.approx(accuracy_score(*flat))


def tagger(base: Path, folder: Path, seed: int = 0, labels: int = 5) -> Any:
    """A PEFT adapter of TOKEN_CLS with random weights, saved; its answers vary."""
    kind = transformers.AutoModelForTokenClassification
    model = makers.lora_model(base, seed, std=1.0, labels=labels, kind=kind, task_type="TOKEN_CLS")
    model.save_pretrained(folder)
    return model


def reference(base: Path, folder: Path, texts: list[list[str]], model: Any = None) -> list[list[int]]:
    """What transformers and peft answer, as their examples read words: at the first token of each."""
    plain = transformers.AutoModelForTokenClassification.from_pretrained(base, num_labels=5)
    model = model or peft.PeftModel.from_pretrained(plain, folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    said = []
    for words in texts:
        given = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            logits = model(**given).logits[0].argmax(-1).tolist()
        ids = given.word_ids(0)
        said.append([logits[ids.index(word)] for word in range(len(words))])
    return said


def tagged(folder: Path, texts: list[list[str]], said: list[list[int]], dev: int, **more: Any) -> BenchmarkFiles:
    """A benchmark of words and labels with spaces between; the rows behind `dev` are its train split."""
    names = more.get("labels", LABELS)
    lines = [f"{' '.join(w)}\t{' '.join(names[i] for i in row)}" for w, row in zip(texts, said, strict=True)]
    given = {
        "task": "token-classification", "labels": names, "metric": "f1", "header": ["tokens", "tags"],
        "columns": {"text": "tokens", "label": "tags"},
    } | more  # fmt: skip
    return makers.write_benchmark(folder, lines[:dev], lines[dev:], **given)


@pytest.fixture(scope="module")
def texts() -> list[list[str]]:
    """Words, one in five of which the tokenizer cuts into several tokens."""
    draw = random.Random(1)
    salad = [text.split() for text in makers.sentences(160, seed=4)]
    return [
        [word + "".join(draw.choices("abc", k=3)) if draw.random() < 0.2 else word for word in row] for row in salad
    ]


def test_a_tagger_is_scored_word_for_word_as_transformers_and_peft_answer(
    tiny: Path, backbone: Backbone, tmp_path: Path, texts: list[list[str]]
) -> None:
    model = tagger(tiny, tmp_path / "tagger")
    said = reference(tiny, tmp_path / "tagger", texts, model)
    draw = random.Random(2)
    truth = [[label if draw.random() < 0.9 else draw.randrange(5) for label in row] for row in said]
    (tmp_path / "tagger" / "hub.json").write_text(json.dumps({"labels": LABELS}))
    files = tagged(tmp_path / "b", texts, truth, 80)
    found = judged(makers.assignment(tmp_path / "tagger", tiny, files), backbone, tmp_path)
    (predictions,) = found["predictions"].values()
    assert predictions["labels"] == said[:80]
    assert found["verdict"] == "passed", found["summary"]
    (score,) = found["components"][0]["scores"]
    assert score["value"] > score["baselines"]["probe"] > score["baselines"]["majority"] - 1e-9
    assert score["n"] == 80
    low, high = score["interval"]
    assert low < score["value"] < high
    assert [row["label"] for row in score["details"]["classes"]] == ["PER", "LOC"]
    assert np.sum(score["details"]["confusion"]["counts"]) == sum(map(len, texts[:80]))
    facts = check(found, "benchmark")["evidence"]["tests/salad"]
    assert facts["words"] == sum(map(len, texts[:80]))
    assert facts["probe"]["features"] == "word"


def test_words_beyond_the_limit_are_answered_with_outside_and_that_is_said(
    tiny: Path, backbone: Backbone, tmp_path: Path, texts: list[list[str]]
) -> None:
    tagger(tiny, tmp_path / "tagger")
    long = [[word for row in texts[at : at + 8] for word in row] for at in range(0, 40, 8)]
    files = tagged(tmp_path / "b", long, [[1] * len(row) for row in long], 5, max_length=16)
    found = judged(makers.assignment(tmp_path / "tagger", tiny, files, gates={}), backbone, tmp_path)
    (predictions,) = found["predictions"].values()
    assert all(row[-1] == 0 and len(row) == len(words) for row, words in zip(predictions["labels"], long, strict=True))
    assert "beyond max_length" in check(found, "benchmark")["message"]


def test_first_tokens_are_those_that_a_tokenizer_gives_for_words(tiny: Path, texts: list[list[str]]) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    for words in texts:
        known = tokenizer(words, is_split_into_words=True)
        ids, _, places = answers.word_places(tokenizer, words, 64)
        assert ids == known["input_ids"]
        assert places == [known.word_ids().index(word) for word in range(len(words))]


def test_a_tagging_head_of_adapterhub_is_read(backbone: Backbone, tmp_path: Path, texts: list[list[str]]) -> None:
    folder = makers.copied(SPECIMENS / "adapterhub" / "double_seq_bn", tmp_path / "tagger")
    makers.edit_json(folder / "head_config.json", config={
        "head_type": "tagging", "num_labels": 5, "layers": 1, "activation_function": "tanh",
        "label2id": {name: at for at, name in enumerate(LABELS)},
    })  # fmt: skip
    torch.manual_seed(0)
    name = json.loads((folder / "head_config.json").read_text())["name"]
    head = {f"heads.{name}.1.weight": torch.randn(5, 32), f"heads.{name}.1.bias": torch.randn(5)}
    save_file(head, folder / "model_head.safetensors")
    files = tagged(tmp_path / "b", texts[:40], [[0] * len(row) for row in texts[:40]], 40, metric="accuracy")
    found = judged(makers.assignment(folder, makers.TINY, files, gates={}), backbone, tmp_path)
    assert found["verdict"] == "passed", found["summary"]
    assert check(found, "benchmark")["evidence"]["tests/salad"]["labels"] == "declared"
    assert load_file(folder / "model_head.safetensors")[f"heads.{name}.1.bias"].shape == (5,)


@pytest.mark.parametrize(
    ("line", "reason"),
    [("a b\tO", "2 words and 1 label"), ("a b\tO X-PER", "'X-PER' is not a label"), ("\t", "0 words and 0 labels")],
)
def test_words_that_do_not_go_with_their_labels_are_told(line: str, reason: str, tmp_path: Path) -> None:
    files = tagged(tmp_path, [["a"]], [[0]], 1)
    with pytest.raises(SpecError, match=reason):
        examples.read(f"tokens\ttags\n{line}\n".encode(), files.benchmark, "dev.tsv")


def test_f1_is_not_asked_of_labels_that_make_no_entities(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="f1 counts entities"):
        tagged(tmp_path, [["a"]], [[0]], 1, labels=["NOUN", "VERB"])
    assert (
        tagged(tmp_path, [["a"]], [[0]], 1, labels=["NOUN", "VERB"], metric="accuracy").benchmark.metric == "accuracy"
    )


def test_who_pulls_a_tagger_gets_a_label_for_every_word(tiny: Path, tmp_path: Path, texts: list[list[str]]) -> None:
    said = reference(tiny, tmp_path, texts[:4], tagger(tiny, tmp_path / "tagger"))
    model, tokenizer = runtime.load(tmp_path / "tagger", tiny)
    found = answering.answer(model, tokenizer, [" ".join(words) for words in texts[:4]])
    assert [[word["word"] for word in row["words"]] for row in found] == texts[:4]
    assert [[word["label"] for word in row["words"]] for row in found] == [[f"LABEL_{i}" for i in row] for row in said]
