"""The methods this hub knows, by an explicit table; the module of a method is imported when one is met.

A method without a module is known by name and refused truthfully. A new one is a row here and a module with
`read(source) -> Component | None`.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

from hub.spec import components, documents, errors


@dataclasses.dataclass(frozen=True)
class Method:
    """A way of adapting. `library` wrote the files; `module` reads them, None where this hub does not run it yet."""

    name: str
    title: str
    library: str
    module: str | None = None

    def reader(self) -> Callable[[components.Source], components.Component | None]:
        """Return the function that reads a component of this method."""
        assert self.module is not None
        read: Callable[[components.Source], components.Component | None] = importlib.import_module(self.module).read
        return read


METHODS: dict[str, Method] = {
    "lora": Method("lora", "LoRA", "peft", "hub.spec.methods.lora"),
    "bottleneck": Method(
        "bottleneck", "bottleneck adapter (Houlsby, Pfeiffer)", "adapters", "hub.spec.methods.bottleneck"
    ),
}
# PEFT's peft_type -> what it is called; those that are run are in METHODS
PEFT_TYPES: dict[str, str] = {
    "LORA": "lora", "ADALORA": "AdaLoRA", "ADAMSS": "AdaMSS", "ADAPTION_PROMPT": "LLaMA-Adapter", "BEFT": "BEFT",
    "BOFT": "BOFT", "BONE": "Bone", "C3A": "C3A", "CARTRIDGE": "Cartridge", "CPT": "CPT", "DEFT": "DEFT",
    "DELORA": "DeLoRA", "FOURIERFT": "FourierFT", "FROD": "FRoD", "GLORA": "GLoRA", "GRALORA": "GraLoRA",
    "HIRA": "HiRA", "HRA": "HRA", "IA3": "IA3", "LILY": "Lily", "LN_TUNING": "LayerNorm tuning", "LOHA": "LoHa",
    "LOKR": "LoKr", "MISS": "MiSS", "MULTITASK_PROMPT_TUNING": "multitask prompt tuning", "OFT": "OFT", "OSF": "OSF",
    "PEANUT": "PEANuT", "POLY": "Poly", "PREFIX_TUNING": "prefix tuning", "PROMPT_TUNING": "prompt tuning",
    "PSOFT": "PSOFT", "PVERA": "PVeRA", "P_TUNING": "P-tuning", "RANDLORA": "RandLoRA", "ROAD": "RoAd",
    "SHADOW": "Shadow", "SHIRA": "SHiRA", "SUPERTUNING": "SuperTuning", "TINYLORA": "TinyLoRA",
    "TRAINABLE_TOKENS": "trainable tokens", "UNILORA": "UniLoRA", "VBLORA": "VB-LoRA", "VERA": "VeRA",
    "WAVEFT": "WaveFT", "XLORA": "X-LoRA",
}  # fmt: skip
# AdapterHub's config.architecture (absent: bottleneck)
ARCHITECTURES: dict[str, str] = {
    "bottleneck": "bottleneck", "lora": "AdapterHub's LoRA", "mtl_lora": "AdapterHub's MTL-LoRA",
    "prefix_tuning": "AdapterHub's prefix tuning", "prompt_tuning": "AdapterHub's prompt tuning",
    "reft": "AdapterHub's ReFT", "union": "AdapterHub's unions (MAM, UniPELT)",
}  # fmt: skip
_BY_NAME = {"houlsby", "double_seq_bn", "pfeiffer", "seq_bn"}


def detect(config: dict[str, Any], where: str = "adapter_config.json") -> Method:
    """Return the method of a parsed adapter_config.json. Raises SpecError that names an unknown method and lists
    the known ones, or says that a known one is not run yet."""
    if "peft_type" in config:
        return _known(config["peft_type"], PEFT_TYPES, f"{where}: peft_type")
    if isinstance(config.get("config"), dict | str) and ({"model_type", "model_class", "hidden_size"} & set(config)):
        return _known(_architecture(config["config"]), ARCHITECTURES, f"{where}: config.architecture")
    message = "has neither PEFT's peft_type nor AdapterHub's config: this hub cannot tell which method it is"
    hint = f"save the adapter again with PEFT or adapters; peft_type is one of {', '.join(PEFT_TYPES)}"
    raise errors.SpecError.of("config.no_peft_type", where, message, hint, "config")


def _known(value: Any, known: dict[str, str], where: str) -> Method:
    name = known.get(value) if isinstance(value, str) else None
    runs = " and ".join(method.title for method in METHODS.values())
    if name is None:
        message = f"{documents.shorten(value)!r} is no method this hub knows"
        raise errors.SpecError.of("method.unknown", where, message, f"known are {', '.join(known)}", "config")
    if name not in METHODS:
        message = f"this hub does not run {name} yet"
        raise errors.SpecError.of("method.unsupported", where, message, f"it runs {runs}", "config")
    return METHODS[name]


def _architecture(config: dict[str, Any] | str) -> Any:
    if isinstance(config, str):
        return "bottleneck" if config in _BY_NAME else config
    return config.get("architecture") or "bottleneck"
