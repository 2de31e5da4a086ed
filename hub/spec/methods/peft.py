"""PEFT's files: adapter_config.json + adapter_model.safetensors, keys `base_model.model.<module>.<role>`.

Every tensor of the file must be one that the method's row names, on a module that the configuration names, or belong to what
the configuration declares besides: a head, whole modules, biases, rows of new tokens. Anything else is refused: a key that
names a tensor of the base model would overwrite it in a library that loads by name.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from hub.spec import base_model, components, families, tensors
from hub.spec.methods import heads, layout, peft_config, peft_heads, peft_table
from hub.spec.methods.layout import Form, Layout

PREFIX = "base_model.model."
SHARED = "base_model."
TOKENS = "token_adapter.trainable_tokens_delta"
_NESTED = ".base_layer"
# where a table of tokens is tied to another one, which alone is in the base model's files
_TIED = ("lm_head", "proj_out", "cls.predictions.decoder", "encoder.embed_tokens", "decoder.embed_tokens")
_ANOTHER_BASE = "is this the base model the adapter was trained on?"
_SAVE = "save the adapter again with PEFT's save_pretrained"
# roles that only a key of the configuration allows
_DECLARED = {
    "lora_magnitude_vector": ("use_dora", "a DoRA vector"),
    "lora_B.bias": ("lora_bias", "a bias of LoRA's own layers"),
}
# what runs here; all else is understood only
_RUNS = frozenset({"lora"})
# (pattern in the key, code, what it means, what to do), first match counts
_FOREIGN: tuple[tuple[re.Pattern[str], str, str, str], ...] = (
    (re.compile(r"\.original_module\.|\.modules_to_save\."), "leftover", "is a leftover of an old PEFT version", _SAVE),
    (re.compile(r"\.base_layer\."), "base_layer", "would overwrite the base model's own weights", _SAVE),
    (re.compile(r"trainable_tokens|\.token_adapter\."), "unsupported",
     "holds trainable tokens, and trainable_token_indices names none", _SAVE),
    (re.compile(r"\.(lora_(embedding_)?[ABE]|lora_magnitude_vector|ia3_l|hada_\w+|lokr_\w+|oft_R|boft_\w|hra_u)\.[^.]+(\.weight)?$"),
     "other_adapter", "belongs to another adapter's name", _SAVE),
)  # fmt: skip


def read(source: components.Source) -> components.Component | None:
    """Return the component of a PEFT folder; every fault goes to the source's collector."""
    return _Reader(source, peft_table.TABLE[source.config["peft_type"]]).component()


@dataclasses.dataclass
class _Group:
    """The tensors of the method at one module: by role, and the module's name in the file."""

    name: str
    found: dict[str, tensors.Tensor] = dataclasses.field(default_factory=dict)


class _Reader:
    def __init__(self, source: components.Source, row: Layout) -> None:
        self.source, self.row, self.base = source, row, source.base
        self.settings = peft_config.read(source, row)
        self.groups: dict[str, _Group] = {}
        self.once: dict[str, tensors.Tensor] = {}
        self.saved: dict[str, tensors.Tensor] = {}
        self.biases: dict[str, tensors.Tensor] = {}
        self.copies: dict[str, tensors.Tensor] = {}
        self.tokens: dict[str, tensors.Tensor] = {}
        self.refused: dict[tuple[str, str, str], list[str]] = {}
        self.shared: layout.Symbols = {}
        self.parts: list[components.Part] = []
        self.trained: list[tensors.Tensor] = []
        self.generation = ""
        self.aside: list[str] = []

    def component(self) -> components.Component | None:
        """Sort every tensor, hold it against its equations, and put together what was found."""
        if self.row.refused:
            self.source.config_problem("refused", "peft_type", f"{self.row.title} {self.row.refused}")
            return None
        for tensor in self.source.tensors:
            self.sort(tensor)
        components.refuse_by_reason(self.source, self.refused)
        if self.aside:
            self.source.notices.append(
                f"{len(self.aside)} tensors such as {self.aside[0]} are copies, which were set aside"
            )
        self.read_once()
        for module in sorted(self.groups):
            self.read_group(module, self.groups[module])
        self.check_complete()
        self.read_tokens()
        head, others = peft_heads.read(self.source, self.settings, self.saved)
        overlays = [*self.overlays(others), *self.read_biases()]
        overlays += [self.overlay(module, {"weight": tensor}, "copy") for module, tensor in sorted(self.copies.items())]
        self.say_what_is_not_run(overlays)
        return self.built(head, overlays)

    # sorting

    def sort(self, tensor: tensors.Tensor) -> None:
        """Put a tensor where it belongs, or among those that are refused, by reason."""
        name = tensor.name.removeprefix(PREFIX)
        if name == tensor.name:
            self.sort_outside(tensor)
        elif _FOREIGN[0][0].search(name):
            self.sort_leftover(tensor)
        elif split := self.split(name):
            self.add(*split, tensor)
        elif name.endswith(f".{TOKENS}") and "trainable_token_indices" in self.settings.on:
            self.tokens[self.canonical(name.removesuffix(f".{TOKENS}"))] = tensor
        elif peft_heads.declared(self.canonical(name), self.settings):
            self.saved[self.canonical(name)] = tensor
        elif name.endswith(f"{_NESTED}.weight") and families.is_embedding(
            self.canonical(name.removesuffix(f"{_NESTED}.weight"))
        ):
            self.copies[self.canonical(name.removesuffix(f"{_NESTED}.weight"))] = tensor  # PEFT's save_embedding_layers
        elif self.is_bias(name):
            self.biases[self.canonical(name.replace(f"{_NESTED}.bias", ".bias"))] = tensor
        else:
            self.refuse(tensor)

    def sort_leftover(self, tensor: tensors.Tensor) -> None:
        """Copies of saved modules: PEFT writes their biases three times under bias="all"; others it wrote long ago."""
        if self.settings.bias == "all" and tensor.name.endswith(".bias"):
            self.aside.append(tensor.name)
        else:
            self.refuse(tensor)

    def sort_outside(self, tensor: tensors.Tensor) -> None:
        """Prompts, tensors that modules share, and the head of a method that wraps no module."""
        shared = {slot.role for slot in self.row.shared}
        name = tensor.name.removeprefix(SHARED)
        whole = name == tensor.name  # prompts carry no prefix
        marked = bool(self.row.mark) and name.startswith(self.row.mark)
        if (whole and any(slot.role == name for slot in self.row.prompts)) or (not whole and name in shared) or marked:
            self.once[name] = tensor
        elif (
            not whole
            and (self.row.prompts or self.row.mark)
            and peft_heads.declared(self.canonical(name), self.settings)
        ):
            self.saved[self.canonical(name)] = tensor
        else:
            self.refuse(tensor)

    def split(self, name: str) -> tuple[str, str] | None:
        """Return (module, role) where a key ends in a role of this method."""
        if self.row.mark:
            module, found, role = name.rpartition(f".{self.row.mark}")
            return (module, self.row.mark + role) if found else None
        parts = name.split(".")
        for length in (1, 2):
            role = ".".join(parts[-length:])
            if len(parts) > length and role in self.row.roles:
                return ".".join(parts[:-length]), role
        return None

    def add(self, name: str, role: str, tensor: tensors.Tensor) -> None:
        """Keep a tensor of the method under its module."""
        if role in _DECLARED and _DECLARED[role][0] not in self.settings.on:
            key, what = _DECLARED[role]
            self.refused.setdefault(("unsupported", f"is {what}, and {key} is not set", _SAVE), []).append(tensor.name)
            return
        if name.endswith(_NESTED) and not self.nested(name):
            self.refuse(tensor)
            return
        module = self.canonical(name)
        group = self.groups.setdefault(module, _Group(name))
        if role in group.found:
            reason = ("twice", f"module {module} has two of them", _SAVE)
            self.refused.setdefault(reason, []).append(tensor.name)
        group.found[role] = tensor

    def nested(self, name: str) -> bool:
        """Two parameters of one module are adapted one around the other: the inner one stands under `base_layer`."""
        outer = name.removesuffix(_NESTED)
        return not outer.endswith(_NESTED) and len(self.parameters_at(outer)) > 1

    def is_bias(self, name: str) -> bool:
        """Whether a key is a bias that the configuration's `bias` declares."""
        if self.settings.bias == "none" or not name.endswith(".bias"):
            return False
        return name.endswith(f"{_NESTED}.bias") or self.settings.bias == "all"

    def canonical(self, name: str) -> str:
        """The canonical path of a module or tensor; notes which generation of names the file uses."""
        self.generation = self.generation or families.generation_of(name, self.source.model_type)
        return families.canonical_path(name, self.source.model_type)

    def refuse(self, tensor: tensors.Tensor) -> None:
        """Keep a tensor among those that are refused, under its reason."""
        self.refused.setdefault(self.reason(tensor.name), []).append(tensor.name)

    def reason(self, key: str) -> tuple[str, str, str]:
        """Say (code, why, what to do) for a key that belongs nowhere."""
        if foreign := _dialect(key):
            return "prefix", f"is a {foreign} key, in the folder of a PEFT adapter", _SAVE
        if not key.startswith(PREFIX) and not (key.startswith(SHARED) or self.row.prompts):
            return "prefix", f"does not begin with {PREFIX!r}", _SAVE
        if _FOREIGN[0][0].search(key):
            return _FOREIGN[0][1:]
        if others := _method_of(key, self.row):
            return "method", f"is of {others}, the configuration says {self.row.title}", _SAVE
        for pattern, code, meaning, hint in _FOREIGN:
            if pattern.search(key):
                return code, meaning, hint
        name = families.canonical_name(key.removeprefix(PREFIX), self.source.model_type)
        if self.base is not None and name in self.base.tensors:
            return "backbone", "is a tensor of the base model itself, which stays frozen", "leave it out"
        return "undeclared", "belongs to no module that target_modules or modules_to_save names", "leave it out"

    # shapes

    def read_once(self) -> None:
        """Prompts and shared tensors: their sizes bind symbols for all modules."""
        slots = self.row.prompts or self.row.shared
        found = {slot.role: self.once[slot.role] for slot in slots if slot.role in self.once}
        missing = [slot.role for slot in self.row.prompts if slot.role not in found]
        if missing:
            self.source.tensor_problem("missing", f"there is no {', '.join(missing)} in this file", _SAVE)
        known = self.model_sizes() if self.row.prompts else {}
        self.shared = known | {}
        self.fit("", layout.Form("any", slots), found, self.shared)
        if self.row.mark:
            found = dict(self.once)
        self.keep("", self.row.name, layout.Form("any", slots), found, {"": self.prompt_needs(found)})

    def model_sizes(self) -> layout.Symbols:
        """Sizes of the base model that prompts depend on, and how many models it is made of."""
        submodules = self.source.config.get("num_transformer_submodules")
        symbols = {"S": submodules if isinstance(submodules, int) and 0 < submodules <= 2 else 1}
        if self.base is not None:
            symbols |= {name: self.base.sizes[name] for name in ("hidden", "prefix") if self.base.sizes[name]}
        return symbols

    def prompt_needs(self, found: dict[str, tensors.Tensor]) -> dict[str, int]:
        """What the prompts' width asks of the base model."""
        prompt = found.get("prompt_embeddings")
        if prompt is None or len(prompt.shape) != 2 or not self.row.prompts:
            return {}
        return {"prefix" if self.row.name == "prefix_tuning" else "hidden": prompt.shape[1]}

    def read_group(self, module: str, group: _Group) -> None:
        """Hold the tensors at one module against the form that they make."""
        kind, path = self.kind_of(module, group)
        if kind == "":
            return
        for role, tensor in group.found.items():
            heads.check_dtype(self.source, tensor, self.source.weights, integers=role in self.row.integers)
        if not self.row.checked:
            self.keep(path, self.row.name, Form("any", ()), group.found, {})
            return
        forms = [item for item in self.matching(kind, group) if not item.when or item.when in self.settings.on]
        shapes = {role: tensor.shape for role, tensor in group.found.items()}
        chosen = layout.choose(forms, shapes, self.symbols_of(self.own(path)))
        if chosen is None:
            self.incomplete(module, group, kind)
            return
        if chosen.kind == "norm" and "ln_tuning_layers.bias" not in group.found and self.has_bias(path):
            self.incomplete(module, group, kind)
            return
        symbols = self.symbols_of(self.own(path))
        if self.fit(path, chosen, group.found, symbols, group):
            suffix = "" if chosen.kind in ("linear", "any") else f".{chosen.kind}"
            self.keep(
                path, self.row.name + suffix, chosen, group.found, self.needs(chosen, path, symbols), group, symbols
            )

    def matching(self, kind: str | None, group: _Group) -> list[Form]:
        """The forms of this method that a group's tensors make complete."""
        return layout.matching(self.row.forms, kind, frozenset(group.found))

    def has_bias(self, path: str) -> bool:
        """Whether the base model's module has a bias."""
        return self.base is not None and f"{path}.bias" in self.base.tensors

    def needs(self, chosen: Form, path: str, symbols: layout.Symbols) -> dict[str, dict[str, int]]:
        """What a module has to measure for the tensors to fit, as far as they say."""
        if self.tied(path):
            return {}
        if chosen.kind == "any":
            return {"": {"hidden": symbols["hidden"]}} if "hidden" in symbols else {}
        names = _NEEDED.get(chosen.kind, ("OUT", "IN"))
        if any("ROWS" in (slot.axes or ()) for slot in chosen.slots):
            names = ("ROWS", *names)
        return {path: {_SIZES[name]: symbols[name] for name in names if name in symbols}}

    def symbols_of(self, module: base_model.Module | None) -> layout.Symbols:
        """What is known before a module's tensors are looked at: its own sizes, and those of shared tensors."""
        symbols = {name: size for name, size in self.shared.items() if name.islower() or len(name) == 1}
        symbols |= {
            knob.symbol: value
            for knob in self.row.knobs
            if knob.symbol in ("tasks", "skills", "splits", "h", "k", "K", "v")
            and (value := self.settings.numbers[knob.symbol])
        }
        if module is None:
            return symbols
        kernel = module.shape[2:] if module.kind == "conv" else ()
        symbols |= {
            name: size for name, size in zip(layout.AXES[module.kind], module.shape, strict=False) if name[0] != "*"
        }
        symbols |= {f"K{at}": size for at, size in enumerate(kernel)}
        return symbols | {"KERNEL": _product(kernel)}

    def own(self, path: str) -> base_model.Module | None:
        """The base model's module at a path. A table of tokens that is tied to another one is that one."""
        if self.base is None:
            return None
        found = self.base.modules.get(path)
        if found is None and self.tied(path) and self.base.config.get("tie_word_embeddings", True):
            return next(
                (item for item in self.base.modules.values() if item.shape[0] == self.base.sizes["vocab"]), None
            )
        return found

    def tied(self, path: str) -> bool:
        """Whether a path names a second place of a table of tokens, which the base model's files do not have."""
        return path in _TIED and (self.base is None or path not in self.base.modules)

    def kind_of(self, module: str, group: _Group) -> tuple[str | None, str]:
        """(kind, path) of what is adapted; a kind of None where no base is known, "" where the base has no such module."""
        if parameter := self.parameter_of(group):
            own = self.own(parameter)
            return own.kind if own else "experts", parameter
        if self.base is None:
            return None, module
        if any(item.kind == "any" for item in self.row.forms) or not self.row.checked:
            return None, module
        found = self.own(module)
        kinds = [item.kind for item in self.row.forms if frozenset(group.found) <= frozenset(item.roles)]
        if found is not None and (found.kind in kinds or not kinds):
            return found.kind, module
        key = next(iter(group.found.values())).name
        what = f"is no {_WORDS.get(kinds[0], kinds[0])} layer" if found else "is not there"
        message = f"tensor {key!r} adapts {module!r}, which {what} in this base model"
        self.source.tensor_problem("module", message, _ANOTHER_BASE)
        return "", module

    def parameters_at(self, name: str) -> list[str]:
        """The paths of the parameters of a module (by its name in the file) that `target_parameters` adapts."""
        path = self.canonical(name)
        found = []
        for target in self.settings.parameters:
            owner, _, leaf = target.rpartition(".")
            if owner:
                meant = peft_config.matches(name, owner)
            elif self.base is not None:
                meant = f"{path}.{leaf}" in self.base.modules
            else:
                meant = not self.settings.targeted(name, path)
            if meant:
                found.append(path if leaf == "weight" else f"{path}.{leaf}")
        return found

    def parameter_of(self, group: _Group) -> str:
        """The path of the parameter that `target_parameters` adapts here; empty where it is a module."""
        names = self.parameters_at(group.name.removesuffix(_NESTED)) if self.settings.parameters else []
        if len(names) < 2:
            return names[0] if names else ""
        shapes = {role: tensor.shape for role, tensor in group.found.items()}
        experts = self.matching("experts", group)
        for name in names:  # which of them is the inner one the file does not say; the shapes do, where they differ
            found = self.own(name)
            if found and experts and not layout.fit(experts[0], shapes, self.symbols_of(found)):
                return name
        return names[0] if group.name.endswith(_NESTED) else names[-1]

    def incomplete(self, module: str, group: _Group, kind: str | None) -> None:
        """Tell what is missing beside the tensors that are there."""
        forms = tuple(item for item in self.row.forms if kind is None or item.kind == kind) or self.row.forms
        near = layout.nearest(forms, frozenset(group.found))
        wanted = [slot.role for slot in near.slots if slot.role not in group.found and not slot.optional]
        missing = wanted or [slot.role for slot in near.slots if slot.role not in group.found] or [near.slots[0].role]
        key = f"{PREFIX}{group.name}.{missing[0]}"
        self.source.tensor_problem("missing", f"tensor {key!r} is missing, another of its module is there", _SAVE)

    def fit(
        self,
        module: str,
        chosen: Form,
        found: dict[str, tensors.Tensor],
        symbols: layout.Symbols,
        group: _Group | None = None,
    ) -> bool:
        """Tell whether shapes and numbers agree; what does not is told with both shapes."""
        shapes = {role: tensor.shape for role, tensor in found.items()}
        misfits = layout.fit(chosen, shapes, symbols)
        for misfit in misfits:
            self.tell(module, chosen, found, misfit)
        agree = self.check_numbers(module, chosen, found, symbols, group) if not misfits else True
        return agree and all(misfit.wanted is not None for misfit in misfits)

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
            self.source.tensor_problem("rank", message, _SAVE)
            return
        wanted = f"[{', '.join(map(str, misfit.wanted))}]"
        own = self.own(module)
        what = (
            f"the base model's {module}.weight {components.shown(own.shape)}" if own else "this adapter's other tensors"
        )
        what = what if module or not self.base else "the base model"
        message = f"tensor {tensor.name!r} has shape {shape}, but {what} needs {wanted}"
        self.source.tensor_problem("shape", message, _ANOTHER_BASE)

    def check_numbers(
        self,
        module: str,
        chosen: Form,
        found: dict[str, tensors.Tensor],
        symbols: layout.Symbols,
        group: _Group | None,
    ) -> bool:
        """Hold the numbers that the tensors show against those that the configuration gives."""
        for knob in self.row.knobs:
            declared = self.settings.number(knob.symbol, group.name if group else module)
            shown = symbols.get(knob.symbol)
            if knob.symbol not in chosen.names or not found or declared is None or shown is None or shown == declared:
                continue
            place = f" at {module!r}" if module else ""
            what = "rank" if knob.symbol == "r" else knob.key
            message = f"{self.source.config_path} says {what} {declared}{place}, the tensors have {what} {shown}"
            self.source.tensor_problem("rank", message, f"{knob.key} must be that of the tensors")
        return True

    def keep(
        self,
        module: str,
        kind: str,
        chosen: Form,
        found: dict[str, tensors.Tensor],
        needs: dict[str, dict[str, int]],
        group: _Group | None = None,
        symbols: layout.Symbols | None = None,
    ) -> None:
        """Add a part, and count what of it was trained."""
        if not found:
            return
        fixed = {slot.role for slot in chosen.slots if slot.fixed}
        twice = self.base is not None and self.tied(module)
        self.trained += [tensor for role, tensor in found.items() if role not in fixed and not twice]
        rank = (symbols or {}).get("r", 0)
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

    # completeness

    def check_complete(self) -> None:
        """Every targeted module has its tensors, and no other one has: checked where names, not a pattern, say which."""
        if self.row.prompts or self.row.mark:
            if not self.parts:
                self.source.tensor_problem("none", f"there is no {self.row.title} tensor in this file", _SAVE)
            return
        if not self.groups and not self.tokens:
            self.source.tensor_problem("none", f"there is no {self.row.title} tensor in this file", _SAVE)
        settings, base = self.settings, self.base
        if not (settings.all_linear or settings.targets is not None):
            return
        own = {module: group for module, group in self.groups.items() if not self.parameter_of(group)}
        extra = [
            next(iter(group.found.values())).name
            for module, group in own.items()
            if not self.tied(module) and not settings.targeted(group.name, self.inside(group.name), module)
        ]
        if extra:
            meaning = ("untargeted", "adapts a module that target_modules does not name", "name it in target_modules")
            components.refuse_by_reason(self.source, {meaning: extra})
        if base is None or (self.source.config.get("exclude_modules") is not None and settings.excluded is None):
            return
        missing = sorted(module for module in self.wanted(base) - set(own) if self.names(module, base))
        if missing:
            more = f" and {len(missing) - 1} more modules" if len(missing) > 1 else ""
            message = f"the tensors for {missing[0]!r}{more} are missing: target_modules names them"
            self.source.tensor_problem("missing", message, "a missing tensor would be made up at random")

    def wanted(self, base: base_model.BaseModel) -> set[str]:
        """Modules that the method could have adapted. A model that was trained without a pooler has none to adapt."""
        kinds = {item.kind for item in self.row.forms}
        linears = base.linears if "linear" in kinds else frozenset()
        others = {path for path, module in base.modules.items() if module.kind in kinds - {"linear", "experts"}}
        if self.settings.all_linear:
            others = set()
        return {module for module in linears | others if not module.startswith("pooler.")}

    def names(self, module: str, base: base_model.BaseModel) -> bool:
        """Whether the configuration names a module of the base, in the words of any generation."""
        prefix = families.of(base.model_type).prefix
        return any(self.settings.targeted(prefix + path, path) for path in families.spellings(module, base.model_type))

    def inside(self, name: str) -> str:
        """A module's name in the file without the body's prefix."""
        return families.strip_prefix(name, self.source.model_type)

    # overlays

    def read_tokens(self) -> None:
        """Rows that stand in for those of tokens: `trainable_token_indices`."""
        for module, tensor in sorted(self.tokens.items()):
            chosen = layout.form("embedding", "trainable_tokens_delta: k WIDTH")
            found = {"trainable_tokens_delta": tensor}
            own = self.own(module)
            symbols = self.symbols_of(own)
            if self.fit(module, chosen, found, symbols):
                self.keep(module, "tokens", chosen, found, self.needs(chosen, module, symbols))

    def overlays(self, found: dict[str, tensors.Tensor]) -> list[components.Part]:
        """Whole modules that `modules_to_save` names and that are no head which runs here."""
        by_module: dict[str, dict[str, tensors.Tensor]] = {}
        for name, tensor in found.items():
            module, _, role = name.rpartition(".")
            by_module.setdefault(module, {})[role] = tensor
        return [self.overlay(module, roles) for module, roles in sorted(by_module.items())]

    def overlay(self, module: str, roles: dict[str, tensors.Tensor], kind: str = "saved") -> components.Part:
        """One such module. An embedding may have grown by new tokens: its width must be the base's, its rows need not."""
        weight = roles.get("weight")
        needs: dict[str, dict[str, int]] = {}
        own = self.own(module)
        if own is not None and weight is not None and not peft_heads.is_head(module):
            shape = weight.shape if own.shape != weight.shape[::-1] else own.shape
            same = shape[1:] == own.shape[1:] if own.kind == "embedding" else shape == own.shape
            if not same:
                message = (
                    f"tensor {weight.name!r} has shape {components.shown(weight.shape)}, but the base model's "
                    f"{module}.weight is {components.shown(own.shape)}"
                )
                self.source.tensor_problem("shape", message, _ANOTHER_BASE)
            needs = {module: {"width": shape[1]} if own.kind == "embedding" else own.sizes}
        return components.Part(
            module, kind, {role: tensor.name for role, tensor in roles.items()}, 1.0, None,
            {role: tensor.shape for role, tensor in roles.items()}, needs,
        )  # fmt: skip

    def read_biases(self) -> list[components.Part]:
        """Biases of the base model that the file brings anew, as `bias` declares."""
        parts = []
        for name, tensor in sorted(self.biases.items()):
            own = self.base.tensors.get(name) if self.base else None
            if self.base is not None and own is None and not peft_heads.is_head(name.rpartition(".")[0]):
                message = f"tensor {tensor.name!r}: the base model has no {name!r}"
                self.source.tensor_problem("module", message, _ANOTHER_BASE)
            elif own is not None and own != tensor.shape:
                message = f"tensor {tensor.name!r} has shape {components.shown(tensor.shape)}, the base model's is {components.shown(own)}"
                self.source.tensor_problem("shape", message, _ANOTHER_BASE)
            module = name.removesuffix(".bias")
            parts.append(components.Part(module, "bias", {"bias": tensor.name}, 1.0, None, {"bias": tensor.shape}))
        return parts

    # the answer

    def say_what_is_not_run(self, overlays: Iterable[components.Part]) -> None:
        """Note what of this adapter the hub understands and does not run."""
        source = self.source
        kinds = {part.kind for part in self.parts}
        if self.row.name not in _RUNS:
            message = f"this hub does not run {self.row.title} yet"
            source.not_run(
                "method.unsupported",
                f"{source.config_path}: peft_type",
                message,
                "it runs LoRA and bottleneck adapters",
            )
        else:
            for kind in sorted(kinds - {self.row.name, "tokens"}):
                place = kind.partition(".")[2]
                message = f"this hub does not run {self.row.title} on {_PLACES.get(place, place)} yet"
                source.not_run("tensors.unsupported", source.weights, message, check="shapes")
        if self.base is not None and not families.of(self.base.model_type).runs:
            message = f"this hub does not run adapters on {self.base.model_type or 'such base models'} yet"
            source.not_run(
                "base.unsupported", source.weights, message, f"it runs them on {', '.join(families.RUNS)}", "shapes"
            )
        whole = (part.module for part in overlays if part.kind in ("saved", "copy"))
        names = sorted(name for name in whole if not peft_heads.is_head(name))
        if names:
            message = f"the file brings {', '.join(names[:3])} whole; this hub runs saved classifiers and poolers"
            source.not_run("tensors.saved_unsupported", source.weights, message, check="head")

    def built(self, head: components.Head | None, overlays: list[components.Part]) -> components.Component:
        """The component, with its sizes."""
        by_key = {tensor.name: tensor for tensor in self.source.tensors}
        of_head = [by_key[key] for key in head.tensors.values() if key in by_key] if head else []
        heads_ = [part for part in overlays if peft_heads.is_head(part.module)]
        of_head += [by_key[key] for part in heads_ for key in part.tensors.values()]
        rest = [part for part in overlays if part not in heads_]
        of_saved = [by_key[key] for part in rest if part.kind != "copy" for key in part.tensors.values()]
        ranks = {size for part in self.parts if (size := _rank(part))}
        return components.Component(
            folder=self.source.folder,
            library="peft",
            method=self.row.name,
            variant=self.variant(),
            config=self.rebuilt(),
            weights=self.source.weights,
            parts=(*self.parts, *overlays),
            head=head,
            rank=max(ranks, default=None),
            parameters=sum(tensor.count for tensor in self.trained),
            head_parameters=sum(tensor.count for tensor in of_head),
            saved_parameters=sum(tensor.count for tensor in of_saved),
            nbytes={
                "adapter": sum(by_key[key].nbytes for part in self.parts for key in part.tensors.values()),
                "head": sum(tensor.nbytes for tensor in of_head),
                "saved": sum(tensor.nbytes for tensor in of_saved),
                "copied": sum(
                    by_key[key].nbytes for part in rest if part.kind == "copy" for key in part.tensors.values()
                ),
            },
            unrun=tuple(str(problem) for problem in self.source.unrun),
            checked=self.row.checked,
            generation=self.generation,
        )

    def variant(self) -> str:
        """What people call it: DoRA, rsLoRA and aLoRA have names of their own."""
        if self.row.name != "lora":
            return self.row.name
        names = {"use_dora": "dora", "alora_invocation_tokens": "alora"}
        return next(
            (name for key, name in names.items() if key in self.settings.on),
            "rslora" if self.settings.rslora else "lora",
        )

    def rebuilt(self) -> dict[str, Any]:
        """The configuration as it is handed on: explicit module names, and nothing of the user's that we do not know."""
        settings = self.settings
        value: dict[str, Any] = {"peft_type": self.row.type, "task_type": settings.task_type, "inference_mode": True}
        for knob in self.row.knobs:
            if (number := settings.numbers[knob.symbol]) is not None:
                value[knob.key] = number
            if knob.pattern:
                value[knob.pattern] = dict(settings.patterns[knob.symbol])
        if self.row.forms:
            value |= {
                "target_modules": [part.module for part in self.parts if part.module],
                "modules_to_save": sorted(settings.saved),
            }
        if self.row.name == "lora":
            value |= {
                "lora_alpha": settings.alpha, "use_rslora": settings.rslora, "alpha_pattern": dict(settings.alpha_pattern),
                "bias": "none" if settings.bias == "none" else self.source.config["bias"], "init_lora_weights": True,
                "lora_dropout": 0.0,
            }  # fmt: skip
        return value


_ROLES = {"lora_A.weight": "A", "lora_B.weight": "B"}
"""What the runtime calls LoRA's halves."""
_WORDS = {"conv": "convolutional"}
_PLACES = {"embedding": "embeddings", "conv": "convolutions", "experts": "fused experts"}
_NEEDED = {"embedding": ("WIDTH",), "norm": ("SIZE",), "experts": ("EXPERTS", "OUT", "IN")}
_SIZES = {"OUT": "out", "IN": "in", "ROWS": "rows", "WIDTH": "width", "SIZE": "size", "EXPERTS": "experts"}


def _rank(part: components.Part) -> int:
    """The rank of a part: the first axis of the half that reads."""
    for role in (
        "A",
        "lora_embedding_A",
        "lora_A",
        "hada_w1_b",
        "lokr_w2_b",
        "delora_A",
        "vera_lambda_d",
        "miss_block",
    ):
        if role in part.shapes:
            return part.shapes[role][0]
    if "hra_u" in part.shapes:
        return part.shapes["hra_u"][1]
    return 0


def _short(role: str) -> str:
    return role.removesuffix(".weight")


def _product(sizes: Iterable[int]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


def _dialect(key: str) -> str:
    """The other library that writes such keys; empty where none is known."""
    if key.startswith(("lora_unet_", "lora_te", "unet.", "transformer.")):
        return "kohya or diffusers"
    return ""


def _method_of(key: str, row: Layout) -> str:
    """The methods whose files have such a key, where this row's do not."""
    if ".token_adapter." in key:  # LoRA's own way to train tokens
        return ""
    parts = key.split(".")
    roles = {".".join(parts[-length:]) for length in (1, 2)}
    found = {other.title for role in roles for other in peft_table.methods_of(role) if other is not row}
    return " or ".join(sorted(found))
