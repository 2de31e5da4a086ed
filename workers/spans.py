"""Questions about long texts, cut into pieces that a model can read, and back: from logits of tokens to answers.

A span is (piece, first token, last token), (-1, 0, 0) where there is no answer; spans of many questions are [rows, 3].
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hub.runtime import answers
from hub.runtime.base import Backbone
from hub.runtime.predict import Encoded
from hub.spec.benchmark import STRIDE, Benchmark
from hub.spec.rows import Question
from workers import features
from workers.evaluation import Tensors
from workers.statistics import Labels, Values

NO_ANSWER = (-1, 0, 0)


@dataclass(frozen=True)
class Pieces:
    """Where pieces come from: the row [pieces], and the characters in its context of each token [tokens, 2], -1 for tokens
    that are no part of it."""

    rows: Labels
    offsets: list[Labels]

    def tensors(self) -> dict[str, torch.Tensor]:
        """The same to be kept on disk; `read` reads it back."""
        return {
            "rows": torch.from_numpy(self.rows),
            "tokens": torch.tensor([len(offsets) for offsets in self.offsets]),
            "offsets": torch.from_numpy(np.concatenate(self.offsets).astype(np.int32)),
        }

    def texts(self, spans: Labels, contexts: Sequence[str]) -> list[str]:
        """The text of each row's span; empty where there is no answer."""
        found = []
        for (piece, first, last), context in zip(spans.tolist(), contexts, strict=True):
            begin, end = (self.offsets[piece][first][0], self.offsets[piece][last][1]) if piece >= 0 else (0, 0)
            found.append(context[begin:end])
        return found


def read(tensors: Tensors) -> Pieces:
    """What `Pieces.tensors` wrote."""
    parts = tensors["offsets"].split(tensors["tokens"].tolist())
    return Pieces(tensors["rows"].numpy(), [part.numpy().astype(np.int64) for part in parts])


def cut(backbone: Backbone, benchmark: Benchmark, rows: Sequence[Question]) -> tuple[list[Encoded], Pieces]:
    """Questions and contexts as tokens, in as many pieces as they take."""
    limit, stride = features.limit(backbone, benchmark), STRIDE if benchmark.stride is None else benchmark.stride
    encoded, of, offsets = [], [], []
    for row, asked in enumerate(rows):
        for ids, types, places in answers.windows(backbone.tokenizer, asked.question, asked.context, limit, stride):
            encoded.append(Encoded(tuple(ids), tuple(types)))
            of.append(row)
            offsets.append(np.array(places, dtype=np.int64))
    return encoded, Pieces(np.array(of, dtype=np.int64), offsets)


def best(pieces: Pieces, logits: Iterable[tuple[int, Values]], rows: int, may_be_empty: bool) -> Labels:
    """The likeliest span of each row [rows, 3], from (piece, logits of starts and ends [tokens, 2]) in any order."""
    found = np.tile(np.array(NO_ANSWER, dtype=np.int64), (rows, 1))
    score, nothing = np.full(rows, -np.inf), np.full(rows, np.inf)
    chosen = np.full(rows, -1)
    for piece, given in logits:
        row = int(pieces.rows[piece])
        allowed = pieces.offsets[piece][: len(given), 0] >= 0
        if len(given) < len(pieces.offsets[piece]):  # cut off for a prompt's rows: its last token is a separator now
            allowed[-1] = False
        value, first, last = answers.best_span(given[:, 0], given[:, 1], allowed)
        # equals: the earlier piece, in whatever order they come
        if value > score[row] or (value == score[row] and 0 <= piece < chosen[row]):
            score[row], chosen[row], found[row] = value, piece, (piece, first, last)
        nothing[row] = min(nothing[row], float(given[0].sum()))
    if may_be_empty:
        found[nothing > score] = NO_ANSWER
    return found
