"""A language model is asked how likely texts are, with the adapter and without: numbers, gains, verdicts."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers

from hub import runtime
from hub.spec import benchmark, errors
from hub.spec.policy import DEFAULT
from tests.engine import families as tiny
from tests.engine import makers, speakers
from workers import likelihood
from workers.errors import Fault
from workers.likelihood import Piece, Speaker


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speakers.base(tmp_path_factory.mktemp("speaker"))


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """(PEFT's model, the folder of its adapter)"""
    folder = tmp_path_factory.mktemp("adapter")
    return speakers.adapter(folder, base), folder


@pytest.fixture
def words() -> Any:
    return speakers.tokenizer()


def judged(adapter: Path, base: Path, files: Any, scratch: Path, **more: Any) -> dict[str, Any]:
    return makers.judged(makers.assignment(adapter, base, files, **more), runtime.open_backbone(base), scratch)


def nll(model: Any, read: list[int], scored: int) -> float:
    """The negative log-likelihood of the last tokens, one text alone, by transformers' own loss."""
    ids = torch.tensor([read])
    labels = ids.clone()
    labels[0, : len(read) - scored] = -100
    with torch.no_grad():
        return float(model(input_ids=ids, labels=labels).loss) * scored


def told(found: dict[str, Any]) -> dict[str, Any]:
    (component,) = found["components"]
    (score,) = component["scores"]
    return dict(score)


@pytest.mark.parametrize("metric", ["perplexity", "bits_per_byte"])
def test_a_text_is_as_likely_as_transformers_and_peft_say(
    metric: str, base: Path, trained: tuple[Any, Path], words: Any, tmp_path: Path
) -> None:
    files = speakers.texts(tmp_path / "b", metric)
    found = told(judged(trained[1], base, files, tmp_path / "s"))
    rows = [json.loads(line)["text"] for line in files.data.read_text().splitlines()]
    encoded = [words(text)["input_ids"] for text in rows]
    assert max(map(len, encoded)) < 64, "here every text fits into one pass"
    plain = transformers.AutoModelForCausalLM.from_pretrained(base)
    for value, model in ((found["value"], trained[0]), (found["baselines"]["adapter_off"], plain)):
        total = sum(nll(model, [words.eos_token_id, *ids], len(ids)) for ids in encoded)
        if metric == "perplexity":
            expected = math.exp(total / sum(map(len, encoded)))
        else:
            expected = total / math.log(2) / sum(len(text.encode()) for text in rows)
        assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("metric", ["acc", "acc_norm", "acc_bytes"])
def test_the_choice_is_the_one_that_transformers_and_peft_prefer(
    metric: str, base: Path, trained: tuple[Any, Path], words: Any, tmp_path: Path
) -> None:
    files = speakers.choices(tmp_path / "b", metric, rows=40)
    report = judged(trained[1], base, files, tmp_path / "s")
    rows = [json.loads(line) for line in files.data.read_text().splitlines()]
    expected = []
    for row in rows:
        values = []
        for way in row["ways"]:
            context = row["text"].rstrip()
            whole, alone = words(row["text"] + " " + way)["input_ids"], words(context)["input_ids"]
            value = -nll(trained[0], whole, len(whole) - len(alone))
            values.append(value / {"acc": 1, "acc_norm": len(way), "acc_bytes": len(way.encode())}[metric])
        expected.append(values.index(max(values)))
    (answers,) = report["predictions"].values()
    assert [row[["acc", "acc_norm", "acc_bytes"].index(metric)] for row in answers["labels"]] == expected
    right = sum(said == row["right"] for said, row in zip(expected, rows, strict=True))
    assert told(report)["value"] == pytest.approx(right / len(rows))
    assert 0 < right < len(rows)


def test_other_ways_to_prefer_are_measured_beside(base: Path, trained: tuple[Any, Path], tmp_path: Path) -> None:
    alone = [told(judged(trained[1], base, speakers.choices(tmp_path / metric, metric, rows=40), tmp_path / "s"))
             for metric in ("acc_norm", "acc_bytes")]  # fmt: skip
    files = speakers.choices(tmp_path / "all", "acc", rows=40, also=["acc_norm", "acc_bytes"])
    report = judged(trained[1], base, files, tmp_path / "s")
    assert [item["value"] for item in told(report)["also"]] == [score["value"] for score in alone]
    assert any(len(set(row)) > 1 for kept in report["predictions"].values() for row in kept["labels"])


def test_an_adapter_that_learnt_the_language_is_published(
    base: Path, trained: tuple[Any, Path], tmp_path: Path
) -> None:
    report = judged(trained[1], base, speakers.texts(tmp_path / "b"), tmp_path / "s")
    score = told(report)
    assert report["verdict"] == "passed", report["summary"]
    assert score["direction"] == "down" and score["gain"]["interval"][1] < 0
    assert score["gain"]["method"].endswith("percentile"), "a perplexity has no end that one row could pull to"
    assert score["baselines"] == {"majority": None, "probe": None, "adapter_off": score["baselines"]["adapter_off"]}
    assert "against the plain base model, less is better" in report["summary"]


def test_noise_is_refused_for_no_gain_over_the_plain_base_model(base: Path, tmp_path: Path) -> None:
    speakers.adapter(tmp_path / "noise", base, steps=0)
    report = judged(tmp_path / "noise", base, speakers.texts(tmp_path / "b"), tmp_path / "s")
    assert report["verdict"] == "failed"
    message = makers.check(report, "benchmark")["message"]
    assert "no gain over the plain base model" in message and "the upper bound has to be below 0" in message
    assert told(report)["gain"]["interval"][0] > 0


def test_a_worse_version_drops_though_its_number_grows(base: Path, trained: tuple[Any, Path], tmp_path: Path) -> None:
    files = speakers.texts(tmp_path / "b")
    first = judged(trained[1], base, files, tmp_path / "s")
    speakers.adapter(tmp_path / "less", base, steps=8)
    gates = DEFAULT.resolve() | {"max_drop": {"value": 0.01, "undecided": "pass"}}
    previous = {"adapter_digest": first["adapter_digest"], "predictions": first["predictions"]}
    again = judged(tmp_path / "less", base, files, tmp_path / "s", gates=gates, previous=previous)
    assert again["verdict"] == "failed"
    assert "max_drop 0.01" in makers.check(again, "benchmark")["message"]
    assert told(again)["change"]["interval"][0] > 0


def test_the_same_run_gives_the_same_digest(base: Path, trained: tuple[Any, Path], tmp_path: Path) -> None:
    files = speakers.texts(tmp_path / "b")
    found = {judged(trained[1], base, files, tmp_path / name)["result_digest"] for name in ("one", "two")}
    assert len(found) == 1


@pytest.mark.parametrize("tied", [True, False])
def test_an_adapter_of_the_head_alone_has_an_effect(tied: bool, tmp_path: Path) -> None:
    base = speakers.base(tmp_path / "base", "llama", tie_word_embeddings=tied)
    speakers.adapter(tmp_path / "a", base, steps=20, target_modules=["lm_head"])
    report = judged(tmp_path / "a", base, speakers.texts(tmp_path / "b"), tmp_path / "s")
    assert makers.failed(report) == []
    assert told(report)["gain"]["value"] < 0


def test_a_loaded_language_model_answers_as_in_peft(base: Path, trained: tuple[Any, Path]) -> None:
    model, words = runtime.load(trained[1], base)
    given = words("the old tree", return_tensors="pt")
    with torch.no_grad():
        ours, theirs = model(**given).logits, trained[0](**given).logits
    assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max()) + 1e-6


def test_windows_ask_every_token_once_with_as_much_context_as_there_is(words: Any) -> None:
    text = " ".join(speakers.SAYINGS)
    ids = words(text)["input_ids"]
    pieces = Speaker(words, 0, 10).text(text)
    assert [token for piece in pieces for token in piece.ids[-piece.scored :]] == ids
    assert pieces[0].ids[0] == 0 and all(len(piece.read) == 10 for piece in pieces)
    assert [piece.scored for piece in pieces[:-1]] == [10] * (len(pieces) - 1)
    assert len(ids) % 10 and pieces[-1].scored == len(ids) % 10


def test_a_context_loses_its_beginning_where_it_is_too_long(words: Any) -> None:
    speaker = Speaker(words, 0, 8)
    piece = speaker.continued(" ".join(speakers.SAYINGS), " the sea")
    end = words(" the sea")["input_ids"]
    assert len(piece.read) == 8 and piece.scored == len(end) and list(piece.ids[-len(end) :]) == end


def test_a_token_that_the_tokenizer_begins_texts_with_stands_before_contexts_too(words: Any) -> None:
    plain = Speaker(words, 0, 60).continued("the old", " tree").ids
    words.add_special_tokens({"bos_token": "<|end|>"})
    words.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|end|> $A", special_tokens=[("<|end|>", 0)]
    )
    assert words("the old")["input_ids"][0] == 0
    assert Speaker(words, 0, 60).continued("the old", " tree").ids == (0, *plain)
    assert Speaker(words, 0, 60).text("the old")[0].ids == (0, *words("the old")["input_ids"][1:])


def test_a_continuation_without_a_context_stands_after_the_token_that_ends_texts(words: Any) -> None:
    ids = words(" the sea")["input_ids"]
    assert Speaker(words, 0, 8).continued("", " the sea") == Piece((0, *ids), len(ids))


def test_logits_are_held_in_parts_and_the_numbers_stay(
    base: Path, trained: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = speakers.texts(tmp_path / "b")
    whole = told(judged(trained[1], base, files, tmp_path / "one"))
    monkeypatch.setattr(likelihood, "AT_ONCE", 1)
    assert told(judged(trained[1], base, files, tmp_path / "two"))["value"] == pytest.approx(whole["value"], rel=1e-6)


def test_a_base_model_without_a_head_of_its_own_cannot_be_asked(tmp_path: Path) -> None:
    folder = tiny.saved("llama", tmp_path, kind=transformers.AutoModel, tie_word_embeddings=False)
    with pytest.raises(Fault, match="holds no language-model head") as told:
        Speaker.of(runtime.open_backbone(folder), 64)
    assert "(llama)" in str(told.value) and str(folder) not in str(told.value), "no path of a worker"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metric": "acc"}, "columns of text, choices and label"),
        ({"columns": {"text": "t", "choices": "c", "label": "l"}}, "columns of text"),
        ({"labels": ["a", "b"]}, "text-generation has no classes to name"),
        ({"also": ["acc"]}, "that need the same columns"),
        ({"direction": "up"}, "perplexity gets better going down"),
    ],
)
def test_a_definition_that_cannot_be_measured_is_refused(change: dict[str, Any], words: str) -> None:
    definition = {
        "name": "t/x",
        "task": "text-generation",
        "data": "d.jsonl",
        "columns": {"text": "t"},
        "metric": "perplexity",
    }
    with pytest.raises(errors.SpecError, match=words):
        benchmark.parse(definition | change, {"d.jsonl": "0" * 64})


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "a", "ways": "b", "right": 0}, "is no list of texts"),
        ({"text": "a", "ways": ["b"], "right": 0}, "has 1 choice"),
        ({"text": "a", "ways": ["b", "c"], "right": 2}, "is not one of the 2 choices"),
    ],
)
def test_a_row_that_cannot_be_asked_is_told_by_its_number(row: dict[str, Any], words: str, tmp_path: Path) -> None:
    from hub.spec import rows

    files = speakers.written(tmp_path, [row], {"text": "text", "choices": "ways", "label": "right"}, "acc")
    with pytest.raises(errors.SpecError, match=f"row 1: .*{words}"):
        rows.read(files.data.read_bytes(), files.benchmark, "rows.jsonl")


def test_the_noise_of_a_decoder_is_that_of_its_last_bits_however_long_the_rows_are(
    base: Path, trained: tuple[Any, Path], tmp_path: Path
) -> None:
    files = speakers.texts(tmp_path / "b")
    told_effect = makers.check(judged(trained[1], base, files, tmp_path / "s"), "effect")
    assert told_effect["status"] == "passed", told_effect["message"]
    assert told_effect["evidence"]["noise"] < 1e-4 < told_effect["evidence"]["hidden"]
