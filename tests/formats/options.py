"""The settings under which PEFT writes adapters in the tests: every method that this hub has a row for, on every family
that it fits, and combinations of the options that change what is in the file."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

# module names to adapt, narrow and wide, by family
LINEAR = {
    "bert": (["query", "value"], ["query", "key", "value", "dense"]),
    "gpt2": (["c_attn"], ["c_attn", "c_fc", "c_proj"]),
    "llama": (["q_proj", "v_proj"], ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]),
    "qwen3_moe": (["q_proj", "v_proj"], ["q_proj", "k_proj", "v_proj", "o_proj"]),
    "t5": (["q", "v"], ["q", "k", "v", "o", "wi", "wo"]),
    "vit": (["q_proj", "v_proj"], ["q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"]),
    "wav2vec2": (["q_proj", "v_proj"], ["q_proj", "k_proj", "v_proj", "out_proj", "intermediate_dense", "output_dense"]),
    "whisper": (["q_proj", "v_proj"], ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]),
    "clip": (["q_proj", "v_proj"], ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]),
}  # fmt: skip
FEEDFORWARD = {
    "bert": ["output.dense"], "gpt2": ["mlp.c_proj"], "llama": ["down_proj"], "t5": ["wo"], "vit": ["fc2"],
    "wav2vec2": ["output_dense"], "whisper": ["fc2"], "clip": ["fc2"], "qwen3_moe": ["o_proj"],
}  # fmt: skip
EMBEDDING = {
    "bert": "word_embeddings", "gpt2": "wte", "llama": "embed_tokens", "qwen3_moe": "embed_tokens", "t5": "shared",
    "whisper": "embed_tokens", "clip": "token_embedding",
}  # fmt: skip
NORM = {
    "bert": ["LayerNorm"], "gpt2": ["ln_1", "ln_2"], "llama": ["input_layernorm"], "qwen3_moe": ["input_layernorm"],
    "t5": ["layer_norm"], "vit": ["layernorm_before"], "wav2vec2": ["final_layer_norm"], "whisper": ["final_layer_norm"],
    "clip": ["layer_norm1"],
}  # fmt: skip
CONV = {"vit": ["projection"], "whisper": ["conv1", "conv2"], "clip": ["patch_embedding"]}
TASK = {"bert": "SEQ_CLS", "gpt2": "CAUSAL_LM", "llama": "CAUSAL_LM", "qwen3_moe": "CAUSAL_LM", "t5": "SEQ_2_SEQ_LM"}
PROMPTED = ("bert", "gpt2", "llama", "qwen3_moe", "t5")

Option = tuple[str, str, dict[str, Any]]


def every() -> list[Option]:
    """(family, name of PEFT's configuration class, its arguments), each once."""
    return list({json.dumps(option): option for option in _every()}.values())


def _every() -> Iterator[Option]:
    for family in LINEAR:
        yield from _lora(family)
        yield from _family_of_lora(family)
        yield from _others(family)
        yield from _rare(family)
    for family in PROMPTED:
        yield from _prompts(family)
    yield from _experts()


def _lora(family: str) -> Iterator[Option]:
    task = {"task_type": TASK[family]} if family in TASK else {}
    flags = ({}, {"use_rslora": True}, {"use_dora": True}, {"lora_bias": True}, {"bias": "all"}, {"bias": "lora_only"})
    for names, r, flag in itertools.product(LINEAR[family], (1, 4, 8), flags):
        yield family, "LoraConfig", {"r": r, "lora_alpha": 2 * r, "target_modules": names, **flag, **task}
    narrow, wide = LINEAR[family]
    yield family, "LoraConfig", {"r": 4, "target_modules": "all-linear", **task}
    yield family, "LoraConfig", {"r": 4, "target_modules": narrow, "layers_to_transform": [1], **task}
    yield family, "LoraConfig", {"r": 4, "target_modules": rf".*({'|'.join(narrow)})", **task}
    yield family, "LoraConfig", {"r": 4, "target_modules": wide, "exclude_modules": narrow, **task}
    for key, value in itertools.product((narrow[0], narrow[-1]), (2, 6)):
        pattern = {"rank_pattern": {key: value}, "alpha_pattern": {key: 3 * value}}
        yield family, "LoraConfig", {"r": 4, "target_modules": wide, **pattern, **task}
    if family in EMBEDDING:
        table = EMBEDDING[family]
        for flag in ({}, {"use_dora": True}):
            yield family, "LoraConfig", {"r": 4, "target_modules": [*narrow, table], **flag, **task}
        yield family, "LoraConfig", {"r": 4, "target_modules": narrow, "modules_to_save": [table], **task}
        if family != "t5":  # PEFT itself refuses tied tables there
            yield (
                family,
                "LoraConfig",
                {"r": 4, "target_modules": narrow, "trainable_token_indices": {table: [1, 2, 3]}, **task},
            )
    for flag in ({}, {"use_dora": True}, {"use_rslora": True}):
        if family in CONV and not (family == "whisper" and flag):
            yield family, "LoraConfig", {"r": 2, "target_modules": [*CONV[family], *narrow], **flag, **task}
    yield family, "LoraConfig", {"r": 4, "target_modules": narrow, "modules_to_save": NORM[family][:1], **task}
    if TASK.get(family) == "CAUSAL_LM":
        yield family, "LoraConfig", {"r": 4, "target_modules": narrow, "alora_invocation_tokens": [1, 2], **task}


def _family_of_lora(family: str) -> Iterator[Option]:
    task = {"task_type": TASK[family]} if family in TASK else {}
    for names, r in itertools.product(LINEAR[family], (2, 4)):
        for name in (
            "LoHaConfig",
            "LoKrConfig",
            "HRAConfig",
            "VeraConfig",
            "RandLoraConfig",
            "DeloraConfig",
            "MissConfig",
        ):
            if family == "gpt2" and name not in ("VeraConfig", "RandLoraConfig"):
                continue  # PEFT wraps GPT-2's Conv1D by a few methods only
            yield family, name, {"r": r, "target_modules": names, **task}
        if family != "gpt2":
            yield (
                family,
                "LoKrConfig",
                {"r": 2, "decompose_both": True, "decompose_factor": r, "target_modules": names, **task},
            )
            yield family, "LoHaConfig", {"r": 4, "rank_pattern": {names[0]: r}, "target_modules": names, **task}
            yield family, "LoKrConfig", {"r": 1, "rank_pattern": {names[0]: r}, "target_modules": names, **task}
            for init in ("bat", "mini"):
                yield family, "MissConfig", {"r": r, "mini_r": 2, "init_weights": init, "target_modules": names, **task}
            yield family, "GraloraConfig", {"r": 2 * r, "gralora_k": 2, "target_modules": names, **task}
            yield family, "GraloraConfig", {"r": 2 * r, "gralora_k": 2, "hybrid_r": 2, "target_modules": names, **task}
            yield family, "PolyConfig", {"r": r, "n_tasks": 2, "n_skills": 3, "target_modules": names, **task}
        yield family, "VeraConfig", {"r": r, "save_projection": False, "target_modules": names, **task}
        if family != "gpt2":
            yield family, "ShiraConfig", {"r": 1, "target_modules": names, **task}
        yield (
            family,
            "AdaLoraConfig",
            {"init_r": 2 * r, "target_r": r, "total_step": 10, "target_modules": names, **task},
        )
        yield family, "VBLoRAConfig", {"r": r, "num_vectors": 10, "vector_length": 4, "target_modules": names, **task}
    if family in CONV:
        names = CONV[family]
        for effective in (False, True):
            yield family, "LoHaConfig", {"r": 2, "use_effective_conv2d": effective, "target_modules": names, **task}
            yield family, "LoKrConfig", {"r": 1, "use_effective_conv2d": effective, "target_modules": names, **task}


def _others(family: str) -> Iterator[Option]:
    task = {"task_type": TASK[family]} if family in TASK else {}
    narrow, wide = LINEAR[family]
    ff = FEEDFORWARD[family]
    for names, feedforward in ((narrow, []), (sorted({*narrow, *ff}), ff)):
        yield family, "IA3Config", {"target_modules": names, "feedforward_modules": feedforward, **task}
    yield family, "LNTuningConfig", {"target_modules": NORM[family], **task}
    for names, size in itertools.product((narrow, wide), (10, 40)):
        yield family, "FourierFTConfig", {"n_frequency": size, "target_modules": names, **task}
    if family in EMBEDDING:
        yield family, "TrainableTokensConfig", {"token_indices": [1, 2, 5], "target_modules": [EMBEDDING[family]]}
    if family in ("llama", "gpt2"):
        for size, layers in itertools.product((2, 5), (1, 2)):
            yield family, "AdaptionPromptConfig", {"adapter_len": size, "adapter_layers": layers, **task}
    if family == "gpt2":
        return
    for names in (narrow, wide):
        for share, size in itertools.product((False, True), (4, 8)):
            yield family, "OFTConfig", {"oft_block_size": size, "block_share": share, "target_modules": names, **task}
        yield family, "OFTConfig", {"r": 4, "oft_block_size": 0, "target_modules": names, **task}
        for size, factor in ((4, 1), (4, 2), (2, 1)):
            boft = {"boft_block_size": size, "boft_n_butterfly_factor": factor}
            yield family, "BOFTConfig", {**boft, "target_modules": names, **task}
        for size in (4, 2):
            yield family, "C3AConfig", {"block_size": size, "target_modules": names, **task}
        for variant in ("road_1", "road_2", "road_4"):
            yield family, "RoadConfig", {"variant": variant, "group_size": 4, "target_modules": names, **task}


def _rare(family: str) -> Iterator[Option]:
    """Methods that few people use, each with every option that changes its tensors."""
    task = {"task_type": TASK[family]} if family in TASK else {}
    narrow, wide = LINEAR[family]
    for names, r in itertools.product((narrow, wide), (2, 4)):
        settings = {"target_modules": names, **task}
        for para in (False, True):
            yield family, "DeftConfig", {"r": r, "para": para, **settings}
        yield family, "HiraConfig", {"r": r, "rank_pattern": {names[0]: 3}, **settings}
        for keep in (True, False):
            yield family, "PveraConfig", {"r": r, "save_projection": keep, **settings}
            yield family, "TinyLoraConfig", {"r": r, "u": 8, "save_projection": keep, **settings}
            yield family, "UniLoraConfig", {"r": r, "theta_d_length": 64, "save_indices": keep, **settings}
        yield family, "TinyLoraConfig", {"r": r, "u": 8, "weight_tying": 1.0, **settings}
        for share in (False, True):
            yield family, "WaveFTConfig", {"n_frequency": 10 * r, "proportional_parameters": share, **settings}
        if family == "gpt2":
            continue  # PEFT wraps its Conv1D by a few methods only
        yield family, "BeftConfig", settings
        for first, third, last in (
            ("lora", "lora", "constant"),
            ("vector", "vector", "vector"),
            ("constant", "none", "none"),
        ):
            yield (
                family,
                "GloraConfig",
                {"r": r, "config_A_B": first, "config_C": third, "config_D_E": last, **settings},
            )
        for stride, heads in ((1, 2), (2, 3)):
            yield family, "LilyConfig", {"r": r, "stride_A": stride, "num_B": heads, **settings}
        for depth in (0, 1, 2):
            yield family, "PeanutConfig", {"r": r, "depth": depth, **settings}
        for orthogonal, magnitude in itertools.product((False, True), repeat=2):
            psoft = {"psoft_orth": orthogonal, "psoft_mag_a": magnitude}
            yield family, "PsoftConfig", {"r": r, **psoft, **settings}
        yield family, "OSFConfig", {"effective_rank": r, **settings}
        for rank, keep in itertools.product((None, r), (True, False)):
            supra = {"r": rank, "lora_alpha": 8} if rank else {}
            yield family, "SupertuningConfig", {"save_precomputed_indices": keep, **supra, **settings}
        if r == 2 and family in ("bert", "llama"):
            yield family, "FrodConfig", settings
    if family in EMBEDDING and family != "t5":
        yield family, "HiraConfig", {"r": 4, "target_modules": [*narrow, EMBEDDING[family]], **task}
    if family in CONV:
        yield family, "HiraConfig", {"r": 2, "target_modules": [*CONV[family], *narrow], **task}


def _prompts(family: str) -> Iterator[Option]:
    task = {"task_type": TASK[family]}
    for size in (1, 3, 7):
        yield family, "PrefixTuningConfig", {"num_virtual_tokens": size, **task}
        yield family, "PromptTuningConfig", {"num_virtual_tokens": size, **task}
        yield family, "PromptEncoderConfig", {"num_virtual_tokens": size, "encoder_hidden_size": 8, **task}
        yield (
            family,
            "MultitaskPromptTuningConfig",
            {"num_virtual_tokens": size, "num_tasks": 2, "num_ranks": 2, **task},
        )
        if task["task_type"] == "CAUSAL_LM":
            texts = {"cpt_token_ids": [1] * size, "cpt_mask": [1] * size, "cpt_tokens_type_mask": [1] * size}
            yield family, "CPTConfig", {**texts, **task}
            for frozen in (0, 1):
                yield family, "CartridgeConfig", {"num_virtual_tokens": size + 1, "num_frozen_tokens": frozen, **task}


def _experts() -> Iterator[Option]:
    gate, down = "mlp.experts.gate_up_proj", "mlp.experts.down_proj"
    for names, r in itertools.product(([gate], [down], [gate, down]), (1, 2, 4)):
        for modules in ([], ["q_proj"]):
            yield "qwen3_moe", "LoraConfig", {
                "r": r, "target_modules": modules, "target_parameters": names, "task_type": "CAUSAL_LM"}  # fmt: skip
