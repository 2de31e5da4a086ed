"""Tiny random models of the families that adapters are written for; each saved once as its library saves it."""

from collections.abc import Callable
from typing import Any

import torch
import transformers as t

_TEXT: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_VISION: dict[str, Any] = _TEXT | {"image_size": 8, "patch_size": 4}
_GROUPED: dict[str, Any] = _TEXT | {"vocab_size": 40, "num_key_value_heads": 2}
_WHISPER: dict[str, Any] = {
    "vocab_size": 60, "d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "num_mel_bins": 8, "max_source_positions": 20, "max_target_positions": 20,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
}  # fmt: skip
_WAV: dict[str, Any] = _TEXT | {
    "vocab_size": 20, "conv_dim": (8, 8), "conv_stride": (2, 2), "conv_kernel": (3, 3), "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 12,
}  # fmt: skip
MAKE: dict[str, Callable[[], Any]] = {
    "bert": lambda: t.BertForSequenceClassification(t.BertConfig(vocab_size=40, max_position_embeddings=16, **_TEXT)),
    "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(vocab_size=40, n_embd=24, n_layer=2, n_head=4, n_positions=16)),
    "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**_GROUPED)),
    "qwen3_moe": lambda: t.Qwen3MoeForCausalLM(
        t.Qwen3MoeConfig(moe_intermediate_size=20, num_experts=3, num_experts_per_tok=2, head_dim=6, **_GROUPED)
    ),
    "t5": lambda: t.T5ForConditionalGeneration(
        t.T5Config(vocab_size=40, d_model=24, d_kv=6, d_ff=48, num_layers=2, num_heads=4)
    ),
    "vit": lambda: t.ViTForImageClassification(t.ViTConfig(**_VISION)),
    "wav2vec2": lambda: t.Wav2Vec2ForSequenceClassification(t.Wav2Vec2Config(**_WAV)),
    "whisper": lambda: t.WhisperForConditionalGeneration(t.WhisperConfig(**_WHISPER)),
    "clip": lambda: t.CLIPModel(
        t.CLIPConfig(
            text_config=_TEXT | {"vocab_size": 40, "max_position_embeddings": 16},
            vision_config=_VISION,
            projection_dim=16,
        )
    ),
}


def make(name: str) -> Any:
    """A model of this family with random weights, the same at every call."""
    torch.manual_seed(0)
    return MAKE[name]().eval()
