"""LLaMA-Adapter's prompts, which PEFT puts into whole attention blocks: which block of the base model, and how many."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from hub.spec import base_model, components
from hub.spec.methods.layout import Symbols

# what a block's name is in PEFT's table of model types -> the module in it that reads the prompt
_READERS = {"self_attn": "k_proj", "attn": "c_attn"}
_FAMILIES = frozenset({"llama", "mistral", "gpt2"})
"""Model types on which PEFT 0.21 has it."""
_ANOTHER_BASE = "is this the base model the adapter was trained on?"


def say_who_runs(source: components.Source, title: str) -> None:
    """Note that PEFT runs it, on the base models that it has it for: its gate stands inside the attention, behind the softmax."""
    if source.base is None or source.model_type in _FAMILIES:
        source.leave_to_library(title)
        return
    where, known = f"{source.config_path}: peft_type", ", ".join(sorted(_FAMILIES))
    message = f"nobody runs {title} on {source.model_type or 'such base models'}: PEFT has it on {known}"
    source.not_run("method.unsupported", where, message)


def exists(source: components.Source, block: str, key: str) -> bool:
    """Tell whether the base model has an attention block at a path; notes where it has none. True where no base is known."""
    if source.base is None or any(f"{block}.{reader}" in source.base.modules for reader in _READERS.values()):
        return True
    message = f"tensor {key!r} adapts {block!r}, which is no attention block of this base model"
    source.tensor_problem("module", message, _ANOTHER_BASE)
    return False


def needs(block: str, symbols: Symbols) -> dict[str, dict[str, int]]:
    """What the base model has to have: the layer that turns the prompt into keys, as wide as the prompt is."""
    if "hidden" not in symbols:
        return {}
    reader = _READERS.get(block.rpartition(".")[2])
    return {f"{block}.{reader}": {"in": symbols["hidden"]}} if reader else {"": {"hidden": symbols["hidden"]}}


def check_layers(source: components.Source, blocks: Collection[str]) -> None:
    """`adapter_layers` counts from the top: so many blocks, and of a base that is known its last ones."""
    wanted = source.config.get("adapter_layers")
    if type(wanted) is not int or not 0 < wanted < 100_000:
        source.config_problem("rank", "adapter_layers", "must be the number of layers that have a prompt")
        return
    if wanted != len(blocks):
        message = f"{source.config_path} says adapter_layers {wanted}, the file has prompts for {len(blocks)} blocks"
        source.tensor_problem("missing", message, "a missing prompt would be made up at random")
        return
    wrong = sorted(set(blocks) - set(_top(source.base, blocks)))
    if wrong:
        message = f"there are prompts at {wrong[0]!r}, which is none of the last {wanted} attention blocks"
        source.tensor_problem("module", message, _ANOTHER_BASE)


def _top(base: base_model.BaseModel | None, blocks: Collection[str]) -> Iterable[str]:
    """The last blocks of the base model, as many as are given; all that are given where the base is not known."""
    if base is None:
        return blocks
    ends = {block.rpartition(".")[2] for block in blocks}
    found = {
        path.rpartition(".")[0]
        for path in base.modules
        if path.rpartition(".")[2] in _READERS.values() and path.split(".")[-2] in ends
    }
    return sorted(found, key=lambda path: base_model.layer_of(path) or 0)[-len(blocks) :]
