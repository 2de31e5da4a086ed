"""The methods this hub knows, by explicit tables; the module that reads a library's files is imported when one is met.

A new method is a row in `peft_table` or `adapterhub_table`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

from hub.spec import components, documents, errors
from hub.spec.methods import adapterhub_rebuilt, adapterhub_table, bottleneck, peft_rebuilt, peft_table
from hub.spec.methods.rewriting import Rewritten

Reader = Callable[[components.Source], components.Component | None]
READERS = ("hub.spec.methods.peft", "hub.spec.methods.adapterhub")
"""The modules that `detect` imports."""


def detect(config: dict[str, Any], where: str = "adapter_config.json") -> tuple[str, Reader]:
    """Return the library that wrote a parsed adapter_config.json, and the function that reads its files.

    Raises SpecError that names an unknown method and lists the known ones.
    """
    if "peft_type" in config:
        _known(config["peft_type"], peft_table.TABLE, f"{where}: peft_type")
        return "peft", _reader(READERS[0])
    if isinstance(config.get("config"), dict | str) and ({"model_type", "model_class", "hidden_size"} & set(config)):
        if not where.endswith("adapter_fusion_config.json"):
            _known(_architecture(config["config"]), adapterhub_table.ARCHITECTURES, f"{where}: config.architecture")
        return "adapters", _reader(READERS[1])
    message = "has neither PEFT's peft_type nor AdapterHub's config: this hub cannot tell which method it is"
    hint = f"save the adapter again with PEFT or adapters; peft_type is one of {', '.join(peft_table.TABLE)}"
    raise errors.SpecError.of("config.no_peft_type", where, message, hint, "config")


def rebuilt(source: components.Source, component: components.Component) -> tuple[Rewritten, ...]:
    """Return the configuration files of a component that a hub serves otherwise than they were sent.

    It depends on the folder alone, never on the base model that it was read with. Faults go to the source's collector.
    """
    if component.library == "adapters":
        return adapterhub_rebuilt.rebuilt(source)
    found = peft_rebuilt.rebuilt(source, component)
    return (found,) if found else ()


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
        return "bottleneck" if config in bottleneck.NAMED else config
    return config.get("architecture") or "bottleneck"
