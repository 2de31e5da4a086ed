"""What stands at a module of PEFT's files: its kind in the base model, the forms that its tensors make, the sizes that are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from hub.spec import base_model, components
from hub.spec.methods import layout, peft_blocks
from hub.spec.methods.layout import Form, Layout
from hub.spec.methods.peft_config import Settings
from hub.spec.methods.peft_keys import NESTED, ROWS, Group
from hub.spec.methods.peft_modules import Modules

ANOTHER_BASE = "is this the base model the adapter was trained on?"
_WORDS = {"conv": "convolutional"}


class Places:
    """The places of one file. `shared`: the sizes of what all modules share, bound when that was read."""

    def __init__(self, source: components.Source, row: Layout, settings: Settings, modules: Modules) -> None:
        self.source, self.row, self.settings, self.modules, self.base = source, row, settings, modules, source.base
        self.shared: layout.Symbols = {}
        self.blocks = any(item.kind == "block" for item in row.forms)

    def matching(self, kind: str | None, group: Group) -> list[Form]:
        """The forms of this method that a group's tensors make complete."""
        forms = tuple(
            dataclasses.replace(item, slots=layout.spelled(item.slots, group.found)) for item in self.row.forms
        )
        return layout.matching(forms, kind, frozenset(group.found))

    def symbols_of(self, module: base_model.Module | None) -> layout.Symbols:
        """What is known before a module's tensors are looked at: its own sizes, and those of shared tensors."""
        symbols = {name: size for name, size in self.shared.items() if name.islower() or len(name) == 1}
        symbols |= {
            knob.symbol: value
            for knob in self.row.knobs
            if knob.symbol in ("tasks", "skills", "splits", "h", "k", "K", "v")
            and (value := self.settings.numbers[knob.symbol])
        }
        if self.blocks and self.base is not None and self.base.sizes["hidden"]:
            symbols["hidden"] = self.base.sizes["hidden"]
        if module is None:
            return symbols
        kernel = module.shape[2:] if module.kind == "conv" else ()
        symbols |= {
            name: size for name, size in zip(layout.AXES[module.kind], module.shape, strict=False) if name[0] != "*"
        }
        symbols |= {f"K{at}": size for at, size in enumerate(kernel)}
        return symbols | {"KERNEL": _product(kernel)}

    def kind_of(self, module: str, group: Group) -> tuple[str | None, str]:
        """(kind, path) of what is adapted; a kind of None where no base is known, "" where the base has no such module."""
        if parameter := self.parameter_of(group):
            own = self.modules.own(parameter)
            return own.kind if own else "experts", parameter
        if self.base is None:
            return None, module
        if any(item.kind == "any" for item in self.row.forms) or not self.row.checked:
            return None, module
        if self.blocks:
            there = peft_blocks.exists(self.source, module, next(iter(group.found.values())).name)
            return "block" if there else "", module
        found = self.modules.own(module)
        roles = frozenset(map(layout.numbered, group.found))
        kinds = [item.kind for item in self.row.forms if roles <= frozenset(map(layout.numbered, item.roles))]
        if found is not None and self.modules.scores(module) and ("linear" in kinds or ROWS in group.found):
            return kinds[0], module
        if found is not None and (found.kind in kinds or not kinds):
            return found.kind, module
        key = next(iter(group.found.values())).name
        what = f"is no {_WORDS.get(kinds[0], kinds[0])} layer" if found else "is not there"
        message = f"tensor {key!r} adapts {module!r}, which {what} in this base model"
        self.source.tensor_problem("module", message, ANOTHER_BASE)
        return "", module

    def parameter_of(self, group: Group) -> str:
        """The path of the parameter that `target_parameters` adapts here; empty where it is a module."""
        names = self.modules.parameters_at(group.name.removesuffix(NESTED)) if self.settings.parameters else []
        if len(names) < 2:
            return names[0] if names else ""
        shapes = {role: tensor.shape for role, tensor in group.found.items()}
        experts = self.matching("experts", group)
        for name in names:  # which of them is the inner one the file does not say; the shapes do, where they differ
            found = self.modules.own(name)
            if found and experts and not layout.fit(experts[0], shapes, self.symbols_of(found)):
                return name
        return names[0] if group.name.endswith(NESTED) else names[-1]


def _product(sizes: Iterable[int]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total
