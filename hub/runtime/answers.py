"""What a head's logits say: numbers, the labels of words, spans of a context."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST_ANSWER = 30
"""Tokens of an answer, as in the scripts of SQuAD's first models and of transformers."""
MAX_QUESTION = 64
"""Tokens of a question that are read, as in the same scripts."""

Values = NDArray[np.float64]
Places = NDArray[np.int64]


def word_places(tokenizer: Any, words: Sequence[str], max_length: int) -> tuple[list[int], list[int], list[int]]:
    """(token ids, types, for each word the place of its first token, -1 where it was cut off or has none).

    The words are read as one text with spaces between, and before the first: a tokenizer that tells a word after a space
    from one without sees each as it sees words within a sentence.
    """
    starts, at = [], 1
    for word in words:
        starts.append(at)
        at += len(word) + 1
    found = tokenizer(
        " " + " ".join(words), truncation=True, max_length=max_length, padding=False, return_offsets_mapping=True
    )
    places, token = [], 0
    offsets = [(begin, end) for begin, end in found["offset_mapping"]]
    for start, word in zip(starts, words, strict=True):
        while token < len(offsets) and (offsets[token][1] <= start or offsets[token][0] == offsets[token][1]):
            token += 1
        inside = token < len(offsets) and offsets[token][0] < start + len(word)
        places.append(token if inside else -1)
    ids = found["input_ids"]
    return ids, found.get("token_type_ids") or [0] * len(ids), places


def windows(
    tokenizer: Any, question: str, context: str, max_length: int, stride: int
) -> list[tuple[list[int], list[int], list[tuple[int, int]]]]:
    """A question and its context, in as many pieces as it takes: (token ids, types, for each token its characters in the
    context, (-1, -1) for what is no part of it). Pieces share `stride` tokens."""
    asked = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True, truncation=False)
    most = min(MAX_QUESTION, max_length // 2)
    if len(asked["input_ids"]) > most:
        question = question[: asked["offset_mapping"][most - 1][1]]
    room = max_length - min(most, len(asked["input_ids"])) - tokenizer.num_special_tokens_to_add(pair=True)
    found = tokenizer(
        question, context, truncation="only_second", max_length=max_length, stride=max(0, min(stride, room // 2)),
        return_overflowing_tokens=True, return_offsets_mapping=True, padding=False,
    )  # fmt: skip
    pieces = []
    for index, ids in enumerate(found["input_ids"]):
        sides = found.sequence_ids(index)
        offsets = [
            pair if side == 1 else (-1, -1) for pair, side in zip(found["offset_mapping"][index], sides, strict=True)
        ]
        types = found["token_type_ids"][index] if "token_type_ids" in found else [0] * len(ids)
        pieces.append((ids, types, offsets))
    return pieces


def inside(offsets: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Which tokens are part of the context."""
    return np.array([begin >= 0 for begin, _ in offsets], dtype=np.bool_)


def best_span(starts: Values, ends: Values, allowed: NDArray[np.bool_]) -> tuple[float, int, int]:
    """(score, first token, last token) of the likeliest span: the highest sum of its start's and its end's logit, over all
    spans of allowed tokens that are no longer than LONGEST_ANSWER. -inf where nothing is allowed.

    Equals: the shortest, then the first.
    """
    starts, ends = (np.where(allowed, logits, -np.inf) for logits in (starts, ends))
    best = (-np.inf, 0, 0)
    for more in range(min(LONGEST_ANSWER, len(starts))):
        sums = starts[: len(starts) - more] + ends[more:]
        first = int(sums.argmax())
        if sums[first] > best[0]:
            best = (float(sums[first]), first, first + more)
    return best
