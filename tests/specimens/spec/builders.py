"""Small, well-formed things that specimens are made of. No library writes them, so that anything can be made wrong."""

import copy
import json
import math
import struct

from hub.spec import base_model

HIDDEN, INNER, LAYERS, VOCAB, RANK, CLASSES = 8, 16, 2, 11, 2, 2
PREFIX = "base_model.model."
CONFIG = {
    "model_type": "bert", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
    "intermediate_size": INNER, "vocab_size": VOCAB, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
}  # fmt: skip


def safetensors(shapes, dtype="F32", metadata=None):
    """A well-formed file of these shapes; a value may be (dtype, shape)."""
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name, shape in shapes.items():
        kind, size = shape if isinstance(shape[0] if shape else None, str) else (dtype, shape)
        raw = content(name, math.prod(size), kind)
        header[name] = {"dtype": kind, "shape": list(size), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    return framed(header, data)


def framed(header, data=b"", length=None):
    """Eight bytes, header, data: whatever they are."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def content(name, count, dtype):
    width = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "I32": 4, "I8": 1, "U8": 1, "BOOL": 1}[dtype]
    if dtype == "F32":
        return struct.pack(f"<{count}f", *(math.sin(len(name) + at) / 10 for at in range(count)))
    return bytes((len(name) + at) % 7 for at in range(count * width))


def base_shapes(hidden=HIDDEN, inner=INNER, layers=LAYERS):
    shapes = {
        "embeddings.word_embeddings.weight": (VOCAB, hidden),
        "embeddings.position_embeddings.weight": (16, hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
        "pooler.dense.weight": (hidden, hidden),
        "pooler.dense.bias": (hidden,),
    }
    for layer in range(layers):
        at = f"encoder.layer.{layer}"
        linears = {f"attention.self.{name}": (hidden, hidden) for name in ("query", "key", "value")}
        linears |= {"attention.output.dense": (hidden, hidden), "intermediate.dense": (inner, hidden),
                    "output.dense": (hidden, inner)}  # fmt: skip
        for name, shape in linears.items():
            shapes |= {f"{at}.{name}.weight": shape, f"{at}.{name}.bias": shape[:1]}
        for name in ("attention.output", "output"):
            shapes |= {f"{at}.{name}.LayerNorm.weight": (hidden,), f"{at}.{name}.LayerNorm.bias": (hidden,)}
    return shapes


def leaves(shapes=None):
    """Leaves with made-up digests: nothing in hub.spec computes a BLAKE3."""
    shapes = base_shapes() if shapes is None else shapes
    return [
        base_model.Leaf(name, "F32", shape, f"{index:064x}")
        for index, (name, shape) in enumerate(sorted(shapes.items()))
    ]


def base(**config):
    return base_model.from_leaves(leaves(), CONFIG | config, "ab" * 32)


def other_base(hidden=12):
    """A BERT of another width."""
    return base_model.from_leaves(leaves(base_shapes(hidden)), CONFIG | {"hidden_size": hidden}, None)


def lora_config(**changes):
    """What PEFT 0.21 writes for a sequence classifier."""
    config = {
        "alora_invocation_tokens": None, "alpha_pattern": {}, "arrow_config": None, "auto_mapping": None,
        "base_model_name_or_path": "tiny-bert", "bias": "none", "corda_config": None, "ensure_weight_tying": False,
        "eva_config": None, "exclude_modules": None, "fan_in_fan_out": False, "inference_mode": True,
        "init_lora_weights": True, "kasa_config": None, "layer_replication": None, "layers_pattern": None,
        "layers_to_transform": None, "loftq_config": {}, "lora_alpha": 4, "lora_bias": False, "lora_dropout": 0.1,
        "lora_ga_config": None, "megatron_config": None, "megatron_core": "megatron.core",
        "modules_to_save": ["classifier", "classifier", "score"], "monteclora_config": None, "peft_type": "LORA",
        "peft_version": "0.21.2", "qalora_group_size": 16, "r": RANK, "rank_pattern": {}, "revision": None,
        "target_modules": ["value", "query"], "target_parameters": None, "task_type": "SEQ_CLS",
        "trainable_token_indices": None, "use_bdlora": None, "use_dora": False, "use_qalora": False,
        "use_rslora": False, "velora_config": None,
    }  # fmt: skip
    return config | copy.deepcopy(changes)


def lora_shapes(rank=RANK, hidden=HIDDEN, layers=LAYERS, targets=("query", "value"), classes=CLASSES, prefix="bert."):
    shapes = {}
    for layer in range(layers):
        for target in targets:
            key = f"{PREFIX}{prefix}encoder.layer.{layer}.attention.self.{target}.lora_"
            shapes |= {f"{key}A.weight": (rank, hidden), f"{key}B.weight": (hidden, rank)}
    if classes:
        shapes |= {f"{PREFIX}classifier.weight": (classes, hidden), f"{PREFIX}classifier.bias": (classes,)}
    return shapes


def lora(config=None, shapes=None, **files):
    """A LoRA adapter's folder as path -> bytes. `config` changes keys (None removes one), `shapes` are laid over."""
    settings = {key: value for key, value in lora_config(**(config or {})).items() if value is not REMOVE}
    table = {key: shape for key, shape in (lora_shapes() | (shapes or {})).items() if shape is not REMOVE}
    return {
        "adapter_config.json": json.dumps(settings).encode(),
        "adapter_model.safetensors": safetensors(table, metadata={"format": "pt"}),
        **files,
    }


def peft(method, keys, shapes, **files):
    """The folder of another PEFT method: `keys` beside those that every configuration has, and nothing but these tensors."""
    common = {
        "auto_mapping": None, "base_model_name_or_path": "tiny-bert", "inference_mode": True, "peft_type": method,
        "peft_version": "0.21.2", "revision": None, "task_type": None,
    }  # fmt: skip
    return {
        "adapter_config.json": json.dumps(common | keys).encode(),
        "adapter_model.safetensors": safetensors(shapes, metadata={"format": "pt"}),
        **files,
    }


class Remove:
    def __deepcopy__(self, memo):
        return self


REMOVE = Remove()


def bottleneck_config(**changes):
    """What adapters 1.3 writes for double_seq_bn (Houlsby); `config` holds changes of the inner object."""
    inner = {
        "adapter_residual_before_ln": False, "cross_adapter": False, "dropout": 0.0, "factorized_phm_W": True,
        "factorized_phm_rule": False, "hypercomplex_nonlinearity": "glorot-uniform", "init_weights": "bert",
        "init_weights_seed": None, "inv_adapter": None, "inv_adapter_reduction_factor": None, "is_parallel": False,
        "learn_phm": True, "leave_out": [], "ln_after": False, "ln_before": False, "mh_adapter": True,
        "non_linearity": "swish", "original_ln_after": True, "original_ln_before": False, "output_adapter": True,
        "phm_bias": True, "phm_c_init": "normal", "phm_dim": 4, "phm_init_range": 0.0001, "phm_layer": False,
        "phm_rank": 1, "reduction_factor": 4, "residual_before_ln": True, "scaling": 1.0, "shared_W_phm": False,
        "shared_phm_rule": True, "stochastic_depth": 0.0, "use_gating": False,
    }  # fmt: skip
    outer = {"config": inner | changes.pop("config", {}), "config_id": "9076f36a74755ac4", "hidden_size": HIDDEN,
             "model_class": "BertAdapterModel", "model_name": "tiny-bert", "model_type": "bert", "name": "m",
             "version": "adapters.1.3.0"}  # fmt: skip
    return outer | changes


def head_config(**changes):
    inner = {"activation_function": "tanh", "bias": True, "dropout_prob": None, "head_type": "classification",
             "label2id": {"negative": 0, "positive": 1}, "layers": 2, "num_labels": 2, "use_pooler": False}  # fmt: skip
    outer = {"config": inner | changes.pop("config", {}), "hidden_size": HIDDEN, "model_class": "BertAdapterModel",
             "model_name": "tiny-bert", "model_type": "bert", "name": "m", "version": "adapters.1.3.0"}  # fmt: skip
    return outer | changes


def bottleneck_shapes(
    places=("output", "attention.output"), width=2, hidden=HIDDEN, name="m", prefix="bert.", layers=LAYERS
):
    shapes = {}
    for layer in range(layers):
        for place in places:
            key = f"{prefix}encoder.layer.{layer}.{place}.adapters.{name}."
            shapes |= {f"{key}adapter_down.0.weight": (width, hidden), f"{key}adapter_down.0.bias": (width,),
                       f"{key}adapter_up.weight": (hidden, width), f"{key}adapter_up.bias": (hidden,)}  # fmt: skip
    return shapes


def head_shapes(name="m", classes=CLASSES, hidden=HIDDEN):
    return {f"heads.{name}.1.weight": (hidden, hidden), f"heads.{name}.1.bias": (hidden,),
            f"heads.{name}.4.weight": (classes, hidden), f"heads.{name}.4.bias": (classes,)}  # fmt: skip


def bottleneck(config=None, shapes=None, head=None, head_tensors=None, **files):
    """A Houlsby adapter's folder with a flexible head, as path -> bytes."""
    table = bottleneck_shapes() if shapes is None else shapes
    tensors = head_shapes() if head_tensors is None else head_tensors
    return {
        "adapter_config.json": json.dumps(bottleneck_config(**(config or {}))).encode(),
        "adapter.safetensors": safetensors(table),
        "head_config.json": json.dumps(head_config(**(head or {}))).encode(),
        "model_head.safetensors": safetensors(tensors),
        **files,
    }


def without(folder, *paths):
    return {path: data for path, data in folder.items() if path not in paths}
