"""The methods this hub knows, by explicit tables; the module that reads a library's files is imported when one is met.

A new method of PEFT is a row in `peft_table`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

from hub.spec import components, documents, errors
from hub.spec.methods import peft_table

Reader = Callable[[components.Source], components.Component | None]

# AdapterHub's config.architecture (absent: bottleneck)
ARCHITECTURES: dict[str, str] = {
    "bottleneck": "bottleneck", "lora": "AdapterHub's LoRA", "mtl_lora": "AdapterHub's MTL-LoRA",
    "prefix_tuning": "AdapterHub's prefix tuning", "prompt_tuning": "AdapterHub's prompt tuning",
    "reft": "AdapterHub's ReFT", "union": "AdapterHub's unions (MAM, UniPELT)",
}  # fmt: skip
_BY_NAME = {"houlsby", "double_seq_bn", "pfeiffer", "seq_bn"}


def detect(config: dict[str, Any], where: str = "adapter_config.json") -> tuple[str, Reader]:
    """Return the library that wrote a parsed adapter_config.json, and the function that reads its files.

    Raises SpecError that names an unknown method and lists the known ones.
    """
    if "peft_type" in config:
        _known(config["peft_type"], peft_table.TABLE, f"{where}: peft_type")
        return "peft", _reader("hub.spec.methods.peft")
    if isinstance(config.get("config"), dict | str) and ({"model_type", "model_class", "hidden_size"} & set(config)):
        name = _known(_architecture(config["config"]), ARCHITECTURES, f"{where}: config.architecture")
        if name != "bottleneck":
            message = f"this hub does not run {ARCHITECTURES[name]} yet"
            raise errors.SpecError.of("method.unsupported", where, message, "it runs bottleneck adapters", "config")
        return "adapters", _reader("hub.spec.methods.bottleneck")
    message = "has neither PEFT's peft_type nor AdapterHub's config: this hub cannot tell which method it is"
    hint = f"save the adapter again with PEFT or adapters; peft_type is one of {', '.join(peft_table.TABLE)}"
    raise errors.SpecError.of("config.no_peft_type", where, message, hint, "config")


def _reader(module: str) -> Reader:
    read: Reader = importlib.import_module(module).read
    return read


def _known(value: Any, known: Iterable[str], where: str) -> str:
    if not isinstance(value, str) or value not in known:
        message = f"{documents.shorten(value)!r} is no method this hub knows"
        raise errors.SpecError.of("method.unknown", where, message, f"known are {', '.join(known)}", "config")
    return value


def _architecture(config: dict[str, Any] | str) -> Any:
    if isinstance(config, str):
        return "bottleneck" if config in _BY_NAME else config
    return config.get("architecture") or "bottleneck"
