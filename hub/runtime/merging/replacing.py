"""What stands in for the base model's own numbers: norms and biases trained anew, whole modules, rows of tokens."""

from __future__ import annotations

import torch

from hub.runtime.merging.layer import Layer, Said, Tensors, check_places


def ln_tuning(layer: Layer, own: Tensors, said: Said) -> Layer:
    """The norm's own numbers, trained anew."""
    return Layer(own["ln_tuning_layers.weight"], own.get("ln_tuning_layers.bias", layer.bias))


def saved(layer: Layer, own: Tensors, said: Said) -> Layer:
    """A whole module that the file brings."""
    return Layer(own.get("weight", layer.weight), own.get("bias", layer.bias))


def bias(layer: Layer, own: Tensors, said: Said) -> Layer:
    """A bias of the base model, trained anew."""
    return Layer(layer.weight, own["bias"])


def tokens(layer: Layer, own: Tensors, said: Said) -> Layer:
    """A table with the rows of some tokens replaced. The configuration names the tokens, for all tables or by table."""
    named = said.config.get("trainable_token_indices") or said.config.get("token_indices") or []
    if isinstance(named, dict):
        named = next(rows for table, rows in named.items() if f".{said.module}".endswith(f".{table}"))
    rows = torch.tensor(named)
    check_places(rows, len(layer.weight))
    weight = layer.weight.clone()
    weight[rows] = own["trainable_tokens_delta"]
    return Layer(weight, layer.bias)
