"""The base model inside a live one: every tensor hashed; or, where the model says what it was loaded from, looked up there
and a few tensors hashed to see that they still are those.

Whoever hands over a live model has imported torch; this room never does.
"""

import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from hub import base_folder, config, descriptions, errors
from hub.spec import base_model, families, quantised
from hub.spec.base_model import BaseModel, Leaf

DTYPES = {
    "torch.float64": "F64",
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.float8_e4m3fn": "F8_E4M3",
    "torch.float8_e5m2": "F8_E5M2",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.int16": "I16",
    "torch.int8": "I8",
    "torch.uint8": "U8",
    "torch.bool": "BOOL",
}
LAST, MIDDLE, TABLES = 32 << 20, 16 << 20, 16 << 20
"""Bytes that are hashed of the last layer, of one in the middle, and of what belongs to no layer."""
Known: TypeAlias = Callable[[str, str], BaseModel | None]
"""(name, commit) -> the base model that the hub knows from there."""
_WRAPPED = re.compile(r"\.(?:base_layer|original_module)(?=\.)")
"""Under what names PEFT keeps a module that it has put an adapter, or a trained copy, beside."""
logger = logging.getLogger("hub")


def from_model(model: Any) -> BaseModel:
    """The base model inside a live one (anything with `state_dict()` and `config`), every tensor hashed now.

    Adapters that PEFT has put into it are left out. Raises UsageError for tensors that are not there, or of no known format.
    """
    body = _body(model)
    return _assembled(_tensors(body), _settings(body), {})


def describe(model: Any, settings: config.Settings, known: Known) -> tuple[BaseModel, str]:
    """(the base model inside a live one, how that was found).

    A model that came from a folder that was hashed before, or from a repository at a commit that the hub knows, is taken for
    that where a few of its tensors are; where one is not, and in all other cases, every tensor is hashed.
    """
    body = _body(model)
    tensors, told = _tensors(body), _settings(body)
    for name, candidate in _candidates(body, settings, known):
        leaves = {leaf.name: leaf for leaf in candidate.leaves if _is_backbone(leaf.name)}
        if _has_shapes_of(tensors, leaves):
            sample = _sample(leaves, tensors)
            if sample and all(_leaf(leaf.name, tensors[leaf.name]).digest == leaf.digest for leaf in sample):
                found = f"looked up as {name}, {len(sample)} of {len(leaves)} tensors hashed"
                return _assembled(tensors, told, leaves), found
            logger.info("the model came from %s, and its weights are others now", name)
    return _assembled(tensors, told, {}), "every tensor hashed"


def _body(model: Any) -> Any:
    """The model itself, where PEFT's wraps it."""
    inner = getattr(model, "get_base_model", None)
    return inner() if callable(inner) else model


def _settings(model: Any) -> dict[str, Any]:
    return model.config.to_dict() if hasattr(getattr(model, "config", None), "to_dict") else {}


def _tensors(model: Any) -> dict[str, Any]:
    """The tensors that are the base model's, by canonical name."""
    kind = str(_settings(model).get("model_type", ""))
    state = model.state_dict()
    wrapped = {key[: match.start()] for key in state for match in _WRAPPED.finditer(key)}
    found = {}
    for key, tensor in state.items():
        name = None if _is_added(key, wrapped) else families.canonical_name(_WRAPPED.sub("", key), kind)
        if name is not None and hasattr(tensor, "dtype"):  # other things may lie in a state, too
            found[name] = tensor
    return found


def _is_added(key: str, wrapped: set[str]) -> bool:
    """Whether a tensor lies beside a wrapped module, not in it: it is an adapter's."""
    ends = (match.start() for match in re.finditer(r"\.", key))
    return any(key[:end] in wrapped and not _WRAPPED.match(key, end) for end in ends)


def _candidates(model: Any, settings: config.Settings, known: Known) -> Iterator[tuple[str, BaseModel]]:
    """(name, base model) of what the model says it was loaded from, as far as it was hashed before."""
    told = getattr(model, "config", None)
    name, commit = str(getattr(told, "_name_or_path", "") or ""), getattr(told, "_commit_hash", None)
    if not name:
        return
    if base_folder.is_base(Path(name)):
        yield from _kept(Path(name), settings)
    elif commit:
        yield from _kept(_cached(name, str(commit)), settings)
        candidate = known(name, str(commit))
        if candidate is not None:
            yield name, candidate


def _kept(folder: Path, settings: config.Settings) -> Iterator[tuple[str, BaseModel]]:
    """The description of a folder that was hashed and has not changed since."""
    try:
        base = descriptions.outline(folder, cache=settings.cache / "bases") if base_folder.is_base(folder) else None
    except errors.HubError:
        return
    if base is not None and base.fingerprint:
        yield base_folder.called(folder), base


def _cached(name: str, commit: str) -> Path:
    """Where Hugging Face's libraries keep a repository at a commit."""
    return base_folder.hugging_face_cache() / f"models--{name.replace('/', '--')}" / "snapshots" / commit


def _is_backbone(name: str) -> bool:
    return base_model.part_of(name) in ("embeddings", "layers")


def _has_shapes_of(tensors: Mapping[str, Any], leaves: Mapping[str, Leaf]) -> bool:
    """Whether a model's backbone is made as these leaves are, format for format; tied copies do not count."""
    if not leaves or not leaves.keys() <= tensors.keys():
        return False
    places = {_place(tensors[name]) for name in leaves}
    more = [name for name in tensors.keys() - leaves.keys() if _is_backbone(name)]
    alike = all(
        (DTYPES.get(str(tensors[name].dtype)), tuple(tensors[name].shape)) == (leaf.dtype, leaf.shape)
        for name, leaf in leaves.items()
    )
    return alike and all(_place(tensors[name]) in places for name in more)


def _place(tensor: Any) -> tuple[Any, ...]:
    """What two names of one tensor share."""
    return tensor.data_ptr(), str(tensor.dtype), tuple(tensor.shape), tuple(tensor.stride())


def _sample(leaves: Mapping[str, Leaf], tensors: Mapping[str, Any]) -> list[Leaf]:
    """Which tensors are hashed: always the same ones, of the last layer first, the small ones before the large."""
    layers = sorted({number for name in leaves if (number := base_model.layer_of(name)) is not None})
    groups: list[tuple[int | None, int]] = [(None, TABLES)]
    if layers:
        groups += [(layers[-1], LAST)] + ([(layers[len(layers) // 2 - 1], MIDDLE)] if len(layers) > 1 else [])
    found = []
    for number, budget in groups:
        members = [leaf for leaf in leaves.values() if base_model.layer_of(leaf.name) == number]
        # among equals v_proj before q_proj before k_proj: what is trained most often is looked at first
        for leaf in sorted(sorted(members, key=lambda leaf: leaf.name, reverse=True), key=lambda m: _size(tensors, m)):
            budget -= _size(tensors, leaf)
            if budget >= 0:
                found.append(leaf)
    return found


def _size(tensors: Mapping[str, Any], leaf: Leaf) -> int:
    tensor = tensors[leaf.name]
    return int(tensor.numel() * tensor.element_size())


def _assembled(tensors: Mapping[str, Any], settings: dict[str, Any], known: Mapping[str, Leaf]) -> BaseModel:
    """The base model of these tensors; of those that are `known` nothing is hashed."""
    leaves: dict[str, Leaf] = {}
    hashed = {_place(tensors[name]): leaf.digest for name, leaf in known.items()}
    told: dict[str, bytes] = {}
    for name, tensor in tensors.items():
        digest = hashed.get(_place(tensor)) if name not in known else known[name].digest
        leaves[name] = known[name] if name in known else _leaf(name, tensor, digest)
        told |= {name: bytes(_raw(tensor).numpy())} if quantised.tells_shape(name) else {}
    return base_model.from_leaves(tuple(leaves.values()), settings, None, read=told.__getitem__)


def _leaf(name: str, tensor: Any, digest: str | None = None) -> Leaf:
    from blake3 import blake3

    if sys.byteorder != "little":
        raise errors.UsageError("live models are only described on little-endian machines", hint="give the folder")
    if str(getattr(tensor, "device", "")) == "meta":
        raise errors.UsageError(f"{name} is not in memory (device meta)", hint="give the folder")
    dtype = DTYPES.get(str(tensor.dtype))
    if dtype is None:
        raise errors.UsageError(
            f"{name} is {tensor.dtype}, which has no place in a fingerprint", hint="give the folder"
        )
    return Leaf(name, dtype, tuple(tensor.shape), digest or blake3(_raw(tensor).numpy()).hexdigest())


def _raw(tensor: Any) -> Any:
    """A tensor's bytes, row by row, as a tensor."""
    torch = sys.modules["torch"]
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
