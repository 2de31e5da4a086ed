"""Prompts: rows that stand before the text, and prefixes that move it (PEFT 0.21's prompt learning).

What a prompt's encoder computed (P-tuning's MLP or LSTM, prefix tuning's projection) PEFT saves ready made, and reads back: so
does this. Prompts go through the whole embedding, at positions 0 to n-1 and with token type 0; the text moves back by n, and a
classifier reads the first row there is, which is the prompt's own (Lester et al. 2021, https://arxiv.org/abs/2104.08691). A
prefix takes the same positions, but is no row.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from hub import errors
from hub.runtime.attached import Attached
from hub.runtime.base import Backbone
from hub.runtime.blocks import prefixes
from hub.runtime.blocks.block import Tensors
from hub.spec.components import Component, Part

Inputs = dict[str, Any]
_TYPED = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")
"""Tasks whose token types PEFT hands on; for others it drops them, whatever a tokenizer says."""
_COUNTS_TEXT = frozenset({"opt"})
"""Decoders that leave padding out when they count positions."""
LEAST_TEXT = 3
"""Tokens that an adapter has to leave: what begins a text, a word, what ends it."""


def prompt(attached: Attached, backbone: Backbone, component: Component, part: Part, tensors: Tensors) -> None:
    """Put the rows of prompt tuning, P-tuning or multitask prompt tuning before what the words are embedded as."""
    own = {role: tensors[key] for role, key in part.tensors.items()}
    rows = own["prompt_embeddings"]
    count = _counted(backbone, component, part, len(rows))
    words = backbone.model.get_input_embeddings()
    typed = component.config.get("task_type") in _TYPED
    cols, across = own.get("prefix_task_cols"), own.get("prefix_task_rows")
    if cols is not None:
        attached.tasks = len(cols)

    def before(given: Inputs) -> None:
        embedded = given.get("inputs_embeds")
        if embedded is None:
            embedded = words(given.pop("input_ids"))
        many = rows[None]
        if cols is not None and across is not None:
            chosen = attached.chosen(len(embedded))
            many = rows * (cols[chosen] @ across[chosen])
        given["inputs_embeds"] = torch.cat([many.to(embedded.dtype).expand(len(embedded), -1, -1), embedded], dim=1)
        given["attention_mask"] = lengthened(given.get("attention_mask"), count, 1)
        if given.get("token_type_ids") is not None:
            given["token_type_ids"] = lengthened(given["token_type_ids"], count, 0) if typed else None
        given.pop("position_ids", None)  # PEFT sets them aside too
        _check_length(backbone, given["inputs_embeds"].shape[1], count)

    attached.taken += count
    attached.add(on_inputs(attached, backbone.model, before), part.tensors)


def prefix(attached: Attached, backbone: Backbone, component: Component, part: Part, tensors: Tensors) -> None:
    """Put the keys and values of prefix tuning before those of every attention layer; the text's positions move back."""
    table = tensors[part.tensors["prompt_embeddings"]]
    layers = prefixes.attentions(backbone)
    config = backbone.model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    count = _counted(backbone, component, part, len(table))
    _check_said(
        component, num_layers=len(layers), num_attention_heads=heads, token_dim=table.shape[1] // 2 // len(layers)
    )
    # [prefix, layers * 2 * width] -> [layers, 2, 1, heads, prefix, head size]
    states = table.view(count, len(layers), 2, 1, heads, -1).permute(1, 2, 3, 4, 0, 5)

    attached.taken += count
    attached.add(_moved(attached, backbone, count, component.config.get("task_type") in _TYPED), part.tensors)
    for layer, (keys, values) in zip(layers, states, strict=True):
        attached.add(prefixes.put(layer, prefixes.same(keys, values), lambda: attached.enabled), {})


def _moved(attached: Attached, backbone: Backbone, count: int, typed: bool) -> Any:
    """Have positions counted from `count` on: by the embeddings, where these count them, else by the body. Not `typed`: all
    tokens are of the first type."""
    embeddings = getattr(backbone.model, "embeddings", None)
    counts = "past_key_values_length" in names_of(embeddings)
    if not counts and "position_ids" not in names_of(backbone.model):
        kind = backbone.base.model_type
        raise errors.HubError(f"this hub does not know how the positions of a {kind} move behind a prefix")

    def before(given: Inputs) -> None:
        words = given["input_ids"] if given.get("inputs_embeds") is None else given["inputs_embeds"]
        _check_length(backbone, words.shape[1] + count, count)
        places = given.get("position_ids")
        if counts:
            given["past_key_values_length"] = given.get("past_key_values_length", 0) + count
        elif places is None:
            places = _places(backbone, words.shape[1], given.get("attention_mask"))
        if places is not None:
            given["position_ids"] = places + count
        if not typed and "token_type_ids" in given:
            given["token_type_ids"] = None

    return on_inputs(attached, embeddings if counts else backbone.model, before)


def _places(backbone: Backbone, tokens: int, mask: torch.Tensor | None) -> torch.Tensor:
    """The positions [rows or 1, tokens] that a decoder's body gives by itself."""
    if backbone.base.model_type in _COUNTS_TEXT and mask is not None:
        return (mask.cumsum(1) * mask - 1).long()
    return torch.arange(tokens)[None]


def names_of(module: Any) -> list[str]:
    """What a module's call takes, in order; nothing where there is no module."""
    return [] if module is None else list(inspect.signature(type(module).forward).parameters)[1:]


def on_inputs(attached: Attached, module: Any, change: Callable[[Inputs], None]) -> Any:
    """Change what a module is called with, as long as the adapter is on."""
    names = names_of(module)

    def hook(_: Any, args: tuple[Any, ...], kwargs: Inputs) -> tuple[tuple[Any, ...], Inputs] | None:
        if not attached.enabled:
            return None
        given = dict(zip(names, args, strict=False)) | kwargs
        change(given)
        return (), given

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def lengthened(given: torch.Tensor | None, count: int, value: int) -> torch.Tensor | None:
    """[rows, tokens] with `count` columns of a value in front."""
    if given is None:
        return None
    return torch.cat([given.new_full((len(given), count), value), given], dim=1)


def _counted(backbone: Backbone, component: Component, part: Part, rows: int) -> int:
    """How many rows there are: as many as the configuration says, and so few that a text has room."""
    key = part.tensors["prompt_embeddings"]
    said = component.config.get("num_virtual_tokens", rows)
    if said != rows:
        raise errors.HubError(
            f"{key} has {rows} rows, the configuration says num_virtual_tokens {said}",
            hint="an encoder takes each once: num_transformer_submodules is 1",
        )
    if backbone.max_length - rows < LEAST_TEXT:
        message = (
            f"{key} has {rows} rows, and this base model takes {backbone.max_length} tokens: no text would have room"
        )
        raise errors.HubError(message, hint="train with fewer virtual tokens")
    return rows


def _check_said(component: Component, **sizes: int) -> None:
    """What the configuration says of the base model has to be so: PEFT would cut the rows into other pieces."""
    for key, size in sizes.items():
        said = component.config.get(key, size)
        if said != size:
            raise errors.HubError(f"the configuration says {key} {said}, the base model has {size}")


def _check_length(backbone: Backbone, tokens: int, count: int) -> None:
    if tokens > backbone.max_length:
        raise errors.UsageError(
            f"{tokens - count} tokens and the adapter's {count} are more than the {backbone.max_length} positions of this base model",
            hint=f"cut texts at {backbone.max_length - count} tokens: model.max_length",
        )
