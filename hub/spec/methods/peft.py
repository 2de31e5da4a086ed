"""PEFT's files: adapter_config.json + adapter_model.safetensors, keys `base_model.model.<module>.<role>`.

Every tensor of the file must be one that the method's row names, on a module that the configuration names, or belong to what
the configuration declares besides: a head, whole modules, biases, rows of new tokens. Anything else is refused: a key that
names a tensor of the base model would overwrite it in a library that loads by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from hub.spec import base_model, components, families, tensors
from hub.spec.methods import (
    heads,
    layout,
    peft_blocks,
    peft_config,
    peft_heads,
    peft_overlays,
    peft_reckoning,
    peft_table,
    peft_xlora,
)
from hub.spec.methods.layout import Form, Layout
from hub.spec.methods.peft_keys import DECLARED, NESTED, PREFIX, ROWS, SAVE, Group, Sorted
from hub.spec.methods.peft_modules import Modules

_ANOTHER_BASE = "is this the base model the adapter was trained on?"
RUNS = frozenset(
    {"lora", "adalora", "loha", "lokr", "vera", "randlora", "vblora", "delora", "gralora", "miss", "bone", "fourierft",
     "shira", "c3a", "ia3", "oft", "boft", "hra", "road", "ln_tuning", "trainable_tokens", "prompt_tuning", "p_tuning",
     "multitask_prompt_tuning", "prefix_tuning", "cpt", "cartridge", "beft", "hira", "glora", "peanut", "pvera", "supertuning", "unilora", "waveft",
     "deft", "osf", "psoft", "tinylora", "frod", "poly", "lily"}
)  # fmt: skip
"""Methods that `hub.runtime` runs."""
BY_LIBRARY = frozenset({"adaption_prompt"})
"""Methods that PEFT runs for a worker; all else is understood only."""


def read(source: components.Source) -> components.Component | None:
    """Return the component of a PEFT folder; every fault goes to the source's collector."""
    return _Reader(source, peft_table.TABLE[source.config["peft_type"]]).component()


class _Reader:
    def __init__(self, source: components.Source, row: Layout) -> None:
        self.source, self.row, self.base = source, row, source.base
        self.settings = peft_config.read(source, row)
        self.reckoned = peft_reckoning.read(source, row)
        peft_reckoning.check_invocation(source, self.reckoned)
        self.modules = Modules(source, self.settings)
        self.shared: layout.Symbols = {}
        self.blocks = any(item.kind == "block" for item in row.forms)
        self.parts: list[components.Part] = []
        self.trained: list[tensors.Tensor] = []
        self.aside: tuple[str, ...] = ()

    def component(self) -> components.Component | None:
        """Sort every tensor, hold it against its equations, and put together what was found."""
        if self.row.refused:
            self.source.config_problem("refused", "peft_type", f"{self.row.title} {self.row.refused}")
            return None
        found = Sorted(self.source, self.row, self.modules)
        self.read_once(found.once)
        for module in sorted(found.groups):
            self.read_group(module, found.groups[module])
        self.check_complete(found)
        self.aside = tuple(found.aside)
        self.read_tokens(found.tokens)
        head, others = peft_heads.read(self.source, self.settings, found.saved)
        overlays = [*peft_overlays.whole(self.modules, others), *peft_overlays.biases(self.modules, found.biases)]
        copies = sorted(found.copies.items())
        overlays += [peft_overlays.overlay(self.modules, module, roles, "copy") for module, roles in copies]
        self.say_what_is_not_run(overlays)
        return self.built(head, overlays)

    # shapes

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
        self.shared = known | {}
        self.fit("", layout.Form("any", slots), found, self.shared)
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
        kind, path = self.kind_of(module, group)
        if kind == "":
            return
        for role, tensor in group.found.items():
            heads.check_dtype(self.source, tensor, self.source.weights, integers=role in self.row.integers)
            if role == ROWS:
                self.check_rows(path, tensor)
        if not self.row.checked:
            self.keep(path, self.row.name, Form("any", ()), group.found, {})
            return
        forms = [item for item in self.matching(kind, group) if not item.when or item.when in self.settings.on]
        shapes = {role: tensor.shape for role, tensor in group.found.items()}
        own = self.modules.own(path, kind)
        chosen = layout.choose(forms, shapes, self.symbols_of(own))
        if chosen is None:
            self.incomplete(group, kind)
            return
        if chosen.kind == "norm" and "ln_tuning_layers.bias" not in group.found and self.modules.has_bias(path):
            self.incomplete(group, kind)
            return
        self.check_declared(chosen, group)
        symbols = self.symbols_of(own)
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
        self.source.tensor_problem("module", message, _ANOTHER_BASE)
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
            self.tell(module, chosen, found, misfit)
        if not misfits:
            self.check_numbers(module, chosen, found, symbols, group)
        return all(misfit.wanted is not None for misfit in misfits)

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
        self.source.tensor_problem("shape", message, _ANOTHER_BASE)

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

    # completeness

    def check_complete(self, found: Sorted) -> None:
        """Every targeted module has its tensors, and no other one has: checked where names, not a pattern, say which."""
        if self.row.prompts or self.row.mark:
            if not self.parts:
                self.source.tensor_problem("none", f"there is no {self.row.title} tensor in this file", SAVE)
            return
        if not found.groups and not found.tokens:
            self.source.tensor_problem("none", f"there is no {self.row.title} tensor in this file", SAVE)
        if self.blocks:
            peft_blocks.check_layers(self.source, found.groups)
        settings, base = self.settings, self.base
        if not (settings.all_linear or settings.targets is not None):
            return
        own = {module: group for module, group in found.groups.items() if not self.parameter_of(group)}
        extra = [
            next(iter(group.found.values())).name
            for module, group in own.items()
            if not (self.modules.tied(module) and (ROWS in group.found or settings.tying))
            and not settings.targeted(group.name, self.modules.inside(group.name), module)
        ]
        if extra:
            meaning = ("untargeted", "adapts a module that target_modules does not name", "name it in target_modules")
            components.refuse_by_reason(self.source, {meaning: extra})
        if base is None or (self.source.config.get("exclude_modules") is not None and settings.excluded is None):
            return
        missing = sorted(module for module in self.modules.wanted(base) - set(own) if self.modules.names(module, base))
        if missing:
            more = f" and {len(missing) - 1} more modules" if len(missing) > 1 else ""
            message = f"the tensors for {missing[0]!r}{more} are missing: target_modules names them"
            self.source.tensor_problem("missing", message, "a missing tensor would be made up at random")

    def read_tokens(self, found: dict[str, tensors.Tensor]) -> None:
        """Rows that stand in for those of tokens: `trainable_token_indices`."""
        for module, tensor in sorted(found.items()):
            chosen = layout.form("embedding", "trainable_tokens_delta: k WIDTH")
            rows = {"trainable_tokens_delta": tensor}
            symbols = self.symbols_of(self.modules.own(module))
            heads.check_dtype(self.source, tensor, self.source.weights)
            self.check_rows(module, tensor)
            if self.fit(module, chosen, rows, symbols):
                self.keep(module, "tokens", chosen, rows, self.modules.needs(chosen, module, symbols))

    def check_rows(self, module: str, tensor: tensors.Tensor) -> None:
        """Hold rows of tokens against the tokens that the configuration names, where it names any."""
        said = self.reckoned.get("trainable_token_indices") or self.reckoned.get("token_indices")
        if said:
            peft_overlays.check_tokens(self.modules, module, tensor, said)

    # the answer

    def say_what_is_not_run(self, overlays: Iterable[components.Part]) -> None:
        """Note what of this adapter the hub understands and does not run."""
        source = self.source
        kinds = {part.kind for part in self.parts}
        if self.row.name in BY_LIBRARY:
            peft_blocks.say_who_runs(source, self.row.title)
        elif self.row.name not in RUNS:
            message = f"this hub does not run {self.row.title} yet: {_WHY_NOT.get(self.row.name, 'it waits its turn')}"
            source.not_run(
                "method.unsupported",
                f"{source.config_path}: peft_type",
                message,
                "docs/formats.md tells of every method whether it runs",
            )
        else:
            peft_reckoning.say_what_is_not_run(source, self.row, self.parts)
            for kind in sorted(kind for kind in kinds if kind.endswith(".experts")):
                place = kind.partition(".")[2]
                source.leave_to_library(f"{self.row.title} on {_PLACES.get(place, place)}")
        if self.base is not None and not families.of(self.base.model_type).runs:
            message = f"this hub does not run adapters on {self.base.model_type or 'such base models'} yet"
            source.not_run(
                "base.unsupported", source.weights, message, "docs/validation.md tells which base models run", "shapes"
            )

    def built(self, head: components.Head | None, overlays: list[components.Part]) -> components.Component:
        """The component, with its sizes."""
        by_key = {tensor.name: tensor for tensor in self.source.tensors}
        of_head = [by_key[key] for key in head.tensors.values() if key in by_key] if head else []
        heads_ = [part for part in overlays if part.kind != "copy" and peft_heads.is_head(part.module)]
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
            by_library=tuple(self.source.by_library),
            checked=self.row.checked,
            generation=self.modules.generation,
            aside=self.aside,
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
        value |= self.reckoned | {
            key: settings.alpha
            for key in ("alpha", "lora_alpha")
            if key in self.row.keys and self.source.config.get(key) is not None
        }
        if self.row.name == "lora":
            value |= {
                "lora_alpha": settings.alpha, "use_rslora": settings.rslora, "alpha_pattern": dict(settings.alpha_pattern),
                "bias": "none" if settings.bias == "none" else self.source.config["bias"], "init_lora_weights": True,
                "lora_dropout": 0.0,
            }  # fmt: skip
        return value


_WHY_NOT = {
    "xlora": "its experts lie in folders of their own, and are mixed by a pass of the base model before the one that answers",
    "adamss": "how a module is cut into subspaces follows from a clustering of the base model's weights, and is in no file",
}
"""Why a method that is understood is not run."""
_ROLES = {"lora_A.weight": "A", "lora_B.weight": "B"}
"""What the runtime calls LoRA's halves."""
_WORDS = {"conv": "convolutional"}
_PLACES = {"embedding": "embeddings", "conv": "convolutions", "experts": "fused experts"}


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
