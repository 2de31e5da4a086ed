"""AdapterFusion: every token attends to what several bottlenecks say of it (Pfeiffer et al. 2021, arXiv 2005.00247).

As `adapters` 1.3.0 computes it: the adapter that is fused last decides what all of them read and where residuals and norms stand;
gates and norms of the fused ones are not asked. Scores are not divided by the root of the width.
"""

from typing import Any

import torch
from torch.nn import functional

from hub.runtime.attached import Attached, token_wise
from hub.runtime.base import Backbone
from hub.runtime.blocks import block
from hub.runtime.blocks.block import Tensors
from hub.runtime.blocks.bottleneck import Squeeze, entering, leaving
from hub.spec.components import Component, Part


def fusion(attached: Attached, backbone: Backbone, component: Component, part: Part, tensors: Tensors) -> None:
    """Put a fusion, with the bottlenecks that it fuses, into an output block of the backbone."""
    output_block = block.module_of(backbone, part.module, next(iter(part.tensors.values())))
    mine = block.own(part, tensors)
    squeezes, last = [], part
    for item in component.fused:
        last = next(one for one in item.parts if one.module == part.module)
        common = block.shared(item)
        squeezes.append(Squeeze(last, block.own(last, tensors), {role: tensors[key] for role, key in common.items()}))
        attached.consumed |= frozenset(last.tensors.values()) | frozenset(common.values())
    order, said = last.options, part.options
    inner: list[torch.Tensor] = []

    @token_wise
    def keep(module: Any, args: Any, output: torch.Tensor) -> None:
        if attached.enabled:
            inner.append(output)

    @token_wise
    def hook(module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
        if not attached.enabled:
            return None
        hidden, entered, norm = inner.pop(), args[1], output_block.LayerNorm
        if order.get("parallel"):
            read = residual = query = entered
        else:
            read, residual = entering(norm, hidden, entered, order)
            query = hidden if said.get("query_before_ln") else read
        raised = torch.stack([squeeze.raised(read) for squeeze in squeezes], dim=2)
        fused = _attended(query, raised, residual, mine, said)
        fused = fused + hidden if order.get("parallel") else fused
        return leaving(norm, fused, entered, order).to(output.dtype)

    attached.add(output_block.dropout.register_forward_hook(keep), {})
    attached.add(output_block.register_forward_hook(hook), part.tensors)


def _attended(
    query: torch.Tensor,
    raised: torch.Tensor,
    residual: torch.Tensor,
    mine: dict[str, torch.Tensor],
    said: dict[str, Any],
) -> torch.Tensor:
    """What a token takes of its adapters' answers. `query` and `residual`: [rows, tokens, hidden]; `raised`: [rows, tokens,
    adapters, hidden]."""
    if said.get("residual_before"):  # keys see it as well
        raised = raised + residual[:, :, None]
    value, early = mine.get("value.weight"), said.get("value_before_softmax", True)
    asked = functional.linear(query, mine["query.weight"], mine["query.bias"])
    known = functional.linear(raised, mine["key.weight"], mine["key.bias"])
    worth = functional.linear(raised, value) if value is not None and early else raised
    shares = torch.softmax((known @ asked[..., None]).squeeze(-1), dim=-1)
    taken = (shares[..., None, :] @ worth).squeeze(-2)
    if value is not None and not early:
        taken = functional.linear(taken, value)
    return taken if said.get("residual_before") else taken + residual
