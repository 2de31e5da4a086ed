"""Tiny random base models of every family that runs here, each saved as transformers saves it."""

from pathlib import Path
from typing import Any

import torch
import transformers

from hub.spec import families
from tests.engine.makers import TINY

VOCABULARY = 90
_ENCODER: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 66,
    "initializer_range": 0.2,
}  # fmt: skip
_DECODER: dict[str, Any] = _ENCODER | {"num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
_GPT: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 66, "initializer_range": 0.2}
_DEBERTA: dict[str, Any] = _ENCODER | {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
}
_NAMES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
SETTINGS: dict[str, dict[str, Any]] = {
    "bert": _ENCODER,
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert", "mpnet"), _ENCODER | {"pad_token_id": 1}),
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 66, "initializer_range": 0.2},
    "electra": _ENCODER | {"embedding_size": 16},
    "albert": _ENCODER | {"embedding_size": 16, "num_hidden_groups": 1},
    "deberta": _DEBERTA,
    "deberta-v2": _DEBERTA | {"share_att_key": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm"},
    "modernbert": _ENCODER | {"pad_token_id": 0, "local_attention": 8, "global_attn_every_n_layers": 2},
    "gpt2": _GPT,
    "openai-gpt": _GPT,
    "gpt_bigcode": _GPT,
    "gptj": _GPT | {"rotary_dim": 8},
    "gpt_neo": {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "intermediate_size": 64, "max_position_embeddings": 66,
                "attention_types": [[["global", "local"], 1]], "window_size": 8, "initializer_range": 0.2},
    "gpt_neox": _ENCODER,
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2},
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.2},
    "opt": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64, "word_embed_proj_dim": 32,
            "max_position_embeddings": 66, "init_std": 0.2},
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "olmo", "olmo2",
         "stablelm", "starcoder2", "cohere", "granite", "smollm3", "glm", "glm4"), _DECODER),
    **dict.fromkeys(("qwen2_moe", "qwen3_moe", "olmoe"), _DECODER | _EXPERTS),
    "mixtral": _DECODER | {"num_local_experts": 4},
    "deepseek_v3": _DECODER | _EXPERTS | {
        "n_routed_experts": 4, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1, "q_lora_rank": 16, "kv_lora_rank": 16,
        "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "num_key_value_heads": 4},
}  # fmt: skip


def configuration(family: str, **more: Any) -> Any:
    """A configuration of a family for a model of a few thousand parameters."""
    return transformers.AutoConfig.for_model(family, **{"vocab_size": VOCABULARY, **SETTINGS[family], **more})


def saved(family: str, folder: Path, kind: Any = None, dtype: torch.dtype = torch.float32, **more: Any) -> Path:
    """A random model in a folder, with a tokenizer: decoders with their language-model head, other families the body."""
    torch.manual_seed(0)
    chosen = kind or (transformers.AutoModelForCausalLM if families.of(family).decoder else transformers.AutoModel)
    chosen.from_config(configuration(family, **more)).to(dtype).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(TINY).save_pretrained(folder)
    return folder


def inputs(pad: int = 0) -> dict[str, torch.Tensor]:
    """Four rows, one of them padded on its right, and each with types, as some tokenizers give them."""
    torch.manual_seed(3)
    given = {"input_ids": torch.randint(5, VOCABULARY, (4, 12)), "attention_mask": torch.ones(4, 12, dtype=torch.long)}
    given["input_ids"][2, 7:], given["attention_mask"][2, 7:] = pad, 0
    return given | {"token_type_ids": torch.zeros(4, 12, dtype=torch.long)}
