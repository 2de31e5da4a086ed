"""LoRA files without a configuration: kohya's trainers and diffusers name the tensors so that the names say everything.

kohya      lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight      the path with _ for ., hence ambiguous
diffusers  unet.down_blocks.0.attentions.0.proj_in.lora_A.weight              or .lora.down.weight, of older versions

A path with underscores is resolved against the modules of the base model; without one it stays as it is written.
"""

from __future__ import annotations

import dataclasses
import re

from hub.spec import components, tensors
from hub.spec.methods import heads, layout
from hub.spec.methods.layout import Form, form
from hub.spec.methods.peft_table import TABLE

_SAVE = "save it again with the trainer that wrote it"
_ALPHA, _DORA = "?!alpha: ...", "?dora_scale: ..."


@dataclasses.dataclass(frozen=True)
class Dialect:
    """Who writes such keys. `places`: how a key begins -> the model it means; `forms`: the tensors at a module, by method."""

    name: str
    places: dict[str, str]
    underscores: bool
    forms: tuple[tuple[str, Form], ...]


def _borrowed(peft_type: str, method: str) -> tuple[tuple[str, Form], ...]:
    """PEFT's forms of a method, with the scale that these files keep beside them."""
    more = form("any", _ALPHA, _DORA).slots
    return tuple((method, Form(item.kind, item.slots + more)) for item in TABLE[peft_type].forms)


_KOHYA = Dialect(
    "kohya",
    {"lora_unet_": "unet", "lora_te_": "text_encoder", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2",
     "lora_te3_": "text_encoder_3", "lora_transformer_": "transformer", "lycoris_": "model"},
    True,
    (
        ("lora", form("linear", "lora_down.weight: r IN", "lora_up.weight: OUT r", _ALPHA, _DORA)),
        ("lora", form("conv", "lora_down.weight: r IN *K", "lora_up.weight: OUT r *1", _ALPHA, _DORA)),
        ("lora", form("conv", "lora_down.weight: r IN *1", "lora_mid.weight: r r *K", "lora_up.weight: OUT r *1", _ALPHA)),
        *_borrowed("LOHA", "loha"), *_borrowed("LOKR", "lokr"),
    ),
)  # fmt: skip
_DIFFUSERS = Dialect(
    "diffusers",
    {"unet.": "unet", "text_encoder.": "text_encoder", "text_encoder_2.": "text_encoder_2", "transformer.": "transformer",
     "diffusion_model.": "transformer"},
    False,
    (
        ("lora", form("linear", "lora_A.weight: r IN", "lora_B.weight: OUT r", _ALPHA, "?lora_magnitude_vector: ...")),
        ("lora", form("conv", "lora_A.weight: r IN *K", "lora_B.weight: OUT r *1", _ALPHA, "?lora_magnitude_vector: ...")),
        ("lora", form("linear", "lora.down.weight: r IN", "lora.up.weight: OUT r", _ALPHA)),
        ("lora", form("conv", "lora.down.weight: r IN *K", "lora.up.weight: OUT r *1", _ALPHA)),
        ("lora", form("linear", "lora_linear_layer.down.weight: r IN", "lora_linear_layer.up.weight: OUT r", _ALPHA)),
        # attention processors of the first versions: processor.to_q_lora.down.weight
        ("lora", form("linear", "down.weight: r IN", "up.weight: OUT r")),
    ),
)  # fmt: skip
DIALECTS = (_KOHYA, _DIFFUSERS)


def detect(table: tuple[tensors.Tensor, ...]) -> Dialect | None:
    """Return whose keys these are, None where they are of neither."""
    for dialect in DIALECTS:
        ends = tuple(f"{mark}{role}" for _, item in dialect.forms for role in item.required for mark in "._")
        begin = tuple(dialect.places)
        if table and all(one.name.startswith(begin) for one in table) and any(one.name.endswith(ends) for one in table):
            return dialect
    return None


def read(source: components.Source, dialect: Dialect) -> components.Component:
    """Return the component of a file in a dialect; every fault goes to the source's collector."""
    found: dict[str, dict[str, tensors.Tensor]] = {}
    refused: dict[tuple[str, str, str], list[str]] = {}
    roles = sorted({role for _, item in dialect.forms for role in item.roles}, key=len, reverse=True)
    for tensor in source.tensors:
        role = next((role for role in roles if tensor.name.endswith(f".{role}")), None)
        if role is None:
            reason = ("unknown", f"is not part of a {dialect.name} file this hub knows", _SAVE)
            refused.setdefault(reason, []).append(tensor.name)
        else:
            found.setdefault(tensor.name[: -len(role) - 1], {})[role] = tensor
    components.refuse_by_reason(source, refused)
    parts, methods = [], set()
    for module in sorted(found):
        if part := _part(source, dialect, module, found[module]):
            parts.append(part)
            methods.add(part.kind.partition(".")[0])
    source.not_run(
        "method.unsupported", source.weights, f"this hub does not run {dialect.name} files yet", check="shapes"
    )
    trained = [tensor for group in found.values() for role, tensor in group.items() if role != "alpha"]
    ranks = {size for part in parts if (size := _rank(part))}
    return components.Component(
        folder=source.folder,
        library=dialect.name,
        method=methods.pop() if len(methods) == 1 else "lora",
        variant="mixed" if methods else next(iter({part.kind.partition(".")[0] for part in parts}), "lora"),
        config={},
        weights=source.weights,
        parts=tuple(parts),
        head=None,
        rank=max(ranks, default=None),
        parameters=sum(tensor.count for tensor in trained),
        head_parameters=0,
        nbytes={"adapter": sum(tensor.nbytes for tensor in source.tensors), "head": 0, "saved": 0, "copied": 0},
        unrun=tuple(str(problem) for problem in source.unrun),
    )


def _part(
    source: components.Source, dialect: Dialect, name: str, found: dict[str, tensors.Tensor]
) -> components.Part | None:
    for tensor in found.values():
        heads.check_dtype(source, tensor, source.weights)
    path, known = _resolve(source, dialect, name)
    own = source.base.modules.get(path) if source.base and known else None
    if source.base is not None and own is None:
        first = next(iter(found.values())).name
        message = f"tensor {first!r} adapts {name!r}, which is not there in this base model"
        source.tensor_problem("module", message, "is this the base model the adapter was trained on?")
        return None
    roles, kind = frozenset(found), own.kind if own else None
    forms = layout.matching(tuple(item for _, item in dialect.forms), kind, roles)
    symbols: layout.Symbols = {}
    if own is not None:
        symbols = {axis: size for axis, size in zip(layout.AXES[own.kind], own.shape, strict=False) if axis[0] != "*"}
    shapes = {role: tensor.shape for role, tensor in found.items()}
    chosen = layout.choose(forms, shapes, symbols)
    if chosen is None:
        near = layout.nearest(tuple(item for _, item in dialect.forms), roles)
        missing = sorted(near.required - roles) or sorted(near.required)
        source.tensor_problem(
            "missing", f"tensor '{name}.{missing[0]}' is missing, another of its module is there", _SAVE
        )
        return None
    misfits = layout.fit(chosen, shapes, symbols)
    for misfit in misfits:
        _tell(source, found[misfit.role], chosen, misfit)
    if any(misfit.wanted is None for misfit in misfits):
        return None
    method = next(method for method, item in dialect.forms if item is chosen)
    sizes = {word: symbols[axis] for word, axis in (("out", "OUT"), ("in", "IN")) if axis in symbols}
    return components.Part(
        path,
        method if chosen.kind == "linear" else f"{method}.{chosen.kind}",
        {role: tensor.name for role, tensor in found.items()},
        shapes=shapes,
        needs={path: sizes} if known and sizes else {},
    )


def _resolve(source: components.Source, dialect: Dialect, name: str) -> tuple[str, bool]:
    """(path of a module, whether it is one): the key's name without the model it begins with, underscores undone."""
    place = next((place for place in dialect.places if name.startswith(place)), "")
    rest = re.sub(r"\.processor\.(to_\w+)$", r".\1", name[len(place) :].removesuffix("_lora"))
    if not dialect.underscores:
        return rest, True
    if source.base is None:
        return rest, False
    by_underscores = {path.replace(".", "_"): path for path in source.base.modules}
    return by_underscores.get(rest, rest), rest in by_underscores


def _tell(source: components.Source, tensor: tensors.Tensor, chosen: Form, misfit: layout.Misfit) -> None:
    shape = components.shown(tensor.shape)
    if misfit.wanted is None:
        source.tensor_problem(
            "shape", f"tensor {tensor.name!r} has shape {shape}, not {chosen.roles[misfit.role].shown}"
        )
        return
    wanted = f"[{', '.join(map(str, misfit.wanted))}]"
    message = f"tensor {tensor.name!r} has shape {shape}, but its module and its other tensors need {wanted}"
    source.tensor_problem("shape", message, "is this the base model the adapter was trained on?")


def _rank(part: components.Part) -> int:
    halves = ("lora_down.weight", "lora_A.weight", "lora.down.weight", "down.weight", "hada_w1_b", "lokr_w2_b")
    return next((part.shapes[role][0] for role in halves if part.shapes.get(role)), 0)
