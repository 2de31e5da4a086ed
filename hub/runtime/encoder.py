"""An encoder's pass for who reads its first token only, over rows of one length.

Nothing is padded, so nothing is masked. In the last layer only the first token asks: one query a row needs neither the keys nor
the values of all tokens. With x the tokens' states [rows, tokens, hidden] and q the query of one head,

    q . (x Wk^T + bk)  =  x (Wk^T q) + q . bk           softmax (p) does not see what is the same for all tokens: bk
    p (x Wv^T + bv)    =  (p x) Wv^T + bv               p sums to one

so that two products of [tokens, hidden] by [hidden, hidden] become two of [heads, hidden] by [hidden, tokens]. Of six layers of
MiniLM the last one then costs a thirtieth; the numbers differ by rounding (tests/engine/test_encoder.py).
"""

from typing import Any

import torch

Layers = Any
"""transformers' layers of BERT and its kin: attention.self.{query,key,value}, attention.output, intermediate, output."""


def first_states(body: Any, input_ids: torch.Tensor, token_type_ids: torch.Tensor) -> torch.Tensor:
    """The first token's last states [rows, hidden] of rows that are all equally long, int64 [rows, tokens].

    `body` is transformers' BertModel or one of its kin. What is attached is at work: merged weights are read where they lie, and hooked blocks are called.
    """
    states = body.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
    *layers, last = body.encoder.layer
    for layer in layers:
        states = layer(states, None)
    return _first_of(last, states)


def _first_of(layer: Layers, states: torch.Tensor) -> torch.Tensor:
    """The last layer's output for the first token of each row."""
    first = states[:, :1]
    attention = layer.attention.self
    read = _asked_whole if _is_hooked(attention) else _asked_once
    joined = layer.attention.output(read(attention, states, first), first)
    return layer.output(layer.intermediate(joined), joined)[:, 0]


def _is_hooked(attention: Layers) -> bool:
    """Whether keys or values are more than a product with a weight."""
    return bool(attention.key._forward_hooks or attention.value._forward_hooks)


def _asked_once(attention: Layers, states: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    heads, width = attention.num_attention_heads, attention.attention_head_size
    rows, _, hidden = states.shape
    query = attention.query(first).view(rows, heads, width).transpose(0, 1)  # [heads, rows, width]
    key, value = (module.weight.view(heads, width, hidden) for module in (attention.key, attention.value))
    asked = torch.bmm(query, key).transpose(0, 1)  # [rows, heads, hidden]
    shares = (torch.bmm(asked, states.transpose(1, 2)) * attention.scaling).softmax(-1)
    mixed = torch.bmm(shares, states).transpose(0, 1)  # [heads, rows, hidden]
    read = torch.bmm(mixed, value.transpose(1, 2)).transpose(0, 1).reshape(rows, 1, heads * width)
    return read if attention.value.bias is None else read + attention.value.bias


def _asked_whole(attention: Layers, states: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    heads, width = attention.num_attention_heads, attention.attention_head_size
    rows = len(states)
    query, key, value = (
        module(x).view(rows, -1, heads, width).transpose(1, 2)
        for module, x in ((attention.query, first), (attention.key, states), (attention.value, states))
    )
    read = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=attention.scaling)
    return read.transpose(1, 2).reshape(rows, 1, heads * width)
