"""Prefixes and prompts as `adapters` 1.3.0 computes them: positions stay where they are.

A prefix is made by a small network, or stands in the file, and may have a gate at each layer that reads the text (UniPELT: Mao et
al. 2022, https://arxiv.org/abs/2110.07577). A prompt stands before what the embeddings have made of the text, or behind its first
token; a head on the first token then reads the prompt's, or the text's. The tensors are read under the name that the file gives
them: the library itself makes a prompt up at random where it is loaded under another name (`load_as`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from hub import errors
from hub.runtime.attached import Attached
from hub.runtime.base import Backbone
from hub.runtime.blocks import prefixes
from hub.runtime.blocks.activations import activation
from hub.runtime.blocks.block import Tensors
from hub.runtime.blocks.prompts import lengthened, on_inputs
from hub.spec.components import Component, Part


def prefix(attached: Attached, backbone: Backbone, component: Component, part: Part, tensors: Tensors) -> None:
    """Put keys and values before those of the attention layers that are not left out."""
    own = {role: tensors[key] for role, key in part.tensors.items()}
    _check_copies(part, own)
    layers = {
        number: layer
        for number, layer in enumerate(prefixes.attentions(backbone))
        if number not in part.options["left_out"]
    }
    if not layers:
        raise errors.HubError(
            "leave_out leaves no layer for the prefix", hint="leave_out must be what it was trained with"
        )
    states = _states(own, part, len(layers), backbone)
    for (number, layer), (keys, values) in zip(layers.items(), states, strict=True):
        gate = _gate(own, part, number)
        seen = prefixes.same(keys, values) if gate is None else prefixes.gated(keys, values, *gate)
        attached.add(prefixes.put(layer, seen, lambda: attached.enabled), part.tensors)


def prompt(attached: Attached, backbone: Backbone, component: Component, part: Part, tensors: Tensors) -> None:
    """Put rows before the embedded text, or behind its first token."""
    rows = tensors[part.tensors["prompt_embedding.weight"]]
    behind, count = int(part.options["behind"]), len(rows)

    def before(given: dict[str, Any]) -> None:
        given["attention_mask"] = lengthened(given.get("attention_mask"), count, 1)

    def insert(module: Any, args: Any, embedded: torch.Tensor) -> torch.Tensor | None:
        if not attached.enabled:
            return None
        many = rows.to(embedded.dtype).expand(len(embedded), -1, -1)
        return torch.cat([embedded[:, :behind], many, embedded[:, behind:]], dim=1)

    def take_out(module: Any, args: Any, output: Any) -> None:
        """Rows behind the first token stand nowhere a head reads; the text's own then lie as they would without."""
        if attached.enabled:
            states = output.last_hidden_state
            output.last_hidden_state = torch.cat([states[:, :behind], states[:, behind + count :]], dim=1)

    attached.add(on_inputs(attached, backbone.model, before), part.tensors)
    attached.add(backbone.model.embeddings.register_forward_hook(insert), {})
    if behind:
        attached.add(backbone.model.register_forward_hook(take_out), {})


def _states(own: dict[str, torch.Tensor], part: Part, layers: int, backbone: Backbone) -> torch.Tensor:
    """Keys and values [layers, 2, 1, heads, prefix, head size]."""
    if "control_trans" in own:
        table = own["control_trans"]
    else:
        first = functional.linear(own["wte.weight"], own["control_trans.0.weight"], own["control_trans.0.bias"])
        table = functional.linear(
            activation(part.activation)(first), own["control_trans.2.weight"], own["control_trans.2.bias"]
        )
    heads = int(backbone.model.config.num_attention_heads)
    return table.view(-1, layers, 2, 1, heads, backbone.hidden_size // heads).permute(1, 2, 3, 4, 0, 5)


def _gate(own: dict[str, torch.Tensor], part: Part, layer: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The gate's weight [gates, hidden] and bias [gates] at a layer."""
    wanted = int(part.options["gates"])
    found = {role: one for role, one in own.items() if role.startswith("gate.") and f".layer.{layer}." in role}
    weight = next((one for role, one in found.items() if role.endswith(".weight")), None)
    bias = next((one for role, one in found.items() if role.endswith(".bias")), None)
    if (0 if weight is None else len(weight)) != wanted:
        raise errors.HubError(
            f"at layer {layer} the prefix has {0 if weight is None else len(weight)} gates, the configuration says {wanted}",
            hint="use_gating and shared_gating must be what it was trained with",
        )
    return None if weight is None or bias is None else (weight, bias)


def _check_copies(part: Part, own: dict[str, torch.Tensor]) -> None:
    """The library writes a prefix once more for every layer: each has to be the same."""
    for role, key in part.tensors.items():
        if role.startswith("copy.") and not torch.equal(own[role], own[role.split(".", 2)[2]]):
            raise errors.HubError(f"{key} is not the copy that it should be", hint="save it again with save_adapter")
