"""From the tensors of an AdapterHub file to the parts that the runtime attaches: what each is called there, and what it is told."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from hub.spec import components, tensors
from hub.spec.methods import (
    adapterhub_fusion,
    adapterhub_lora,
    adapterhub_prompts,
    adapterhub_reft,
    adapterhub_table,
    bottleneck,
)
from hub.spec.methods.adapterhub_table import Row
from hub.spec.methods.layout import Form, Symbols

Settings = (
    bottleneck.Settings
    | adapterhub_lora.Settings
    | adapterhub_reft.Settings
    | adapterhub_fusion.Settings
    | adapterhub_prompts.Prefix
    | adapterhub_prompts.Prompt
)
READERS: dict[str, Callable[[components.Source, dict[str, Any]], Settings]] = {
    "bottleneck": bottleneck.read, "lora": adapterhub_lora.read, "mtl_lora": adapterhub_lora.read,
    "reft": adapterhub_reft.read, "fusion": adapterhub_fusion.read, "prefix_tuning": adapterhub_prompts.read_prefix, "prompt_tuning": adapterhub_prompts.read_prompt,
}  # fmt: skip
"""Architecture -> what judges its configuration."""
_STEMS = {"adapter_down.0": "down", "adapter_up": "up", "adapter_norm_after": "norm_after", "gate": "gate"}
_BEFORE = _STEMS | {
    "adapter_down.0": "norm_before", "adapter_down.1": "down", "adapter_norm_before": "norm_before_first"
}  # fmt: skip
_UNIT = re.compile(r"(.+)\.reft_layer\.(units\.\d+)")


@dataclasses.dataclass
class Group:
    """The tensors in one container at one module, by role."""

    row: Row
    module: str
    found: dict[str, tensors.Tensor] = dataclasses.field(default_factory=dict)

    @property
    def layers(self) -> set[int]:
        """The numbers in the module's path."""
        return {int(part) for part in self.module.split(".") if part.isdecimal()}


def of(group: Group, settings: list[Settings]) -> Settings | None:
    """Return the settings that speak of a group: of a union's, those that name its place before others."""
    found = [item for item in settings if item.container == group.row.container]
    return next((item for item in found if group.module in item.places(group.layers)), next(iter(found), None))


def named(group: Group) -> dict[str, tensors.Tensor]:
    """Return a group's tensors by what the runtime calls them: a bottleneck's by `down`, `up`, `norm_before`, ...

    A layer norm before the bottleneck stands in the file twice; the library lets the one in the sequence win.
    """
    if group.row is not adapterhub_table.BOTTLENECK:
        return dict(group.found)
    stems = _BEFORE if "adapter_norm_before.weight" in group.found else _STEMS
    found = {}
    for role, tensor in group.found.items():
        stem, _, leaf = role.rpartition(".")
        found[f"{stems.get(stem, stem)}_{leaf}" if stem else role] = tensor
    return found


def part(group: Group, chosen: Form, symbols: Symbols, settings: list[Settings], old: bool) -> components.Part:
    """Return what is attached for a group. `old`: a library before 1.1.0 wrote it, that left alpha out where it is not r."""
    own, mine = named(group), of(group, settings)
    options: dict[str, Any] = {} if mine is None else mine.options
    module, kind, scale, activation = group.module, group.row.name, 1.0, None
    shapes = {role: tensor.shape for role, tensor in own.items()}
    if isinstance(mine, bottleneck.Settings):
        scale, activation = mine.scaling, mine.activation
    elif isinstance(mine, adapterhub_lora.Settings):
        kind = "gated_lora" if "gate.weight" in own else "adapterhub.lora"
        scale = 1.0 if old else mine.scale
    elif isinstance(mine, adapterhub_reft.Settings):
        activation = mine.activation
    elif isinstance(mine, adapterhub_prompts.Prefix | adapterhub_prompts.Prompt):
        kind, activation = mine.kind, mine.activation
    elif group.row.container == "prefix_gates":
        kind = adapterhub_prompts.GATE
    elif group.row.container == "invertible_adapters":
        activation = next((item.activation for item in settings if isinstance(item, bottleneck.Settings)), None)
    keys = {role: tensor.name for role, tensor in own.items()}
    return components.Part(module, kind, keys, scale, activation, shapes, _needs(group, symbols), options)


def joined(parts: list[components.Part]) -> list[components.Part]:
    """Return parts with the units of one layer's ReFT in one: each of them sees what the layer says, not what another made of it."""
    found: dict[str, components.Part] = {}
    for item in parts:
        match = _UNIT.fullmatch(item.module)
        if match is None:
            found[f"{len(found)}"] = item
            continue
        layer, unit = match.groups()
        before = found.get(layer, dataclasses.replace(item, module=layer, tensors={}, shapes={}))
        found[layer] = dataclasses.replace(
            before,
            tensors=before.tensors | {f"{unit}.{role}": key for role, key in item.tensors.items()},
            shapes=before.shapes | {f"{unit}.{role}": shape for role, shape in item.shapes.items()},
        )
    return list(found.values())


def _needs(group: Group, symbols: Symbols) -> dict[str, dict[str, int]]:
    """What the base model has to have for these tensors to fit, as far as they say."""
    if group.row is adapterhub_table.LORAS:
        found = {"out": symbols.get("OUT"), "in": symbols.get("IN")}
        return {group.module: {name: size for name, size in found.items() if size}}
    hidden = {"hidden": symbols["d"]} if "d" in symbols else {}
    if group.row is adapterhub_table.BOTTLENECK and group.module.endswith("output") and hidden:
        return {f"{group.module}.dense": {"out": symbols["d"]}}
    return {"": hidden} if hidden else {}
