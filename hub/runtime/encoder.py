"""An encoder's pass for who reads its first token only, over rows of one length.

Nothing is padded, so nothing is masked. Layers below the first one that an adapter touches answer as they always do: what they
gave once need not be computed again (`untouched`). In the last layer only the first token asks, and one query a row needs neither
the keys nor the values of all tokens. With x the tokens' states [rows, tokens, hidden] and q the query of one head,

    q . (x Wk^T + bk)  =  x (Wk^T q) + q . bk           softmax (p) does not see what is the same for all tokens: bk
    p (x Wv^T + bv)    =  (p x) Wv^T + bv               p sums to one

so that two products of [tokens, hidden] by [hidden, hidden] become two of [heads, hidden] by [hidden, tokens]. Of six layers of
MiniLM the last one then costs a thirtieth; the numbers differ by rounding (tests/engine/test_encoder.py).
"""

from typing import Any

import torch

from hub.runtime.base import Backbone

FAMILIES = frozenset({"bert", "roberta", "xlm-roberta", "camembert"})
"""Model types whose bodies are embeddings, encoder.layer and a pooler on the first token, in transformers' names."""

Layer = Any
"""transformers' layer of BERT and its kin: attention.self.{query,key,value}, attention.output, intermediate, output."""


def reads_first(backbone: Backbone) -> bool:
    """Whether `first_states` does what the body's own pass does, with what is attached now.

    A hook on the body or on the encoder may change anything; there the whole pass has to be made.
    """
    body = backbone.model
    return (
        backbone.base.model_type in FAMILIES
        and not body.config.is_decoder
        and not any(_is_hooked(module) for module in (body, body.encoder))
    )


def untouched(backbone: Backbone) -> int:
    """How many layers from below, with the embeddings, are the backbone's own now: no weight exchanged, nothing hooked in."""
    body = backbone.model
    own = set(map(id, backbone.own.values()))
    if not reads_first(backbone) or not _is_own(body.embeddings, own):
        return 0
    layers = body.encoder.layer
    return next((at for at, layer in enumerate(layers) if not _is_own(layer, own)), len(layers))


def embedded(body: Any, input_ids: torch.Tensor, token_type_ids: torch.Tensor) -> torch.Tensor:
    """What enters the first layer, [rows, tokens, hidden], of int64 [rows, tokens] without padding."""
    return body.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)


def climbed(body: Any, states: torch.Tensor, start: int, end: int) -> torch.Tensor:
    """States [rows, tokens, hidden] that enter layer `end`, from those that enter layer `start`."""
    for layer in body.encoder.layer[start:end]:
        states = layer(states, None)
    return states


def first_states(body: Any, states: torch.Tensor, start: int = 0) -> torch.Tensor:
    """The first token's last states [rows, hidden], from the states [rows, tokens, hidden] that enter layer `start`.

    `body` is transformers' BertModel or one of its kin, and `start` not above its last layer. What is attached is at work: merged
    weights are read where they lie, and hooked blocks are called.
    """
    last = len(body.encoder.layer) - 1
    states, layer = climbed(body, states, start, last), body.encoder.layer[last]
    if any(_is_hooked(module) for module in (layer, layer.attention)):
        return layer(states, None)[:, 0]
    first = states[:, :1]
    joined = layer.attention.output(_read(layer.attention.self, states, first), first)
    return layer.output(layer.intermediate(joined), joined)[:, 0]


def _read(attention: Layer, states: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    """What the first token takes from all tokens, [rows, 1, heads * width]."""
    if _is_hooked(attention):
        return attention(states, None)[0][:, :1]
    hooked = any(_is_hooked(module) for module in (attention.key, attention.value))
    return (_asked_whole if hooked else _asked_once)(attention, states, first)


def _asked_once(attention: Layer, states: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    heads, width = attention.num_attention_heads, attention.attention_head_size
    rows, _, hidden = states.shape
    query = attention.query(first).view(rows, heads, width).transpose(0, 1)  # [heads, rows, width]
    key, value = (module.weight.view(heads, width, hidden) for module in (attention.key, attention.value))
    asked = torch.bmm(query, key).transpose(0, 1)  # [rows, heads, hidden]
    shares = (torch.bmm(asked, states.transpose(1, 2)) * attention.scaling).softmax(-1)
    mixed = torch.bmm(shares, states).transpose(0, 1)  # [heads, rows, hidden]
    read = torch.bmm(mixed, value.transpose(1, 2)).transpose(0, 1).reshape(rows, 1, heads * width)
    return read if attention.value.bias is None else read + attention.value.bias


def _asked_whole(attention: Layer, states: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    heads, width = attention.num_attention_heads, attention.attention_head_size
    rows = len(states)
    query, key, value = (
        module(x).view(rows, -1, heads, width).transpose(1, 2)
        for module, x in ((attention.query, first), (attention.key, states), (attention.value, states))
    )
    read = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=attention.scaling)
    return read.transpose(1, 2).reshape(rows, 1, heads * width)


def _is_own(root: Any, own: set[int]) -> bool:
    """Whether a module and all below it are the backbone's own."""
    return not any(_is_hooked(module) for module in root.modules()) and all(
        id(parameter) in own for parameter in root.parameters()
    )


def _is_hooked(module: Any) -> bool:
    """Whether calling a module does something else than its class says."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))
