"""The configuration of AdapterHub's ReFT (`adapters.ReftConfig`: LoReFT, NoReFT, DiReFT)."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from hub.spec import components
from hub.spec.methods import adapterhub_places as places
from hub.spec.methods import bottleneck

_MAX_POSITIONS = 1 << 16
_UNSAID = (
    "adapters 1.3 writes the same configuration for NoReFT and DiReFT: read as NoReFT, as the library itself reads it back; for"
    ' DiReFT add "subtract_projection": false to its config'
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the configuration says. `layers`: the adapted ones, None for all. `prefix` and `suffix`: how many tokens from
    either end are adapted. `tied`: both ends by one unit. `subtract`: whether the projection of the token is taken off."""

    layers: frozenset[int] | None
    prefix: int
    suffix: int
    tied: bool
    orthogonal: bool
    subtract: bool
    activation: str | None

    container = "refts"

    def places(self, layers: Collection[int]) -> set[str]:
        """The modules that have to hold a unit."""
        chosen = set(layers) if self.layers is None else self.layers & set(layers)
        units = range(1 if self.tied else 2)
        return {f"{places.LAYER.format(layer)}reft_layer.units.{unit}" for layer in chosen for unit in units}

    @property
    def options(self) -> dict[str, Any]:
        """What the runtime is told beside the tensors."""
        return {"prefix": self.prefix, "suffix": self.suffix, "subtract": self.subtract}

    def check(self, source: components.Source, module: str, roles: Collection[str]) -> None:
        """An orthogonal projection is written otherwise than a free one."""
        if self.orthogonal == ("projection.weight" in roles):
            message = f"the projection at {module!r} is not one of config.orthogonality {str(self.orthogonal).lower()}"
            source.tensor_problem("method", message, "orthogonality must be what it was trained with")


def read(source: components.Source, raw: dict[str, Any]) -> Settings:
    """Judge the configuration; faults are collected, and a usable value stands in for each."""
    word = raw.get("non_linearity")
    orthogonal = places.flag(source, raw, "orthogonality", False)
    if not orthogonal and "subtract_projection" not in raw:
        source.notices.append(f"{source.config_path}: {_UNSAID}")
    return Settings(
        layers=_layers(source, raw.get("layers", "all")),
        prefix=places.number(source, raw, "prefix_positions", 3, _MAX_POSITIONS),
        suffix=places.number(source, raw, "suffix_positions", 0, _MAX_POSITIONS),
        tied=places.flag(source, raw, "tied_weights", False),
        orthogonal=orthogonal,
        subtract=places.flag(source, raw, "subtract_projection", True),
        activation=None if word is None else places.activation(source, word, bottleneck.ACTIVATIONS),
    )


def _layers(source: components.Source, value: Any) -> frozenset[int] | None:
    if value == "all":
        return None
    if isinstance(value, list) and value and all(type(item) is int and item >= 0 for item in value):
        return frozenset(value)
    source.config_problem("type", "config.layers", 'must be "all", or a list of layer numbers')
    return None
