"""How likely a language model finds texts, token by token, as lm-evaluation-harness asks it.

Source: `lm_eval` 0.4.13 (EleutherAI): `TemplateLM._encode_pair` for continuations, `get_rolling_token_windows` with one token
of context for whole texts. Before a text stands the token that begins one, else the one that ends one; before a context it
stands only where the tokenizer itself puts it there. (There a whole text is asked for that token, too, after itself: here it
never is.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hub.runtime.base import Backbone
from hub.runtime.predict import Batch
from workers.errors import Fault
from workers.statistics import Labels, Values

AT_ONCE = 1 << 25
"""Logits that are held at once (128 MiB), unless one row alone needs more."""


@dataclass(frozen=True)
class Piece:
    """Token ids of one pass. The model reads all but the last; how likely the last `scored` are is what is asked."""

    ids: tuple[int, ...]
    scored: int

    @property
    def read(self) -> tuple[int, ...]:
        """What goes through the model."""
        return self.ids[:-1]


@dataclass(frozen=True)
class Speaker:
    """A base model's tokenizer as texts are cut for it: `before` stands before each text, and no pass reads more than
    `longest` tokens."""

    tokenizer: Any
    before: int
    longest: int

    @classmethod
    def of(cls, backbone: Backbone, longest: int) -> "Speaker":
        """Raises Fault for a base model that cannot be asked."""
        kind = backbone.base.model_type
        if backbone.language_model is None:
            raise Fault(
                f"the base model ({kind}) holds no language-model head, so nothing can be asked of it", started=False
            )
        tokenizer = backbone.tokenizer
        ends = tokenizer.eos_token_id
        before = ends if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        if before is None:
            raise Fault(f"the base model's tokenizer ({kind}) has no token that begins or ends a text", started=False)
        return cls(tokenizer, before, longest)

    @property
    def begins(self) -> list[int]:
        """What the tokenizer puts before every text by itself."""
        return [self.before] if self.tokenizer("")["input_ids"] == [self.before] else []

    def text(self, text: str) -> list[Piece]:
        """A whole text: every token of it is asked once, the first after `before`. A text longer than `longest` is cut into
        windows; of the last one only what is new is asked, after as much context as there is room for."""
        ids, found, done = self._encoded(text), [], 0
        while done < len(ids):
            end = min(len(ids), done + self.longest)
            start = max(0, end - self.longest - 1) if done else 0
            read = [self.before, *ids[:end]] if not done else ids[start:end]
            found.append(Piece(tuple(read), end - done))
            done = end
        return found

    def continued(self, context: str, continuation: str) -> Piece:
        """A continuation after its context: cut into tokens together, spaces at the context's end being the continuation's. A
        context that is too long loses its beginning."""
        spaces = len(context) - len(context.rstrip())
        if spaces:
            context, continuation = context[:-spaces], context[-spaces:] + continuation
        if not context:
            return self._cut([self.before], self._encoded(continuation))
        whole, alone = (self.begins + self._encoded(text) for text in (context + continuation, context))
        return self._cut(alone, whole[len(alone) :])

    def _cut(self, context: list[int], continuation: list[int]) -> Piece:
        if not continuation:
            raise ValueError("a choice adds no token to its context")
        return Piece(tuple((context + continuation)[-self.longest - 1 :]), min(len(continuation), self.longest))

    def _encoded(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def likelihoods(backbone: Backbone, cut: Sequence[Batch], last: Labels, scored: Labels) -> Values:
    """The log-likelihood of each piece [pieces] in nats, with whatever is attached: the sum over its `scored` last tokens.

    `cut` are the pieces' read tokens in batches without padding, `last` the token behind each.
    """
    found = np.zeros(len(last))
    with torch.inference_mode():
        for batch in cut:
            for part in _parts(batch, backbone):
                rows = np.array(part.rows)
                found[rows] = _of_batch(backbone.language_model, part, last[rows], scored[rows])
    return found


def _parts(batch: Batch, backbone: Backbone) -> Iterator[Batch]:
    rows = max(1, AT_ONCE // (batch.input_ids.shape[1] * int(backbone.model.config.vocab_size)))
    for at in range(0, len(batch.rows), rows):
        cut = {name: tensor[at : at + rows] for name, tensor in batch.inputs.items()}
        yield Batch(batch.rows[at : at + rows], **cut)


def _of_batch(model: Any, batch: Batch, last: Labels, scored: Labels) -> Values:
    keep = int(scored.max())
    logits = model(**batch.inputs, logits_to_keep=keep).logits.float()
    targets = torch.cat([batch.input_ids[:, 1:], torch.from_numpy(last)[:, None].long()], dim=1)[:, -keep:]
    each = torch.log_softmax(logits, dim=-1).gather(-1, targets[..., None])[..., 0].double()
    asked = torch.arange(keep) >= keep - torch.from_numpy(scored)[:, None]
    return np.asarray(torch.where(asked, each, 0.0).sum(1).numpy())
