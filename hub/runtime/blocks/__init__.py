"""Adapters that are computed beside the base model's own layers, since no weight can say them: a file a method."""

from hub.runtime.blocks import adapterhub_prompts
from hub.runtime.blocks.block import Block, Tensors
from hub.runtime.blocks.bottleneck import bottleneck
from hub.runtime.blocks.fusion import fusion
from hub.runtime.blocks.invertible import invertible
from hub.runtime.blocks.lora import gated_lora, lora
from hub.runtime.blocks.prompts import prefix, prompt
from hub.runtime.blocks.reft import reft
from hub.runtime.blocks.routed import lily, poly

__all__ = ["BLOCKS", "Block", "Tensors"]

BLOCKS: dict[str, Block] = {
    "lora": lora,
    "gated_lora": gated_lora,
    "bottleneck": bottleneck,
    "prompt_tuning": prompt,
    "p_tuning": prompt,
    "multitask_prompt_tuning": prompt,
    "cpt": prompt,
    "prefix_tuning": prefix,
    "cartridge": prefix,
    "poly": poly,
    "lily": lily,
    "fusion": fusion,
    "invertible": invertible,
    "reft": reft,
    "adapterhub.prefix": adapterhub_prompts.prefix,
    "adapterhub.prompt": adapterhub_prompts.prompt,
}
"""`Part.kind` -> what sets its hooks."""
