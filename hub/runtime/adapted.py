"""Backbone, adapter and head as one model."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.modeling_outputs import (
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from hub.runtime import predict
from hub.runtime.attached import Attached
from hub.runtime.base import Backbone
from hub.runtime.heads import ClassificationHead, TokenHead
from hub.spec import tasks


class AdaptedModel(nn.Module):
    """Backbone, adapter and head as one model, called as transformers' sequence classifiers are."""

    def __init__(
        self,
        backbone: Backbone,
        attached: Attached,
        head: ClassificationHead | TokenHead | None,
        labels: Sequence[str],
        speaks: bool = False,
    ) -> None:
        """`speaks`: whether the base model's own language-model head is to answer, where it has one."""
        super().__init__()
        self.backbone = backbone.language_model if speaks and backbone.language_model else backbone.model
        self.adapter = attached
        self.head = head
        self.labels = tuple(labels)
        self.config = backbone.model.config
        self.base = backbone.base
        self.is_decoder = backbone.is_decoder
        self.max_length = backbone.max_length - attached.taken
        self.eval()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        task_ids: torch.Tensor | None = None,
        **more: Any,
    ) -> Any:
        """Logits [rows, labels] in a `SequenceClassifierOutput`, [rows, tokens, labels] in a `TokenClassifierOutput`, or
        those of starts and ends [rows, tokens]; without a head, the encoder's output.

        `labels` are for texts only. `task_ids` [rows]: for adapters of several tasks, which one is asked for.
        """
        self.adapter.asked = task_ids
        if self.head is not None and not self.head.token_types:
            token_type_ids = None
        output = self.backbone(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids, **more
        )
        if self.head is None:
            return output
        told = {"hidden_states": output.hidden_states, "attentions": output.attentions}
        states, pooled = output.last_hidden_state, output.get("pooler_output")
        if isinstance(self.head, TokenHead):  # heads are float32, whatever the base model is
            taken = 0 if input_ids is None else states.shape[1] - input_ids.shape[1]  # a prompt's rows
            logits = self.head(states[:, taken:].float())
            if self.head.task == tasks.TOKEN_CLASSIFICATION.name:
                return TokenClassifierOutput(logits=logits, **told)
            return QuestionAnsweringModelOutput(start_logits=logits[..., 0], end_logits=logits[..., 1], **told)
        read = predict.token_read(states, attention_mask, self.is_decoder).float()
        logits = self.head(read, None if pooled is None else pooled.float())
        return SequenceClassifierOutput(loss=None if labels is None else _loss(logits, labels), logits=logits, **told)


def _loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    if logits.shape[-1] == 1:
        return functional.mse_loss(logits.squeeze(-1), labels.float())
    return functional.cross_entropy(logits, labels)
