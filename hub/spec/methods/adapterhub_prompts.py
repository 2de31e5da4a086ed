"""The configurations of AdapterHub's prefix tuning and prompt tuning (`adapters.PrefixTuningConfig`, `PromptTuningConfig`), and how
the tensors of a prefix are brought together: its own, a gate at each layer, and the copies that the library writes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from typing import Any

from hub.spec import components, documents, tensors
from hub.spec.methods import adapterhub_places as places
from hub.spec.methods import bottleneck

PREFIX, PROMPT, GATE = "adapterhub.prefix", "adapterhub.prompt", "adapterhub.prefix_gate"
_OWN = ("prefix_tuning.self_prefix", "prompt_tuning")
"""The modules that the two have in an encoder."""
_COMBINE = ("prefix", "prefix_after_bos")


@dataclasses.dataclass(frozen=True)
class Prefix:
    """What a prefix's configuration says. `left_out`: layers without one. `flat`: no network between. `gated`: a gate at each
    layer, one for keys and values (`shared`) or one for each."""

    left_out: frozenset[int]
    flat: bool
    activation: str
    gated: bool
    shared: bool

    container = "prefix_tunings"
    kind = PREFIX

    def places(self, layers: Collection[int]) -> set[str]:
        """The module that has to hold it."""
        return {_OWN[0]}

    @property
    def options(self) -> dict[str, Any]:
        """What the runtime is told beside the tensors."""
        return {"left_out": sorted(self.left_out), "gates": 0 if not self.gated else 1 if self.shared else 2}

    def check(self, source: components.Source, module: str, roles: Collection[str]) -> None:
        """A flat prefix is one tensor, another a table and a network."""
        if self.flat != ("control_trans" in roles):
            message = f"the tensors of the prefix are not those of config.flat {str(self.flat).lower()}"
            source.tensor_problem("method", message, "flat must be what it was trained with")


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What a prompt's configuration says: whether its rows stand before the text, or behind the text's first token."""

    combine: str

    container = "prompt_tunings"
    kind = PROMPT
    activation = None

    def places(self, layers: Collection[int]) -> set[str]:
        """The module that has to hold it."""
        return {_OWN[1]}

    @property
    def options(self) -> dict[str, Any]:
        """What the runtime is told beside the tensors."""
        return {"behind": 1 if self.combine == "prefix_after_bos" else 0}

    def check(self, source: components.Source, module: str, roles: Collection[str]) -> None:
        """There is one form only."""


def read_prefix(source: components.Source, raw: dict[str, Any]) -> Prefix:
    """Judge the configuration; faults are collected, and a usable value stands in for each."""
    flat = places.flag(source, raw, "flat", False)
    return Prefix(
        left_out=places.leave_out(source, raw),
        flat=flat,
        activation=places.activation(source, raw.get("non_linearity", "tanh"), bottleneck.ACTIVATIONS) or "tanh",
        gated=places.flag(source, raw, "use_gating", False),
        shared=places.flag(source, raw, "shared_gating", True),
    )


def read_prompt(source: components.Source, raw: dict[str, Any]) -> Prompt:
    """Judge the configuration; faults are collected, and a usable value stands in for each."""
    combine = raw.get("combine", "prefix")
    if combine not in _COMBINE:
        message = f"{documents.shorten(combine)!r} is no way to put a prompt into a text"
        source.config_problem("value", "config.combine", message, f"known are {', '.join(_COMBINE)}")
        combine = "prefix"
    return Prompt(combine)


def joined(parts: list[components.Part], copies: Iterable[tensors.Tensor]) -> list[components.Part]:
    """Return parts with a prefix, its gates and its copies in one: `gate.{module}.{role}`, and `copy.{number}.{role}`."""
    prefix = next((part for part in parts if part.kind == PREFIX), None)
    if prefix is None:
        return parts
    found = dict(prefix.tensors)
    for part in parts:
        if part.kind == GATE:
            found |= {f"gate.{part.module}.{role}": key for role, key in part.tensors.items()}
    ends = {role: key.partition(".prefix_tunings.")[2] for role, key in prefix.tensors.items()}
    for number, copy in enumerate(copies):
        same = [role for role, end in ends.items() if copy.name.endswith(f".pool.prefix_tunings.{end}")]
        found |= {f"copy.{number}.{role}": copy.name for role in same}
    rest = [part for part in parts if part.kind not in (PREFIX, GATE)]
    return [*rest, dataclasses.replace(prefix, tensors=found)]
