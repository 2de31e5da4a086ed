"""The keys of PEFT's files: each tensor put where it belongs, or refused with a reason."""

from __future__ import annotations

import dataclasses
import re

from hub.spec import components, families, tensors
from hub.spec.methods import layout, peft_heads, peft_table
from hub.spec.methods.layout import Layout
from hub.spec.methods.peft_modules import TIED, Modules
from hub.spec.words import counted

PREFIX = "base_model.model."
SHARED = "base_model."
ROWS = "trainable_tokens_delta"
TOKENS = f"token_adapter.{ROWS}"
NESTED = ".base_layer"
SAVE = "save the adapter again with PEFT's save_pretrained"
# PEFT writes tables by itself where they have grown, and nothing in its configuration says so
_TABLES = "name it in modules_to_save if it was trained or has grown, else save with save_embedding_layers=False"
# roles that only a key of the configuration allows, and that it then asks for
DECLARED = {
    "lora_magnitude_vector": ("use_dora", "a DoRA vector"),
    "lora_B.bias": ("lora_bias", "a bias of LoRA's own layers"),
}
# (pattern in the key, code, what it means, what to do), first match counts
_FOREIGN: tuple[tuple[re.Pattern[str], str, str, str], ...] = (
    (re.compile(r"\.original_module\.|\.modules_to_save\."), "leftover", "is a leftover of an old PEFT version", SAVE),
    (re.compile(r"\.base_layer\."), "base_layer", "would overwrite the base model's own weights", SAVE),
    (re.compile(r"trainable_tokens|\.token_adapter\."), "unsupported",
     "holds trainable tokens, and trainable_token_indices names none", SAVE),
    (re.compile(r"\.(lora_(embedding_)?[ABE]|lora_magnitude_vector|ia3_l|hada_\w+|lokr_\w+|oft_R|boft_\w|hra_u)\.[^.]+(\.weight)?$"),
     "other_adapter", "belongs to another adapter's name", SAVE),
)  # fmt: skip


@dataclasses.dataclass
class Group:
    """The tensors of the method at one module: by role, and the module's name in the file."""

    name: str
    found: dict[str, tensors.Tensor] = dataclasses.field(default_factory=dict)


def split(name: str, row: Layout) -> tuple[str, str] | None:
    """Return (module, role) where a key without its prefix ends in a role of this method."""
    if row.mark:
        module, found, role = name.rpartition(f".{row.mark}")
        return (module, row.mark + role) if found else None
    parts = name.split(".")
    for length in (1, 2, 3):
        role = ".".join(parts[-length:])
        if len(parts) > length and (role in row.roles or layout.numbered(role) in row.roles):
            return ".".join(parts[:-length]), role
    return None


class Sorted:
    """The tensors of a file, sorted when it is made. `groups`: the method's, by module; `once`: prompts and shared ones;
    `saved`: of whole modules, by canonical name; `biases` of the base model; `copies` of its tables; `tokens`: rows."""

    def __init__(self, source: components.Source, row: Layout, modules: Modules) -> None:
        self.source, self.row, self.modules, self.settings = source, row, modules, modules.settings
        self.groups: dict[str, Group] = {}
        self.once: dict[str, tensors.Tensor] = {}
        self.saved: dict[str, tensors.Tensor] = {}
        self.biases: dict[str, tensors.Tensor] = {}
        self.copies: dict[str, dict[str, tensors.Tensor]] = {}
        self.tokens: dict[str, tensors.Tensor] = {}
        self.refused: dict[tuple[str, str, str], list[str]] = {}
        self.aside: list[str] = []
        for tensor in source.tensors:
            self.sort(tensor)
        self.refuse_unadapted()
        components.refuse_by_reason(source, self.refused)
        if self.aside:
            count = len(self.aside)
            source.notices.append(f"{counted(count, 'tensor')} such as {self.aside[0]}: copies, which were set aside")

    def sort(self, tensor: tensors.Tensor) -> None:
        """Put a tensor where it belongs, or among those that are refused, by reason."""
        name = tensor.name.removeprefix(PREFIX)
        if name == tensor.name:
            self.sort_outside(tensor)
        elif _FOREIGN[0][0].search(name):
            self.sort_leftover(tensor)
        elif found := split(name, self.row):
            self.add(*found, tensor)
        elif name.endswith(f".{TOKENS}") and "trainable_token_indices" in self.settings.on:
            self.tokens[self.modules.canonical(name.removesuffix(f".{TOKENS}"))] = tensor
        elif peft_heads.declared(self.modules.canonical(name), self.settings):
            self.saved[self.modules.canonical(name)] = tensor
        elif self.is_tied_to_saved(name):
            self.copies[self.modules.canonical(name.removesuffix(".weight"))] = {"weight": tensor}
        elif table := self.table_of(name):
            module, role = table
            self.copies.setdefault(module, {})[role] = tensor
        elif self.is_bias(name):
            self.biases[self.modules.canonical(name.replace(f"{NESTED}.bias", ".bias"))] = tensor
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
        named = layout.numbered(name) in shared or f"{name.rpartition('.')[0]}.{{}}" in shared
        whole = name == tensor.name  # prompts carry no prefix
        marked = bool(self.row.mark) and name.startswith(self.row.mark)
        if (
            (whole and any(slot.role == name for slot in self.row.prompts))
            or (not whole and (name in shared or named))
            or marked
        ):
            self.once[name] = tensor
        elif (
            not whole
            and (self.row.prompts or self.row.mark)
            and peft_heads.declared(self.modules.canonical(name), self.settings)
        ):
            self.saved[self.modules.canonical(name)] = tensor
        else:
            self.refuse(tensor)

    def add(self, name: str, role: str, tensor: tensors.Tensor) -> None:
        """Keep a tensor of the method under its module."""
        if role in DECLARED and DECLARED[role][0] not in self.settings.on:
            key, what = DECLARED[role]
            self.refused.setdefault(("unsupported", f"is {what}, and {key} is not set", SAVE), []).append(tensor.name)
            return
        if name.endswith(NESTED) and not self.nested(name):
            self.refuse(tensor)
            return
        module = self.modules.canonical(name)
        group = self.groups.setdefault(module, Group(name))
        if role in group.found:
            reason = ("twice", f"module {module} has two of them", SAVE)
            self.refused.setdefault(reason, []).append(tensor.name)
        group.found[role] = tensor

    def nested(self, name: str) -> bool:
        """Two parameters of one module are adapted one around the other: the inner one stands under `base_layer`."""
        outer = name.removesuffix(NESTED)
        return not outer.endswith(NESTED) and len(self.modules.parameters_at(outer)) > 1

    def table_of(self, name: str) -> tuple[str, str] | None:
        """(table, tensor) of a copy that PEFT writes beside what adapts a table of tokens, whether it looks them up or
        scores them (save_embedding_layers, which it sets by itself there)."""
        place, _, role = name.rpartition(".")
        if not place.endswith(NESTED) or role not in ("weight", "bias"):
            return None
        module = self.modules.canonical(place.removesuffix(NESTED))
        scores = module in TIED
        return (module, role) if scores or (role == "weight" and families.is_embedding(module)) else None

    def is_tied_to_saved(self, name: str) -> bool:
        """Whether a key is a table that `ensure_weight_tying` keeps the same as a saved one."""
        path, _, role = self.modules.canonical(name).rpartition(".")
        tables = any(families.is_embedding(saved) for saved in self.settings.saved)
        return self.settings.tying and tables and role == "weight" and path in TIED

    def refuse_unadapted(self) -> None:
        """A copy stands beside what adapts its table, and nowhere else."""
        for module in sorted(self.copies.keys() - self.groups.keys()):
            for tensor in self.copies[module].values():
                if f"{NESTED}." in tensor.name:
                    self.refuse(tensor)

    def is_bias(self, name: str) -> bool:
        """Whether a key is a bias that the configuration's `bias` declares."""
        if self.settings.bias == "none" or not name.endswith(".bias"):
            return False
        return name.endswith(f"{NESTED}.bias") or self.settings.bias == "all"

    def refuse(self, tensor: tensors.Tensor) -> None:
        """Keep a tensor among those that are refused, under its reason."""
        self.refused.setdefault(self.reason(tensor.name), []).append(tensor.name)

    def reason(self, key: str) -> tuple[str, str, str]:
        """Say (code, why, what to do) for a key that belongs nowhere."""
        if foreign := _dialect(key):
            return "prefix", f"is a {foreign} key, in the folder of a PEFT adapter", SAVE
        if not key.startswith(PREFIX) and not (key.startswith(SHARED) or self.row.prompts):
            return "prefix", f"does not begin with {PREFIX!r}", SAVE
        if _FOREIGN[0][0].search(key):
            return _FOREIGN[0][1:]
        if others := _method_of(key, self.row):
            return "method", f"is of {others}, the configuration says {self.row.title}", SAVE
        for pattern, code, meaning, hint in _FOREIGN:
            if pattern.search(key):
                return code, meaning, hint
        name = families.canonical_name(key.removeprefix(PREFIX), self.source.model_type)
        path = (name or "").removesuffix(".weight")
        if path in TIED or families.is_embedding(path):
            return "backbone", "is a table of the base model that the configuration does not name", _TABLES
        if self.source.base is not None and name in self.source.base.tensors:
            return "backbone", "is a tensor of the base model itself, which stays frozen", "leave it out"
        return "undeclared", "belongs to no module that target_modules or modules_to_save names", "leave it out"


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
