"""Experts of a mixture: the files hold each one's projections, live models hold one tensor for all of a layer.

Live: gate_up_proj [experts, 2 * inner, hidden], gate above up; down_proj [experts, hidden, inner] (transformers 5).
"""

import re

import torch

from hub.runtime import weights

Tensors = dict[str, torch.Tensor]
Names = tuple[str, str, str]

_ONE = re.compile(r"(.*\.experts)\.(\d+)\.(\w+)\.weight")
FUSED = ("gate_up_proj", "down_proj")


def fused(state: Tensors, names: Names | None, writable: bool) -> Tensors:
    """Tensors by canonical name with those of experts brought together by layer; `names` are those of gate, up and down in
    the files, None where a family has no experts. What is brought together is a copy, read-only unless `writable`."""
    if names is None:
        return state
    found: Tensors = {}
    blocks: dict[str, dict[tuple[int, str], torch.Tensor]] = {}
    for name, tensor in state.items():
        if match := _ONE.fullmatch(name):
            blocks.setdefault(match[1], {})[int(match[2]), match[3]] = tensor
        else:
            found[name] = tensor
    gate, up, down = names
    for block, by_place in blocks.items():
        numbers = sorted({number for number, _ in by_place})
        both = torch.stack([torch.cat([by_place[n, gate], by_place[n, up]]) for n in numbers])
        for name, tensor in zip(FUSED, (both, torch.stack([by_place[n, down] for n in numbers])), strict=True):
            found[f"{block}.{name}"] = tensor if writable else weights.read_only(tensor)
    return found


def apart(name: str, tensor: torch.Tensor, names: Names | None) -> Tensors:
    """The tensors that a live one stands for, by the files' canonical names: the opposite of `fused`."""
    block, _, kind = name.rpartition(".")
    if names is None or kind not in FUSED or not block.endswith(".experts"):
        return {name: tensor}
    gate, up, down = names
    found: Tensors = {}
    for number, one in enumerate(tensor):
        parts = {gate: one[: len(one) // 2], up: one[len(one) // 2 :]} if kind == FUSED[0] else {down: one}
        found |= {f"{block}.{number}.{role}.weight": part for role, part in parts.items()}
    return found
