"""From texts to what an adapted model says of them, by the ML task of its head."""

from collections.abc import Sequence
from typing import Any

import torch

from hub import errors
from hub.runtime import answers, predict
from hub.runtime.adapted import AdaptedModel
from hub.runtime.predict import Encoded
from hub.spec import benchmark, tasks

DIGITS = 6


def answer(
    model: AdaptedModel, tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """What the head says of each text (or of each text and its pair), cut at what the base model takes:

        text-classification    {"label": "positive", "score": 0.98}
        sentence-similarity    {"score": 3.8}
        token-classification   {"words": [{"word": "Rome", "label": "B-LOC", "score": 0.99}, ...]}, words between spaces
        question-answering     {"answer": "in Rome", "score": 11.2}; texts are questions, pairs their contexts

    Raises UsageError for an adapter without a head, and for a question without its context.
    """
    task = None if model.head is None else model.head.task
    if task == tasks.TOKEN_CLASSIFICATION.name:
        return [_words(model, tokenizer, text.split()) for text in texts]
    if task == tasks.QUESTION_ANSWERING.name:
        if pairs is None or len(pairs) != len(texts):
            raise errors.UsageError(
                "a question needs the text that answers it", hint="predict([question], pairs=[text])"
            )
        return [_span(model, tokenizer, *asked) for asked in zip(texts, pairs, strict=True)]
    return _classified(model, tokenizer, texts, pairs)


def _classified(
    model: AdaptedModel, tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The most likely label of each text: [{"label": "positive", "score": 0.98}, ...], or the number that
    a head with one output says: [{"score": 3.8}, ...]. Texts are cut at what the base
    model takes. Raises UsageError for an adapter without a head."""
    if model.head is None:
        raise errors.UsageError(
            "this adapter has no head, so it answers with hidden states, not with labels",
            hint="model, tokenizer = adapter.load() gives the encoder with the adapter on it",
        )
    found: list[dict[str, Any]] = [{} for _ in texts]
    numbers = model.head.task == tasks.SENTENCE_SIMILARITY.name
    for batch in predict.batches(predict.tokenise(tokenizer, texts, pairs, model.max_length), 0):
        with torch.inference_mode():
            logits = model(**batch.inputs).logits
            chances = logits if numbers else torch.softmax(logits, dim=-1)
        for row, chance in zip(batch.rows, chances, strict=True):
            best = int(chance.argmax())
            named = {} if numbers else {"label": model.labels[best]}
            found[row] = named | {"score": round(float(chance[best]), DIGITS)}
    return found


def _words(model: AdaptedModel, tokenizer: Any, words: Sequence[str]) -> dict[str, Any]:
    ids, types, places = answers.word_places(tokenizer, words, model.max_length)
    with torch.inference_mode():
        chances = torch.softmax(model(**_one(ids, types)).logits[0], dim=-1)
    found = []
    for word, place in zip(words, places, strict=True):
        if place >= 0:
            best = int(chances[place].argmax())
            score = round(float(chances[place][best]), DIGITS)
            found.append({"word": word, "label": model.labels[best], "score": score})
    return {"words": found}


def _span(model: AdaptedModel, tokenizer: Any, question: str, context: str) -> dict[str, Any]:
    best = (float("-inf"), 0, 0)
    for ids, types, offsets in answers.windows(tokenizer, question, context, model.max_length, benchmark.STRIDE):
        with torch.inference_mode():
            output = model(**_one(ids, types))
        starts, ends = (logits[0].double().numpy() for logits in (output.start_logits, output.end_logits))
        score, first, last = answers.best_span(starts, ends, answers.inside(offsets))
        best = max(best, (score, offsets[first][0], offsets[last][1]), key=lambda found: found[0])
    score, begin, end = best
    return {"answer": context[max(0, begin) : max(0, end)], "score": round(score, DIGITS)}


def _one(ids: Sequence[int], types: Sequence[int]) -> dict[str, torch.Tensor]:
    return predict.one_batch([Encoded(tuple(ids), tuple(types))], 0).inputs
