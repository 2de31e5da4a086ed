"""PEFT's adapter_config.json as a hub serves it: known keys only, and module names instead of patterns.

Whoever loads the served file gets the same adapter from it. What cannot be written out so that this holds is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hub.spec import components, documents, families
from hub.spec.methods import peft_config, peft_keys, peft_modules, peft_table, rewriting
from hub.spec.methods.layout import Layout
from hub.spec.methods.rewriting import CHOSEN, GONE, LISTED, PLACE, PROVEN, UNREAD

# what makes a library import, fetch or open something: never served, whatever the method
_NEVER_SERVED = frozenset({"auto_mapping", "revision", "megatron_config", "megatron_core"})
# what only training reads, and may name files, tokenizers and models of the publisher's
_TRAINING = frozenset(
    {"loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config", "prompt_tuning_init_text",
     "prompt_tuning_init_state_dict_path", "tokenizer_name_or_path", "tokenizer_kwargs"}
)  # fmt: skip
_SELECTORS = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")
# whose values `peft_config` has judged, or are written out here
_JUDGED = frozenset({"base_model_name_or_path", "feedforward_modules"})
_DEFAULTS = {"megatron_core": "megatron.core"}
_STARTS = ("RANDOM", "SAMPLE_VOCAB")
"""How prompts may start that read no file and no tokenizer."""
_BY_ENDING = "ADAPTION_PROMPT"
"""PEFT holds its target_modules, one text, against the ends of names and evaluates no pattern."""
_VERSION = re.compile(r"[A-Za-z0-9.+@\-]{1,64}")


def rebuilt(source: components.Source, component: components.Component) -> rewriting.Rewritten | None:
    """Return the configuration as it is served; None where that is what was sent.

    It depends on the folder alone, never on the base model that it was read with. Faults go to the source's collector.
    """
    return _Writer(source, component, peft_table.TABLE[source.config["peft_type"]]).written()


class _Writer:
    def __init__(self, source: components.Source, component: components.Component, row: Layout) -> None:
        self.source, self.component, self.row = source, component, row
        self.config: dict[str, Any] = {}
        self.changes: dict[str, str] = {}

    def written(self) -> rewriting.Rewritten | None:
        """Go through the configuration once, then through what depends on several of its keys."""
        for key, value in self.source.config.items():
            if self.serves(key, value):
                self.config[key] = value
        self.change_base()
        if self.row.prompts:
            self.change_start()
        if self.row.forms:
            self.change_targets()
        self.refuse_patterns()
        found = rewriting.written(self.source.config_path, self.config, self.changes)
        if found and len(found.data) > documents.MAX_BYTES:
            message = f"would have {len(found.data)} bytes with every module by its name; at most {documents.MAX_BYTES}"
            self.source.config_problem("pattern", "target_modules", message, "write names such as query")
        return found

    def serves(self, key: str, value: Any) -> bool:
        """Tell whether a key is served with its value; a change where it says something and is not."""
        served = key not in _NEVER_SERVED and (not self.row.checked or self.is_allowed(key, value))
        silent = peft_config.says_nothing(value) or value == _DEFAULTS.get(key)
        if not served and not (silent and key in peft_config.known(self.row)):
            unread = key in _NEVER_SERVED | _TRAINING or peft_config.says_nothing(value)
            self.changes.setdefault(key, UNREAD if unread else GONE)
        return served

    def is_allowed(self, key: str, value: Any) -> bool:
        """Tell whether a key of a method that is known in full is on its list."""
        if key == "peft_version":
            return isinstance(value, str) and _VERSION.fullmatch(value) is not None
        if key == "inference_mode":
            return isinstance(value, bool)
        if key == "modules_to_save":
            return self.names_saved(value)
        if key in _SELECTORS:
            return bool(self.row.forms)
        if key in self.row.aside:
            return key not in _TRAINING and rewriting.is_plain(value)
        if key not in peft_config.known(self.row):
            return False
        if key not in _JUDGED and not key.endswith("_pattern") and not rewriting.is_plain(value):
            message = f"is no number, word or switch ({documents.shorten(value)})"
            self.source.config_problem("type", key, message, "save the adapter again with PEFT's save_pretrained")
        return True

    def names_saved(self, value: Any) -> bool:
        """PEFT takes a list there. A text names one module, as this hub reads it, or is a pattern that names none."""
        if not isinstance(value, str) or not value:
            return True
        if not peft_config.is_pattern(value):
            self.config["modules_to_save"], self.changes["modules_to_save"] = [value], LISTED
        return False

    def change_base(self) -> None:
        """A folder on somebody's machine means nothing elsewhere."""
        name = self.config.get("base_model_name_or_path")
        if not peft_config.says_nothing(name) and rewriting.is_place(name):
            self.config["base_model_name_or_path"] = None
            self.changes["base_model_name_or_path"] = PLACE

    def change_start(self) -> None:
        """A prompt that started from a text or a file is in the tensors; PEFT would ask for the text's tokenizer again."""
        start = self.config.get("prompt_tuning_init")
        if start is not None and start not in _STARTS:
            del self.config["prompt_tuning_init"]
            self.changes["prompt_tuning_init"] = UNREAD

    # modules

    def change_targets(self) -> None:
        """Write out which modules are adapted, where the file says it by anything but literal names."""
        if self.row.type == _BY_ENDING:
            return
        if not self.says_it_otherwise():
            return
        modules = self.modules()
        if modules is None:
            message = "must be a list of names here: the tensors do not say which of them it means"
            self.source.config_problem("pattern", "target_modules", message, "write the names of the modules")
            return
        for key in _SELECTORS[1:]:
            if not peft_config.says_nothing(self.config.pop(key, None)):
                self.changes[key] = CHOSEN
        self.put("target_modules", modules, "modules")
        if "feedforward_modules" in self.row.keys:
            self.put("feedforward_modules", self.feedforward(modules), "feed-forward modules")

    def put(self, key: str, modules: list[str], what: str) -> None:
        """Set a key to a list of modules. PEFT renames the tensors of old files, and never a whole name in a list."""
        moved = [later for name in modules if (later := families.moved(name))]
        self.config[key] = [*modules, *moved]
        also = ", by their names since transformers 4.52, too" if moved else ""
        listed = f"the list of the {len(modules)} {what} that {PROVEN}{also}"
        self.changes[key] = listed if modules else f"none, {PROVEN} parameters alone"

    def says_it_otherwise(self) -> bool:
        """Tell whether a pattern, a rule of PEFT's or nothing at all says which modules are adapted. Nothing means PEFT's own
        choice for a family, beside parameters, too: it then adapts modules that the file has no tensors for, or does not load."""
        config = self.config
        texts = (config.get("exclude_modules"), config.get("feedforward_modules"))
        return (
            bool(peft_config.patterns(config))
            or not isinstance(config.get("target_modules"), list)
            or any(isinstance(text, str) and text != "" for text in texts)
        )

    def modules(self) -> list[str] | None:
        """The adapted modules by the names that the file has for them; None where they cannot be told from parameters
        that are adapted besides, from places that a table of tokens is tied to, or where a seed says it (UniLoRA)."""
        names = peft_config.names_of(self.source.config.get("target_parameters"))
        owners = frozenset(name.rpartition(".")[0] for name in names)
        proven = self.proven()
        if self.row.name == "trainable_tokens" and len(proven) > 1 and not peft_modules.TIED.isdisjoint(proven):
            said = self.source.config.get("target_modules")  # PEFT writes the table's whole name where it was told none
            return [said] if said in proven else None
        if not proven:
            return None
        if not all(owners):
            return [] if self.are_parameters(proven) else None
        return [name for name in proven if not peft_config.named(name.removesuffix(peft_keys.NESTED), owners)]

    def are_parameters(self, proven: Iterable[str]) -> bool:
        """Whether parameters that are named without their module are all that is adapted. Where nothing names modules PEFT
        writes down those of its own choice: a file that still says nothing has none, and its experts are called alike."""
        ends = {name.removesuffix(peft_keys.NESTED).rpartition(".")[2] for name in proven}
        return self.source.config.get("target_modules") is None and len(ends) == 1

    def proven(self) -> dict[str, tuple[int, ...]]:
        """Every module that has tensors of this method, and the shape of one of them."""
        found: dict[str, tuple[int, ...]] = {}
        for part in self.component.parts:
            if part.kind.partition(".")[0] != self.row.name:
                continue
            for role, key in part.tensors.items():
                place = peft_keys.split(key.removeprefix(peft_keys.PREFIX), self.row)
                if place and key.startswith(peft_keys.PREFIX):
                    found[place[0]] = part.shapes[role]
        return dict(sorted(found.items()))

    def feedforward(self, modules: list[str]) -> list[str]:
        """IA3 scales the input of these modules and the output of the others: literal names say which, or the shapes."""
        said = self.config.get("feedforward_modules")
        if isinstance(said, list):
            ends, lengths = set(said), {len(end) for end in said}
            return [name for name in modules if any(name[-length:] in ends for length in lengths)]  # as PEFT does
        shapes = self.proven()
        unclear = [name for name in modules if len(shapes[name]) != 2 or shapes[name] == (1, 1)]
        if unclear:
            message = f"must be a list of names: the tensors at {unclear[0]!r} do not say on which side they stand"
            self.source.config_problem("pattern", "feedforward_modules", message, "write the names of the modules")
        return [name for name in modules if shapes[name][0] == 1]

    def refuse_patterns(self) -> None:
        """Whatever was written above: no pattern is served. LLaMA-Adapter's, which PEFT would take for the end of a name, ends
        here; of any other nothing should be left."""
        if not self.row.checked or self.source.collector.problems:
            return
        for key, text in peft_config.patterns(self.config):
            message = f"{documents.shorten(text)!r} is a pattern, and cannot be written out as names here"
            self.source.config_problem("pattern", key, message, "write names such as query or self_attn")
