"""Where AdapterHub's adapters stand in an encoder built as BERT is, and how their settings are judged."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from hub.spec import components, documents

LAYER = "encoder.layer.{}."
"""How the modules of a layer begin."""


class Settings(Protocol):
    """What the configuration of one method says."""

    @property
    def container(self) -> str:
        """Whose tensors it speaks of."""

    def places(self, layers: Collection[int]) -> set[str]:
        """The modules that have to hold an adapter."""


def check_complete(source: components.Source, settings: Collection[Settings], found: Collection[str]) -> None:
    """Every layer that the configuration names has its adapters, and no other. `found`: modules with tensors of theirs."""
    if not found:
        return
    numbered = {int(number) for module in found for number in module.split(".") if number.isdecimal()}
    layers = numbered if source.base is None else source.base.layers
    wanted = set().union(*(item.places(layers) for item in settings))
    found = set(found)
    if missing := sorted(wanted - found):
        more = f" and {len(missing) - 1} more blocks" if len(missing) > 1 else ""
        message = f"the adapter at {missing[0]!r}{more} is missing: the configuration names it"
        source.tensor_problem("missing", message, "a missing tensor would be made up at random")
    if extra := sorted(found - wanted):
        more = f" and {len(extra) - 1} more blocks" if len(extra) > 1 else ""
        message = f"there are tensors for {extra[0]!r}{more}, where neither configuration nor base has an adapter"
        source.tensor_problem("untargeted", message, "the places that the configuration names must fit the tensors")


def flag(source: components.Source, raw: dict[str, Any], key: str, default: bool) -> bool:
    """A switch; where it is off by default, null is off too."""
    value = raw.get(key, default)
    if value is None and not default:
        return False
    if not isinstance(value, bool):
        source.config_problem("type", f"config.{key}", f"must be true or false, not {documents.kind(value)}")
        return default
    return value


def number(source: components.Source, raw: dict[str, Any], key: str, default: int, most: int, least: int = 0) -> int:
    """A whole number within bounds."""
    value = raw.get(key, default)
    if type(value) is not int or not least <= value <= most:
        message = f"{documents.shorten(value)} is no number this hub takes ({least} to {most})"
        source.config_problem("value", f"config.{key}", message)
        return default
    return value


def leave_out(source: components.Source, raw: dict[str, Any]) -> frozenset[int]:
    """The numbers of the layers that have no adapter."""
    value = raw.get("leave_out")
    numbers = [] if value is None else value
    if not isinstance(numbers, list) or any(type(item) is not int or item < 0 for item in numbers):
        source.config_problem("type", "config.leave_out", "must be a list of layer numbers")
        return frozenset()
    return frozenset(numbers)


def activation(source: components.Source, value: Any, known: Collection[str]) -> str | None:
    """The name of a non-linearity, as adapters reads it; None where it is none of those that are known."""
    name = value.lower() if isinstance(value, str) else value
    if isinstance(name, str) and name in known:
        return name
    message = f"{documents.shorten(name)!r} is no activation this hub runs"
    source.config_problem("activation", "config.non_linearity", message, f"known are {', '.join(known)}")
    return None
