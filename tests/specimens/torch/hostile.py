"""Files that no registry may take, by a table: what is wrong, how it is told, and the bytes.

Where a pickle is at fault it also holds a canary: a call that makes a folder in a temporary place if it is ever run.
"""

import pickletools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.specimens.torch import build
from tests.specimens.torch.build import (
    ORDERED,
    Entry,
    archive,
    call,
    dictionary,
    entries,
    name,
    number,
    numbers,
    saved,
    stack_name,
    storage,
    tensor,
    text,
)

READ = frozenset(
    {"PROTO", "FRAME", "STOP", "MARK", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
     "NONE", "NEWTRUE", "NEWFALSE", "BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
     "BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GLOBAL", "STACK_GLOBAL", "BINPERSID", "REDUCE",
     "BUILD", "SETITEM", "SETITEMS", "APPEND", "APPENDS"}
)  # fmt: skip
# how an argument of each kind is written
_ARGUMENTS = {
    None: b"", "int1": b"\1", "uint1": b"\1", "uint2": b"\1\0", "int4": b"\1\0\0\0", "uint4": b"\1\0\0\0",
    "uint8": b"\1\0\0\0\0\0\0\0", "decimalnl_short": b"1\n", "decimalnl_long": b"1L\n", "floatnl": b"1.5\n",
    "float8": b"\0" * 8, "stringnl": b"'a'\n", "stringnl_noescape": b"a\n", "stringnl_noescape_pair": b"os\nmkdir\n",
    "string1": b"\1a", "string4": b"\1\0\0\0a", "bytes1": b"\1a", "bytes4": b"\1\0\0\0a",
    "bytes8": b"\1\0\0\0\0\0\0\0a", "bytearray8": b"\1\0\0\0\0\0\0\0a", "unicodestringnl": b"a\n",
    "unicodestring1": b"\1a", "unicodestring4": b"\1\0\0\0a", "unicodestring8": b"\1\0\0\0\0\0\0\0a",
    "long1": b"\1\1", "long4": b"\1\0\0\0\1",
}  # fmt: skip
REFUSED_OPCODES = [opcode for opcode in pickletools.opcodes if opcode.name not in READ]

GLOBALS = (
    """
os system|os popen|os execv|os mkdir|os remove|os _wrap_close|posix system|posix mkdir|nt system|nt mkdir
subprocess Popen|subprocess run|subprocess call|subprocess check_output|pty spawn|shutil rmtree
builtins eval|builtins exec|builtins getattr|builtins setattr|builtins open|builtins compile|builtins __import__
builtins bytearray|builtins apply|builtins map|builtins print|__builtin__ eval|__builtin__ getattr|__builtin__ set
operator attrgetter|operator methodcaller|operator itemgetter|functools partial|functools reduce|itertools starmap
importlib import_module|importlib.util spec_from_file_location|runpy run_path|runpy _run_code|code InteractiveInterpreter
pickle loads|pickle load|_pickle loads|marshal loads|types CodeType|types FunctionType|copyreg _reconstructor
copyreg __newobj__|ctypes CDLL|sys exit|sys modules|socket create_connection|urllib.request urlopen|webbrowser open
pip main|pydoc pipepager|timeit timeit|idlelib.pyshell ModifiedInterpreter|lib2to3.pgen2.pgen ParserGenerator|cProfile runctx
torch load|torch.hub load|torch.hub load_state_dict_from_url|torch.jit load|torch.package PackageImporter
torch.storage _load_from_bytes|torch.storage UntypedStorage|torch.storage TypedStorage|torch._utils _rebuild_tensor
torch._utils _rebuild_tensor_v3|torch._utils _rebuild_sparse_tensor|torch._utils _rebuild_qtensor
torch._utils _rebuild_parameter_with_state|torch._tensor _rebuild_from_type_v2|torch ComplexFloatStorage|torch QInt8Storage
torch Tensor|torch Size|torch device|torch float32|torch nn|torch FloatStorage.__init__|torch FloatStorage.__new__
torch.nn.modules.linear Linear|torch.fx._symbolic_trace Tracer|torch.utils.data DataLoader|torch.serialization load
torch.FloatStorage __reduce__|torch._utils _rebuild_tensor_v2.__globals__|collections OrderedDict.fromkeys
collections OrderedDict.__class__|collections defaultdict|collections Counter|collections deque|collections.abc Mapping
numpy.core.multiarray _reconstruct|numpy.core.multiarray scalar|numpy load|numpy f2py|joblib load|dill loads
cloudpickle.cloudpickle _make_function|transformers AutoModel.from_pretrained|peft PeftModel|adapters AutoAdapterModel
Torch FloatStorage|torch floatstorage|torch  FloatStorage| torch FloatStorage|torch. FloatStorage|torch FloatStorage\x00
__main__ Payload|hub.spec.torch_file convert|registry.settings SECRET_KEY
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


class Hostile(NamedTuple):
    """One file: the code under which it has to be refused, its bytes, and its pickle where that is the fault."""

    code: str
    data: bytes
    pickle: bytes = b""


def canary(path: Path) -> bytes:
    """Push what comes of making a folder."""
    return call(name("os", "mkdir"), text(str(path)))


def corpus(path: Path) -> dict[str, Hostile]:
    """Every hostile file by its name. `path` is the folder that nobody may ever make."""
    found: dict[str, Hostile] = {}
    for family in (opcodes, names, stacks, shapes, contents, archives, cuts):
        for title, hostile in family(path):
            assert title not in found, title
            found[title] = hostile
    return found


def _pickled(code: str, body: bytes, protocol: int = 2) -> Hostile:
    pickle = build.pickled(body, protocol)
    return Hostile(f"torch.{code}", archive(entries(pickle)), pickle)


def opcodes(path: Path) -> Iterator[tuple[str, Hostile]]:
    """An opcode that is not needed: alone, within a tensor, and behind good tensors."""
    good, bird = dictionary({"w": tensor(storage())}), canary(path)
    for opcode in REFUSED_OPCODES:
        raw = opcode.code.encode("latin-1") + _ARGUMENTS[opcode.arg.name if opcode.arg else None]
        yield f"opcode {opcode.name} alone", _pickled("opcode", raw + bird)
        yield f"opcode {opcode.name} in a tensor", _pickled("opcode", b"}(" + text("w") + b"(" + raw + bird)
        yield f"opcode {opcode.name} behind", _pickled("opcode", good + raw + bird)
    objects = {
        "INST": b"(" + text(str(path)) + b"ios\nmkdir\n",
        "OBJ": b"(" + name("collections", "OrderedDict") + b"o",
        "NEWOBJ": name("collections", "OrderedDict") + b")\x81",
        "NEWOBJ_EX": name("collections", "OrderedDict") + b")}\x92",
    }
    for title, body in objects.items():
        yield f"object made by {title}", _pickled("opcode", body + bird)


def names(path: Path) -> Iterator[tuple[str, Hostile]]:
    """A global that is not one of ours: as it is, by strings, and called with something that shows."""
    for both in GLOBALS:
        module, _, word = both.rpartition(" ")
        argument = text(f"mkdir '{path}'" if word in ("system", "popen", "getoutput") else str(path))
        if word in ("eval", "exec"):
            argument = text(f"__import__('os').mkdir({str(path)!r})")
        yield f"global {both!r}", _pickled("global", name(module, word) + canary(path))
        yield f"global {both!r} by strings", _pickled("global", stack_name(module, word) + canary(path), 4)
        yield f"global {both!r} called", _pickled("global", call(name(module, word), argument) + b"0" + canary(path))
    attribute = call(name("builtins", "getattr"), name("torch", "FloatStorage"), text("__init__"))
    yield "a chain of getattr", _pickled("global", call(attribute, text("__globals__")) + canary(path))
    yield (
        "a name from the memo",
        _pickled("global", text("os") + b"q\0" + text("mkdir") + b"q\1h\0h\1\x93" + canary(path), 4),
    )
    yield "a name in wide letters", _pickled("pickle", name("ｔorch", "FloatStorage") + canary(path))
    yield "a name of numbers", _pickled("stack", number(1) + number(2) + b"\x93" + canary(path), 4)


def stacks(path: Path) -> Iterator[tuple[str, Hostile]]:
    """Too little on the stack, too much, marks and memo misused; values that would explode if anybody looked at them."""
    bird = canary(path)
    takes = {
        "TUPLE1": b"\x85", "TUPLE2": b"\x86", "TUPLE3": b"\x87", "SETITEM": b"s", "APPEND": b"a", "BINPUT": b"q\0",
        "LONG_BINPUT": b"r\0\0\0\0", "MEMOIZE": b"\x94", "REDUCE": b"R", "BUILD": b"b", "BINPERSID": b"Q",
        "STACK_GLOBAL": b"\x93",
    }  # fmt: skip
    for title, raw in takes.items():
        yield f"{title} of nothing", _pickled("stack", raw + bird)
        yield f"{title} of a mark", _pickled("stack", text("a") + b"(" + raw + bird)
    for title, raw in {"TUPLE": b"t", "SETITEMS": b"u", "APPENDS": b"e"}.items():
        yield f"{title} without a mark", _pickled("stack", b"}" + raw + bird)
    yield "SETITEMS on a mark", _pickled("stack", b"((" + text("a") + number(1) + b"u" + bird)
    yield "SETITEMS on a list", _pickled("stack", b"](" + text("a") + number(1) + b"u" + bird)
    yield "SETITEMS of three", _pickled("stack", b"}(" + text("a") + number(1) + text("b") + b"u" + bird)
    yield "APPENDS on a dictionary", _pickled("stack", b"}(" + number(1) + b"e" + bird)
    yield "APPEND on a tuple", _pickled("stack", b")" + number(1) + b"a" + bird)
    yield "TUPLE2 across a mark", _pickled("stack", number(1) + b"(" + number(2) + b"\x86" + bird)
    yield "nothing at the end", _pickled("stack", b"")
    yield "two values at the end", _pickled("stack", b"}}")
    yield "a mark at the end", _pickled("stack", b"}(")
    yield "BUILD on a plain dictionary", _pickled("content", b"}}b" + bird)
    yield "BUILD on a tensor", _pickled("content", tensor(storage()) + b"}b" + bird)
    yield "BUILD across a mark", _pickled("content", ORDERED + b"(}b" + bird)
    yield "BUILD with a list", _pickled("stack", ORDERED + b"]b" + bird)
    yield "BUILD with a tuple of two states", _pickled("stack", ORDERED + b"N}\x86b" + bird)
    for index in (0, 1, 255):
        yield f"memo {index} is empty", _pickled("memo", b"h" + bytes([index]) + bird)
    for index in (0, 256, 0x7FFFFFFF, 0xFFFFFFFF):
        yield f"long memo {index} is empty", _pickled("memo", b"j" + struct.pack("<I", index) + bird)
    yield "a huge memo index", _pickled("global", b"}r\xff\xff\xff\xff" + bird)
    yield (
        "many huge memo indices",
        _pickled("global", b"}" + b"".join(b"r" + struct.pack("<I", 0xFFFFFFFF - n) for n in range(2000)) + bird),
    )
    yield "a dictionary in itself", _pickled("content", b"}q\0" + text("a") + b"h\0s")
    yield "a list in itself", _pickled("content", b"]q\0h\0a")
    yield "a thousand lists in lists", _pickled("content", b"]" * 1000 + b"a" * 999)
    yield "ten thousand tuples in tuples", _pickled("content", b")" + b"\x85" * 10_000)
    yield "ten thousand marks", _pickled("stack", b"(" * 10_000)
    tens = (b"(" + (b"h" + bytes([n])) * 10 + b"tq" + bytes([n + 1]) for n in range(60))
    laughs = b"()q\0" + b"".join(tens) + b"t"
    yield "a billion laughs", _pickled("content", laughs)
    yield "a billion laughs as a tensor's name", _pickled("content", b"}(" + laughs + number(1) + b"u")
    yield (
        "a billion laughs as a shape",
        _pickled("shape", _tensor_of(storage(), number(0), laughs + b"\x85", numbers((1,)))),
    )
    yield "a billion laughs as a storage", _pickled("storage", b"(" + text("storage") + laughs + b"tQ")
    yield "a billion laughs called", _pickled("arguments", call(name("collections", "OrderedDict"), laughs))
    yield (
        "an OrderedDict of arguments",
        _pickled("arguments", call(name("collections", "OrderedDict"), text("a")) + bird),
    )
    yield "a storage called", _pickled("arguments", call(name("torch", "FloatStorage"), number(1 << 60)) + bird)
    yield "REDUCE of text", _pickled("stack", text("os.system") + b")R" + bird)
    yield "REDUCE with a list", _pickled("stack", name("collections", "OrderedDict") + b"]R" + bird)
    yield "REDUCE of a tuple of names", _pickled("stack", name("collections", "OrderedDict") + b"\x85)R" + bird)


def _tensor_of(held: bytes, offset: bytes, shape: bytes, strides: bytes) -> bytes:
    return call(name("torch._utils", "_rebuild_tensor_v2"), held, offset, shape, strides, b"\x89", ORDERED)


def shapes(path: Path) -> Iterator[tuple[str, Hostile]]:
    """Tensors and storages that are not what they say."""
    bird = canary(path)

    def one(code: str, body: bytes) -> Hostile:
        return _pickled(code, dictionary({"w": body}) + (b"0" + bird if code not in ("storage+", "growth") else b""))

    views = {
        "beyond by one": ("beyond", (2, 3), (3, 1), 1),
        "beyond by rows": ("beyond", (3, 3), (3, 1), 0),
        "beyond by stride": ("beyond", (2, 3), (4, 1), 0),
        "beyond by far": ("beyond", (1 << 40,), (1,), 0),
        "beyond by 2^63": ("beyond", ((1 << 62), 2), (1, 1 << 62), 0),
        "an offset at the end": ("beyond", (1,), (1,), 6),
        "a huge offset": ("beyond", (1,), (1,), (1 << 63) - 1),
        "a 0-d tensor beyond": ("beyond", (), (), 6),
        "expanded": ("overlap", (1 << 20, 6), (0, 1), 0),
        "expanded to 2^60": ("overlap", (1 << 60,), (0,), 0),
        "expanded twice": ("overlap", (6, 6), (0, 0), 0),
        "overlapping windows": ("overlap", (4, 3), (1, 1), 0),
        "overlapping diagonally": ("overlap", (3, 2), (1, 2), 0),
        "a negative size": ("shape", (-1, 3), (3, 1), 0),
        "a negative stride": ("shape", (2, 3), (-3, 1), 3),
        "a negative offset": ("shape", (2, 3), (3, 1), -1),
        "a size beyond 64 bits": ("number", (1 << 64,), (1,), 0),
        "a size of 200 bytes": ("number", (1 << 1500,), (1,), 0),
        "fewer strides": ("shape", (2, 3), (1,), 0),
        "more strides": ("shape", (2,), (3, 1), 0),
        "nine dimensions": ("shape", (1,) * 9, (1,) * 9, 0),
        "ten thousand dimensions": ("shape", (1,) * 10_000, (1,) * 10_000, 0),
    }
    for title, (code, shape, strides, offset) in views.items():
        yield f"a view {title}", one(code, tensor(storage(), shape, strides, offset))
    arguments = {
        "no argument": (),
        "true as a size": (storage(), number(0), b"\x88\x85", numbers((1,))),
        "a float as a size": (storage(), number(0), b"G" + b"\0" * 8 + b"\x85", numbers((1,))),
        "text as a size": (storage(), number(0), text("6") + b"\x85", numbers((1,))),
        "None as offset": (storage(), b"N", numbers((6,)), numbers((1,))),
    }
    for title, given in arguments.items():
        code = "arguments" if not given else "shape"
        body = call(name("torch._utils", "_rebuild_tensor_v2"), *given, *((b"\x89", ORDERED) if given else ()))
        yield f"a tensor with {title}", one(code, body)
    good = (storage(), number(0), numbers((2, 3)), numbers((3, 1)), b"\x89", ORDERED)
    swapped = {
        "a list as shape": (2, b"](" + number(6) + b"e"),
        "a list as strides": (3, b"](" + number(1) + b"e"),
        "text as storage": (0, text("0")),
        "a tensor as storage": (0, tensor(storage())),
        "a name as storage": (0, name("torch", "FloatStorage")),
        "a number as requires_grad": (4, number(1)),
        "a plain dictionary as hooks": (5, b"}"),
        "None as hooks": (5, b"N"),
        "hooks": (5, ORDERED + text("hook") + number(1) + b"s"),
    }
    for title, (at, value) in swapped.items():
        body = call(name("torch._utils", "_rebuild_tensor_v2"), *good[:at], value, *good[at + 1 :])
        yield f"a tensor with {title}", one("arguments", body)
    extra = call(name("torch._utils", "_rebuild_tensor_v2"), *good, dictionary({"conj": b"\x88"}))
    yield "a tensor that is conjugated when it is read", one("arguments", extra)
    parameter = name("torch._utils", "_rebuild_parameter")
    yield "a parameter of nothing", one("arguments", call(parameter))
    yield "a parameter of a storage", one("arguments", call(parameter, storage(), b"\x88", ORDERED))
    yield "a parameter with a state", one("arguments", call(parameter, tensor(storage()), b"\x88", ORDERED, b"}"))
    kind = name("torch", "FloatStorage")
    references = {
        "text": text("storage"),
        "an empty tuple": b")",
        "four words": b"(" + text("storage") + kind + text("0") + text("cpu") + b"t",
        "six words": b"(" + text("storage") + kind + text("0") + text("cpu") + number(6) + b"Nt",
        "another word": b"(" + text("module") + kind + text("0") + text("cpu") + number(6) + b"t",
        "the storage as text": b"("
        + text("storage")
        + text("FloatStorage")
        + text("0")
        + text("cpu")
        + number(6)
        + b"t",
        "an OrderedDict as kind": b"("
        + text("storage")
        + name("collections", "OrderedDict")
        + text("0")
        + text("cpu")
        + number(6)
        + b"t",
        "a number as key": b"(" + text("storage") + kind + number(0) + text("cpu") + number(6) + b"t",
        "a number as device": b"(" + text("storage") + kind + text("0") + number(0) + number(6) + b"t",
    }
    for title, body in references.items():
        code = "stack" if title == "text" else "storage"
        yield f"a storage named by {title}", one(code, body + b"Q")
    for title, count in {"a text": text("6"), "a negative": number(-1), "a true": b"\x88", "no": b"N"}.items():
        body = b"(" + text("storage") + kind + text("0") + text("cpu") + count + b"tQ"
        yield f"a storage with {title} count", one("shape", body)
    for key in ("1", "../0", "../../etc/passwd", "/etc/passwd", "", "0\0", "data.pkl", "0/../1", "é"):
        yield f"a storage under {key!r}", Hostile("torch.storage", saved(dictionary({"w": tensor(storage(key=key))})))
    for count in (7, 6_000_000_000):
        body = dictionary({"w": tensor(storage(count=count))})
        yield f"a storage said to hold {count}", Hostile("torch.storage", saved(body))
    for wrong in ("Double", "Half", "Byte", "Long"):
        body = dictionary({"w": tensor(storage(wrong))})
        yield f"a storage said to be {wrong}", Hostile("torch.storage", saved(body))
    both = dictionary({"a": tensor(storage()), "b": tensor(storage("Int"))})
    yield "a storage of two kinds", Hostile("torch.storage", saved(both))
    many = dictionary({f"w{n}": tensor(storage(count=30_000), (30_000,), (1,)) for n in range(100)})
    yield "a storage written out a hundred times", Hostile("torch.growth", saved(many, {"0": bytes(120_000)}))


def contents(path: Path) -> Iterator[tuple[str, Hostile]]:
    """Good pickles of something else than tensors by name, and pickles that are broken."""
    bird, good = canary(path), tensor(storage())
    tops = {
        "nothing": b"N", "a number": number(1), "text": text("weights"), "a list": b"](" + good + b"e", "a tensor": good,
        "a tuple": good + b"\x85", "a name": name("collections", "OrderedDict"), "a storage": storage(), "true": b"\x88",
        "a nested dictionary": dictionary({"state_dict": dictionary({"w": good})}), "a number by name": dictionary({"epoch": number(3)}),
        "tensors and a name": dictionary({"w": good, "optimizer": name("torch", "FloatStorage")}),
        "tensors and text": dictionary({"w": good, "note": text("hello")}),
        "tensors in a list": dictionary({"w": b"](" + good + b"e"}),
    }  # fmt: skip
    for title, body in tops.items():
        yield f"a file of {title}", _pickled("content", body)
    for title, key in {"a number": number(1), "nothing": b"N", "a tensor": good, "a list": b"]"}.items():
        yield f"{title} as a name", _pickled("content", b"}" + key + good + b"s" + b"0" + bird)
    yield "one name twice", _pickled("twice", b"}(" + text("w") + good + text("w") + good + b"u0" + bird)
    for title, key in {"no": "", "a printed": "a\x1b[2J", "a bidi": "a\u202eb", "a long": "a" * 513}.items():
        yield f"{title} name of a tensor", Hostile("tensors.name", saved(dictionary({key: good})))
    yield "half a character as a name", Hostile("document.encoding", saved(dictionary({"\ud800": good})))
    yield "the name __metadata__", Hostile("tensors.metadata", saved(dictionary({"__metadata__": good})))
    for protocol in (0, 1, 6, 255):
        yield f"protocol {protocol}", _pickled("pickle", b"}", protocol)
    broken = {
        "nothing at all": b"", "no end": build.GOOD[:-1], "no protocol": build.GOOD[2:], "a second protocol": b"\x80\2\x80\2}.",
        "a second pickle": build.GOOD + build.pickled(bird), "a byte behind": build.GOOD + b"\0", "zeros": bytes(100),
        "an unknown opcode": b"\x80\2\xff.", "text cut off": b"\x80\2X\xff\xff\xff\x7fa.", "text that is no UTF-8": b"\x80\2X\1\0\0\0\xff.",
        "a long number cut off": b"\x80\2\x8a\xff\1.", "a name cut off": b"\x80\2ctorch", "a line without end": b"\x80\2c" + b"a" * 5000,
        "a frame that lies": b"\x80\4\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
        "bytes of 2^63": b"\x80\4\x8e" + b"\xff" * 8, "a decimal of 5000 digits": b"\x80\2I" + b"9" * 5000 + b"\n.",
        "JSON": b'{"w": [1, 2]}', "safetensors": b"\x40\0\0\0\0\0\0\0{}",
    }  # fmt: skip
    for title, pickle in broken.items():
        yield f"a pickle of {title}", Hostile("torch.pickle", archive(entries(pickle)), pickle)
    yield (
        "a pickle of five megabytes",
        Hostile("torch.pickle_size", archive(entries(b"\x80\2" + text("a" * (5 << 20)) + b"."))),
    )


def archives(path: Path) -> Iterator[tuple[str, Hostile]]:
    """Zip files that torch.save does not write, around a good pickle."""
    good = entries()
    pkl, order, data, version = good

    def bad(code: str, listed: list[Entry], **more: object) -> Hostile:
        return Hostile(f"torch.{code}", archive(listed, **more))  # type: ignore[arg-type]

    def changed(which: Entry, **fields: object) -> list[Entry]:
        return [Entry(**{**vars(item), **fields}) if item is which else item for item in good]  # type: ignore[arg-type]

    yield "data.pkl twice", bad("twice", [*good, pkl])
    yield "data.pkl twice, the second another", bad("twice", [*good, Entry(pkl.name, build.pickled(canary(path)))])
    yield "a storage twice", bad("twice", [*good, data])
    yield "two roots", bad("entry", [*good, Entry("other/data.pkl", build.pickled(canary(path)))])
    yield "no root", bad("entry", entries(root="")[1:] + [Entry("data.pkl", build.GOOD)])
    yield "a root in a folder", bad("entry", entries(root="a/b"))
    yield "an empty root", bad("entry", entries(root=""))
    yield "no data.pkl", bad("entry", good[1:])
    yield "no version", bad("entry", good[:-1])
    yield "an empty archive", Hostile("torch.legacy", archive([]))
    for extra in ("code/__torch__.py", "constants.pkl", "code/x"):
        yield f"TorchScript: {extra}", bad("script", [*good, Entry(f"archive/{extra}", b"1")])
    for extra in ("archive/evil.py", "archive/data/../x", "archive/data/", "archive/data/0/1", "archive/.data/other",
                  "archive/extra/x", "evil.py", "../evil.py", "/etc/passwd", "archive2/version", "archive/DATA.PKL",
                  "archive/data.pkl/x", "archive//data.pkl2", "archive/data/é"):  # fmt: skip
        yield f"an entry {extra}", bad("entry", [*good, Entry(extra, b"1")])
    for title, raw in {
        "of no name": b"",
        "of bytes that are no text": b"archive/\xff",
        "with a NUL": b"archive/data/0\0.py",
    }.items():
        yield f"an entry {title}", bad("entry", [*good, Entry("x", b"1", encoded=raw)])
    yield "a storage that no tensor uses", bad("unused", [*good, Entry("archive/data/1", b"hidden")])
    for title, raw in {"big": b"big", "LITTLE": b"LITTLE", "nothing": b"", "a novel": b"little" * 1000}.items():
        yield f"byte order {title}", bad("byteorder", changed(order, data=raw))
    yield "deflated", bad("compressed", changed(data, method=8))
    yield "deflated pickle", bad("compressed", changed(pkl, method=8))
    yield "stored by method 99", bad("compressed", changed(pkl, method=99))
    yield "a bomb: a size that is not stored", bad("compressed", changed(data, size=1 << 31))
    for bit in (0, 5, 6, 13):
        yield f"flag {bit}", bad("encrypted", changed(data, flags=1 << bit))
    yield "a comment", bad("zip", good, comment=b"hello")
    yield "a comment that is an archive", bad("zip", good, comment=archive(entries(build.pickled(canary(path)))))
    yield "an entry with a comment", bad("zip", changed(pkl, comment=b"hello"))
    yield "bytes behind", bad("zip", good, behind=b"\0")
    yield "an archive behind", Hostile("torch.zip", archive(good) + archive(entries(build.pickled(canary(path)))))
    yield "an archive before", bad("overlap", good, prefix=archive(entries(build.pickled(canary(path)))))
    yield "a script before", bad("legacy", good, prefix=b"#!/bin/sh\n")
    yield "an executable before", bad("legacy", good, prefix=b"\x7fELF" + bytes(60))
    yield "an entry before that is not listed", bad("overlap", good, prefix=archive([pkl])[: 30 + 16 + len(pkl.data)])
    yield "bytes between", bad("overlap", changed(data, gap=b"hidden"))
    yield "a megabyte between", bad("overlap", changed(data, gap=bytes(1 << 20)))
    yield "bytes before the directory", bad("overlap", changed(version, gap=b"hidden!"))
    yield "another name in place", bad("zip", changed(pkl, local_name="archive/code.pkl"))
    yield "a shorter name in place", bad("zip", changed(pkl, local_name="archive/d"))
    for shift in (-1, 1, 1000, -1000):
        yield f"a directory moved by {shift}", bad("zip", good, shift=shift)
    for count in (-1, 1, 100):
        yield f"{count} entries more than told", bad("zip", good, count=count)
    yield "sixty thousand entries told", bad("entries", good, count=60_000)
    whole = archive(good)
    yield "a directory of 4 GiB", Hostile("torch.entries", whole[:-10] + b"\xff\xff\xff\x7f" + whole[-6:])
    yield "several parts", Hostile("torch.zip", whole[:-18] + b"\1\0\1\0" + whole[-14:])
    first = whole.index(b"PK\1\2")
    yield (
        "two entries in one place",
        Hostile("torch.zip", whole[: first + 42] + struct.pack("<I", whole.index(b"PK\3\4", 4)) + whole[first + 46 :]),
    )
    yield (
        "an entry behind the end",
        Hostile("torch.overlap", whole[: first + 42] + struct.pack("<I", 1 << 30) + whole[first + 46 :]),
    )
    locator = b"PK\6\7" + struct.pack("<IQI", 0, 1 << 40, 1)
    yield (
        "a record for large archives that is not there",
        Hostile("torch.zip", whole[:-22] + bytes(56) + locator + whole[-22:]),
    )
    old = b"\x80\2\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\2M\xe9\3."
    yield "a file of before PyTorch 1.6", Hostile("torch.legacy", old + build.GOOD)
    for title, raw in {
        "an empty file": b"", "a byte": b"P", "two letters": b"PK", "a bare pickle": build.pickled(canary(path)), "safetensors": b"\2\0\0\0\0\0\0\0{}",
        "a tar": b"data.pkl".ljust(257, b"\0") + b"ustar" + bytes(300), "HDF5": b"\x89HDF\r\n\x1a\n", "gzip": b"\x1f\x8b" + bytes(20),
        "an old protocol": b"(dp0\n.", "HTML": b"<html>", "a git LFS pointer": b"version https://git-lfs.github.com/spec/v1\n",
    }.items():  # fmt: skip
        yield f"no archive: {title}", Hostile("torch.legacy", raw)


def cuts(path: Path) -> Iterator[tuple[str, Hostile]]:
    """A good file cut off, at many places."""
    whole = archive(entries())
    for at in range(4, len(whole), max(1, len(whole) // 48)):
        yield f"cut at {at}", Hostile("torch.zip", whole[:at])
