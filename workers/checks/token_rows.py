"""The rows that an adapter is looked at with, before anything is scored."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from hub.runtime.base import Backbone
from hub.runtime.predict import Batch

INVOCATION = "invocation"
"""Key of the `usage` block of hub.json: the words that an adapter waits for before it does anything."""


def invoked(backbone: Backbone, batch: Batch, usage: Mapping[str, Any], tokens: Sequence[int] = ()) -> Batch:
    """The same rows, each ending in the words that switch the adapter on, or in the `tokens` that its configuration names
    (aLoRA) where `usage` names no words; as they are where neither does.

    The words stand behind a row's own tokens and before those that the tokenizer closes a text with. A row that would be
    longer than the base model takes loses tokens before them.
    """
    words = usage.get(INVOCATION)
    tokenizer = backbone.tokenizer
    if isinstance(words, str) and words.strip():
        tokens = tokenizer(words, add_special_tokens=False)["input_ids"]
    if not tokens:
        return batch
    said = list(tokens[: backbone.max_length // 2])
    closing = _closing(tokenizer)
    rows = []
    for ids, types in alone(batch):
        body, end = (ids[: len(ids) - closing], ids[len(ids) - closing :])
        body = body[: backbone.max_length - len(said) - closing]
        row = [*body, *said, *end]
        rows.append((row, (types + [types[-1]] * len(row))[: len(row)]))
    return _batch(batch, rows, int(tokenizer.pad_token_id or 0))


def alone(batch: Batch) -> Iterator[tuple[list[int], list[int]]]:
    """(token ids, types) of every row without its padding."""
    for ids, types, mask in zip(batch.input_ids, batch.token_type_ids, batch.attention_mask.bool(), strict=True):
        yield ids[mask].tolist(), types[mask].tolist()


def one_by_one(batch: Batch) -> Iterator[Batch]:
    """Every row in a batch of its own, without padding."""
    for place, (ids, types) in zip(batch.rows, alone(batch), strict=True):
        yield dataclasses.replace(_batch(batch, [(ids, types)], 0), rows=(place,))


def _closing(tokenizer: Any) -> int:
    """How many tokens the tokenizer puts behind a text."""
    plain, framed = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    last = max((place for place, token in enumerate(framed) if plain and token == plain[-1]), default=len(framed) - 1)
    return len(framed) - 1 - last


def _batch(like: Batch, rows: list[tuple[list[int], list[int]]], pad: int) -> Batch:
    width = max(len(ids) for ids, _ in rows)
    ids, types, mask = torch.full((len(rows), width), pad), *(torch.zeros(len(rows), width).long() for _ in range(2))
    for place, (row, kinds) in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
        types[place, : len(row)] = torch.tensor(kinds)
        mask[place, : len(row)] = 1
    return dataclasses.replace(like, input_ids=ids, token_type_ids=types, attention_mask=mask)
