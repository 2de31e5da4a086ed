"""A layer with an adapter merged into it: what weight and bias are once the method has had its say.

A function a method, over a layer as it lies in the base model and the adapter's tensors at it by role. Nothing here writes into
what it is given. All reckoning is in float32, PEFT's methods in the order of its own merging (0.21); where PEFT runs a method unmerged,
answers differ by rounding only (docs/parity.md has the measured distances).
"""

from hub.runtime.merging import adapterhub, later, low_rank, replacing, taking_apart, turning
from hub.runtime.merging.layer import Layer, Merge, Said, Tensors

__all__ = ["MERGES", "Layer", "Merge", "Said", "Tensors"]

MERGES: dict[str, Merge] = {
    "lora": low_rank.lora,
    "lora.conv": low_rank.lora,
    "lora.embedding": low_rank.lora_embedding,
    "adalora": low_rank.adalora,
    "loha": low_rank.loha,
    "loha.conv": low_rank.loha,
    "lokr": low_rank.lokr,
    "lokr.conv": low_rank.lokr,
    "vera": low_rank.vera,
    "randlora": low_rank.randlora,
    "vblora": low_rank.vblora,
    "delora": low_rank.delora,
    "gralora": low_rank.gralora,
    "miss": low_rank.miss,
    "bone": low_rank.miss,
    "fourierft": low_rank.fourierft,
    "shira": low_rank.shira,
    "c3a": low_rank.c3a,
    "ia3": turning.ia3,
    "ia3.conv": turning.ia3,
    "oft": turning.oft,
    "oft.conv": turning.oft,
    "boft": turning.boft,
    "boft.conv": turning.boft,
    "hra": turning.hra,
    "hra.conv": turning.hra,
    "road": turning.road,
    "beft": later.beft,
    "hira": later.hira,
    "hira.conv": later.hira,
    "hira.embedding": later.hira_embedding,
    "glora": later.glora,
    "peanut": later.peanut,
    "pvera": later.pvera,
    "supertuning": later.supertuning,
    "unilora": later.unilora,
    "waveft": later.waveft,
    "deft": taking_apart.deft,
    "osf": taking_apart.osf,
    "psoft": taking_apart.psoft,
    "tinylora": taking_apart.tinylora,
    "tinylora.embedding": taking_apart.tinylora,
    "frod": taking_apart.frod,
    "ln_tuning.norm": replacing.ln_tuning,
    "saved": replacing.saved,
    "copy": replacing.saved,
    "bias": replacing.bias,
    "adapterhub.lora": adapterhub.lora,
    "tokens": replacing.tokens,
    "trainable_tokens.embedding": replacing.tokens,
}
"""`Part.kind` -> how it is merged."""
