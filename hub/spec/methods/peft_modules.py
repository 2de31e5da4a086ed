"""The modules of PEFT's files and those of the base model: what a name in the file means there."""

from __future__ import annotations

from hub.spec import base_model, components, families
from hub.spec.methods import peft_blocks, peft_config
from hub.spec.methods.layout import Form, Symbols
from hub.spec.methods.peft_config import Settings

# where a table of tokens is tied to another one, which alone is in the base model's files
TIED = frozenset(
    {"lm_head", "proj_out", "cls.predictions.decoder", "encoder.embed_tokens", "decoder.embed_tokens"}
)  # fmt: skip
_NEEDED = {"embedding": ("WIDTH",), "norm": ("SIZE",), "experts": ("EXPERTS", "OUT", "IN")}
_SIZES = {"OUT": "out", "IN": "in", "ROWS": "rows", "WIDTH": "width", "SIZE": "size", "EXPERTS": "experts"}


class Modules:
    """The base model as a file of PEFT sees it. `generation`: whose later names the file uses, as far as they were met."""

    def __init__(self, source: components.Source, settings: Settings) -> None:
        self.source, self.settings, self.base = source, settings, source.base
        self.generation = ""

    def canonical(self, name: str) -> str:
        """The canonical path of a module or tensor; notes which generation of names the file uses."""
        self.generation = self.generation or families.generation_of(name, self.source.model_type)
        return families.canonical_path(name, self.source.model_type)

    def own(self, path: str, kind: str | None = None) -> base_model.Module | None:
        """The base model's module at a path. A table of tokens that is tied to another one is that one. `kind`: as what
        a table that gives scores is adapted, by its rows (embedding) or by its product (linear)."""
        if self.base is None:
            return None
        found = self.base.modules.get(path)
        if found is None and self.tied(path) and self.base.config.get("tie_word_embeddings", True):
            found = next(
                (item for item in self.base.modules.values() if item.shape[0] == self.base.sizes["vocab"]), None
            )
        if found is not None and kind in ("linear", "embedding") and self.scores(path):
            return base_model.Module("linear" if kind == "linear" else "embedding", found.shape)
        return found

    def scores(self, path: str) -> bool:
        """Whether a path names a table that gives each token a score, tied to another one or not."""
        return path in TIED and not families.is_embedding(path)

    def tied(self, path: str) -> bool:
        """Whether a path names a second place of a table of tokens, which the base model's files do not have."""
        return path in TIED and (self.base is None or path not in self.base.modules)

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

    def has_bias(self, path: str) -> bool:
        """Whether the base model's module has a bias."""
        return self.base is not None and f"{path}.bias" in self.base.tensors

    def needs(self, chosen: Form, path: str, symbols: Symbols) -> dict[str, dict[str, int]]:
        """What a module has to measure for the tensors to fit, as far as they say."""
        if self.tied(path):
            return {}
        if chosen.kind == "block":
            return peft_blocks.needs(path, symbols)
        if chosen.kind == "any":
            return {"": {"hidden": symbols["hidden"]}} if "hidden" in symbols else {}
        names = _NEEDED.get(chosen.kind, ("OUT", "IN"))
        if any("ROWS" in (slot.axes or ()) for slot in chosen.slots):
            names = ("ROWS", *names)
        return {path: {_SIZES[name]: symbols[name] for name in names if name in symbols}}

    def wanted(self, base: base_model.BaseModel) -> set[str]:
        """Modules that the method could have adapted. A model that was trained without a pooler has none to adapt."""
        kinds = {item.kind for item in self.settings.layout.forms}
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
