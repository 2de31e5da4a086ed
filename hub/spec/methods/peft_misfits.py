"""What is told of tensors in PEFT's files that do not fit: which one, its shape, the one it should have, and what says so."""

from __future__ import annotations

from hub.spec import components, tensors
from hub.spec.methods import layout
from hub.spec.methods.layout import Form
from hub.spec.methods.peft_keys import DECLARED, PREFIX, SAVE, Group
from hub.spec.methods.peft_places import ANOTHER_BASE, Places


class Misfits:
    """Tells of the tensors of one file; every fault goes to the source's collector."""

    def __init__(self, places: Places) -> None:
        self.source, self.row, self.base = places.source, places.row, places.base
        self.settings, self.modules = places.settings, places.modules

    def check_declared(self, chosen: Form, group: Group) -> None:
        """What a key of the configuration switches on is there at every module; a library would make it up."""
        for role, (key, what) in DECLARED.items():
            if key in self.settings.on and role in chosen.roles and role not in group.found:
                message = (
                    f"tensor '{PREFIX}{group.name}.{role}' is missing, {what}: {self.source.config_path} says {key}"
                )
                self.source.tensor_problem("missing", message, SAVE)

    def incomplete(self, group: Group, kind: str | None) -> None:
        """Tell what is missing beside the tensors that are there."""
        forms = tuple(item for item in self.row.forms if kind is None or item.kind == kind) or self.row.forms
        near = layout.nearest(forms, frozenset(group.found))
        wanted = [slot.role for slot in near.slots if slot.role not in group.found and not slot.optional]
        missing = wanted or [slot.role for slot in near.slots if slot.role not in group.found] or [near.slots[0].role]
        key = f"{PREFIX}{group.name}.{missing[0]}"
        self.source.tensor_problem("missing", f"tensor {key!r} is missing, another of its module is there", SAVE)

    def tell(self, module: str, chosen: Form, found: dict[str, tensors.Tensor], misfit: layout.Misfit) -> None:
        """Tell of a tensor that does not fit: what it is, what it should be, and what of the base says so."""
        slot, tensor = chosen.roles[misfit.role], found[misfit.role]
        shape = components.shown(tensor.shape)
        if misfit.wanted is None:
            self.source.tensor_problem("shape", f"tensor {tensor.name!r} has shape {shape}, not {slot.shown}")
            return
        if misfit.axis == "r":
            first, rank = next((role, shape.shape[0]) for role, shape in found.items())
            other = tensor.shape[(slot.axes or ()).index("r")] if "r" in (slot.axes or ()) else tensor.shape[0]
            message = f"at {module!r} {_short(first)} has rank {rank}, {_short(misfit.role)} has rank {other}"
            self.source.tensor_problem("rank", message, SAVE)
            return
        wanted = f"[{', '.join(map(str, misfit.wanted))}]"
        own = self.modules.own(module)
        what = (
            f"the base model's {module}.weight {components.shown(own.shape)}" if own else "this adapter's other tensors"
        )
        what = what if self.base is None or (module and chosen.kind != "block") else "the base model"
        message = f"tensor {tensor.name!r} has shape {shape}, but {what} needs {wanted}"
        self.source.tensor_problem("shape", message, ANOTHER_BASE)

    def check_numbers(
        self,
        module: str,
        chosen: Form,
        found: dict[str, tensors.Tensor],
        symbols: layout.Symbols,
        group: Group | None,
    ) -> None:
        """Hold the numbers that the tensors show against those that the configuration gives."""
        for knob in self.row.knobs:
            declared = self.settings.number(knob.symbol, group.name if group else module)
            shown = symbols.get(knob.symbol)
            if knob.symbol not in chosen.names or not found or declared is None or shown is None or shown == declared:
                continue
            place = f" at {module!r}" if module else ""
            what = "rank" if knob.symbol == "r" else knob.key
            whose = "the tensors have" if module else f"{next(iter(found.values())).name!r} has"
            message = f"{self.source.config_path} says {what} {declared}{place}, {whose} {what} {shown}"
            self.source.tensor_problem("rank", message, f"{knob.key} must be that of the tensors")


def _short(role: str) -> str:
    return role.removesuffix(".weight")
