"""AdapterHub's files: adapter_config.json + adapter.safetensors, and a head in files of its own. Semantics: adapters 1.3.0.

Every tensor must lie in a container that the configuration's architecture has, under the adapter's own name.
"""

from __future__ import annotations

import re
from typing import Any

from hub.spec import components, documents, families, snapshot, tensors
from hub.spec.methods import (
    adapterhub_fusion,
    adapterhub_head,
    adapterhub_parts,
    adapterhub_prompts,
    adapterhub_table,
    bottleneck,
    heads,
    layout,
)
from hub.spec.methods import adapterhub_places as places
from hub.spec.methods.adapterhub_parts import Group, Settings
from hub.spec.methods.layout import Form, Knob

MAX_NUMBER = 1 << 16
_SAVE = "save the adapter again with save_adapter"
_POOL = "prefix_tuning.pool"
_ANOTHER_BASE = "is this the base model the adapter was trained on?"
_NUMBERS = ("r", "alpha", "prefix_length", "prompt_length", "bottleneck_size", "phm_dim", "phm_rank", "prefix_positions",
            "suffix_positions", "reduction_factor")  # fmt: skip
_FLAGS = ("use_dora", "use_gating", "flat", "intermediate_lora", "output_lora", "selfattn_lora", "orthogonality",
          "subtract_projection", "tied_weights", "mh_adapter", "output_adapter", "is_parallel", "phm_layer")  # fmt: skip


def read(source: components.Source) -> components.Component | None:
    """Return the component of an AdapterHub folder; every fault goes to the source's collector."""
    return _Reader(source).component()


class _Reader:
    def __init__(self, source: components.Source) -> None:
        self.source, self.base = source, source.base
        raw = source.config["config"]
        self.config: dict[str, Any] = bottleneck.NAMED.get(raw, {}) if isinstance(raw, str) else raw
        fusion = source.config_path.endswith(snapshot.FUSION)
        self.architecture = "fusion" if fusion else _architecture(self.config)
        self.title, self.rows = adapterhub_table.ARCHITECTURES[self.architecture]
        # a union's numbers stand in its parts
        parts = self.config.get("configs") if self.architecture == "union" else None
        self.configs = [item for item in parts if isinstance(item, dict)] if isinstance(parts, list) else [self.config]
        self.model_type = source.model_type or _text(source.config.get("model_type"))
        self.settings: list[Settings] = []
        self.groups: dict[tuple[str, str], Group] = {}
        self.copies: list[tensors.Tensor] = []
        self.refused: dict[tuple[str, str, str], list[str]] = {}
        self.parts: list[components.Part] = []
        self.trained: list[tensors.Tensor] = []

    def component(self) -> components.Component | None:
        """Sort every tensor, hold it against its equations, and put together what was found."""
        name = self.name()
        if name is None:
            return None
        pattern = re.compile(
            r"(?:(?P<module>.+)\.)?(?P<container>" + "|".join(adapterhub_table.CONTAINERS) + r")\."
            + re.escape(name) + r"\.(?P<role>.+)"
        )  # fmt: skip
        for tensor in self.source.tensors:
            self.sort(tensor, name, pattern)
        components.refuse_by_reason(self.source, self.refused)
        self.read_settings()
        for key in sorted(self.groups):
            self.read_group(self.groups[key])
        if not self.groups:
            self.source.tensor_problem("none", f"there is no tensor of a {self.title} in this file", _SAVE)
        self.check_complete()
        head = adapterhub_head.read(self.source, name)
        self.say_what_is_not_run()
        return self.built(head)

    def read_settings(self) -> None:
        """Judge the configuration, each part of a union by its own method."""
        for item in self.configs:
            known = self.architecture if self.architecture != "union" else _architecture(item)
            if known in adapterhub_parts.READERS:
                self.settings.append(adapterhub_parts.READERS[known](self.source, item))
            elif known not in adapterhub_table.ARCHITECTURES:
                message = f"{documents.shorten(known)} is no method this hub knows"
                self.source.config_problem("value", "config.configs", message)

    def check_complete(self) -> None:
        """Every place that the configuration names has its tensors, and no other."""
        if self.settings and self.model_type in families.BLOCKS and self.architecture != "fusion":
            containers = {item.container for item in self.settings}
            found = {group.module for group in self.groups.values() if group.row.container in containers}
            places.check_complete(self.source, self.settings, found)
        there = {group.row.container for group in self.groups.values()}
        couples = any(isinstance(item, bottleneck.Settings) and item.coupling for item in self.settings)
        if couples != ("invertible_adapters" in there):
            code, what = ("missing", "lacks") if couples else ("untargeted", "has")
            message = f"the file {what} invertible_adapters, which does not fit config.inv_adapter"
            self.source.tensor_problem(code, message, "inv_adapter must be what it was trained with")
        self.check_shared()

    def check_shared(self) -> None:
        """What all layers share is in the file, where the configuration says that they share it."""
        there = {
            role for group in self.groups.values() if group.row.container == "shared_parameters" for role in group.found
        }
        phm = [item for item in self.settings if isinstance(item, bottleneck.Settings) and item.flags["phm_layer"]]
        if any(item.shares_rule for item in phm) and not there & {"phm_rule", "phm_rule_left"}:
            self.source.tensor_problem("missing", "the file lacks shared_parameters' phm_rule", _SAVE)
        if any("vera_B" in part.tensors for part in self.parts) and not {"lora_A", "lora_B"} <= there:
            message = "this hub cannot run this VeRA: its file lacks the random matrices that all layers share"
            hint = "adapters 1.3 leaves them out of a model that is no AdapterModel; save it from one"
            self.source.not_run("tensors.missing", self.source.weights, message, hint, "shapes")

    def name(self) -> str | None:
        """The adapter's own name, which is a part of every key."""
        name = self.source.config.get("name")
        if not isinstance(name, str) or not 0 < len(name) <= 128 or "." in name or not name.isprintable():
            self.source.config_problem("name", "name", f"{documents.shorten(name)!r} is no name of an adapter")
            return None
        return name

    def sort(self, tensor: tensors.Tensor, name: str, pattern: re.Pattern[str]) -> None:
        """Put a tensor where it belongs, or among those that are refused, by reason."""
        key = families.canonical_path(tensor.name, self.model_type)
        match = pattern.fullmatch(key)
        row = adapterhub_table.CONTAINERS[match["container"]] if match else None
        if match is None or row is None or (row not in self.rows and row not in adapterhub_table.BESIDE):
            self.refused.setdefault(self.reason(tensor.name, key, name), []).append(tensor.name)
            return
        module, role = match["module"] or "", match["role"]
        if module.endswith(_POOL):
            self.copies.append(tensor)  # one memory, written once for every layer
            return
        stem = re.match(r"(units\.\d{1,3}|[a-z]+_prefix)\.", role)
        if stem:
            module, role = f"{module}.{stem[1]}", role[stem.end() :]
        group = self.groups.setdefault((module, row.container), Group(row, module))
        if role in group.found:
            reason = ("twice", "is there twice, with a prefix and without", "")
            self.refused.setdefault(reason, []).append(tensor.name)
        group.found[role] = tensor

    def reason(self, key: str, canonical: str, name: str) -> tuple[str, str, str]:
        """Say (code, why, what to do) for a key that belongs nowhere."""
        for container, row in adapterhub_table.CONTAINERS.items():
            if f".{container}." not in f".{canonical}":
                continue
            if f".{container}.{name}." not in f".{canonical}":
                return "other_adapter", f"belongs to another adapter than {name!r}", _SAVE
            return "method", f"belongs to another method ({row.name}) than the configuration says ({self.title})", _SAVE
        if self.base is not None and families.canonical_name(key, self.model_type) in self.base.tensors:
            return "backbone", "is a tensor of the base model itself, which stays frozen", "leave it out"
        return "unknown", f"is not part of a {self.title} this hub knows", _SAVE

    def read_group(self, group: Group) -> None:
        """Hold the tensors of one container against the form that they make."""
        for tensor in group.found.values():
            heads.check_dtype(self.source, tensor, self.source.weights)
        chosen = self.chosen(group)
        if chosen is None:
            near = layout.nearest(group.row.forms, frozenset(group.found))
            missing = [slot.role for slot in near.slots if slot.role not in group.found and not slot.optional]
            names = ", ".join(missing) or "its tensors"
            message = f"the adapter at {group.module or self.title!r} lacks {names}"
            self.source.tensor_problem("missing", message, "a missing tensor would be made up at random")
            return
        symbols = self.symbols(group)
        shapes = {role: tensor.shape for role, tensor in group.found.items()}
        misfits = layout.fit(chosen, shapes, symbols)
        for misfit in misfits:
            self.tell(group, chosen, misfit, symbols)
        if any(misfit.wanted is None for misfit in misfits):
            return
        self.check_numbers(group, chosen, symbols)
        self.keep(group, chosen, symbols)

    def chosen(self, group: Group) -> Form | None:
        """The form whose tensors these are; of several with the same ones that whose equations agree."""
        forms = layout.matching(group.row.forms, None, frozenset(group.found))
        shapes = {role: tensor.shape for role, tensor in group.found.items()}
        return layout.choose(forms, shapes, self.symbols(group))

    def symbols(self, group: Group) -> layout.Symbols:
        """What is known before the tensors are looked at."""
        known: layout.Symbols = {}
        if (matrices := self.config.get("attn_matrices")) and isinstance(matrices, list):
            known["parts"] = len(matrices)
        if self.base is not None:
            sizes = self.base.sizes
            # prefixes are as wide as the layers are, whatever heads share keys
            known |= {"d": sizes["hidden"], "prefix": 2 * sizes["layers"] * sizes["hidden"]}
            own = self.base.modules.get(group.module)
            if own is not None and own.kind == "linear":
                known |= {"OUT": own.shape[0], "IN": own.shape[1]}
        if group.row.once and len(self.configs) == 1:
            known |= {
                knob.symbol: self.number(knob, self.config) for knob in group.row.knobs if knob.key in self.config
            }
        settings = adapterhub_parts.of(group, self.settings)
        if isinstance(settings, adapterhub_prompts.Prefix) and self.base is not None and self.base.layers:
            known["prefix"] = 2 * len(set(self.base.layers) - settings.left_out) * self.base.sizes["hidden"]
        if isinstance(settings, bottleneck.Settings) and "d" in known:
            known["b"] = settings.width(group.module, known["d"])
        return known

    def tell(self, group: Group, chosen: Form, misfit: layout.Misfit, symbols: layout.Symbols) -> None:
        """Tell of a tensor that does not fit, with both shapes."""
        tensor = group.found[misfit.role]
        shape = components.shown(tensor.shape)
        if misfit.wanted is None:
            message = f"tensor {tensor.name!r} has shape {shape}, not {chosen.roles[misfit.role].shown}"
        else:
            hidden = f"hidden size {symbols['d']} and " if self.base is not None and "d" in symbols else ""
            wanted = f"[{', '.join(map(str, misfit.wanted))}]"
            message = f"tensor {tensor.name!r} has shape {shape}, but {hidden}{self.source.config_path} need {wanted}"
        self.source.tensor_problem("shape", message, _ANOTHER_BASE)

    def check_numbers(self, group: Group, chosen: Form, symbols: layout.Symbols) -> None:
        """Hold the numbers that the tensors show against those that the configuration gives."""
        for knob in group.row.knobs:
            shown = symbols.get(knob.symbol)
            if knob.symbol not in chosen.names or shown is None:
                continue
            declared = [self.number(knob, item) for item in self.configs if knob.key in item]
            if declared and shown not in declared:
                message = f"{self.source.config_path} says {knob.key} {declared[0]}, the tensors have {shown}"
                self.source.tensor_problem("rank", message, f"{knob.key} must be that of the tensors")

    def number(self, knob: Knob, settings: dict[str, Any]) -> int:
        """A size that the configuration gives."""
        value = settings.get(knob.key)
        if type(value) is not int or not 0 < value <= MAX_NUMBER:
            key = f"config.{knob.key}"
            self.source.config_problem(
                "rank", key, f"{documents.shorten(value)} is no number this hub takes (1 to {MAX_NUMBER})"
            )
            return 1
        return value

    def keep(self, group: Group, chosen: Form, symbols: layout.Symbols) -> None:
        """Add a part, and count what of it was trained."""
        fixed = {slot.role for slot in chosen.slots if slot.fixed}
        self.trained += [tensor for role, tensor in group.found.items() if role not in fixed]
        settings = adapterhub_parts.of(group, self.settings)
        if settings is not None:
            settings.check(self.source, group.module, adapterhub_parts.named(group))
        self.parts.append(adapterhub_parts.part(group, chosen, symbols, self.settings, self.is_old()))

    def is_old(self) -> bool:
        """Whether a version of the library before 1.1.0 wrote the file."""
        match = re.fullmatch(r"(?:adapters\.)?(\d+)\.(\d+)\..*", _text(self.source.config.get("version")))
        return match is not None and (int(match[1]), int(match[2])) < (1, 1)

    def say_what_is_not_run(self) -> None:
        """Note what of this adapter the hub understands and does not run."""
        source = self.source
        where = f"{source.config_path}: config.architecture"
        known = [self.architecture] if self.architecture != "union" else [_architecture(item) for item in self.configs]
        if any(item not in adapterhub_parts.READERS for item in known):
            hint = "docs/formats.md tells of every configuration whether it runs"
            source.not_run("method.unsupported", where, f"this hub does not run {self.title} yet", hint)
            return
        if any("task_specific" in part.tensors for part in self.parts):
            message = (
                "this hub does not run MTL-LoRA with whole matrices of a task: adapters 1.3 itself cannot make one"
            )
            source.not_run("method.unsupported", where, message)
        kinds = {self.model_type, _text(source.config.get("model_type"))}
        if foreign := sorted(kinds - set(families.BLOCKS)):
            what = "bottleneck adapters" if self.architecture == "bottleneck" else self.title
            message = f"this hub does not run {what} on {documents.shorten(foreign[0] or None)} yet"
            hint = f"it runs them on {', '.join(families.BLOCKS)}"
            source.not_run("config.unsupported", f"{source.config_path}: model_type", message, hint)

    def built(self, head: components.Head | None) -> components.Component:
        """The component, with its sizes."""
        source = self.source
        by_key = {tensor.name: tensor for tensor in source.tensors}
        widths = {
            shape[0] for part in self.parts for role, shape in part.shapes.items()
            if role in ("down_weight", "lora_A", "learned_source.weight") and shape
        }  # fmt: skip
        return components.Component(
            folder=source.folder,
            library="adapters",
            method=self.architecture if self.architecture != "mtl_lora" else "lora",
            variant=self.variant(),
            config=self.rebuilt(),
            weights=source.weights,
            parts=tuple(adapterhub_prompts.joined(adapterhub_parts.joined(self.parts), self.copies)),
            head=head,
            rank=max(widths, default=None),
            parameters=sum(tensor.count for tensor in self.trained),
            head_parameters=sum(tensor.count for tensor in source.head_tensors),
            nbytes={
                "adapter": sum(by_key[key].nbytes for part in self.parts for key in part.tensors.values()),
                "head": sum(tensor.nbytes for tensor in source.head_tensors),
                "saved": 0,
                "copied": sum(tensor.nbytes for tensor in self.copies),
            },
            unrun=tuple(str(problem) for problem in source.unrun),
        )

    def variant(self) -> str:
        """What people call it."""
        if self.architecture == "bottleneck":
            return next(item.variant for item in self.settings if isinstance(item, bottleneck.Settings))
        if self.architecture == "lora":
            if self.config.get("composition_mode") == "scale":
                return "ia3"
            if any("vera_B" in part.shapes for part in self.parts):
                return "dvora" if self.config.get("use_dora") else "vera"
            return "dora" if self.config.get("use_dora") else "lora"
        if self.architecture == "reft":
            return "loreft" if self.config.get("orthogonality") else "reft"
        return self.architecture

    def rebuilt(self) -> dict[str, Any]:
        """The configuration as it is handed on: numbers and switches that we know, and nothing else of the user's."""
        if self.architecture == "bottleneck":
            return next(item.rebuilt() for item in self.settings if isinstance(item, bottleneck.Settings))
        value: dict[str, Any] = {"architecture": self.architecture}
        if self.architecture == "fusion":
            value["adapter_names"] = [
                name for item in self.settings if isinstance(item, adapterhub_fusion.Settings) for name in item.names
            ]
        value |= {key: self.config[key] for key in _FLAGS if isinstance(self.config.get(key), bool)}
        numbers = {key: _number(self.config.get(key)) for key in _NUMBERS}
        return value | {key: number for key, number in numbers.items() if number is not None}


def _architecture(config: dict[str, Any]) -> str:
    return str(config.get("architecture") or "bottleneck")


def _number(value: Any) -> float | None:
    """A number of the configuration, where it is one that this hub takes."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER
    return value if good else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
