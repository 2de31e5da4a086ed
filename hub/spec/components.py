"""One adapter of a snapshot, as it will be attached: parts on modules, and perhaps a head.

A component is rebuilt from an allow-list; nothing of the user's configuration reaches the runtime by any other way.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from hub.spec import base_model, errors, tasks
from hub.spec.tensors import Tensor

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Part:
    """What is added at one module of the backbone, or laid over it.

    `module` is a canonical path: the adapted module, or the output block of a layer whose sublayer is adapted
    (`bottleneck`); empty for what belongs to no module (prompts, shared tensors). `kind` is the method's name, with the kind
    of module after a dot where that is no linear layer (`lora.embedding`); `saved`, `bias` and `copy` are overlays: tensors
    that stand in for the base model's own, or repeat them. `tensors` maps a role to its key in the weights file. `needs` says what the base model
    has to have: module -> sizes (`out`, `in`, ...; see `base_model.offers`). `options`: switches, numbers and words that the
    configuration gives for this part, each judged.
    """

    module: str
    kind: str
    tensors: dict[str, str]
    scale: float = 1.0
    activation: str | None = None
    shapes: dict[str, Shape] = dataclasses.field(default_factory=dict)
    needs: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Part:
        """Read what `Component.to_json` wrote."""
        return cls(**{**_known(cls, value), "shapes": _shapes(value["shapes"])})


@dataclasses.dataclass(frozen=True)
class Head:
    """The layer that turns hidden states into logits.

    `linear` is weight [C, d], bias [C] (a decoder's has none); `mlp` is dense_weight [d, d], dense_bias [d], `activation`,
    out_weight [C, d], out_bias [C]. `pooling` says what it reads: the pooler's output, the first token, in a decoder the
    last one, or every token by itself. pooler_weight [d, d] and pooler_bias [d] are there when the adapter brings a pooler of its own. `task` is the ML task that it answers.
    `token_types`: whether it was trained on what tells a pair's second text from its first.
    """

    kind: Literal["linear", "mlp"]
    pooling: Literal["pooler", "cls", "last", "tokens"]
    weights: str
    tensors: dict[str, str]
    num_labels: int
    labels: tuple[str, ...] | None
    shapes: dict[str, Shape] = dataclasses.field(default_factory=dict)
    task: str = tasks.TEXT_CLASSIFICATION.name
    activation: str = "tanh"
    token_types: bool = True

    @property
    def needs(self) -> dict[str, dict[str, int]]:
        """What a base model has to have for this head to fit."""
        width = self.shapes.get("weight") or self.shapes.get("out_weight") or ()
        return {"": {"hidden": width[1]}} if len(width) == 2 else {}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Head:
        """Read what `Component.to_json` wrote."""
        labels = value["labels"]
        return cls(
            **{
                **_known(cls, value),
                "labels": None if labels is None else tuple(labels),
                "shapes": _shapes(value["shapes"]),
            }
        )


@dataclasses.dataclass(frozen=True)
class Component:
    """One adapter in a snapshot.

    `parameters` counts what was trained in the parts, `head_parameters` the head, `saved_parameters` the overlays (whole
    modules and biases); `nbytes` are the bytes of each of the three in the files, and those `copied` from the base model. `unrun`: why nobody here can run it, empty
    where somebody can. `by_library`: why only the library that wrote it can, empty where this hub's own runtime does. `checked`: whether shapes were held against equations. `generation`: the library whose new module names the
    file uses, empty where they are the published files'. `aside`: tensors that are copies of others and mean nothing. `fused`: the adapters
    that a fusion attends to, each with weights of its own.
    """

    folder: str
    library: str
    method: str
    variant: str
    config: dict[str, Any]
    weights: str
    parts: tuple[Part, ...]
    head: Head | None
    rank: int | None
    parameters: int
    head_parameters: int
    saved_parameters: int = 0
    nbytes: dict[str, int] = dataclasses.field(default_factory=dict)
    unrun: tuple[str, ...] = ()
    by_library: tuple[str, ...] = ()
    checked: bool = True
    generation: str = ""
    aside: tuple[str, ...] = ()
    fused: tuple[Component, ...] = ()

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """Its own parts, and those of the adapters that it fuses."""
        return (*self.parts, *(part for component in self.fused for part in component.parts))

    @property
    def needs(self) -> dict[str, dict[str, int]]:
        """What a base model has to have for every part and the head to fit: module -> sizes."""
        found: dict[str, dict[str, int]] = {}
        for needs in (*(part.needs for part in self.all_parts), self.head.needs if self.head else {}):
            for module, sizes in needs.items():
                found.setdefault(module, {}).update(sizes)
        return found

    @property
    def task(self) -> str | None:
        """The ML task that the head proves, whatever the files say; None where there is no head."""
        return None if self.head is None else self.head.task

    @property
    def reads_pooler(self) -> bool:
        """Whether its answers depend on the base model's own pooler: another one gives other answers."""
        head = self.head
        own = head is not None and (head.pooling != "pooler" or "pooler_weight" in head.tensors)
        return not own or any(part.module.startswith("pooler.") for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """The component as a plain JSON object; `from_json` reads it back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Component:
        """Read what `to_json` wrote, in this edition or a later one: keys that are not known here are ignored."""
        head = value["head"]
        return cls(
            **{
                **_known(cls, value),
                "parts": tuple(Part.from_json(part) for part in value["parts"]),
                "unrun": tuple(value.get("unrun", ())),
                "by_library": tuple(value.get("by_library", ())),
                "aside": tuple(value.get("aside", ())),
                "fused": tuple(cls.from_json(item) for item in value.get("fused", ())),
                "head": None if head is None else Head.from_json(head),
            }
        )


@dataclasses.dataclass
class Source:
    """What a method reads a component from. Faults go to `collector`, what was set aside to `notices`."""

    folder: str
    config: dict[str, Any]
    config_path: str
    weights: str
    tensors: tuple[Tensor, ...]
    collector: errors.Collector
    base: base_model.BaseModel | None = None
    labels: tuple[str, ...] | None = None
    head_config: dict[str, Any] | None = None
    head_config_path: str = ""
    head_weights: str = ""
    head_tensors: tuple[Tensor, ...] = ()
    notices: list[str] = dataclasses.field(default_factory=list)
    unrun: list[errors.Problem] = dataclasses.field(default_factory=list)
    by_library: list[str] = dataclasses.field(default_factory=list)

    @property
    def model_type(self) -> str | None:
        """The base model's type, None where no base is known."""
        return self.base.model_type if self.base else None

    def config_problem(self, code: str, key: str, message: str, hint: str = "") -> None:
        """Note a fault of a key in the configuration."""
        self.collector.problem(f"config.{code}", f"{self.config_path}: {key}", message, hint, "config")

    def not_run(self, code: str, where: str, message: str, hint: str = "", check: str = "config") -> None:
        """Note why this hub cannot run an adapter that it understands: no fault of the files."""
        problem = errors.Problem(code, where, message, hint, check)
        if problem not in self.unrun:
            self.unrun.append(problem)

    def leave_to_library(self, what: str) -> None:
        """Note what only the library that wrote an adapter runs: a worker that has it lets it run there."""
        if what not in self.by_library:
            self.by_library.append(what)

    def tensor_problem(
        self, code: str, message: str, hint: str = "", *, check: str = "shapes", where: str = ""
    ) -> None:
        """Note a fault of the weights; the message names the tensor."""
        self.collector.problem(f"tensors.{code}", where or self.weights, message, hint, check)


def refuse_by_reason(source: Source, keys: dict[tuple[str, str, str], list[str]], where: str = "") -> None:
    """Note one problem per (code, reason, hint), naming the first of the tensors and how many there are."""
    for (code, reason, hint), names in keys.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        source.tensor_problem(code, f"tensor {names[0]!r}{more}: {reason}", hint, where=where)


def count(shapes: dict[str, Shape]) -> int:
    """Return the number of parameters in these shapes."""
    total = 0
    for shape in shapes.values():
        size = 1
        for extent in shape:
            size *= extent
        total += size
    return total


def shown(shape: Shape) -> str:
    """Return a shape as a person reads it: [8, 384]."""
    return str(list(shape))


def _known(cls: type[Any], value: dict[str, Any]) -> dict[str, Any]:
    return {field.name: value[field.name] for field in dataclasses.fields(cls) if field.name in value}


def _shapes(value: dict[str, Any]) -> dict[str, Shape]:
    return {role: tuple(shape) for role, shape in value.items()}
