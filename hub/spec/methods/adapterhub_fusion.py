"""AdapterHub's fusion (`adapters.AdapterFusionConfig`), and how it is put together with the adapters that it fuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from hub.spec import components, documents, errors
from hub.spec.components import Component
from hub.spec.methods import adapterhub_places as places

_DEFAULTS = {"query_before_ln": False, "residual_before": False, "value_before_softmax": True}
_SETUP = "push the folder that save_adapter_setup wrote: it holds the fused adapters too"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the configuration says: where the query is taken, and when residual and value matrix come in."""

    names: tuple[str, ...]
    options: dict[str, Any]

    container = "adapter_fusion_layer"

    def places(self, layers: Collection[int]) -> set[str]:
        """Nobody knows before the adapters that it fuses: see `together`."""
        return set()

    def check(self, source: components.Source, module: str, roles: Collection[str]) -> None:
        """Nothing that a form does not say."""


def read(source: components.Source, raw: dict[str, Any]) -> Settings:
    """Judge the configuration; faults are collected, and a usable value stands in for each."""
    names = source.config.get("adapter_names")
    if isinstance(names, str):
        names = names.split(",")
    if not isinstance(names, list) or len(names) < 2 or any(not isinstance(name, str) for name in names):
        message = f"must name the fused adapters, not {documents.shorten(names)}"
        source.config_problem("type", "adapter_names", message)
        names = []
    if raw.get("temperature"):
        where = f"{source.config_path}: config.temperature"
        message = "this hub does not run a fusion with a temperature: in adapters 1.3 it changes with every call"
        source.not_run("config.unsupported", where, message)
    for key in ("query", "key"):
        if not places.flag(source, raw, key, True):
            message = f"this hub does not run a fusion without {key} yet"
            source.not_run("config.unsupported", f"{source.config_path}: config.{key}", message)
    options = {key: places.flag(source, raw, key, default) for key, default in _DEFAULTS.items()}
    return Settings(tuple(names), options)


def together(fusion: Component, found: Mapping[str, Component], where: str) -> tuple[Component, list[errors.Problem]]:
    """Return a fusion with the adapters that it fuses, of those in the snapshot by name; and why it cannot run."""
    names = fusion.config.get("adapter_names", [])
    missing = [name for name in names if name not in found]
    if missing or fusion.unrun:
        message = f"this hub cannot run this fusion: the adapter {', '.join(map(repr, missing))} is not in the snapshot"
        problems = [errors.Problem("method.unsupported", where, message, _SETUP, "config")] if missing else []
        return _cannot(fusion, problems), problems
    fused = tuple(found[name] for name in names)
    problems = [_not_run(item, name, where) for item, name in zip(fused, names, strict=True) if not _is_plain(item)]
    here = {part.module for part in fusion.parts}
    for item, name in zip(fused, names, strict=True):
        there = {part.module for part in item.parts if part.kind == "bottleneck"}
        if _is_plain(item) and there != here:
            message = f"the fusion and the adapter {name!r} do not stand at the same places: {sorted(there ^ here)[0]}"
            problems.append(errors.Problem("tensors.missing", fusion.weights, message, _SETUP, "shapes"))
    return dataclasses.replace(_cannot(fusion, problems), fused=fused), problems


def _is_plain(item: Component) -> bool:
    return item.method == "bottleneck" and not item.unrun and not any(part.kind == "invertible" for part in item.parts)


def _not_run(item: Component, name: str, where: str) -> errors.Problem:
    message = (
        f"this hub does not run a fusion of {item.variant} ({name!r}): it fuses bottlenecks without invertible ones"
    )
    return errors.Problem("method.unsupported", where, message, "", "config")


def _cannot(fusion: Component, problems: list[errors.Problem]) -> Component:
    return dataclasses.replace(fusion, unrun=(*fusion.unrun, *map(str, problems)))
