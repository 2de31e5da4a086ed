"""Extractive question answering: SQuAD's measures, spans over pieces of long contexts, and both compared with libraries."""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from hub import errors, runtime
from hub.runtime import answering, answers
from hub.runtime.base import Backbone
from hub.spec import benchmark
from hub.spec import rows as examples
from hub.spec.errors import SpecError
from tests.engine import makers
from tests.engine.makers import check, judged
from workers import squad
from workers.assignment import BenchmarkFiles

TOWARDS_NOTHING = 3.0
COLUMNS = {"question": "question", "context": "context", "answers": "answers"}


@pytest.mark.parametrize(
    ("said", "right", "exact", "f1"),
    [
        ("The Eiffel Tower!", ["eiffel tower"], 1, 1),
        ("the tower of Paris", ["Eiffel tower", "a tower in Paris"], 0, 2 * 2 / 6),
        ("1,000 km", ["1000 km"], 1, 1),
        ("", [], 1, 1),
        ("Paris", [], 0, 0),
        ("", ["Paris"], 0, 0),
        ("paris paris", ["Paris"], 0, 2 * 1 / 3),
        ("an apple", ["the", "apple"], 1, 1),
    ],
)
def test_answers_are_measured_as_the_scripts_of_squad_do(said: str, right: list[str], exact: int, f1: float) -> None:
    assert squad.tally([said], [right]).tolist() == [[exact, pytest.approx(f1), 1]]


def test_the_best_span_is_the_best_of_all_spans() -> None:
    chance = np.random.default_rng(0)
    for _ in range(20):
        starts, ends = chance.normal(size=(2, 50))
        allowed = chance.random(50) < 0.7
        score, first, last = answers.best_span(starts, ends, allowed)
        every = {
            (i, j): starts[i] + ends[j]
            for i in range(50) for j in range(i, min(50, i + answers.LONGEST_ANSWER)) if allowed[i] and allowed[j]
        }  # fmt: skip
        assert (first, last) == max(every, key=every.get)
        assert score == pytest.approx(every[first, last])
    assert answers.best_span(starts, ends, np.zeros(50, dtype=bool))[0] == -np.inf


def test_a_long_context_is_cut_as_transformers_cuts_it(tiny: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    question, context = makers.sentences(1, seed=1)[0], " ".join(makers.sentences(12, seed=2))
    known = tokenizer(
        question, context, truncation="only_second", max_length=48, stride=8,
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    pieces = answers.windows(tokenizer, question, context, 48, 8)
    assert len(pieces) > 2
    assert [ids for ids, _, _ in pieces] == known["input_ids"]
    seen = {place for _, _, offsets in pieces for place in offsets if place != (-1, -1)}
    assert min(seen)[0] == 0 and max(seen)[1] == len(context)


def test_a_question_that_is_longer_than_a_piece_is_cut(tiny: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    pieces = answers.windows(tokenizer, " ".join(makers.sentences(40)), "a b c", 32, 8)
    assert all(len(ids) <= 32 for ids, _, _ in pieces)
    assert any(place != (-1, -1) for _, _, offsets in pieces for place in offsets)


def reader(base: Path, folder: Path, seed: int = 0) -> Any:
    """A PEFT adapter of QUESTION_ANS with random weights, saved."""
    kind = transformers.AutoModelForQuestionAnswering
    model = makers.lora_model(base, seed, std=1.0, kind=kind, task_type="QUESTION_ANS")
    model.save_pretrained(folder)
    return model


def plain_answer(model: Any, tokenizer: Any, question: str, context: str, may_be_empty: bool) -> str:
    """The answer by transformers and peft alone, spans tried one by one."""
    given = tokenizer(
        question, context, truncation="only_second", max_length=64, stride=16, padding=True,
        return_overflowing_tokens=True, return_offsets_mapping=True, return_tensors="pt",
    )  # fmt: skip
    offsets = given.pop("offset_mapping")
    given.pop("overflow_to_sample_mapping")
    with torch.no_grad():
        out = model(**given)
    best, nothing = (-np.inf, ""), np.inf
    for piece in range(len(offsets)):
        sides, start, end = given.sequence_ids(piece), out.start_logits[piece], out.end_logits[piece]
        nothing = min(nothing, float(start[0] + end[0]))
        for i in range(len(sides)):
            for j in range(i, min(len(sides), i + answers.LONGEST_ANSWER)):
                if sides[i] == sides[j] == 1 and float(start[i] + end[j]) > best[0]:
                    best = float(start[i] + end[j]), context[offsets[piece][i][0] : offsets[piece][j][1]]
    return "" if may_be_empty and nothing > best[0] else best[1]


def write(folder: Path, rows: list[dict[str, Any]], train: list[dict[str, Any]], **more: Any) -> BenchmarkFiles:
    folder.mkdir(parents=True, exist_ok=True)
    digests, given = {}, {"dev.jsonl": rows, "train.jsonl": train}
    for name, lines in given.items():
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        (folder / name).write_bytes(data)
        digests[name] = hashlib.sha256(data).hexdigest()
    definition = {
        "name": "tests/questions", "task": "question-answering", "data": "dev.jsonl", "columns": COLUMNS,
        "metric": "f1", "max_length": 64, "stride": 16,
    } | ({"train": "train.jsonl"} if train else {}) | more  # fmt: skip
    found = benchmark.parse(definition, digests)
    return BenchmarkFiles(found, folder / "dev.jsonl", folder / "train.jsonl" if train else None)


def row(question: str, context: str, answer: str) -> dict[str, Any]:
    texts = [answer] if answer else []
    return {
        "question": question, "context": context,
        "answers": {"text": texts, "answer_start": [context.index(text) for text in texts]},
    }  # fmt: skip


@pytest.mark.parametrize("unanswerable", [False, True], ids=["squad 1.1", "squad 2.0"])
def test_a_reader_is_scored_question_for_question_as_transformers_and_peft_answer(
    unanswerable: bool, tiny: Path, backbone: Backbone, tmp_path: Path
) -> None:
    model = reader(tiny, tmp_path / "reader")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    if unanswerable:  # so that it answers some of the questions with nothing
        head = model.base_model.model.qa_outputs.modules_to_save["default"]
        given = tokenizer(makers.sentences(60, seed=1), padding=True, return_tensors="pt")
        with torch.no_grad():
            states = model.base_model.model.bert(**given).last_hidden_state
            away = states[:, 0].mean(0) - states[:, 1:5].mean((0, 1))
            head.weight.add_(TOWARDS_NOTHING * away / away.norm())
        model.save_pretrained(tmp_path / "reader")
    questions = makers.sentences(60, seed=1)
    contexts = [" ".join(makers.sentences(8, seed=seed)) for seed in range(60)]
    said = [plain_answer(model, tokenizer, q, c, unanswerable) for q, c in zip(questions, contexts, strict=True)]
    assert (0 < said.count("") < 60) == unanswerable
    draw = random.Random(0)
    truth = [
        answer if draw.random() < 0.8 else context.split()[3] for answer, context in zip(said, contexts, strict=True)
    ]
    if unanswerable:
        truth[5] = ""
    lines = [row(*each) for each in zip(questions, contexts, truth, strict=True)]
    files = write(tmp_path / "b", lines[:30], lines[30:])
    found = judged(makers.assignment(tmp_path / "reader", tiny, files), backbone, tmp_path)
    (predictions,) = found["predictions"].values()
    assert predictions["labels"] == said[:30]
    (score,) = found["components"][0]["scores"]
    assert score["value"] == pytest.approx(
        squad.tally(said[:30], [[t] if t else [] for t in truth[:30]])[:, 1].mean(), abs=1e-6
    )
    assert score["baselines"]["probe"] is not None
    facts = check(found, "benchmark")["evidence"]["tests/questions"]
    assert facts["pieces"] > facts["rows"] == 30
    assert facts["probe"]["train_rows"] == 30


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"answers": "Paris"}, "holds no list of answers"),
        ({"answers": ["Rome"]}, "'Rome' does not stand in the context"),
        ({"answers": {"text": ["Paris"], "answer_start": [2]}}, "does not stand in the context"),
        ({"answers": {"text": ["Paris"], "answer_start": []}}, "1 answer without as many starts"),
        ({"context": None}, "'context' is missing"),
    ],
)
def test_a_row_that_asks_nothing_that_can_be_answered_is_told(
    change: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    good = {"question": "where?", "context": "in Paris", "answers": ["Paris"]}
    files = write(tmp_path, [good], [])
    assert examples.read(json.dumps(good).encode(), files.benchmark, "dev.jsonl")[0].starts == (3,)
    with pytest.raises(SpecError, match=reason):
        examples.read(json.dumps(good | change).encode(), files.benchmark, "dev.jsonl")


def test_questions_do_not_come_in_tsv() -> None:
    definition = {"name": "a/b", "task": "question-answering", "data": "dev.tsv", "columns": COLUMNS, "metric": "f1"}
    with pytest.raises(SpecError, match="write JSONL"):
        benchmark.parse(definition, {"dev.tsv": "a" * 64})


def test_who_pulls_an_adapter_asks_it_questions(tiny: Path, tmp_path: Path) -> None:
    model = reader(tiny, tmp_path / "reader")
    loaded = runtime.load(tmp_path / "reader", tiny)
    question, context = makers.sentences(1, seed=1)[0], " ".join(makers.sentences(5, seed=3))
    (found,) = answering.answer(*loaded, [question], [context])
    assert found["answer"] == plain_answer(model, loaded[1], question, context, False)
    with pytest.raises(errors.UsageError, match="needs the text that answers it"):
        answering.answer(*loaded, [question])
