"""An encoder's pass over rows of several lengths laid end to end, without padding, and only as far as it is needed.

Everything but the attention looks at one token at a time: there the tokens of all rows make one matrix, whatever the rows' lengths.
The attention is asked for rows of one length together. Layers below the first one that an adapter touches answer as they always do:
what they gave once need not be computed again (`untouched`). A head that reads the first token only has the last layer asked for
nothing else, and one query a row needs neither the keys nor the values of all tokens. With x the tokens' states [rows, tokens,
hidden] and q the query of one head,

    q . (x Wk^T + bk)  =  x (Wk^T q) + q . bk           softmax (p) does not see what is the same for all tokens: bk
    p (x Wv^T + bv)    =  (p x) Wv^T + bv               p sums to one

so that two products of [tokens, hidden] by [hidden, hidden] become two of [heads, hidden] by [hidden, tokens]. Of six layers of
MiniLM the last one then costs a thirtieth; the numbers differ by rounding (tests/engine/test_encoder.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention

from hub.runtime.base import Backbone

FAMILIES = frozenset({"bert", "roberta", "xlm-roberta", "camembert"})
"""Model types whose bodies are embeddings, encoder.layer and a pooler on the first token, in transformers' names."""

Layer = Any
"""transformers' layer of BERT and its kin: attention.self.{query,key,value}, attention.output, intermediate, output."""


class Rows(Protocol):
    """Rows of one length: token ids and token types, each int64 [rows, tokens]."""

    @property
    def input_ids(self) -> torch.Tensor: ...
    @property
    def token_type_ids(self) -> torch.Tensor: ...


@dataclass(frozen=True)
class Group:
    """Equally long rows in a pack: where their first token lies, how many rows, how many tokens in each."""

    start: int
    rows: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.rows * self.length

    def of(self, states: torch.Tensor) -> torch.Tensor:
        """The states [rows, tokens, hidden] of these rows, from a pack's [1, tokens, hidden]; no copy."""
        return states[0, self.start : self.end].view(self.rows, self.length, -1)


@dataclass(frozen=True)
class Pack:
    """Rows laid end to end: token ids, token types and positions, each int64 [1, tokens]."""

    ids: torch.Tensor
    types: torch.Tensor
    positions: torch.Tensor
    groups: tuple[Group, ...]


def pack(backbone: Backbone, batches: Iterable[Rows]) -> Pack:
    """Lay batches of equally long rows end to end."""
    ids, types, positions, groups = [], [], [], []
    at = 0
    for batch in batches:
        rows, length = batch.input_ids.shape
        groups.append(Group(at, rows, length))
        at = groups[-1].end
        ids.append(batch.input_ids.reshape(-1))
        types.append(batch.token_type_ids.reshape(-1))
        positions.append((torch.arange(length) + backbone.first_position).repeat(rows))
    return Pack(torch.cat(ids)[None], torch.cat(types)[None], torch.cat(positions)[None], tuple(groups))


def packs(backbone: Backbone) -> bool:
    """Whether this pass does what the body's own does, with what is attached now.

    A hook on the body or on the encoder may change anything; one that looks at a row as a whole must be given rows.
    """
    body = backbone.model
    if backbone.base.model_type not in FAMILIES or body.config.is_decoder:
        return False
    passed_over = [body, body.encoder, *body.embeddings.modules()]
    for layer in body.encoder.layer:
        passed_over += [layer, layer.attention, layer.attention.self]
    return not any(map(_hooks, passed_over)) and all(map(_is_token_wise, body.encoder.layer.modules()))


def untouched(backbone: Backbone) -> int:
    """How many layers from below, with the embeddings, are the backbone's own now: no weight exchanged, nothing hooked in."""
    body = backbone.model
    own = set(map(id, backbone.own.values()))
    if not packs(backbone) or not _is_own(body.embeddings, own):
        return 0
    layers = body.encoder.layer
    return next((at for at, layer in enumerate(layers) if not _is_own(layer, own)), len(layers))


def embedded(backbone: Backbone, given: Pack) -> torch.Tensor:
    """What enters the first layer, [1, tokens, hidden]."""
    return backbone.model.embeddings(input_ids=given.ids, token_type_ids=given.types, position_ids=given.positions)


def climbed(
    backbone: Backbone, given: Pack, states: torch.Tensor, start: int = 0, end: int | None = None
) -> torch.Tensor:
    """States [1, tokens, hidden] that enter layer `end` (leave the last, if none is named), from those that enter `start`."""
    for layer in backbone.model.encoder.layer[start:end]:
        states = _through(layer, given.groups, states)
    return states


def first_states(backbone: Backbone, given: Pack, states: torch.Tensor, start: int = 0) -> torch.Tensor:
    """Each row's last states of its first token, [rows, hidden], from the states that enter layer `start`, not above the last."""
    last = len(backbone.model.encoder.layer) - 1
    states, layer = climbed(backbone, given, states, start, last), backbone.model.encoder.layer[last]
    attention = layer.attention.self
    read = _asked_whole if _hooks(attention.key) or _hooks(attention.value) else _asked_once
    first = torch.cat([group.of(states)[:, 0] for group in given.groups])[None]
    query, seen = attention.query(first)[0], 0
    found = []
    for group in given.groups:
        found.append(read(attention, query[seen : seen + group.rows], group.of(states)))
        seen += group.rows
    joined = layer.attention.output(torch.cat(found)[None], first)
    return layer.output(layer.intermediate(joined), joined)[0]


def _through(layer: Layer, groups: Sequence[Group], states: torch.Tensor) -> torch.Tensor:
    attention = layer.attention.self
    query, key, value = attention.query(states), attention.key(states), attention.value(states)
    read = torch.empty_like(query)
    for group in groups:
        asked, keys, values = (_by_head(attention, group.of(one)) for one in (query, key, value))
        mixed = scaled_dot_product_attention(asked, keys, values, scale=attention.scaling)
        group.of(read).copy_(mixed.transpose(1, 2).flatten(2))
    joined = layer.attention.output(read, states)
    return layer.output(layer.intermediate(joined), joined)


def _by_head(attention: Layer, states: torch.Tensor) -> torch.Tensor:
    """[rows, tokens, heads * width] as [rows, heads, tokens, width]."""
    rows, tokens, _ = states.shape
    return states.view(rows, tokens, attention.num_attention_heads, attention.attention_head_size).transpose(1, 2)


def _asked_once(attention: Layer, query: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """What a query a row [rows, heads * width] takes from the row's tokens, in the same shape."""
    heads, width = attention.num_attention_heads, attention.attention_head_size
    rows, _, hidden = states.shape
    key, value = (module.weight.view(heads, width, hidden) for module in (attention.key, attention.value))
    asked = torch.bmm(query.view(rows, heads, width).transpose(0, 1), key).transpose(0, 1)  # [rows, heads, hidden]
    shares = (torch.bmm(asked, states.transpose(1, 2)) * attention.scaling).softmax(-1)
    mixed = torch.bmm(shares, states).transpose(0, 1)  # [heads, rows, hidden]
    read = torch.bmm(mixed, value.transpose(1, 2)).transpose(0, 1).reshape(rows, heads * width)
    return read if attention.value.bias is None else read + attention.value.bias


def _asked_whole(attention: Layer, query: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """The same where keys and values are more than a product with a weight."""
    asked = _by_head(attention, query[:, None])
    keys, values = (_by_head(attention, module(states)) for module in (attention.key, attention.value))
    return scaled_dot_product_attention(asked, keys, values, scale=attention.scaling).transpose(1, 2).flatten(1)


def _is_own(root: Any, own: set[int]) -> bool:
    """Whether a module and all below it are the backbone's own."""
    return not any(_hooks(module) for module in root.modules()) and all(
        id(parameter) in own for parameter in root.parameters()
    )


def _is_token_wise(module: Any) -> bool:
    """Whether a module may be given the tokens of all rows at once."""
    return all(getattr(hook, "token_wise", False) for hook in _hooks(module))


def _hooks(module: Any) -> list[Any]:
    """What is done besides what a module's class says."""
    replaced = [module.forward] if "forward" in vars(module) else []
    return [*module._forward_hooks.values(), *module._forward_pre_hooks.values(), *replaced]
