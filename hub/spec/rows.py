"""The examples of a benchmark: read from TSV or JSONL, each held against what its ML task asks of a row."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from hub.spec import benchmark as benchmarks
from hub.spec import documents, errors, tasks
from hub.spec.benchmark import Benchmark
from hub.spec.words import closest, counted

MAX_ROWS = 1_000_000
MAX_CHOICES = 100


@dataclasses.dataclass(frozen=True)
class Text:
    """A text, perhaps a second one, and the index of its class, or its value where the ML task is to say a number."""

    text: str
    pair: str | None
    label: int | float


@dataclasses.dataclass(frozen=True)
class Words:
    """A text cut into words, and the index of the class of each."""

    words: tuple[str, ...]
    labels: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Question:
    """A question about a context, and every answer that counts as right; none where the context does not tell.

    `starts` are the answers' first characters in the context.
    """

    question: str
    context: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Passage:
    """A text to be read; where it is to be continued, the choices and the index of the right one."""

    text: str
    choices: tuple[str, ...] = ()
    label: int = 0


class Wrong(ValueError):
    """A row that its ML task cannot read; `hint` says how to mend it."""

    def __init__(self, message: str, hint: str) -> None:
        self.hint = hint
        super().__init__(message)


def read(data: bytes, benchmark: Benchmark, where: str) -> list[Any]:
    """Return the examples of a data file (TSV with a header and no quoting, or JSONL, by the suffix of `where`), each as
    its ML task has it (`READERS`).

    Raises SpecError with the number of every row that is wrong (the first 50): rows count from 1 behind a TSV's header,
    empty lines included.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 text (byte {error.start})"
        raise benchmarks.wrong(where, message, "save the file as UTF-8") from error
    collector = errors.Collector()
    lines = _jsonl if where.endswith(".jsonl") else _tsv
    reader = READERS[benchmark.task]
    rows = []
    for number, raw in lines(text, benchmark, where, collector):
        try:
            rows.append(reader(raw, benchmark))
        except Wrong as wrong:
            collector.add(benchmarks.problem(where, f"row {number}: {wrong}", wrong.hint))
    if not rows and not collector.problems:
        collector.add(benchmarks.problem(where, "holds no rows", "add examples"))
    if len(rows) > MAX_ROWS:
        message = f"holds {len(rows)} rows; at most {MAX_ROWS} are taken"
        collector.add(benchmarks.problem(where, message, "take a sample"))
    collector.finalize()
    return rows


def _tsv(text: str, benchmark: Benchmark, where: str, out: errors.Collector) -> Iterator[tuple[int, dict[str, Any]]]:
    # by hand: GLUE's files are full of lone quotes, and csv stumbles over a carriage return within a text
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    header = lines[0].split("\t")
    insist_on_columns(benchmark.columns.values(), header, where)
    twice = next((name for name in benchmark.columns.values() if header.count(name) > 1), None)
    if twice is not None:
        raise benchmarks.wrong(where, f"has the column {twice!r} twice", "leave one of them out")
    for number, line in enumerate(lines[1:], 1):
        cells = line.split("\t")
        if len(cells) == len(header):
            yield number, dict(zip(header, cells, strict=True))
        elif line:
            message = f"row {number} has {counted(len(cells), 'cell')}, the header has {len(header)}"
            out.add(benchmarks.problem(where, message, "write one tab between two cells, and none within"))


def _jsonl(text: str, benchmark: Benchmark, where: str, out: errors.Collector) -> Iterator[tuple[int, dict[str, Any]]]:
    """A column that no row has is told once, in the place of what is wrong with every row."""
    first: list[str] | None = None
    absent = set(benchmark.columns.values())
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            raw = None
            with out.collect(), errors.as_check("benchmark"):
                raw = documents.loads_object(line.encode(), where=f"{where} row {number}")
            if raw is not None:
                first = list(raw) if first is None else first
                absent -= raw.keys()
                yield number, raw
    if first is not None and absent:
        insist_on_columns([name for name in benchmark.columns.values() if name in absent], first, where)


def insist_on_columns(names: Iterable[str], there: Sequence[str], where: str) -> None:
    """Raise SpecError with each of these columns that is not there: which ones are, and the likest of them."""
    told = f"its columns are {documents.shorten(', '.join(there), 200)}"
    problems = []
    for name in dict.fromkeys(names):
        if name not in there:
            likely = "".join(f"; did you mean {near!r}?" for near in closest(name, there, 1))
            problems.append(benchmarks.problem(where, f"has no column {name!r}", told + likely))
    if problems:
        raise errors.SpecError(problems)


def _classified(raw: dict[str, Any], benchmark: Benchmark) -> Text:
    """The label column may hold the class index or its name; a name wins."""
    text, pair = _texts(raw, benchmark)
    said = raw.get(benchmark.columns["label"])
    label = _label(said, benchmark.labels)
    if label is None:
        hint = f"labels are {', '.join(benchmark.labels[:10])} or their index from 0"
        raise Wrong(f"{documents.shorten(said)!r} is not a label of {benchmark.name}", hint)
    return Text(text, pair, label)


def _rated(raw: dict[str, Any], benchmark: Benchmark) -> Text:
    """The label column holds a number."""
    text, pair = _texts(raw, benchmark)
    said = raw.get(benchmark.columns["label"])
    try:
        value = math.nan if isinstance(said, bool) or not isinstance(said, str | int | float) else float(said)
    except (ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise Wrong(f"{documents.shorten(said)!r} is not a number", "write one such as 3.8")
    return Text(text, pair, value)


def _tagged(raw: dict[str, Any], benchmark: Benchmark) -> Words:
    """Words and labels as lists, or in one text with spaces between."""
    words, said = (_list(raw, benchmark.columns[key]) for key in ("text", "label"))
    if not words or len(words) != len(said):
        raise Wrong(
            f"{counted(len(words), 'word')} and {counted(len(said), 'label')}",
            "write one label a word, and one word at least",
        )
    if any(not isinstance(word, str) or not word.strip() for word in words):
        raise Wrong("a word is empty or not text", "leave it out, with its label")
    found = [_label(value, benchmark.labels) for value in said]
    labels = tuple(label for label in found if label is not None)
    if len(labels) != len(words):
        wrong = documents.shorten(said[found.index(None)])
        hint = f"labels are {', '.join(benchmark.labels[:10])} or their index from 0"
        raise Wrong(f"{wrong!r} is not a label of {benchmark.name}", hint)
    return Words(tuple(words), labels)


def _list(raw: dict[str, Any], column: str) -> list[Any]:
    value = raw.get(column)
    if not isinstance(value, list | str):
        raise Wrong(f"{column!r} is missing, or neither a list nor text", "write a list, or words with spaces between")
    return value.split() if isinstance(value, str) else value


def _asked(raw: dict[str, Any], benchmark: Benchmark) -> Question:
    """Answers as SQuAD has them on the Hugging Face Hub ({"text": [...], "answer_start": [...]}), or a list of texts."""
    columns = benchmark.columns
    question, context = text_of(raw, columns["question"]), text_of(raw, columns["context"])
    said = raw.get(columns["answers"])
    given = said.get("text") if isinstance(said, dict) else said
    if not isinstance(given, list) or any(not isinstance(answer, str) or not answer for answer in given):
        hint = 'write {"text": [...], "answer_start": [...]}, or a list of texts; an empty one where there is no answer'
        raise Wrong(f"{columns['answers']!r} holds no list of answers", hint)
    starts = said.get("answer_start") if isinstance(said, dict) else None
    found = [context.find(answer) for answer in given] if starts is None else starts
    if not isinstance(found, list) or len(found) != len(given):
        raise Wrong(f"{counted(len(given), 'answer')} without as many starts", "write the first character of each")
    for answer, start in zip(given, found, strict=True):
        if type(start) is not int or start < 0 or context[start : start + len(answer)] != answer:
            raise Wrong(f"{documents.shorten(answer)!r} does not stand in the context", "quote it as it stands there")
    return Question(question, context, tuple(given), tuple(found))


def _texts(raw: dict[str, Any], benchmark: Benchmark) -> tuple[str, str | None]:
    columns = benchmark.columns
    return text_of(raw, columns["text"]), text_of(raw, columns["pair"]) if "pair" in columns else None


def text_of(raw: dict[str, Any], column: str) -> str:
    """Return the text in a column. Raises Wrong."""
    if not isinstance(text := raw.get(column), str):
        raise Wrong(f"{column!r} is missing or not text", "write text, or leave the row out")
    return text


def _label(value: Any, labels: tuple[str, ...]) -> int | None:
    if isinstance(value, str) and value in labels:
        return labels.index(value)
    digits = str(value).strip() if type(value) in (int, str) else ""
    if not re.fullmatch("[0-9]{1,5}", digits) or int(digits) >= len(labels):
        return None
    return int(digits)


def _read_on(raw: dict[str, Any], benchmark: Benchmark) -> Passage:
    """Choices are a list of texts; the label column holds the index of the right one, or the choice itself."""
    text = text_of(raw, benchmark.columns["text"])
    if "choices" not in benchmark.columns:
        if not text:
            raise Wrong(f"{benchmark.columns['text']!r} is empty", "leave the row out")
        return Passage(text)
    column, said = benchmark.columns["choices"], raw.get(benchmark.columns["label"])
    choices = raw.get(column)
    if not isinstance(choices, list) or not all(isinstance(choice, str) and choice for choice in choices):
        raise Wrong(f"{column!r} is no list of texts", 'write ["first", "second"]')
    if not 2 <= len(choices) <= MAX_CHOICES:
        raise Wrong(f"{column!r} has {counted(len(choices), 'choice')}", f"give 2 to {MAX_CHOICES}")
    label = _label(said, tuple(choices))
    if label is None:
        raise Wrong(f"{documents.shorten(said)!r} is not one of the {len(choices)} choices", "give its index from 0")
    return Passage(text, tuple(choices), label)


READERS: dict[str, Callable[[dict[str, Any], Benchmark], Any]] = {
    tasks.TEXT_CLASSIFICATION.name: _classified,
    tasks.SENTENCE_SIMILARITY.name: _rated,
    tasks.TOKEN_CLASSIFICATION.name: _tagged,
    tasks.QUESTION_ANSWERING.name: _asked,
    tasks.TEXT_GENERATION.name: _read_on,
}
"""ML task -> what makes a row of it from an object column -> value; raises Wrong."""
