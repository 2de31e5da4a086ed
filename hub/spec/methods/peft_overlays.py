"""What PEFT's files lay over the base model: whole modules, biases, rows of tokens and copies of tables, as far as declared."""

from __future__ import annotations

from typing import Any

from hub.spec import components, tensors
from hub.spec.methods import peft_heads
from hub.spec.methods.peft_modules import Modules
from hub.spec.words import counted

_ANOTHER_BASE = "is this the base model the adapter was trained on?"


def whole(modules: Modules, found: dict[str, tensors.Tensor]) -> list[components.Part]:
    """Whole modules that `modules_to_save` names and that are no head which runs here."""
    by_module: dict[str, dict[str, tensors.Tensor]] = {}
    for name, tensor in found.items():
        module, _, role = name.rpartition(".")
        by_module.setdefault(module, {})[role] = tensor
    return [overlay(modules, module, roles) for module, roles in sorted(by_module.items())]


def overlay(modules: Modules, module: str, roles: dict[str, tensors.Tensor], kind: str = "saved") -> components.Part:
    """One such module. An embedding may have grown by new tokens: its width must be the base's, its rows need not."""
    weight = roles.get("weight")
    needs: dict[str, dict[str, int]] = {}
    own = modules.own(module)
    if own is not None and weight is not None and (kind == "copy" or not peft_heads.is_head(module)):
        shape = weight.shape if own.shape != weight.shape[::-1] else own.shape
        same = shape[1:] == own.shape[1:] if own.kind == "embedding" else shape == own.shape
        if not same:
            message = (
                f"tensor {weight.name!r} has shape {components.shown(weight.shape)}, but the base model's "
                f"{module}.weight is {components.shown(own.shape)}"
            )
            modules.source.tensor_problem("shape", message, _ANOTHER_BASE)
        if not modules.tied(module):
            needs = {module: {"width": shape[1]} if own.kind == "embedding" else own.sizes}
    return components.Part(
        module, kind, {role: tensor.name for role, tensor in roles.items()}, 1.0, None,
        {role: tensor.shape for role, tensor in roles.items()}, needs,
    )  # fmt: skip


def biases(modules: Modules, found: dict[str, tensors.Tensor]) -> list[components.Part]:
    """Biases of the base model that the file brings anew, as `bias` declares."""
    parts = []
    for name, tensor in sorted(found.items()):
        own = modules.base.tensors.get(name) if modules.base else None
        if modules.base is not None and own is None and not peft_heads.is_head(name.rpartition(".")[0]):
            message = f"tensor {tensor.name!r}: the base model has no {name!r}"
            modules.source.tensor_problem("module", message, _ANOTHER_BASE)
        elif own is not None and own != tensor.shape:
            message = f"tensor {tensor.name!r} has shape {components.shown(tensor.shape)}, the base model's is {components.shown(own)}"
            modules.source.tensor_problem("shape", message, _ANOTHER_BASE)
        module = name.removesuffix(".bias")
        parts.append(components.Part(module, "bias", {"bias": tensor.name}, 1.0, None, {"bias": tensor.shape}))
    return parts


def check_tokens(modules: Modules, module: str, tensor: tensors.Tensor, said: Any) -> None:
    """Rows of tokens: as many as the configuration names tokens for this table, and each of a token that the table has.

    `said`: a list of token numbers, or one for each table by the end of its path, as `peft_reckoning` has judged it. A table
    that is tied to another one may be named by that one.
    """
    named = said if isinstance(said, list) else _of_table(said, module, modules.tied(module))
    where = f"{modules.source.config_path} names"
    if named is None:
        message = f"tensor {tensor.name!r} holds rows of {module!r}, for which {where} no tokens"
        modules.source.tensor_problem("undeclared", message, "name the table in trainable_token_indices")
        return
    if tensor.shape and len(named) != tensor.shape[0]:
        message = f"tensor {tensor.name!r} has {counted(tensor.shape[0], 'row')}, but {where} {counted(len(named), 'token')} for {module!r}"
        modules.source.tensor_problem("rows", message, "every token needs the row that was trained for it")
    own = modules.own(module, "embedding")
    if own is not None and max(named) >= own.shape[0]:
        message = (
            f"{where} token {max(named)} for {tensor.name!r}, but the base model's {module!r} has {own.shape[0]} rows"
        )
        modules.source.tensor_problem("rows", message, _ANOTHER_BASE)


def _of_table(said: dict[str, list[int]], module: str, tied: bool) -> list[int] | None:
    for table, rows in said.items():
        if f".{module}".endswith(f".{table}") or f".{table}".endswith(f".{module}"):
            return rows
    return next(iter(said.values())) if tied else None
