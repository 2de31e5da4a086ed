"""The description of tensors in a file of torch.save: a pickle that is read and never run.

A pickle is a program. Here its opcodes are looked up in a table of those that torch.save writes for a dictionary of
tensors, and each does to a stack of plain values what the table says. No name is imported and nothing is called:
the few names that may occur are words, and "call it" means to build one of our own values. Anything else is refused,
told by its opcode and place.
"""

from __future__ import annotations

import dataclasses
import io
import pickletools
import struct
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from hub.spec import documents, errors, tensors

MAX_PICKLE = 4 << 20
MAX_OPCODES = 1_000_000
"""50 for each of 20 000 tensors: time and memory go by their number."""
MAX_INT = (1 << 63) - 1
STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}  # fmt: skip
"""The storages that may be named, and their dtype in the words of safetensors."""
_HINT = "save the weights as safetensors: save_pretrained(...) does by default"
_NAMES = frozenset(
    {("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter")}
    | {("torch", name) for name in STORAGES}
)
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Storage:
    """A run of `count` elements, stored under `key`."""

    key: str
    dtype: str
    count: int


@dataclasses.dataclass(frozen=True)
class View:
    """A tensor: which elements of a storage, counted in elements and not in bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Name:
    """A name that occurred. It stays a word."""

    module: str
    name: str


class _Ordered(dict[Any, Any]):
    """What an OrderedDict becomes; it alone may be given attributes (`_metadata`), which are dropped."""


def read(data: bytes, where: str) -> dict[str, View]:
    """Return the tensors by name. Raises SpecError, naming the opcode or the name and its place in the pickle."""
    return _Machine(data, where).run()


class _Machine:
    """A stack of values, the marks in it, and the memo. Values are never compared, hashed or shown: only their types
    are looked at, so that a value of values of values costs nothing."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where = data, where
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.opcode, self.place = "PROTO", 0

    def run(self) -> dict[str, View]:
        stream = io.BytesIO(self.data)
        opcodes = pickletools.genops(stream)
        for _ in range(MAX_OPCODES):
            opcode, argument = self.next(opcodes)
            if opcode == "STOP":
                return self.result(stream.tell())
            if (opcode == "PROTO") != (self.place == 0):
                self.fail("pickle", "a pickle says once and first which protocol it has")
            if opcode not in _OPCODES:
                self.fail("opcode", "this hub does not read this opcode: it is not needed to describe tensors")
            _OPCODES[opcode](self, argument)
        self.fail("pickle", f"more than {MAX_OPCODES} opcodes")

    def next(self, opcodes: Any) -> tuple[str, Any]:
        try:
            found, argument, place = next(opcodes)
        except (ValueError, OverflowError, struct.error, StopIteration) as error:
            message = (
                f"the description of the tensors is broken after byte {self.place}: {documents.shorten(str(error))}"
            )
            raise errors.SpecError.of("torch.pickle", self.where, message, _HINT, "scan") from None
        self.opcode, self.place = found.name, place
        return found.name, argument

    def result(self, end: int) -> dict[str, View]:
        if self.marks or len(self.stack) != 1:
            self.fail("stack", f"{len(self.stack)} values are left at the end; one is due")
        if end != len(self.data):
            self.fail("pickle", f"{len(self.data) - end} bytes follow the end")
        top = self.stack[0]
        if not isinstance(top, dict):
            self.fail("content", f"the file holds {_kind(top)}; a dictionary of tensors by name is due")
        if len(top) > tensors.MAX_TENSORS:
            self.fail("too_many", f"the file holds {len(top)} tensors; at most {tensors.MAX_TENSORS} are read")
        for name, value in top.items():
            if not isinstance(value, View):
                self.fail("content", f"{documents.shorten(name)!r} is {_kind(value)}; only tensors are read")
        return dict(top)

    # --- the stack ------------------------------------------------------------------------------------------

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            self.fail("stack", "nothing lies on the stack")
        return self.stack.pop()

    def pop_as(self, kind: type[T]) -> T:
        value = self.pop()
        if not isinstance(value, kind):
            self.fail("stack", f"{_kind(value)} lies on the stack, {_KINDS[kind]} is due")
        return value

    def pop_to_mark(self) -> list[Any]:
        if not self.marks:
            self.fail("stack", "no mark lies on the stack")
        at = self.marks.pop()
        values = self.stack[at:]
        del self.stack[at:]
        return values

    def fail(self, what: str, message: str) -> NoReturn:
        told = f"{self.opcode} at byte {self.place} of data.pkl: {message}"
        raise errors.SpecError.of(f"torch.{what}", self.where, told, _HINT, "scan")

    # --- the opcodes ----------------------------------------------------------------------------------------

    def proto(self, version: int) -> None:
        if not 2 <= version <= 5:
            self.fail("pickle", f"protocol {version} is not read; torch.save writes protocol 2")

    def ignore(self, argument: Any) -> None:
        """FRAME says how much to read ahead."""

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def integer(self, value: int) -> None:
        if not -MAX_INT <= value <= MAX_INT:
            self.fail("number", "an integer beyond 64 bits")
        self.stack.append(value)

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def put(self, index: int) -> None:
        self.memo[index] = self.pop()
        self.stack.append(self.memo[index])

    def memoize(self, _: Any) -> None:
        self.put(len(self.memo))

    def get(self, index: int) -> None:
        if index not in self.memo:
            self.fail("memo", f"nothing was noted under {index}")
        self.stack.append(self.memo[index])

    def tuple_to_mark(self, _: Any) -> None:
        values = self.pop_to_mark()
        self.stack.append(tuple(values))

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(values)))

    def name(self, both: str) -> None:
        self.push_name(*both.split(" ", 1))

    def name_from_stack(self, _: Any) -> None:
        name, module = self.pop_as(str), self.pop_as(str)
        self.push_name(module, name)

    def push_name(self, module: str, name: str = "") -> None:
        if (module, name) not in _NAMES:
            told = documents.shorten(f"{module}.{name}")
            self.fail("global", f"names {told!r}; only tensors are read, and nothing is ever called")
        self.stack.append(_Name(module, name))

    def set_items(self, _: Any) -> None:
        values = self.pop_to_mark()
        if len(values) % 2:
            self.fail("stack", "a key without a value")
        self.fill(values)

    def set_item(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        self.fill([key, value])

    def fill(self, values: list[Any]) -> None:
        target = self.pop_as(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str):
                self.fail("content", f"{_kind(key)} is a key of a dictionary; names are due")
            if key in target:
                self.fail("twice", f"the key {documents.shorten(key)!r} is there twice")
            target[key] = value
        self.stack.append(target)

    def append(self, _: Any) -> None:
        value = self.pop()
        self.extend([value])

    def appends(self, _: Any) -> None:
        self.extend(self.pop_to_mark())

    def extend(self, values: list[Any]) -> None:
        target = self.pop_as(list)
        target.extend(values)
        self.stack.append(target)

    def build(self, _: Any) -> None:
        """An OrderedDict is given attributes. They are dropped: a state_dict's say which version each module has."""
        self.pop_as(dict)
        if not isinstance(self.stack[-1] if self.stack else None, _Ordered) or self.marks[-1:] == [len(self.stack)]:
            self.fail("content", "attributes are set on what is no OrderedDict")

    def storage(self, _: Any) -> None:
        """The only thing that may lie outside of the pickle: ("storage", kind, key, device, number of elements)."""
        match self.pop_as(tuple):
            case ("storage", _Name("torch", kind), str(key), str(), count):
                self.check_sizes((count,))
                self.stack.append(Storage(key, STORAGES[kind], count))
            case _:
                self.fail("storage", "this is no reference to a storage as torch.save writes it")

    def reduce(self, _: Any) -> None:
        """Where a pickle says "call it", build our own value for one of the names. Nothing is called."""
        arguments = self.pop_as(tuple)
        name = self.pop_as(_Name)
        match name.name, arguments:
            case "OrderedDict", ():
                self.stack.append(_Ordered())
            case "_rebuild_tensor_v2", (Storage() as storage, at, tuple() as shape, tuple() as strides, bool(), hooks):
                self.check_hooks(hooks)
                self.tensor(storage, at, shape, strides)
            case "_rebuild_parameter", (View() as view, bool(), hooks):
                self.check_hooks(hooks)
                self.stack.append(view)
            case _:
                self.fail("arguments", f"{name.module}.{name.name} has other arguments than torch.save writes")

    def check_hooks(self, hooks: Any) -> None:
        if not isinstance(hooks, _Ordered) or hooks:
            self.fail("arguments", "a tensor that brings hooks")

    def tensor(self, storage: Storage, offset: Any, shape: tuple[Any, ...], strides: tuple[Any, ...]) -> None:
        if len(shape) != len(strides):
            self.fail("shape", f"a tensor of {len(shape)} dimensions and {len(strides)} strides")
        if len(shape) > tensors.MAX_RANK:
            self.fail("shape", f"a tensor of {len(shape)} dimensions; at most {tensors.MAX_RANK} are read")
        self.check_sizes((offset, *shape, *strides))
        view = View(storage, offset, shape, strides)
        self.check_view(view)
        self.stack.append(view)

    def check_sizes(self, values: tuple[Any, ...]) -> None:
        if any(type(value) is not int or not 0 <= value <= MAX_INT for value in values):
            self.fail("shape", "a size, an offset or a stride that is no integer from 0 on")

    def check_view(self, view: View) -> None:
        """Every element lies in the storage, and no two are the same: what is small must not be made large."""
        if 0 in view.shape:
            return
        reach = 0
        for stride, size in sorted(zip(view.strides, view.shape, strict=True)):
            if size > 1 and stride <= reach:
                self.fail("overlap", "a tensor that uses an element of its storage twice (an expanded one)")
            reach += stride * (size - 1)
        if view.offset + reach >= view.storage.count:
            message = f"a tensor of shape {documents.shorten(view.shape)} reaches beyond its storage"
            self.fail("beyond", f"{message} of {view.storage.count} elements")


_KINDS: dict[type[Any], str] = {
    str: "text", tuple: "a tuple", dict: "a dictionary", list: "a list", _Name: "a name", View: "a tensor",
    Storage: "a storage", bool: "true or false", int: "a number", float: "a number", type(None): "nothing",
}  # fmt: skip


def _kind(value: Any) -> str:
    """Return what a value is, without looking into it."""
    return next((name for kind, name in _KINDS.items() if isinstance(value, kind)), "something else")


_OPCODES: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.proto,
    "FRAME": _Machine.ignore,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "BININT": _Machine.integer,
    "BININT1": _Machine.integer,
    "BININT2": _Machine.integer,
    "LONG1": _Machine.integer,
    "BINFLOAT": _Machine.push,
    "BINUNICODE": _Machine.push,
    "SHORT_BINUNICODE": _Machine.push,
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "MARK": _Machine.mark,
    "TUPLE": _Machine.tuple_to_mark,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_from_stack,
    "BINPERSID": _Machine.storage,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
