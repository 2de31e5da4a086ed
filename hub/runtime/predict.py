"""From sentences to what heads read: tokens, batches, passes of the base model with whatever is attached."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import torch

from hub.runtime import encoder
from hub.runtime.base import Backbone
from hub.runtime.heads import ClassificationHead

BATCH_TOKENS = 2048


@dataclass(frozen=True)
class Encoded:
    """One row as the tokenizer gives it, without padding."""

    ids: tuple[int, ...]
    types: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Rows in one call of the model, padded to the longest. Tensors are int64 [rows, tokens]."""

    rows: tuple[int, ...]
    input_ids: torch.Tensor
    token_type_ids: torch.Tensor
    attention_mask: torch.Tensor

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        return {
            "input_ids": self.input_ids,
            "token_type_ids": self.token_type_ids,
            "attention_mask": self.attention_mask,
        }


Bundle: TypeAlias = tuple[Batch, ...]
Trunks: TypeAlias = Mapping[int, torch.Tensor]
"""Layer -> the states [1, tokens, hidden] that enter it on the plain base."""
_NO_TRUNKS: Trunks = MappingProxyType({})


@dataclass(frozen=True)
class Pooled:
    """What heads read, by row, each [rows, hidden]: a token's state (the first one's; in a decoder, where that sees nothing, the
    last one's), and the pooler's output where the base has one."""

    token: torch.Tensor
    pooler: torch.Tensor | None


@dataclass(frozen=True)
class States(Pooled):
    """What probes read besides: mean over tokens [rows, hidden]."""

    mean: torch.Tensor


@dataclass(frozen=True)
class Outputs:
    """What a head may read of one batch."""

    hidden: torch.Tensor
    """Last hidden states of the text [rows, tokens, hidden]."""
    read: torch.Tensor
    """Those that a classifier of texts reads [rows, hidden]: behind a prompt the prompt's own."""
    pooler: torch.Tensor | None = None
    """The pooler's output [rows, hidden], where the base model has one."""
    next_token: torch.Tensor | None = None
    """What the base model's own head says next [rows, 1, words], where it has one."""

    @property
    def by_row(self) -> tuple[torch.Tensor, ...]:
        """All but the hidden states of tokens, as far as it is there."""
        return tuple(each for each in (self.read, self.pooler, self.next_token) if each is not None)


def tokenise(tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int) -> list[Encoded]:
    """Token ids of sentences or of sentence pairs, cut at `max_length` (of a pair, the longer side first)."""
    if not texts:
        return []
    found = tokenizer(
        list(texts),
        None if pairs is None else list(pairs),
        truncation=True,
        max_length=max_length,
        padding=False,
    )
    types = found.get("token_type_ids") or [[0] * len(ids) for ids in found["input_ids"]]
    return [Encoded(tuple(i), tuple(t)) for i, t in zip(found["input_ids"], types, strict=True)]


def batches(rows: Sequence[Encoded], pad: int, chosen: Sequence[int] | None = None) -> list[Batch]:
    """Cut rows (the chosen ones, if any are) into batches of equally long ones: by token count (ties by row number), up to 2 048 tokens in each.

    Without padding nothing is computed in vain and nothing has to be masked. The rule is part of the protocol: equal rows always
    meet in equal batches, so a replay gives equal bits.
    """
    order = sorted(range(len(rows)) if chosen is None else chosen, key=lambda i: (len(rows[i].ids), i))
    found = []
    for length, same in itertools.groupby(order, lambda i: len(rows[i].ids)):
        size, alike = max(1, BATCH_TOKENS // max(1, length)), list(same)
        found += [one_batch(rows, pad, alike[at : at + size]) for at in range(0, len(alike), size)]
    return found


def within(batch: Batch, tokens: int) -> Batch:
    """The batch with no row longer than `tokens`: longer ones lose what stands before their last token, a separator."""
    if batch.input_ids.shape[1] <= tokens:
        return batch
    last = batch.attention_mask.sum(1).clamp(max=batch.input_ids.shape[1]) - 1
    cut = {name: tensor[:, :tokens].clone() for name, tensor in batch.inputs.items()}
    long = last >= tokens
    for name in ("input_ids", "token_type_ids"):
        cut[name][long, -1] = batch.inputs[name][long, last[long]]
    return Batch(batch.rows, **cut)


def bundles(cut: Sequence[Batch]) -> list[Bundle]:
    """Batches that go through the model together, in their order, up to 2 048 tokens in each: part of the protocol, too."""
    found: list[Bundle] = []
    room = 0
    for batch in cut:
        if batch.input_ids.numel() > room:
            found.append(())
            room = BATCH_TOKENS
        found[-1] += (batch,)
        room -= batch.input_ids.numel()
    return found


def states(backbone: Backbone, cut: Sequence[Batch]) -> States:
    """One pass of the encoder (with whatever is attached); features [rows, hidden] in row order."""
    found = room(backbone, sum(len(batch.rows) for batch in cut))
    fill(backbone, bundles(cut), found)
    return found


def room(backbone: Backbone, rows: int, allocate: Callable[[int, int], torch.Tensor] = torch.empty) -> States:
    """Features yet to be filled in; `allocate(rows, width)` gives their float32 memory."""
    width = backbone.hidden_size
    pooler = allocate(rows, width) if backbone.pools else None
    return States(allocate(rows, width), pooler, allocate(rows, width))


def fill(backbone: Backbone, given: Sequence[Bundle], found: States) -> None:
    """Compute the rows of some batches and put them in their places."""
    with torch.inference_mode():
        for bundle in given:
            for batch, last, pooled in _passed(backbone, bundle):
                place = torch.tensor(batch.rows)
                found.token[place] = token_read(last, batch.attention_mask, backbone.is_decoder).float()
                found.mean[place] = _mean(_of_text(last, batch), batch.attention_mask).float()
                if found.pooler is not None:
                    found.pooler[place] = pooled.float()


def _passed(backbone: Backbone, bundle: Bundle) -> Iterator[tuple[Batch, torch.Tensor, torch.Tensor]]:
    """Each batch with its last states [rows, tokens, hidden] and what the pooler says of them (None without one)."""
    if encoder.packs(backbone):
        packed = encoder.pack(backbone, bundle)
        every = encoder.climbed(backbone, packed, encoder.embedded(backbone, packed))
        for batch, group in zip(bundle, packed.groups, strict=True):
            last = group.of(every)
            yield batch, last, backbone.model.pooler(last) if backbone.pools else None
        return
    for batch in bundle:
        output = backbone.model(**batch.inputs)
        yield batch, output.last_hidden_state, output.get("pooler_output")


def climb(backbone: Backbone, cut: Sequence[Batch], layer: int) -> list[torch.Tensor]:
    """The states that enter `layer`, [1, tokens, hidden] a bundle: what `for_heads` may begin at."""
    with torch.inference_mode():
        packed = [encoder.pack(backbone, bundle) for bundle in bundles(cut)]
        return [encoder.climbed(backbone, one, encoder.embedded(backbone, one), 0, layer) for one in packed]


def for_heads(backbone: Backbone, cut: Sequence[Batch], trunks: Trunks = _NO_TRUNKS) -> Pooled:
    """What a head reads of rows that are batched by length, in row order, by the shortest way there is.

    `trunks`: what `climb` gave of these very batches on the plain base, end to end, by layer; the highest that lies below all that is
    attached is begun at.
    """
    order = torch.tensor([row for batch in cut for row in batch.rows]).argsort()
    with torch.inference_mode():
        if not encoder.packs(backbone):
            return _read_whole(backbone, bundles(cut), order)
        layer = max((layer for layer in trunks if layer <= encoder.untouched(backbone)), default=0)
        first = torch.cat(list(_firsts(backbone, bundles(cut), layer, trunks.get(layer))))[order]
        return Pooled(first.float(), backbone.model.pooler(first[:, None]).float() if backbone.pools else None)


def _read_whole(backbone: Backbone, given: Sequence[Bundle], order: torch.Tensor) -> Pooled:
    token, pooler = [], []
    for bundle in given:
        for batch, last, pooled in _passed(backbone, bundle):
            token.append(token_read(last, batch.attention_mask, backbone.is_decoder).float())
            pooler.append(pooled)
    return Pooled(torch.cat(token)[order], torch.cat(pooler)[order].float() if backbone.pools else None)


def _firsts(
    backbone: Backbone, given: Sequence[Bundle], layer: int, trunk: torch.Tensor | None
) -> Iterator[torch.Tensor]:
    at = 0
    for bundle in given:
        packed = encoder.pack(backbone, bundle)
        end = at + packed.ids.shape[1]
        # a copy: where numbers lie in memory decides by which way they are multiplied, and so their last bits
        entering = encoder.embedded(backbone, packed) if trunk is None else trunk[:, at:end].clone()
        yield encoder.first_states(backbone, packed, entering, layer)
        at = end


def hidden(backbone: Backbone, batch: Batch) -> torch.Tensor:
    """Last hidden states [rows, tokens, hidden] of one batch."""
    with torch.inference_mode():
        return _of_text(_last(backbone, batch)[0], batch)


def outputs(backbone: Backbone, batch: Batch) -> Outputs:
    """What a head may read of one batch."""
    with torch.inference_mode():
        last, pooler = _last(backbone, batch)
        next_token = _next_token(backbone, batch)
    read = token_read(last, batch.attention_mask, backbone.is_decoder)
    return Outputs(_of_text(last, batch), read, pooler, next_token)


def _last(backbone: Backbone, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Last states of a batch of rows of any length, and what the pooler says of them (None without one); where rows are packed, zeros
    stand for the states of padding."""
    if not encoder.packs(backbone):
        found = backbone.model(**batch.inputs)
        return found.last_hidden_state, found.get("pooler_output")
    alike = tuple(_by_length(batch))
    parts = list(_passed(backbone, alike))
    last = parts[0][1].new_zeros(*batch.input_ids.shape, backbone.hidden_size)
    for one, states, _ in parts:
        last[list(one.rows), : states.shape[1]] = states
    return last, backbone.model.pooler(last) if backbone.pools else None


def _by_length(batch: Batch) -> Iterator[Batch]:
    """The rows of a batch without their padding, those of one length together, numbered as they stand in it."""
    lengths = batch.attention_mask.sum(1)
    for length in lengths.unique().tolist():
        rows = (lengths == length).nonzero()[:, 0]
        yield Batch(tuple(rows.tolist()), **{name: tensor[rows, :length] for name, tensor in batch.inputs.items()})


def _next_token(backbone: Backbone, batch: Batch) -> torch.Tensor | None:
    """What the base model's own head says [rows, 1, words] behind the last token of each row that is no padding."""
    if backbone.language_model is None:
        return None
    mask = batch.attention_mask
    last = (torch.arange(mask.shape[1]) * (mask != 0)).argmax(-1)
    last = last - mask.shape[1]  # from the end: a prompt may stand before
    places, row = torch.unique(last, return_inverse=True)
    said = backbone.language_model(**batch.inputs, logits_to_keep=places).logits
    return said[torch.arange(len(said)), row].unsqueeze(1)


def logits(head: ClassificationHead, seen: Pooled) -> torch.Tensor:
    """Logits [rows, labels] of a head over features."""
    with torch.inference_mode():
        return head(seen.token, seen.pooler)


def _of_text(states: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The states of the text's own tokens: a prompt's rows stand before them."""
    return states[:, states.shape[1] - batch.input_ids.shape[1] :]


def token_read(states: torch.Tensor, mask: torch.Tensor | None, decoder: bool) -> torch.Tensor:
    """The states [rows, hidden] of the token that a classifier reads: the first one, in a decoder the last that is no padding,
    on whichever side that stands."""
    if not decoder:
        return states[:, 0]
    if mask is None:
        return states[:, -1]
    states = states[:, states.shape[1] - mask.shape[1] :]  # a prompt's rows stand before the text
    places = torch.arange(states.shape[1], device=states.device)
    return states[torch.arange(len(states), device=states.device), (places * (mask != 0)).argmax(-1)]


def _mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weight = mask.unsqueeze(-1).to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1)


def one_batch(rows: Sequence[Encoded], pad: int, chosen: Sequence[int] | None = None) -> Batch:
    """The chosen rows (all, if none are) in one batch."""
    chosen = range(len(rows)) if chosen is None else chosen
    width = max(len(rows[i].ids) for i in chosen)
    ids = torch.full((len(chosen), width), pad, dtype=torch.long)
    types = torch.zeros_like(ids)
    mask = torch.zeros_like(ids)
    for place, i in enumerate(chosen):
        length = len(rows[i].ids)
        ids[place, :length] = torch.tensor(rows[i].ids)
        types[place, :length] = torch.tensor(rows[i].types)
        mask[place, :length] = 1
    return Batch(tuple(chosen), ids, types, mask)
