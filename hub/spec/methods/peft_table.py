"""PEFT's methods, a row each: what PEFT 0.21 writes (found by running it; tests/formats compares).

Equations and marks are explained in `layout`. Rows without tensors are those that this hub knows by name only: their files are
told, their shapes are not checked.
"""

from __future__ import annotations

from hub.spec.methods.layout import Form, Knob, Layout, Slot, form

_RANK = Knob("r", "r", 8, pattern="rank_pattern")
_PLAIN_RANK = Knob("r", "r", 8)
_DROPOUTS = frozenset({"init_weights", "module_dropout", "rank_dropout", "rank_dropout_scale"})
_SEED = frozenset({"projection_prng_key", "save_projection", "d_initial", "init_weights", "fan_in_fan_out"})


def _lokr() -> tuple[Form, ...]:
    """The two factors of a Kronecker product, each whole or in two halves; of a convolution the second may have a core."""
    one = ("lokr_w1: o1 i1",), ("lokr_w1_a: o1 r", "lokr_w1_b: r i1")
    two = ("lokr_w2: OUT/o1 IN/i1",), ("lokr_w2_a: OUT/o1 r", "lokr_w2_b: r IN/i1")
    conv = ("lokr_w2: OUT/o1 IN/i1 *K",), ("lokr_w2_a: OUT/o1 r", "lokr_w2_b: r IN/i1*KERNEL")
    core = (("lokr_t2: ...", "lokr_w2_a: r OUT/o1", "lokr_w2_b: r IN/i1"),)
    linear = [form("linear", *first, *second) for first in one for second in two]
    return (*linear, *(form("conv", *first, *second) for first in one for second in (*conv, *core)))


def _prompts(*rows: str) -> tuple[Slot, ...]:
    return tuple(Slot.parse(row) for row in rows)


_LORA_TRAINING = frozenset(
    {"lora_dropout", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config",
     "qalora_group_size", "ensure_weight_tying", "megatron_core", "enable_lora", "merge_weights"}
)  # fmt: skip
_PROMPT_SIZES = (Knob("n", "num_virtual_tokens"),)
_PROMPT_KEYS = frozenset({"num_transformer_submodules", "num_attention_heads", "num_layers", "token_dim"})
# where a file names another file, a tokenizer or a text: only training reads them, and never here
_PROMPT_ASIDE = frozenset(
    {"prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs", "init_weights",
     "prompt_tuning_init_state_dict_path", "prompt_tuning_init_task", "encoder_reparameterization_type",
     "encoder_hidden_size", "encoder_num_layers", "encoder_dropout", "prefix_projection"}
)  # fmt: skip

LORA = Layout(
    "LORA", "lora", "LoRA",
    forms=(
        form("linear", "lora_A.weight: r IN", "lora_B.weight: OUT r", "?lora_magnitude_vector: OUT", "?lora_B.bias: OUT"),
        form("embedding", "lora_embedding_A: r ROWS", "lora_embedding_B: WIDTH r", "?lora_magnitude_vector: WIDTH"),
        form("conv", "lora_A.weight: r IN *K", "lora_B.weight: OUT r/groups *1", "?lora_magnitude_vector: 1 OUT *1",
             "?lora_B.bias: OUT"),
        form("experts", "lora_A.weight: r*EXPERTS IN", "lora_B.weight: OUT r*EXPERTS"),
    ),
    knobs=(_RANK,),
    keys=frozenset({"lora_alpha", "alpha_pattern", "use_rslora", "use_dora", "lora_bias", "alora_invocation_tokens",
                    "target_parameters", "trainable_token_indices", "init_lora_weights", "fan_in_fan_out"}),
    aside=_LORA_TRAINING,
)  # fmt: skip
_GLORA = ("?glora_C.Xd: IN r", "?glora_C.Xu: r 1", "?glora_C.X: IN 1", "?!glora_C.zeros: IN 1", "?glora_D.X: ...",
          "?glora_E.X: ...", "?!glora_D.zeros: OUT", "?!glora_E.zeros: OUT")  # fmt: skip
_PSOFT = ("?psoft_R.vector_a: r", "?psoft_R.vector_b: r")
_NORM = form("norm", "ln_tuning_layers.weight: SIZE", "?ln_tuning_layers.bias: SIZE")

ROWS: tuple[Layout, ...] = (
    LORA,
    Layout(
        "ADALORA", "adalora", "AdaLoRA",
        forms=(form("linear", "lora_A: r IN", "lora_B: OUT r", "lora_E: r 1", "?!ranknum: ..."),),
        knobs=(Knob("r", "init_r", 12, loose=True),),  # pruned while it trains
        keys=LORA.keys - {"use_dora", "lora_bias"},
        aside=_LORA_TRAINING | {"r", "target_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight",
                                "total_step", "rank_pattern"},
    ),
    Layout(
        "IA3", "ia3", "IA3",
        forms=(form("linear", "ia3_l: OUT 1"), form("linear", "ia3_l: 1 IN"), form("conv", "ia3_l: 1 OUT *1"),
               form("conv", "ia3_l: 1 IN *1")),
        keys=frozenset({"feedforward_modules", "fan_in_fan_out"}), aside=frozenset({"init_ia3_weights"}),
    ),
    Layout(
        "LOHA", "loha", "LoHa",
        forms=(
            form("linear", "hada_w1_a: OUT r", "hada_w1_b: r IN", "hada_w2_a: OUT r", "hada_w2_b: r IN"),
            form("conv", "hada_w1_a: OUT r", "hada_w1_b: r IN*KERNEL", "hada_w2_a: OUT r", "hada_w2_b: r IN*KERNEL"),
            form("conv", "hada_t1: ...", "hada_t2: ...", "hada_w1_a: r OUT", "hada_w1_b: r IN", "hada_w2_a: r OUT",
                 "hada_w2_b: r IN"),
        ),
        knobs=(_RANK,), keys=frozenset({"alpha", "alpha_pattern", "use_effective_conv2d"}), aside=_DROPOUTS,
    ),
    Layout(
        "LOKR", "lokr", "LoKr", forms=_lokr(), knobs=(_RANK,),
        keys=frozenset({"alpha", "alpha_pattern", "use_effective_conv2d", "decompose_both", "decompose_factor"}),
        aside=_DROPOUTS,
    ),
    Layout(
        "VERA", "vera", "VeRA", forms=(form("linear", "vera_lambda_b: OUT", "vera_lambda_d: r"),),
        shared=_prompts("?!vera_A: r widest", "?!vera_B: highest r"), knobs=(Knob("r", "r", 256),), keys=_SEED,
        aside=frozenset({"vera_dropout"}),
    ),
    Layout(
        "OFT", "oft", "OFT",
        forms=(
            form("linear", "oft_R.weight: IN/side(n) n"), form("conv", "oft_R.weight: IN*KERNEL/side(n) n"),
            form("linear", "oft_R.weight: 1 n", when="block_share"), form("conv", "oft_R.weight: 1 n", when="block_share"),
        ),
        # a block is made smaller where it divides no layer's width: the tensors say how large it is
        knobs=(Knob("blocks", "r", 0, loose=True), Knob("block", "oft_block_size", 32, loose=True)),
        keys=frozenset({"coft", "eps", "block_share", "use_cayley_neumann", "num_cayley_neumann_terms",
                        "fan_in_fan_out"}),
        aside=_DROPOUTS,
    ),
    Layout(
        "BOFT", "boft", "BOFT",
        forms=(form("linear", "boft_R: factors IN/b b b", "boft_s: OUT 1"),
               form("conv", "boft_R: factors IN*KERNEL/b b b", "boft_s: 1 OUT")),
        keys=frozenset({"boft_block_size", "boft_block_num", "boft_n_butterfly_factor", "fan_in_fan_out"}),
        aside=frozenset({"boft_dropout", "init_weights"}),
    ),
    Layout("HRA", "hra", "HRA", forms=(form("linear", "hra_u: IN r"), form("conv", "hra_u: IN*KERNEL r")),
           knobs=(_PLAIN_RANK,), keys=frozenset({"apply_GS"}), aside=_DROPOUTS),
    Layout("LN_TUNING", "ln_tuning", "LayerNorm tuning", forms=(_NORM,)),
    Layout("FOURIERFT", "fourierft", "FourierFT", forms=(form("linear", "fourierft_spectrum: n"),),
           knobs=(Knob("n", "n_frequency", 1000, pattern="n_frequency_pattern"),),
           keys=frozenset({"scaling", "random_loc_seed", "fan_in_fan_out"}), aside=_DROPOUTS),
    Layout(
        "VBLORA", "vblora", "VB-LoRA",
        forms=(
            form("linear", "vblora_logits_A: r IN/v K", "vblora_logits_B: OUT/v r K"),
            form("linear", "!#vblora_logits_A_topk_indices: r IN/v k", "vblora_logits_A_topk_weights: r IN/v k-1",
                 "!#vblora_logits_B_topk_indices: OUT/v r k", "vblora_logits_B_topk_weights: OUT/v r k-1"),
        ),
        shared=_prompts("vblora_vector_bank: K v"),
        knobs=(Knob("r", "r", 4), Knob("K", "num_vectors", 256), Knob("v", "vector_length", 256), Knob("k", "topk", 2)),
        keys=frozenset({"save_only_topk_weights", "fan_in_fan_out"}),
        aside=frozenset({"vblora_dropout", "init_vector_bank_bound", "init_logits_std"}),
    ),
    Layout(
        "MISS", "miss", "MiSS",
        forms=(form("linear", "miss_block: r OUT"), form("linear", "miss_block: OUT/r r r"),
               form("linear", "miss_block: r m")),
        knobs=(Knob("r", "r", 64),), keys=frozenset({"mini_r"}), aside=frozenset({"miss_dropout", "init_weights"}),
    ),
    Layout(
        "BONE", "bone", "Bone", forms=(form("linear", "bone_block: r OUT"), form("linear", "bone_block: OUT/r r r")),
        knobs=(Knob("r", "r", 64),), aside=frozenset({"init_weights"}),
    ),
    Layout(
        "RANDLORA", "randlora", "RandLoRA",
        forms=(form("linear", "randlora_lambda: r ceil(min(IN,OUT),r)", "randlora_gamma: ceil(min(IN,OUT),r) min(IN,OUT)",
                    "?!randlora_A: r 1 narrow", "?!randlora_B: wide bases r"),),
        shared=_prompts("?!randlora_A: r 1 narrow", "?!randlora_B: wide bases r"),
        knobs=(Knob("r", "r", 32),), keys=_SEED | {"randlora_alpha", "sparse", "very_sparse"},
        aside=frozenset({"randlora_dropout"}),
    ),
    Layout(
        "SHIRA", "shira", "SHiRA", forms=(form("linear", "shira_weight: k", "!#shira_indices: 2 k"),),
        knobs=(Knob("rank", "r", 32),),
        keys=frozenset({"fan_in_fan_out"}), aside=frozenset({"mask_type", "random_seed", "init_weights"}),
    ),
    Layout("C3A", "c3a", "C3A", forms=(form("linear", "c3a_kernel: OUT/b IN/b b"),),
           knobs=(Knob("b", "block_size", 256, pattern="block_size_pattern"),), aside=frozenset({"init_weights"})),
    Layout(
        "ROAD", "road", "RoAd",
        forms=(form("linear", "road_theta: OUT/2", "road_alpha: OUT/2"), form("linear", "road_theta: OUT", "road_alpha: OUT"),
               form("linear", "road_theta: OUT*2", "road_alpha: OUT*2")),
        keys=frozenset({"variant", "group_size"}), aside=frozenset({"init_weights"}),
    ),
    Layout(
        "DELORA", "delora", "DeLoRA",
        forms=(form("linear", "delora_A: r IN", "delora_B: OUT r", "delora_lambda: 1", "?!delora_w_norm: IN"),),
        knobs=(_RANK,), keys=frozenset({"delora_lambda", "lambda_pattern"}), aside=_DROPOUTS,
    ),
    Layout(
        "GRALORA", "gralora", "GraLoRA",
        forms=(
            form("linear", "gralora_A: k IN/k r", "gralora_B: k r OUT/k"),
            form("linear", "gralora_A: k IN/k r", "gralora_B: k r OUT/k", "gralora_A_general.weight: h IN",
                 "gralora_B_general.weight: OUT h"),
        ),
        knobs=(Knob("r", "r", 32), Knob("k", "gralora_k", 2), Knob("h", "hybrid_r", 0)),
        keys=frozenset({"alpha", "fan_in_fan_out"}), aside=frozenset({"gralora_dropout", "init_weights"}),
    ),
    Layout(
        "POLY", "poly", "Poly",
        forms=(form("linear", "poly_lora_A: splits skills IN/splits r", "poly_lora_B: splits skills r OUT/splits",
                    "poly_router.module_logits: tasks splits*skills"),),
        knobs=(_PLAIN_RANK, Knob("tasks", "n_tasks", 1), Knob("skills", "n_skills", 4), Knob("splits", "n_splits", 1)),
        keys=frozenset({"poly_type"}), aside=frozenset({"init_weights"}),
    ),
    Layout("TRAINABLE_TOKENS", "trainable_tokens", "trainable tokens",
           forms=(form("embedding", "trainable_tokens_delta: k WIDTH"),), keys=frozenset({"token_indices"}),
           aside=frozenset({"init_weights"})),
    Layout(
        "ADAPTION_PROMPT", "adaption_prompt", "LLaMA-Adapter",
        forms=(form("block", "adaption_prompt: 1 n hidden", "adaption_gate: 1"),), knobs=(Knob("n", "adapter_len"),),
        keys=frozenset({"adapter_layers"}),
    ),
    # prompts: numbers before the sequence, or keys and values before those of every layer
    Layout("PREFIX_TUNING", "prefix_tuning", "prefix tuning", prompts=_prompts("prompt_embeddings: n prefix"),
           knobs=_PROMPT_SIZES, keys=_PROMPT_KEYS, aside=_PROMPT_ASIDE),
    Layout("PROMPT_TUNING", "prompt_tuning", "prompt tuning", prompts=_prompts("prompt_embeddings: n*S hidden"),
           knobs=_PROMPT_SIZES, keys=_PROMPT_KEYS, aside=_PROMPT_ASIDE),
    Layout("P_TUNING", "p_tuning", "P-tuning", prompts=_prompts("prompt_embeddings: n*S hidden"),
           knobs=_PROMPT_SIZES, keys=_PROMPT_KEYS, aside=_PROMPT_ASIDE),
    Layout(
        "MULTITASK_PROMPT_TUNING", "multitask_prompt_tuning", "multitask prompt tuning",
        prompts=_prompts("prompt_embeddings: n*S hidden", "prefix_task_cols: tasks n*S k", "prefix_task_rows: tasks k hidden"),
        knobs=(*_PROMPT_SIZES, Knob("tasks", "num_tasks", 1), Knob("k", "num_ranks", 1)), keys=_PROMPT_KEYS,
        aside=_PROMPT_ASIDE,
    ),
    Layout(
        "CPT", "cpt", "CPT", prompts=_prompts("prompt_embeddings: n hidden"), knobs=_PROMPT_SIZES,
        keys=_PROMPT_KEYS | {"cpt_token_ids", "cpt_mask", "cpt_tokens_type_mask"},
        aside=frozenset({"tokenizer_name_or_path", "opt_weighted_loss_type", "opt_loss_decay_factor",
                         "opt_projection_epsilon", "opt_projection_format_epsilon"}),
    ),
    Layout("CARTRIDGE", "cartridge", "Cartridge", prompts=_prompts("prompt_embeddings: n prefix"), knobs=_PROMPT_SIZES,
           keys=_PROMPT_KEYS | {"num_frozen_tokens"}),
    # a classifier beside experts, which lie in folders of their own; its layers: see `peft_xlora`
    Layout(
        "XLORA", "xlora", "X-LoRA", mark="internal_xlora_classifier",
        prompts=_prompts("internal_xlora_classifier.layers.{}.weight: write read", "internal_xlora_classifier.layers.{}.bias: write"),
        knobs=(Knob("hidden", "hidden_size", 4096), Knob("depth", "xlora_depth", 1), Knob("size", "xlora_size", 2048)),
        keys=frozenset({"enable_softmax", "enable_softmax_topk", "layerwise_scalings", "softmax_temperature",
                        "top_k_lora", "scaling_pass_value", "global_scaling_weight"}),
        aside=frozenset({"adapters", "xlora_dropout_p", "use_trainable_adapters"}),
    ),
    Layout("BEFT", "beft", "BEFT", forms=(form("linear", "beft_bias: 1 OUT"),), aside=frozenset({"init_weights"})),
    Layout(
        "DEFT", "deft", "DEFT",
        forms=(form("linear", "deft_P: OUT r", "deft_R: r IN"), form("linear", "deft_P: OUT r", when="para")),
        knobs=(_PLAIN_RANK,), keys=frozenset({"para", "decomposition_method", "fan_in_fan_out", "alpha"}),
        aside=frozenset({"deft_dropout", "init_weights", "init_scale"}),
    ),
    Layout(
        "FROD", "frod", "FRoD", forms=(form("linear", "frod_lambda_l: IN", "frod_lambda_s_values: k"),),
        shared=_prompts("!frod_V.{}: ...", "!#frod_s_indices.{}: ...", "!#frod_s_size.{}: 2"),
        keys=_SEED | {"sparse_rate"},
        aside=frozenset({"frod_dropout", "progressbar", "regularization_alpha", "runtime_offload_base_weight"}),
    ),
    Layout(
        "GLORA", "glora", "GLoRA",
        forms=(
            form("linear", "glora_A.Xd: OUT r", "glora_A.Xu: r IN", "glora_B.Xd: OUT r", "glora_B.Xu: r IN", *_GLORA),
            form("linear", "glora_A.X: OUT 1", "glora_B.X: OUT 1", *_GLORA),
            form("linear", "glora_A.X: 1", "glora_B.X: 1", *_GLORA),
            form("linear", "!glora_A.zeros: OUT IN", "!glora_B.zeros: OUT IN", *_GLORA),
        ),
        knobs=(_PLAIN_RANK,), keys=frozenset({"config_A_B", "config_C", "config_D_E"}), aside=frozenset({"init_weights"}),
    ),
    Layout(
        "HIRA", "hira", "HiRA",
        forms=(form("linear", "hira_A: r IN", "hira_B: OUT r"),
               form("embedding", "hira_embedding_A: r ROWS", "hira_embedding_B: WIDTH r"),
               form("conv", "hira_A: r IN *K", "hira_B: OUT r *1")),
        # PEFT 0.21 writes rank_pattern and does not read it
        knobs=(Knob("r", "r", 32),), keys=frozenset({"fan_in_fan_out"}),
        aside=frozenset({"hira_dropout", "init_weights", "rank_pattern"}),
    ),
    Layout(
        "LILY", "lily", "Lily",
        forms=(form("linear", "lily_A.weight: r IN", "lily_B.weight: B*r OUT", "lily_router.weight: B r"),),
        knobs=(Knob("r", "r", 32), Knob("B", "num_B", 2)), keys=frozenset({"stride_A", "scaling"}),
        aside=frozenset({"init_weights"}),
    ),
    Layout(
        "OSF", "osf", "OSF",
        forms=(form("linear", "osf_svd_params.U_low: OUT k", "osf_svd_params.S_low: k", "osf_svd_params.V_low: k IN"),),
        keys=frozenset({"effective_rank", "rank_pattern", "target_svd_config"}), aside=frozenset({"init_weights"}),
    ),
    Layout(
        "PEANUT", "peanut", "PEANuT",
        forms=(form("linear", "peanut_A.weight: r OUT", "peanut_B.weight: OUT r", "?peanut_encoders.{}.weight: r r",
                    "?peanut_decoders.{}.weight: r r"),),
        knobs=(Knob("r", "r", 32),), keys=frozenset({"depth", "act_fn", "scaling"}), aside=frozenset({"init_weights"}),
    ),
    Layout(
        "PSOFT", "psoft", "PSOFT",
        forms=(form("linear", "psoft_R.weight: r*(r-1)/2", *_PSOFT), form("linear", "psoft_R.weight: r r", *_PSOFT)),
        knobs=(Knob("r", "r", 32),),
        keys=frozenset({"psoft_alpha", "psoft_mag_a", "psoft_mag_b", "psoft_orth", "psoft_svd", "ab_svd_init",
                        "psoft_svd_lowrank_niter", "random_seed", "use_cayley_neumann", "num_cayley_neumann_terms",
                        "cayley_neumann_eps", "fan_in_fan_out"}),
        aside=frozenset({"psoft_dropout", "init_weights"}),
    ),
    Layout(
        "PVERA", "pvera", "PVeRA", forms=(form("linear", "pvera_lambda_b: OUT", "pvera_lambda_d: r*2"),),
        shared=_prompts("?!pvera_A: r*2 widest", "?!pvera_B: highest r"), knobs=(Knob("r", "r", 256),),
        keys=_SEED | {"sample_at_inference", "generator_seed"}, aside=frozenset({"pvera_dropout"}),
    ),
    Layout(
        "SUPERTUNING", "supertuning", "SuperTuning",
        forms=(form("linear", "supertuning_values: k", "?!#supertuning_indices: k"),
               form("linear", "supertuning_values: k", "?!#supertuning_indices: k", "supertuning_lora_A.weight: r IN",
                    "supertuning_lora_B.weight: OUT r")),
        knobs=(Knob("r", "r"),), keys=frozenset({"sparsity", "select_top", "save_precomputed_indices", "lora_alpha"}),
        aside=frozenset({"lora_dropout", "init_weights"}),
    ),
    Layout(
        "TINYLORA", "tinylora", "TinyLoRA",
        forms=(form("linear", "!tinylora_A: r IN", "!tinylora_B: OUT r", "?!tinylora_P: u r r"),
               form("embedding", "!tinylora_A: r WIDTH", "!tinylora_B: ROWS r", "?!tinylora_P: u r r")),
        shared=_prompts("tinylora_v.{}: u"), knobs=(Knob("r", "r", 2), Knob("u", "u", 64)),
        keys=frozenset({"weight_tying", "projection_seed", "save_projection", "fan_in_fan_out"}),
        aside=frozenset({"tinylora_dropout", "init_weights", "init_v_bound"}),
    ),
    # the file says nothing of its modules, unless it keeps what each takes of the one vector
    Layout(
        "UNILORA", "unilora", "UniLoRA", mark="unilora_", prompts=_prompts("unilora_theta_d: length"),
        forms=(form("linear", "!#unilora_indices_A: r IN", "!#unilora_indices_B: OUT r", "!unilora_scales_A: r IN",
                    "!unilora_scales_B: OUT r"),),
        knobs=(Knob("r", "r", 4), Knob("length", "theta_d_length", 256)),
        keys=frozenset({"proj_seed", "save_indices", "fan_in_fan_out"}),
        aside=frozenset({"unilora_dropout", "init_weights", "init_theta_d_bound"}),
    ),
    Layout(
        "WAVEFT", "waveft", "WaveFT",
        forms=(form("linear", "waveft_spectrum: share", when="proportional_parameters"), form("linear", "waveft_spectrum: n")),
        knobs=(Knob("n", "n_frequency", 2592, pattern="n_frequency_pattern"),),
        keys=frozenset({"proportional_parameters", "scaling", "random_loc_seed", "wavelet_family", "use_idwt", "fan_in_fan_out"}),
        aside=frozenset({"init_weights"}),
    ),
    # by name only: how a module is cut into subspaces, the base's own weights decide
    Layout("ADAMSS", "adamss", "AdaMSS", mark="adamss_"),
    Layout("SHADOW", "shadow", "Shadow",
           refused="brings a whole second model of its own, which is no adapter of the base model"),
)  # fmt: skip
TABLE: dict[str, Layout] = {row.type: row for row in ROWS}
"""`peft_type` -> its row."""


def methods_of(role: str) -> tuple[Layout, ...]:
    """Return the rows whose files have keys that end so: what a tensor's name says of its method."""
    return tuple(row for row in ROWS if role in row.roles or (row.mark and role.split(".")[0].startswith(row.mark)))
