"""What a serving engine needs of an adapter, from its facts alone: nothing is run.

Rules of vLLM: `vllm/lora/peft_helper.py` and its `--max-lora-rank`, as of 2026.
"""

from __future__ import annotations

import math

from hub.spec.components import Component

_VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
_VLLM_DEFAULT_RANK = 16
# whole modules that it takes beside LoRA
_VLLM_SAVED = frozenset({"classifier", "score"})


def serving(component: Component) -> dict[str, str]:
    """Return, for each engine, what it needs for this adapter, or why it cannot serve it; empty text: nothing special."""
    return {"vllm": _vllm(component), "gguf": _gguf(component)}


def _vllm(component: Component) -> str:
    if component.library != "peft" or component.method != "lora":
        return f"cannot serve {component.variant} (LoRA in PEFT's form only)"
    if component.variant == "dora":
        return "cannot serve DoRA"
    saved = {part.module for part in component.parts if part.kind in ("saved", "copy", "tokens")} - _VLLM_SAVED
    if saved:
        return f"cannot serve whole modules ({sorted(saved)[0]})"
    if any(part.kind == "bias" for part in component.parts):
        return "cannot serve adapters that change biases"
    rank = component.rank or 0
    if rank <= _VLLM_DEFAULT_RANK:
        return ""
    least = next((size for size in _VLLM_RANKS if size >= rank), None)
    return f"needs --max-lora-rank {least}" if least else f"cannot serve rank {rank} (at most {_VLLM_RANKS[-1]})"


def _gguf(component: Component) -> str:
    """llama.cpp's converter takes plain LoRA with one scale for all modules (it writes a single alpha)."""
    if component.library != "peft" or component.variant not in ("lora", "rslora"):
        return f"cannot be converted ({component.variant})"
    scales = {part.scale * part.shapes["A"][0] for part in component.parts if part.kind == "lora"}
    if scales and not all(math.isclose(scale, next(iter(scales))) for scale in scales):
        return "cannot be converted: it has several alphas"
    return ""
