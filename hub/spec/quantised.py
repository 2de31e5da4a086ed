"""The logical tensors of a quantised base model: the [out, in] of every weight before it was packed.

An adapter trained on a 4-bit base fits the 16-bit parent and the other way round, for it adapts [out, in], whatever the
bytes look like. Each scheme is one row of `SCHEMES`: which tensor holds the packed numbers, which helpers stand beside
it, and how its shape follows. The layouts are those that the schemes' own libraries write; each rule names its source. A
scheme without a row is named and left alone: then the shapes are those of the file.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hub.spec import documents, errors
from hub.spec.tensors import DTYPE_BYTES

Shape = tuple[int, ...]
Table = Mapping[str, tuple[str, Shape]]
MAX_TOLD = 1 << 14  # bytes of a tensor that tells a shape; real ones have 100 to 300
_TELLS = re.compile(r".*\.(weight\.quant_state\.bitsandbytes__(nf4|fp4)|weight_shape)")
_NAMED = re.compile(
    r"(?i)(?<![a-z])(bnb|nf4|fp4|fp8|int4|int8|gptq|awq|w4a16|w8a8|w8a16)(?![a-z])|(?<!\d)[48]-?bit(?![a-z])"
)
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_BITS = (2, 3, 4, 8)
_AGAIN = "save the base model again with the library that quantised it"


@dataclasses.dataclass(frozen=True)
class Packed:
    """The packed weight of module `path`: `name`, `dtype` and `shape` in the file, and what stands beside it.

    `beside` holds the shapes of the helpers that are there, `bits` what the configuration says (0: nothing), `told` the
    shape that was read from a helper's bytes, None where nobody read it.
    """

    path: str
    name: str
    dtype: str
    shape: Shape
    beside: Mapping[str, Shape]
    bits: int
    told: Shape | None

    @property
    def words(self) -> tuple[int, int]:
        """Rows and columns of the 32-bit words. Raises SpecError where there are not two sizes."""
        if len(self.shape) != 2:
            raise _error(self.name, f"shape {list(self.shape)} is not [rows, columns]")
        return self.shape[0], self.shape[1]


@dataclasses.dataclass(frozen=True)
class Scheme:
    """How one scheme writes a linear layer X: the tensor X.`weight`, of one of these dtypes, beside X.`helper`.

    `needs` are the helpers without which the tensor is no packed weight. `shape` gives [out, in], or None where the bytes
    that tell it were not read.
    """

    weight: str
    dtypes: tuple[str, ...]
    helpers: tuple[str, ...]
    needs: tuple[str, ...]
    shape: Callable[[Packed], Shape | None]


@dataclasses.dataclass(frozen=True)
class Logical:
    """What is known of a quantised base model: its scheme, and the shape of every weight by its logical name.

    `tensors` is None where they are not known; `note` says why.
    """

    scheme: str
    tensors: dict[str, Shape] | None
    note: str = ""


def scheme_of(config: Mapping[str, Any]) -> str | None:
    """Return the scheme that a config.json names, such as `bitsandbytes-4bit`; None for a base that is not quantised."""
    said = config.get("quantization_config")
    if not isinstance(said, dict) or not said:
        return None
    method = _word(said.get("quant_method") or ("bitsandbytes" if "load_in_4bit" in said else None))
    if method == "bitsandbytes":
        return "bitsandbytes-4bit" if said.get("load_in_4bit") else "bitsandbytes-8bit"
    if method == "compressed-tensors":
        return f"{method}-{_word(said.get('format'))}"
    # the usual layout of these two goes without saying; the others are told apart by it
    layout = {"awq": said.get("version"), "gptq": said.get("checkpoint_format")}.get(method)
    return method if layout is None or _word(layout).lower() in _USUAL else f"{method}-{_word(layout)}"


def logical(
    table: Table,
    config: Mapping[str, Any],
    *,
    read: Callable[[str], bytes] | None = None,
    shapes: Mapping[str, Any] | None = None,
) -> Logical | None:
    """Return the logical tensors of a quantised base model; None for one that is not quantised.

    `table` is {canonical name: (dtype, shape)}. Some layouts keep a weight's shape in the bytes of a small tensor
    (`tells_shape`): `read(name)` returns these bytes, or `shapes` holds what was read before, {"X.weight": [out, in]}.
    Raises SpecError, naming the tensor, where the packed bytes cannot have the shape that is told.
    """
    name = scheme_of(config)
    if name is None:
        return None
    row = SCHEMES.get(name)
    if row is None:
        return Logical(name, None, f"the layout of {name} is not known here: shapes are those of the file")
    found: dict[str, Shape] = {}
    dropped: set[str] = set()
    for packed in _packed(table, row, config, read, shapes or {}):
        shape = row.shape(packed)
        if shape is None:
            return Logical(name, None, f"{packed.name}: the bytes that tell its shape were not read")
        found[f"{packed.path}.weight"] = shape
        dropped |= {packed.name, *(f"{packed.path}.{helper}" for helper in packed.beside)}
    return Logical(name, {key: shape for key, (_, shape) in table.items() if key not in dropped} | found)


def guess(name: str) -> bool:
    """Tell whether a base model's name looks like that of a quantised copy, such as `llama-bnb-4bit` or `Llama-3-GPTQ`."""
    return _NAMED.search(name.rpartition("/")[2]) is not None


def tells_shape(name: str) -> bool:
    """Tell whether a weight's shape lies in the bytes of this tensor."""
    return _TELLS.fullmatch(name) is not None


def _packed(
    table: Table,
    row: Scheme,
    config: Mapping[str, Any],
    read: Callable[[str], bytes] | None,
    shapes: Mapping[str, Any],
) -> Iterator[Packed]:
    said = config["quantization_config"].get("bits")
    bits = said if type(said) is int and said in _BITS else 0
    for name, (dtype, shape) in sorted(table.items()):
        path = name.removesuffix(f".{row.weight}")
        beside = {helper: table[f"{path}.{helper}"][1] for helper in row.helpers if f"{path}.{helper}" in table}
        if path != name and dtype in row.dtypes and set(row.needs) <= set(beside):
            yield Packed(path, name, dtype, shape, beside, bits, _told(path, beside, table, read, shapes))


def _told(
    path: str,
    beside: Mapping[str, Shape],
    table: Table,
    read: Callable[[str], bytes] | None,
    shapes: Mapping[str, Any],
) -> Shape | None:
    """The shape of X.weight that a helper's bytes tell, or that was read from them before."""
    for name in (f"{path}.{helper}" for helper in beside):
        if read is not None and tells_shape(name):
            return _parse(name, table[name][0], read(name))
    return _sizes(f"{path}.weight", shapes[f"{path}.weight"]) if f"{path}.weight" in shapes else None


def _parse(name: str, dtype: str, data: bytes) -> Shape:
    """[out, in] from the bytes of bitsandbytes' quant state (JSON) or of compressed-tensors' weight_shape (integers)."""
    if name.endswith(".weight_shape"):
        width = DTYPE_BYTES[dtype]
        return _sizes(name, [int.from_bytes(data[at : at + width], "little") for at in range(0, len(data), width)])
    try:
        state = documents.loads_json(data, where=name, max_bytes=MAX_TOLD)
    except errors.SpecError as error:
        raise _error(name, f"is not the JSON of a quantisation state: {error.problems[0].message}") from error
    return _sizes(name, state.get("shape") if isinstance(state, dict) else None)


def _sizes(name: str, value: Any) -> Shape:
    sizes = list(value) if isinstance(value, (list, tuple)) else []
    if not 0 < len(sizes) <= 8 or any(type(size) is not int or not 0 < size < 1 << 31 for size in sizes):
        raise _error(name, f"tells no shape: {documents.shorten(value)}")
    return tuple(sizes)


def _bitsandbytes4(packed: Packed) -> Shape | None:
    """X.weight holds two numbers a byte, [n / 2, 1], in whatever dtype; the quant state's `shape` is [out, in]
    (bitsandbytes, `QuantState`)."""
    if packed.told is None:
        return None
    there, numbers = math.prod(packed.shape) * DTYPE_BYTES[packed.dtype], math.prod(packed.told)
    if there != (numbers + 1) // 2:
        raise _error(packed.name, f"shape {list(packed.told)} takes {(numbers + 1) // 2} bytes, {there} are there")
    return packed.told


def _one_each(packed: Packed) -> Shape:
    """X.weight holds one number a byte as it stands: bitsandbytes' `Linear8bitLt`, transformers' `FP8Linear`,
    compressed-tensors' int-quantized and float-quantized."""
    return packed.shape


def _gptq(packed: Packed) -> Shape:
    """X.qweight [in * bits / 32, out], X.g_idx [in], X.scales [groups, out] (AutoGPTQ, GPTQModel: `QuantLinear`).

    Single modules may have other bits than the configuration says, so g_idx is asked first.
    """
    rows, out = packed.words
    width = packed.beside["g_idx"][0] if packed.beside.get("g_idx") else rows * 32 // (packed.bits or 4)
    if not any(rows * 32 == width * bits for bits in _BITS) or packed.beside["scales"][-1:] != (out,):
        raise _error(packed.name, f"{rows} rows of 32 bits, g_idx and scales {_beside(packed)} do not go together")
    return out, width


def _awq(packed: Packed) -> Shape:
    """X.qweight [in, out * bits / 32], X.scales [groups, out] (AutoAWQ: `WQLinear_GEMM`)."""
    width, columns = packed.words
    out = packed.beside["scales"][-1] if packed.beside["scales"] else 0
    if not any(columns * 32 == out * bits for bits in _BITS):
        raise _error(packed.name, f"{columns} columns of 32 bits and scales {_beside(packed)} do not go together")
    return out, width


def _compressed(packed: Packed) -> Shape | None:
    """X.weight_packed [out, in * bits / 32], rounded up to whole words; X.weight_shape holds [out, in]
    (compressed-tensors, pack-quantized)."""
    if packed.told is None:
        return None
    rows, columns = packed.words
    fits = len(packed.told) == 2 and packed.told[0] == rows
    if not fits or not any(columns == -(-packed.told[-1] * bits // 32) for bits in _BITS):
        raise _error(packed.name, f"shape {list(packed.told)} does not go into {rows} x {columns} words of 32 bits")
    return packed.told


def _beside(packed: Packed) -> str:
    return ", ".join(f"{helper} {list(shape)}" for helper, shape in packed.beside.items())


def _word(value: Any) -> str:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else "unnamed"


def _error(where: str, message: str) -> errors.SpecError:
    return errors.SpecError.of("base.quantised", where, message, _AGAIN, "shapes")


_USUAL = ("gptq", "gptq_v2", "gemm")
_NESTED = ("weight.absmax", "weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map",
           "weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4")  # fmt: skip
_SCALES = ("weight_scale", "weight_scale_inv", "weight_zero_point", "weight_g_idx", "weight_shape", "input_scale",
           "input_scale_ub", "input_zero_point", "output_scale", "activation_scale")  # fmt: skip
_BYTES = ("I8", "U8", "F8_E4M3", "F8_E5M2")
# scheme -> its layout
SCHEMES = {
    "bitsandbytes-4bit": Scheme("weight", tuple(DTYPE_BYTES), _NESTED, ("weight.absmax",), _bitsandbytes4),
    "bitsandbytes-8bit": Scheme("weight", ("I8",), ("SCB", "weight_format"), ("SCB",), _one_each),
    "gptq": Scheme("qweight", ("I32",), ("qzeros", "scales", "g_idx"), ("scales",), _gptq),
    "awq": Scheme("qweight", ("I32",), ("qzeros", "scales"), ("scales",), _awq),
    "fp8": Scheme("weight", _BYTES, _SCALES, (), _one_each),
    "fbgemm_fp8": Scheme("weight", _BYTES, _SCALES, (), _one_each),
    "compressed-tensors-pack-quantized": Scheme("weight_packed", ("I32",), _SCALES, (), _compressed),
    "compressed-tensors-int-quantized": Scheme("weight", _BYTES, _SCALES, ("weight_scale",), _one_each),
    "compressed-tensors-float-quantized": Scheme("weight", _BYTES, _SCALES, ("weight_scale",), _one_each),
    "compressed-tensors-naive-quantized": Scheme("weight", _BYTES, _SCALES, ("weight_scale",), _one_each),
}
