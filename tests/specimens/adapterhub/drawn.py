"""Numbers that two sides draw alike: every tensor of a base model and of an adapter from its own name. NumPy only, since one side
runs in the AdapterHub library's environment and the other here."""

import copy
import hashlib
import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
PAD = {"bert": 0, "roberta": 1}
SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
TEXT = SIZES | {"vocab_size": 40, "max_position_embeddings": 16}
TOKENS, LENGTHS = 9, (9, 9, 5, 7)
# another name of a sample -> the sample that it is made of, and what its configuration says instead
ORDERS = {
    "after both": {"original_ln_before": True, "original_ln_after": False, "residual_before_ln": False},
    "norms on both sides": {"original_ln_before": True, "original_ln_after": True, "residual_before_ln": False},
    "post_add": {"original_ln_before": True, "residual_before_ln": "post_add"},
    "no norm before": {"original_ln_before": False, "residual_before_ln": False},
    "no norm after": {"original_ln_before": False, "original_ln_after": False},
    "residual before its own norm": {"adapter_residual_before_ln": True},
}  # fmt: skip
WORDS = (
    "gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "gelu_python_tanh", "gelu_pytorch_tanh",
    "laplace", "leaky_relu", "leakyrelu", "linear", "mish", "quick_gelu", "relu", "relu2", "relu6", "sigmoid", "silu",
    "swish", "tanh",
)  # fmt: skip
CHANGED = {
    **{f"seq_bn, {name}": ("seq_bn", change) for name, change in ORDERS.items()},
    **{f"double_seq_bn with norms, {name}": ("double_seq_bn[use_gating,ln_before,ln_after]", change)
       for name, change in ORDERS.items()},
    **{f"seq_bn, {word}": ("seq_bn", {"non_linearity": word}) for word in WORDS},
    "double_seq_bn, beside": ("double_seq_bn", {"is_parallel": True, "scaling": 0.5}),
    "double_seq_bn, scaled": ("double_seq_bn", {"scaling": 2.5}),
    "lora, alpha 24": ("lora", {"alpha": 24}),
    "lora, alpha 24, of version 1.0.1": ("lora", {"alpha": 24}),
    "dora, alpha 24": ("dora", {"alpha": 24}),
    "vera, alpha 24": ("vera", {"alpha": 24}),
    "ia3, alpha 3": ("ia3", {"alpha": 3}),
    "mtl_lora, sharpness 2": ("mtl_lora", {"weights_sharpness": 2.0, "alpha": 12}),
    "direft, said": ("direft", {"subtract_projection": False}),
    "noreft, both ends meet": ("noreft", {"prefix_positions": 4, "suffix_positions": 3}),
    "loreft, last tokens only": ("loreft", {"prefix_positions": 0, "suffix_positions": 2}),
    "loreft, long text": ("loreft", {"prefix_positions": 12}),
    "loreft, gelu": ("loreft", {"non_linearity": "gelu"}),
    "loreft, more positions than a text has tokens": ("loreft", {"suffix_positions": 7}),
}  # fmt: skip
# a fusion -> the adapters that are fused, by name, and what its configuration says instead
FUSED = {
    "fusion": ({"a": "seq_bn", "b": "seq_bn[reduction_factor=4]"}, {}),
    "fusion, of three": ({"a": "seq_bn", "b": "seq_bn[reduction_factor=4]", "c": "par_bn"}, {}),
    "fusion, the last one behind": ({"a": "par_bn", "b": "seq_bn"}, {}),
    "fusion, query before the norm": ({"a": "seq_bn", "b": "seq_bn[reduction_factor=4]"}, {"query_before_ln": True}),
    "fusion, residual before": ({"a": "seq_bn", "b": "seq_bn[reduction_factor=4]"}, {"residual_before": True}),
    "fusion, value after": ({"a": "seq_bn", "b": "seq_bn[reduction_factor=4]"}, {"value_before_softmax": False}),
}  # fmt: skip


def samples():
    """(name, family, files of an adapter as {file: content}) of every sample on an encoder, weights as {key: [dtype, shape]}."""
    zoo = [one for one in json.loads((HERE / "zoo.json").read_text()) if one["family"].split()[0] in PAD]
    for one in zoo:
        if one["config"] == "fusion":
            continue  # the fused adapters are not in it: see below
        yield f"{one['config']} on {one['family']}", one["family"], one["files"]
    plain = {one["config"]: one for one in zoo if one["family"] == "bert"}
    for name, (of, change) in CHANGED.items():
        files = copy.deepcopy(plain[of]["files"])
        files["adapter_config.json"]["config"] |= change
        if "version" in name:
            files["adapter_config.json"]["version"] = "adapters.1.0.1"
        yield f"{name} on bert", "bert", files
    for name, (adapters, change) in FUSED.items():
        yield f"{name} on bert", "bert", fused(plain["fusion"]["files"], adapters, change, plain)


def fused(files, adapters, change, plain):
    """The files that save_adapter_setup writes: a folder for each adapter, and one for the fusion with its head."""
    together = ",".join(adapters)
    found = {f"{together}/{name}": _renamed(content, "a,b", together) for name, content in files.items()}
    config = found[f"{together}/adapter_fusion_config.json"]
    config["adapter_names"] = list(adapters)
    config["config"] |= change
    for name, of in adapters.items():
        for path, content in plain[of]["files"].items():
            if "head" not in path:
                found[f"{name}/{path}"] = _renamed(content, "a-task", name)
    return found


def _renamed(content, old, new):
    """A copy with another name of the adapter, in keys of tensors and as the configuration's own."""
    found = {key.replace(f".{old}.", f".{new}."): copy.deepcopy(value) for key, value in content.items()}
    return found | {"name": new} if "name" in found else found


def tensor(name, shape):
    """A tensor [*shape] of float32 that its name alone decides, of the size that tensors of its kind have."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    values = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    one = ("LayerNorm.weight", "norm_before.weight", "norm_after.weight", "scaling", "m.weight")
    if (
        name.endswith(one)
        or (name.endswith("lora_B") and list(shape)[1:] == [1])
        or (name.endswith("adapter_down.0.weight") and len(shape) == 1)
    ):
        return 1 + 0.3 * values
    if name.endswith("weight.original"):  # reflections, and their signs along the diagonal
        values[np.arange(min(shape)), np.arange(min(shape))] = -1
        return values
    if name.endswith("embeddings.weight") or len(shape) < 2 or "phm_rule" in name or "W_" in name:
        return 0.5 * values
    return values * np.float32(1.5 / np.sqrt(shape[-1]))


def weights(table):
    """{key: tensor} for {key: [dtype, shape]}. What stands in a file twice is drawn once: a norm before the adapter, and the one
    memory of all prefixes."""
    return {key: tensor(_first(key, table), shape) for key, (_, shape) in table.items()}


def _first(key, table):
    before = key.replace("adapter_down.0.", "adapter_norm_before.")
    if before != key and before in table:
        return before
    place, pool, rest = key.partition(".prefix_tuning.pool.")
    body = place.partition("encoder.")[0]
    return f"{body}prefix_tuning.{rest}" if pool else key


def inputs(family):
    """{"input_ids", "attention_mask"}, int64 [4, 9]; some rows are padded."""
    ids = np.random.default_rng(7).integers(3, TEXT["vocab_size"], (len(LENGTHS), TOKENS))
    mask = np.array([[1] * length + [0] * (TOKENS - length) for length in LENGTHS])
    return {"input_ids": np.where(mask == 1, ids, PAD[family]), "attention_mask": mask}


def seen(hidden, mask):
    """What is kept of last hidden states [rows, tokens, hidden]: of each text the first token, the last, and the mean. Rows of a
    prompt before the text are left out."""
    hidden = hidden[:, -mask.shape[1] :]
    last = mask.sum(1) - 1
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1)[:, None]
    return np.stack([hidden[:, 0], hidden[np.arange(len(hidden)), last], mean], axis=1).astype(np.float32)
