"""What a method writes into a file: tensors with shape equations, and the keys of its configuration that matter.

A row of the tables says `lora_A.weight: r IN`. The symbols of the module that is adapted are upper case:

    IN, OUT        a linear layer's or convolution's features       *K, *1   a convolution's kernel, or ones for each of its axes
    ROWS, WIDTH    an embedding's                                   SIZE     a norm's

All others are the method's own (`r`, `n`), given by the configuration or by the first tensor that has them. An equation may
reckon: `OUT/b` (exactly), `ceil(IN,r)`, `min(IN,OUT)`, and `side(n)`, where n = side*(side-1)/2.

A role with `{}` in it stands for several tensors: one a number from 0 on, or one a name. A `block` is a module that holds others.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import math
import operator
import re
from collections.abc import Callable, Collection, Mapping
from typing import Literal

Kind = Literal["linear", "conv", "embedding", "norm", "experts", "block", "any"]
Shape = tuple[int, ...]
Symbols = dict[str, int]
_NUMBERED = re.compile(r"(?<=\.)\d{1,4}(?=\.|$)")
AXES: dict[str, tuple[str, ...]] = {
    "linear": ("OUT", "IN"),
    "conv": ("OUT", "IN", "*K"),
    "embedding": ("ROWS", "WIDTH"),
    "norm": ("SIZE",),
    "experts": ("EXPERTS", "OUT", "IN"),
}
"""What the axes of a module's own weight are called, by its kind."""
MAX_NUMBERED = 4096
"""Tensors of one role that a file may number."""


class Inexact(ArithmeticError):
    """A division that leaves a rest: no tensor has such a size."""


def _exact(left: int, right: int) -> int:
    if right == 0 or left % right:
        raise Inexact
    return left // right


def _ceil(top: int, bottom: int) -> int:
    if bottom == 0:
        raise Inexact
    return -(-top // bottom)


def _side(count: int) -> int:
    """The side of a square whose half above the diagonal has so many entries."""
    side = (1 + math.isqrt(1 + 8 * count)) // 2
    if side * (side - 1) // 2 != count:
        raise Inexact
    return side


_OPERATORS: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: _exact
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., int]] = {"min": min, "max": max, "ceil": _ceil, "side": _side}


@functools.cache
def _tree(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def value_of(text: str, symbols: Mapping[str, int]) -> int | None:
    """Return what an equation gives; None where a symbol is not known or a division leaves a rest."""
    try:
        return _value(_tree(text), symbols)
    except (KeyError, Inexact):
        return None


def _value(node: ast.expr, symbols: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name):
            return symbols[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_value(left, symbols), _value(right, symbols))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _FUNCTIONS[name](*(_value(argument, symbols) for argument in arguments))
    raise ValueError(f"no equation of a shape: {ast.unparse(node)}")  # a row of ours is wrong


@dataclasses.dataclass(frozen=True)
class Slot:
    """One tensor at a module: the end of its key, an equation per axis (None: any shape).

    `fixed` is stored, but not trained, and not counted; `integer` holds positions, not numbers.
    """

    role: str
    axes: tuple[str, ...] | None
    optional: bool = False
    fixed: bool = False
    integer: bool = False

    @classmethod
    def parse(cls, row: str) -> Slot:
        """Read `[?][!][#]role: axis axis`: `?` optional, `!` fixed, `#` integer; `...` for any shape."""
        head, _, tail = row.partition(":")
        role = head.lstrip("?!#")
        marks = head[: len(head) - len(role)]
        axes = None if tail.strip() == "..." else tuple(tail.split())
        return cls(role, axes, "?" in marks, "!" in marks, "#" in marks)

    @functools.lru_cache(4096)  # noqa: B019  # rows are few and live for ever
    def expand(self, rank: int) -> tuple[str, ...] | None:
        """Return one equation per axis for a tensor of this rank; None where it cannot have that rank."""
        axes = self.axes or ()
        stars = rank - sum(not axis.startswith("*") for axis in axes)
        if not any(axis.startswith("*") for axis in axes):
            return axes if len(axes) == rank else None
        if stars < 0:
            return None
        spread: list[str] = []
        for axis in axes:
            spread += (
                [f"{axis[1:]}{at}" if axis == "*K" else axis[1:] for at in range(stars)] if axis[0] == "*" else [axis]
            )
        return tuple(spread)

    @property
    def shown(self) -> str:
        """The equations as a person reads them: [r, in]."""
        return f"[{', '.join(axis.lower() for axis in self.axes or ())}]"


def numbered(role: str) -> str:
    """Return a role with `{}` for its number: how the rows write it."""
    return _NUMBERED.sub("{}", role, count=1)


def spelled(slots: tuple[Slot, ...], found: Collection[str]) -> tuple[Slot, ...]:
    """Return slots with every `{}` written out: by the names that are found, or by all numbers up to the highest one."""
    names: list[str] = []
    for slot in slots:
        if "{}" in slot.role:
            begin, end = slot.role.split("{}")
            names += [
                role[len(begin) : len(role) - len(end)]
                for role in found
                if len(role) > len(begin) + len(end) and role.startswith(begin) and role.endswith(end)
            ]
    if not names and not any("{}" in slot.role for slot in slots):
        return slots
    if all(name.isdecimal() for name in names):
        names = [str(number) for number in range(min(max(map(int, names), default=-1) + 1, MAX_NUMBERED))]
    written = dict.fromkeys(names)
    return tuple(
        dataclasses.replace(slot, role=slot.role.replace("{}", name)) if name else slot
        for slot in slots
        for name in (written if "{}" in slot.role else ("",))
    )


@dataclasses.dataclass(frozen=True)
class Form:
    """The tensors that stand together at a module of one kind; with `when`, only where that key is switched on."""

    kind: Kind
    slots: tuple[Slot, ...]
    when: str = ""

    @functools.cached_property
    def required(self) -> frozenset[str]:
        """The roles that have to be there."""
        return frozenset(slot.role for slot in self.slots if not slot.optional)

    @functools.cached_property
    def roles(self) -> dict[str, Slot]:
        """Every slot by its role."""
        return {slot.role: slot for slot in self.slots}

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """Every symbol of its equations."""
        axes = [axis for slot in self.slots for axis in slot.axes or () if axis[0] != "*"]
        return frozenset().union(*map(names_in, axes)) if axes else frozenset()


def form(kind: Kind, *rows: str, when: str = "") -> Form:
    """Return a form from its rows."""
    return Form(kind, tuple(Slot.parse(row) for row in rows), when)


@dataclasses.dataclass(frozen=True)
class Knob:
    """A number in the configuration that says what the tensors are. `pattern`: the key with other values by module name;
    `loose`: training may have changed it, so that the tensors' value counts."""

    symbol: str
    key: str
    default: int | None = None
    pattern: str = ""
    loose: bool = False


@dataclasses.dataclass(frozen=True)
class Layout:
    """One method of a library: what its files hold and what its configuration says.

    `forms`: the tensors at a module, alternatives in the order in which they are tried. `shared`: tensors that stand once in
    the file. `prompts`: tensors of a method that adapts no module. `keys`: further keys of the configuration that say something
    to a reader; `aside`: those that matter in training only. `mark`: how the roles of a method begin whose tensors are named,
    but not checked.
    """

    type: str
    name: str
    title: str
    forms: tuple[Form, ...] = ()
    shared: tuple[Slot, ...] = ()
    prompts: tuple[Slot, ...] = ()
    knobs: tuple[Knob, ...] = ()
    keys: frozenset[str] = frozenset()
    aside: frozenset[str] = frozenset()
    mark: str = ""
    refused: str = ""

    @property
    def checked(self) -> bool:
        """Whether shapes are checked; the exotic rest is only named."""
        return bool(self.forms or self.prompts)

    @functools.cached_property
    def integers(self) -> frozenset[str]:
        """The roles that hold positions."""
        return frozenset(slot.role for item in self.forms for slot in item.slots if slot.integer)

    @functools.cached_property
    def roles(self) -> frozenset[str]:
        """Every end of a key that belongs to this method at a module."""
        return frozenset(slot.role for item in self.forms for slot in item.slots)


@dataclasses.dataclass(frozen=True)
class Misfit:
    """A tensor whose shape is none that its equations allow. `wanted`: sizes, or symbols where they are not known."""

    role: str
    wanted: tuple[int | str, ...] | None
    axis: str
    """The symbol of the first axis that does not fit, lower case for a method's own."""


def fit(
    chosen: Form, shapes: Mapping[str, Shape], symbols: Symbols, declared: Mapping[str, int] | None = None
) -> list[Misfit]:
    """Hold shapes by role against a form's equations; `symbols` holds what is known and learns the rest.

    A symbol gets its value from the first tensor that has it alone on an axis, and `declared` where none has; then every
    equation must agree.
    """
    expanded: list[tuple[Slot, tuple[str, ...]]] = []
    misfits = []
    for slot in chosen.slots:
        if slot.axes is None or slot.role not in shapes:
            continue
        shape = shapes[slot.role]
        axes = slot.expand(len(shape))
        if axes is None or 0 in shape:
            misfits.append(Misfit(slot.role, None, ""))
            continue
        expanded.append((slot, axes))
        for axis, size in zip(axes, shape, strict=True):
            if axis.isidentifier():
                symbols.setdefault(axis, size)
    known = {**(declared or {}), **symbols}
    return misfits + [misfit for slot, axes in expanded if (misfit := _misfit(slot, axes, shapes[slot.role], known))]


def _misfit(slot: Slot, axes: tuple[str, ...], shape: Shape, symbols: Symbols) -> Misfit | None:
    wrong = [axis for axis, size in zip(axes, shape, strict=True) if not _agrees(axis, size, symbols)]
    if not wrong:
        return None
    wanted = tuple(value if (value := value_of(axis, symbols)) is not None else axis.lower() for axis in axes)
    return Misfit(slot.role, wanted, wrong[0])


def _agrees(axis: str, size: int, symbols: Symbols) -> bool:
    if axis in symbols:
        return symbols[axis] == size
    value = value_of(axis, symbols)
    if value is not None:
        return value == size
    return any(name not in symbols for name in names_in(axis))  # nothing to compare with


@functools.cache
def names_in(text: str) -> frozenset[str]:
    """Return the symbols of an equation."""
    found = {node.id for node in ast.walk(_tree(text)) if isinstance(node, ast.Name)}
    return frozenset(found - set(_FUNCTIONS))


def matching(forms: tuple[Form, ...], kind: str | None, found: frozenset[str]) -> list[Form]:
    """Return the forms that these roles make complete at a module of this kind (None: not known)."""
    return [
        item
        for item in forms
        if (kind is None or item.kind in (kind, "any")) and item.required <= found <= item.roles.keys()
    ]


def choose(forms: list[Form], shapes: Mapping[str, Shape], symbols: Symbols) -> Form | None:
    """Return of several forms the first whose equations agree with the shapes, else the first; None of none."""
    if len(forms) < 2:
        return next(iter(forms), None)
    able = [
        item
        for item in forms
        if all(
            item.roles[role].expand(len(shape)) for role, shape in shapes.items() if item.roles[role].axes is not None
        )
    ]
    if len(able) == 1:
        return able[0]
    return next((item for item in able if not fit(item, shapes, dict(symbols))), forms[0])


def nearest(forms: tuple[Form, ...], found: frozenset[str]) -> Form:
    """Return the form that most of these roles belong to, for a message that says what is missing."""
    return max(forms, key=lambda item: (len(found & frozenset(item.roles)), -len(item.required)))
