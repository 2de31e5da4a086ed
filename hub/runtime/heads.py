"""Prediction heads: on the encoder's first token (a decoder's last one), or on every token."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.activations import ACT2FN

from hub import errors
from hub.spec.components import Head


class Layers(nn.Module):
    """What every head is made of: one linear layer (`linear`), or dense, a non-linearity, out (`mlp`), over features
    [..., hidden]. Dropout is left out: a head here only predicts."""

    def __init__(self, head: Head, tensors: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.kind = head.kind
        self.task = head.task
        self.token_types = head.token_types
        self.num_labels = head.num_labels
        self.pooling = head.pooling
        self.activation = ACT2FN[head.activation]
        self.consumed = frozenset(head.tensors.values())
        for role, key in head.tensors.items():
            self.register_buffer(role, tensors[key], persistent=True)

    def layers(self, x: torch.Tensor) -> torch.Tensor:
        """[..., hidden] -> logits [..., labels]."""
        if self.kind == "linear":
            return functional.linear(x, self._role("weight"), self._role("bias"))
        x = self.activation(functional.linear(x, self._role("dense_weight"), self._role("dense_bias")))
        return functional.linear(x, self._role("out_weight"), self._role("out_bias"))

    def _role(self, role: str) -> Any:
        return getattr(self, role, None)


class ClassificationHead(Layers):
    """Logits [rows, labels] from pooled features; a number is a single label.

    `linear`: what `BertForSequenceClassification` does after the pooler, or a one-layer AdapterHub
    head on the first token, or a decoder's `score` on the last one; `mlp`: AdapterHub's heads, RoBERTa's, ELECTRA's,
    DistilBERT's and DeBERTa's.
    """

    def __init__(self, head: Head, tensors: Mapping[str, torch.Tensor], base_pools: bool) -> None:
        super().__init__(head, tensors)
        if self.pooling == "pooler" and not base_pools and "pooler_weight" not in head.tensors:
            raise errors.HubError(
                "the head reads the pooler, but neither the base model nor the adapter holds one",
                hint='save it with the adapter: modules_to_save=["classifier", "pooler"]',
            )

    def pooled(self, first: torch.Tensor, pooler: torch.Tensor | None) -> torch.Tensor:
        """The features the head reads: the first token's state (a decoder's last one's), or the pooler over it."""
        if self.pooling != "pooler":
            return first
        weight = self._role("pooler_weight")
        if weight is not None:
            return torch.tanh(functional.linear(first, weight, self._role("pooler_bias")))
        assert pooler is not None, "checked when the head was made"
        return pooler

    def forward(self, first: torch.Tensor, pooler: torch.Tensor | None = None) -> torch.Tensor:
        """`first`: the last state of the first token (in a decoder of the last one), `pooler`: the base's pooler output; both [rows, hidden]."""
        return self.layers(self.pooled(first, pooler))


class TokenHead(Layers):
    """Logits [..., labels] of every token by itself: for tagging, or (two of them) for where an answer starts and ends."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """`states` [..., hidden]."""
        return self.layers(states)


def build(head: Head, tensors: Mapping[str, torch.Tensor], base_pools: bool) -> ClassificationHead | TokenHead:
    """The module that a head is, over the tensors of its file. Raises HubError where a pooler is missing."""
    if head.pooling == "tokens":
        return TokenHead(head, tensors)
    return ClassificationHead(head, tensors, base_pools)
