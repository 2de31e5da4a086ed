"""The tensors of PEFT's files held against their equations: each module's, those that stand once, and rows of tokens."""

from __future__ import annotations

from typing import Any

from hub.spec import components, tensors
from hub.spec.methods import heads, layout, peft_overlays, peft_xlora
from hub.spec.methods.layout import Form
from hub.spec.methods.peft_keys import ROWS, SAVE, Group, Sorted
from hub.spec.methods.peft_misfits import Misfits
from hub.spec.methods.peft_places import Places

_ROLES = {"lora_A.weight": "A", "lora_B.weight": "B"}
"""What the runtime calls LoRA's halves."""


class Shapes:
    """Reads what was sorted. `parts`: what the adapter is made of; `trained`: the tensors of the method that were trained."""

    def __init__(self, places: Places, reckoned: dict[str, Any]) -> None:
        self.source, self.row, self.base = places.source, places.row, places.base
        self.settings, self.modules, self.places = places.settings, places.modules, places
        self.misfits = Misfits(places)
        self.reckoned = reckoned
        self.parts: list[components.Part] = []
        self.trained: list[tensors.Tensor] = []

    def read(self, found: Sorted) -> None:
        """Hold every tensor of the method against its equations; first what modules share, whose sizes they need."""
        self.read_once(found.once)
        for module in sorted(found.groups):
            self.read_group(module, found.groups[module])

    def read_once(self, once: dict[str, tensors.Tensor]) -> None:
        """Prompts and shared tensors: their sizes bind symbols for all modules."""
        slots = layout.spelled(self.row.prompts or self.row.shared, once)
        if self.row.name == "xlora":
            slots = peft_xlora.slots(self.source, self.settings, once)
        found = {slot.role: once[slot.role] for slot in slots if slot.role in once}
        missing = [slot.role for slot in slots if slot.role not in found and not slot.optional]
        if missing:
            self.source.tensor_problem("missing", f"there is no {', '.join(missing[:3])} in this file", SAVE)
        unknown = sorted(tensor.name for role, tensor in once.items() if role not in found)
        if unknown and self.row.checked:
            reason = ("unknown", f"is not part of a {self.row.title} adapter with this configuration", SAVE)
            components.refuse_by_reason(self.source, {reason: unknown})
        integers = {slot.role for slot in slots if slot.integer}
        for role, tensor in found.items():
            heads.check_dtype(self.source, tensor, self.source.weights, integers=role in integers)
        known = self.model_sizes() if self.row.prompts else {}
        self.places.shared = dict(known)
        self.fit("", layout.Form("any", slots), found, self.places.shared)
        if not self.row.checked:
            found = dict(once)
        self.keep("", self.row.name, layout.Form("any", slots), found, {"": self.prompt_needs(found)})

    def model_sizes(self) -> layout.Symbols:
        """Sizes of the base model that prompts depend on, and how many models it is made of."""
        if self.row.name == "xlora":
            return peft_xlora.sizes(self.source)
        submodules = self.source.config.get("num_transformer_submodules")
        symbols = {"S": submodules if isinstance(submodules, int) and 0 < submodules <= 2 else 1}
        if self.base is not None:
            symbols |= {name: self.base.sizes[name] for name in ("hidden", "prefix") if self.base.sizes[name]}
        return symbols

    def prompt_needs(self, found: dict[str, tensors.Tensor]) -> dict[str, int]:
        """What the prompts' width asks of the base model."""
        if self.row.name == "xlora":
            return peft_xlora.needs(found)
        prompt = found.get("prompt_embeddings")
        if prompt is None or len(prompt.shape) != 2 or not self.row.prompts:
            return {}
        return {"prefix" if self.row.name in ("prefix_tuning", "cartridge") else "hidden": prompt.shape[1]}

    def read_group(self, module: str, group: Group) -> None:
        """Hold the tensors at one module against the form that they make."""
        kind, path = self.places.kind_of(module, group)
        if kind == "":
            return
        for role, tensor in group.found.items():
            heads.check_dtype(self.source, tensor, self.source.weights, integers=role in self.row.integers)
            if role == ROWS:
                self.check_rows(path, tensor)
        if not self.row.checked:
            self.keep(path, self.row.name, Form("any", ()), group.found, {})
            return
        forms = [item for item in self.places.matching(kind, group) if not item.when or item.when in self.settings.on]
        shapes = {role: tensor.shape for role, tensor in group.found.items()}
        own = self.modules.own(path, kind)
        chosen = layout.choose(forms, shapes, self.places.symbols_of(own))
        if chosen is None:
            self.misfits.incomplete(group, kind)
            return
        if chosen.kind == "norm" and "ln_tuning_layers.bias" not in group.found and self.modules.has_bias(path):
            self.misfits.incomplete(group, kind)
            return
        self.misfits.check_declared(chosen, group)
        symbols = self.places.symbols_of(own)
        if self.fit(path, chosen, group.found, symbols, group):
            suffix = "" if chosen.kind in ("linear", "block", "any") else f".{chosen.kind}"
            self.keep(
                path,
                self.row.name + suffix,
                chosen,
                group.found,
                self.modules.needs(chosen, path, symbols),
                group,
                symbols,
            )

    def read_tokens(self, found: dict[str, tensors.Tensor]) -> None:
        """Rows that stand in for those of tokens: `trainable_token_indices`."""
        for module, tensor in sorted(found.items()):
            chosen = layout.form("embedding", "trainable_tokens_delta: k WIDTH")
            rows = {"trainable_tokens_delta": tensor}
            symbols = self.places.symbols_of(self.modules.own(module))
            heads.check_dtype(self.source, tensor, self.source.weights)
            self.check_rows(module, tensor)
            if self.fit(module, chosen, rows, symbols):
                self.keep(module, "tokens", chosen, rows, self.modules.needs(chosen, module, symbols))

    def check_rows(self, module: str, tensor: tensors.Tensor) -> None:
        """Hold rows of tokens against the tokens that the configuration names, where it names any."""
        said = self.reckoned.get("trainable_token_indices") or self.reckoned.get("token_indices")
        if said:
            peft_overlays.check_tokens(self.modules, module, tensor, said)

    def fit(
        self,
        module: str,
        chosen: Form,
        found: dict[str, tensors.Tensor],
        symbols: layout.Symbols,
        group: Group | None = None,
    ) -> bool:
        """Tell what does not fit, with both shapes; False where a tensor cannot even have that form."""
        shapes = {role: tensor.shape for role, tensor in found.items()}
        name = group.name if group else module
        # among experts PEFT may share the rank out: the tensors alone say how
        knobs = self.row.knobs if chosen.kind != "experts" else ()
        declared = {knob.symbol: number for knob in knobs if (number := self.settings.number(knob.symbol, name))}
        misfits = layout.fit(chosen, shapes, symbols, declared)
        for misfit in misfits:
            self.misfits.tell(module, chosen, found, misfit)
        if not misfits:
            self.misfits.check_numbers(module, chosen, found, symbols, group)
        return all(misfit.wanted is not None for misfit in misfits)

    def keep(
        self,
        module: str,
        kind: str,
        chosen: Form,
        found: dict[str, tensors.Tensor],
        needs: dict[str, dict[str, int]],
        group: Group | None = None,
        symbols: layout.Symbols | None = None,
    ) -> None:
        """Add a part, and count what of it was trained."""
        if not found:
            return
        fixed = {slot.role for slot in chosen.slots if slot.fixed}
        twice = ROWS in found and self.is_written_twice(module, group)
        self.trained += [tensor for role, tensor in found.items() if role not in fixed and not twice]
        # both factors of a Kronecker product may stand whole: no tensor then shows the rank that the scale is made of
        rank = (symbols or {}).get("r") or (self.settings.number("r", group.name) if group else 0)
        scale = self.settings.scale_of(group.name, rank) if group and rank else 1.0
        self.parts.append(
            components.Part(
                module,
                kind,
                {_ROLES.get(role, role): tensor.name for role, tensor in found.items()},
                scale,
                None,
                {_ROLES.get(role, role): tensor.shape for role, tensor in found.items()},
                {path: sizes for path, sizes in needs.items() if sizes},
            )
        )

    def is_written_twice(self, module: str, group: Group | None) -> bool:
        """Rows of a table that is tied to another one are written with each of the two, and named once."""
        named = self.base is None and (group is None or self.settings.targeted(group.name, module))
        return self.modules.tied(module) and not named
