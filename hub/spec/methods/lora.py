"""PEFT's LoRA: adapter_config.json + adapter_model.safetensors, keys `base_model.model.<module>.lora_{A,B}.weight`.

Every tensor of the file must be one half of a pair on a module the configuration names, or belong to a head it
declares. Anything else is refused: a key that names a tensor of the base model would overwrite it in a library that
loads by name.
"""

from __future__ import annotations

import re
from typing import Any

from hub.spec import base_model, components, tensors
from hub.spec.methods import heads, lora_config

PREFIX = "base_model.model."
_PAIR = re.compile(r"(?P<module>.+)\.lora_(?P<role>[AB])\.weight")
_SAVE = "save the adapter again with PEFT's save_pretrained"
# (pattern in the key, code, what it means, what to do), first match counts
_FOREIGN: tuple[tuple[re.Pattern[str], str, str, str], ...] = (
    (
        re.compile(r"\.original_module\.|\.modules_to_save\."),
        "leftover",
        "is a leftover of an old PEFT version",
        _SAVE,
    ),
    (re.compile(r"\.base_layer\."), "base_layer", "would overwrite the base model's own weights", _SAVE),
    (re.compile(r"\.lora_[AB]\.bias$"), "unsupported", "this hub does not run LoRA with lora_bias yet", ""),
    (
        re.compile(r"\.lora_(embedding_)?[AB]\.[^.]+(\.weight)?$"),
        "other_adapter",
        "belongs to another adapter's name",
        _SAVE,
    ),
    (
        re.compile(r"\.lora_embedding_[AB]$"),
        "unsupported",
        "this hub does not run LoRA on embeddings yet",
        "",
    ),
    (re.compile(r"\.lora_magnitude_vector"), "unsupported", "this hub does not run DoRA yet", ""),
    (
        re.compile(r"trainable_tokens|\.token_adapter\."),
        "unsupported",
        "this hub does not run trainable tokens yet",
        "",
    ),
    (re.compile(r"\.lora_"), "unknown", "is not part of a LoRA this hub knows", _SAVE),
)


def read(source: components.Source) -> components.Component | None:
    """Return the LoRA component of a folder; every fault goes to the source's collector."""
    settings = lora_config.read(source)
    pairs, saved = _sort(source, settings)
    parts = [part for module in sorted(pairs) if (part := _part(source, settings, module, pairs[module]))]
    _check_complete(source, settings, pairs)
    head = _head(source, settings, saved)
    ranks = {part.shapes["A"][0] for part in parts}
    return components.Component(
        folder=source.folder,
        library="peft",
        method="lora",
        variant="lora",
        config=_rebuilt(settings, parts),
        weights=source.weights,
        parts=tuple(parts),
        head=head,
        rank=max(ranks, default=None),
        parameters=sum(components.count(part.shapes) for part in parts),
        head_parameters=components.count(head.shapes) if head else 0,
    )


class _Pair(dict[str, tensors.Tensor]):
    """The halves A and B at one module, and the module's name in the file."""

    name: str


def _sort(
    source: components.Source, settings: lora_config.Settings
) -> tuple[dict[str, _Pair], dict[str, tensors.Tensor]]:
    """Split the tensors into pairs by canonical module and declared head tensors; refuse the rest by reason."""
    pairs: dict[str, _Pair] = {}
    saved: dict[str, tensors.Tensor] = {}
    refused: dict[tuple[str, str, str], list[str]] = {}
    for tensor in source.tensors:
        name = tensor.name.removeprefix(PREFIX)
        match = _PAIR.fullmatch(name) if name != tensor.name else None
        if match:
            module = _canonical(match["module"], source)
            pair = pairs.setdefault(module, _Pair())
            pair.name = match["module"]
            if match["role"] in pair:
                refused.setdefault(("twice", f"module {module} has two of them", _SAVE), []).append(tensor.name)
            pair[match["role"]] = tensor
        elif name != tensor.name and _declared(_canonical(name, source), settings):
            saved[_canonical(name, source)] = tensor
        else:
            refused.setdefault(_reason(tensor.name, source), []).append(tensor.name)
    components.refuse_by_reason(source, refused)
    return pairs, saved


def _canonical(name: str, source: components.Source) -> str:
    # gamma/beta and buffers are no matter of adapters; only the body's prefix is
    return base_model.strip_prefix(name, source.model_type)


def _declared(name: str, settings: lora_config.Settings) -> bool:
    """Tell whether a tensor belongs to a module that modules_to_save names and that can be a head's part."""
    module = name.rpartition(".")[0]
    if module in ("score", "pre_classifier"):
        return bool(settings.saved & {module, "classifier", "score"})
    if name not in heads.PEFT_LINEAR | heads.PEFT_MLP | heads.POOLER:
        return False
    return any(
        lora_config.matches(path, wanted) for path in (module, module.split(".")[0]) for wanted in settings.saved
    )


def _reason(key: str, source: components.Source) -> tuple[str, str, str]:
    if not key.startswith(PREFIX):
        foreign = "kohya or diffusers" if key.startswith(("lora_unet_", "lora_te", "unet.", "transformer.")) else ""
        meaning = (
            f"is a {foreign} key; this hub does not run those yet" if foreign else f"does not begin with {PREFIX!r}"
        )
        return "prefix", meaning, _SAVE
    for pattern, code, meaning, hint in _FOREIGN:
        if pattern.search(key):
            return code, meaning, hint
    name = base_model.canonical_name(key.removeprefix(PREFIX), source.model_type)
    if source.base is not None and name in source.base.tensors:
        return "backbone", "is a tensor of the base model itself, which stays frozen", "leave it out"
    return "undeclared", "belongs to no module that target_modules or modules_to_save names", "leave it out"


def _part(
    source: components.Source, settings: lora_config.Settings, module: str, pair: _Pair
) -> components.Part | None:
    missing = [role for role in ("A", "B") if role not in pair]
    if missing:
        key = f"{PREFIX}{pair.name}.lora_{missing[0]}.weight"
        source.tensor_problem("missing", f"tensor {key!r} is missing, its other half is there", _SAVE)
        return None
    a, b = pair["A"], pair["B"]
    for tensor in (a, b):
        heads.check_dtype(source, tensor, source.weights)
    if len(a.shape) != 2 or len(b.shape) != 2 or 0 in a.shape + b.shape:
        shapes = f"{components.shown(a.shape)} and {components.shown(b.shape)}"
        source.tensor_problem("shape", f"the halves at {module!r} have shapes {shapes}, not [r, in] and [out, r]")
        return None
    rank = a.shape[0]
    _check_rank(source, module, rank, b.shape[1], settings.rank_of(pair.name))
    _check_module(source, module, a, b)
    if not source.base and not _targeted(settings, pair.name, module):
        _untargeted(source, [a.name])
    return components.Part(
        module, "lora", {"A": a.name, "B": b.name}, settings.scale_of(pair.name, rank), None,
        {"A": a.shape, "B": b.shape},
    )  # fmt: skip


def _check_rank(source: components.Source, module: str, rank: int, other: int, declared: int) -> None:
    if rank != other:
        message = f"at {module!r} lora_A has rank {rank}, lora_B has rank {other}"
        source.tensor_problem("rank", message, _SAVE)
    elif rank != declared:
        message = f"{source.config_path} says rank {declared} at {module!r}, the tensors have rank {rank}"
        source.tensor_problem("rank", message, "r and rank_pattern must be those of the tensors")


def _check_module(source: components.Source, module: str, a: tensors.Tensor, b: tensors.Tensor) -> None:
    """Compare both halves with the module's weight [out, in]."""
    if source.base is None:
        return
    if module not in source.base.linears:
        what = "is no linear layer" if module in source.base.modules else "is not there"
        message = f"tensor {a.name!r} adapts {module!r}, which {what} in this base model"
        source.tensor_problem("module", message, "is this the base model the adapter was trained on?")
        return
    out, width = source.base.modules[module]
    for tensor, axis, size, shape in ((a, 1, width, (a.shape[0], width)), (b, 0, out, (out, b.shape[1]))):
        if tensor.shape[axis] != size:
            message = (
                f"tensor {tensor.name!r} has shape {components.shown(tensor.shape)}, but the base model's "
                f"{module}.weight {components.shown((out, width))} needs {components.shown(shape)}"
            )
            source.tensor_problem("shape", message, "is this the base model the adapter was trained on?")


def _check_complete(source: components.Source, settings: lora_config.Settings, pairs: dict[str, _Pair]) -> None:
    """Every targeted module has its tensors, and no other one has: checked where names, not a pattern, say which."""
    if not pairs:
        source.tensor_problem("none", "there is no LoRA tensor in this file", _SAVE)
    base = source.base
    if base is None or not (settings.all_linear or settings.targets is not None):
        return
    prefix = base_model.BODY_PREFIXES.get(base.model_type, "")
    extra = [pair[role].name for module, pair in pairs.items() for role in sorted(pair)[:1]
             if module in base.linears and not _targeted(settings, prefix + module, module)]  # fmt: skip
    _untargeted(source, extra)
    if source.config.get("exclude_modules") is not None and settings.excluded is None:
        return
    # a model that was trained without a pooler has none to adapt
    wanted = {module for module in base.linears if not module.startswith("pooler.")}
    missing = sorted(module for module in wanted - set(pairs) if _targeted(settings, prefix + module, module))
    if missing:
        more = f" and {len(missing) - 1} more modules" if len(missing) > 1 else ""
        message = f"the tensors for {missing[0]!r}{more} are missing: target_modules names them"
        source.tensor_problem("missing", message, "a missing tensor would be made up at random")


def _targeted(settings: lora_config.Settings, name: str, module: str) -> bool:
    return settings.targeted(name, module)


def _untargeted(source: components.Source, keys: list[str]) -> None:
    if keys:
        meaning = (
            "untargeted",
            "adapts a module that target_modules does not name",
            "name it in target_modules",
        )
        components.refuse_by_reason(source, {meaning: keys})


def _head(
    source: components.Source, settings: lora_config.Settings, saved: dict[str, tensors.Tensor]
) -> components.Head | None:
    for name, what in (("score.", "decoder heads (score)"), ("pre_classifier.", "DistilBERT's heads")):
        if any(key.startswith(name) for key in saved):
            message = f"this hub does not run {what} yet"
            source.tensor_problem("head_unsupported", message, "it runs BERT's and RoBERTa's", check="head")
            return None
    _check_saved(source, settings, saved)
    for kind, table in (("linear", heads.PEFT_LINEAR), ("tanh_mlp", heads.PEFT_MLP)):
        if set(table) & set(saved):
            found = {role: saved[key] for key, role in (table | heads.POOLER).items() if key in saved}
            pooling = "cls" if kind == "tanh_mlp" else "pooler"
            return heads.build(source, kind, pooling, found, source.labels, source.weights)  # type: ignore[arg-type]
    if settings.task_type == "SEQ_CLS":
        message = "task_type is SEQ_CLS, but the file holds no classifier"
        hint = "keep classifier in modules_to_save: a head that is not saved is made up at random"
        source.tensor_problem("head_missing", message, hint, check="head")
    return None


def _check_saved(source: components.Source, settings: lora_config.Settings, saved: dict[str, tensors.Tensor]) -> None:
    """Every module that modules_to_save names is there, but for the two that PEFT adds of itself."""
    for name in sorted(settings.saved - {"classifier", "score"}):
        if not any(lora_config.matches(key.rpartition(".")[0], name) or key.startswith(f"{name}.") for key in saved):
            message = f"modules_to_save names {name!r}, but its tensors are not in the file, or are none of a head"
            hint = "this hub runs saved classifiers and poolers"
            source.tensor_problem("saved", message, hint, check="head")
    others = set(saved) & set(heads.POOLER)
    if others and not set(saved) - others:
        source.tensor_problem("saved", "a pooler without a classifier is not run yet", check="head")


def _rebuilt(settings: lora_config.Settings, parts: list[components.Part]) -> dict[str, Any]:
    """The configuration as it is handed on: explicit module names, and nothing of the user's that we do not know."""
    return {
        "peft_type": "LORA",
        "task_type": settings.task_type,
        "r": settings.r,
        "lora_alpha": settings.alpha,
        "use_rslora": settings.rslora,
        "rank_pattern": dict(settings.rank_pattern),
        "alpha_pattern": dict(settings.alpha_pattern),
        "target_modules": [part.module for part in parts],
        "modules_to_save": sorted(settings.saved),
        "bias": "none",
        "init_lora_weights": True,
        "lora_dropout": 0.0,
        "inference_mode": True,
    }
