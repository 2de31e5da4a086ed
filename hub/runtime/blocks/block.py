"""What the files of this room share: how a block is set, and the tensors that it takes."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch.nn import functional

from hub import errors
from hub.runtime.attached import Attached
from hub.runtime.base import Backbone
from hub.spec.components import Component, Part

Tensors: TypeAlias = Mapping[str, torch.Tensor]
"""Key in the weights file -> tensor."""
Block: TypeAlias = Callable[[Attached, Backbone, Component, Part, Tensors], None]
"""Sets the forward hooks of one part, and notes what it uses (`Attached.add`)."""


def own(part: Part, tensors: Tensors) -> dict[str, torch.Tensor]:
    """A part's tensors by role."""
    return {role: tensors[key] for role, key in part.tensors.items()}


def shared(component: Component) -> dict[str, str]:
    """Role -> key of the tensors that several parts use."""
    return {
        role: key
        for part in component.parts
        if not part.module and part.kind == "shared"
        for role, key in part.tensors.items()
    }


def module_of(backbone: Backbone, path: str, key: str) -> Any:
    """A live module by its canonical path. Raises HubError that names a tensor's key where the base model has none."""
    if path not in backbone.modules:
        message = f"{key} belongs to {path}, which the part of the base model that runs here does not have"
        raise errors.HubError(message, hint="leave its tensors out")
    return backbone.modules[path]


def gate(x: torch.Tensor, given: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """How much of an adapter is let through, [rows, 1, 1]: the mean over all tokens of a sigmoid (UniPELT, Mao et al. 2022,
    arXiv 2110.07577). `x`: what the adapter reads, [rows, tokens, hidden]. None where it has no gate.

    Padding counts, as it does in `adapters` 1.3: rows of one length give each row an answer of its own.
    """
    weight = given.get("gate_weight", given.get("gate.weight"))
    if weight is None:
        return None
    bias = given.get("gate_bias", given.get("gate.bias"))
    return torch.sigmoid(functional.linear(x, weight, bias)).mean(dim=1).unsqueeze(-1)
