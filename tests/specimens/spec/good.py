"""Adapters that must pass: the negative controls of every refusal."""

import json

from tests.specimens.spec import builders as make
from tests.specimens.spec.builders import PREFIX

_POOLER = {f"{PREFIX}bert.pooler.dense.weight": (8, 8), f"{PREFIX}bert.pooler.dense.bias": (8,)}


def _static_head():
    config = make.head_config() | {
        "config": None, "model_class": "BertForSequenceClassification", "num_labels": 2,
        "label2id": {"LABEL_0": 0, "LABEL_1": 1},
    }  # fmt: skip
    folder = make.bottleneck(head_tensors={"classifier.weight": (2, 8), "classifier.bias": (2,)})
    return folder | {"head_config.json": json.dumps(config).encode()}


def _linear_head():
    shapes = {"heads.m.1.weight": (2, 8), "heads.m.1.bias": (2,)}
    return make.bottleneck(head={"config": {"layers": 1, "use_pooler": True}}, head_tensors=shapes)


_LORAS = [f"bert.encoder.layer.{layer}.attention.self.{name}" for layer in (0, 1) for name in ("query", "value")]
_WORDS = f"{PREFIX}bert.embeddings.word_embeddings"

ALL = {
    "lora": make.lora(),
    "lora of AutoModel, without the bert. prefix": make.lora(
        {"task_type": None, "modules_to_save": None}, make.lora_shapes(prefix="", classes=0) | dict.fromkeys(make.lora_shapes(), make.REMOVE)),
    "lora without a head": make.lora(
        {"task_type": "FEATURE_EXTRACTION", "modules_to_save": None},
        {f"{PREFIX}classifier.weight": make.REMOVE, f"{PREFIX}classifier.bias": make.REMOVE}),
    "lora with its own pooler": make.lora({"modules_to_save": ["pooler", "classifier", "score"]}, _POOLER),
    "lora, rank-stabilised": make.lora({"use_rslora": True}),
    "lora with a rank pattern": make.lora(
        {"rank_pattern": {"layer.0.attention.self.query": 1}, "alpha_pattern": {"layer.0.attention.self.query": 16}},
        {f"{PREFIX}bert.encoder.layer.0.attention.self.query.lora_A.weight": (1, 8),
         f"{PREFIX}bert.encoder.layer.0.attention.self.query.lora_B.weight": (8, 1)}),
    "lora with a rank pattern as PEFT writes some itself": make.lora(
        {"r": 4, "lora_alpha": 8, "rank_pattern": {r".*\.query": 2, r"self\.value$": 2}}),
    "lora that excludes a module by its whole path": make.lora(
        {"exclude_modules": ["bert.encoder.layer.0.attention.self.query"]},
        {key: make.REMOVE for key in make.lora_shapes() if "layer.0.attention.self.query" in key}),
    "lora from eva": make.lora({"init_lora_weights": "eva"}),
    "lora on one layer": make.lora(
        {"layers_to_transform": [1]}, {key: make.REMOVE for key in make.lora_shapes() if "layer.0" in key}),
    "lora with a harmless pattern": make.lora({"target_modules": r".*\.(query|value)"}),
    "lora on all linear layers": make.lora(
        {"target_modules": "all-linear"},
        {f"{PREFIX}bert.{name.removesuffix('.weight')}.lora_{role}.weight": shape
         for name, size in make.base_shapes().items() if len(size) == 2 and "embeddings" not in name
         for role, shape in (("A", (2, size[1])), ("B", (size[0], 2)))}),
    "lora in half precision": make.lora(
        shapes={key: ("BF16", shape) for key, shape in make.lora_shapes().items()}),
    "lora from a folder named /etc": make.lora({"base_model_name_or_path": "/etc"}),
    "lora with the mapping PEFT writes": make.lora(
        {"auto_mapping": {"base_model_class": "BertModel", "parent_library": "transformers.models.bert.modeling_bert"}}),
    "lora with a key of tomorrow": make.lora({"use_something_new": None}),
    "lora with its biases": make.lora({"bias": "lora_only"}, {f"{PREFIX}{name}.base_layer.bias": (8,) for name in _LORAS}),
    "lora with all biases": make.lora({"bias": "all"}, {f"{PREFIX}bert.encoder.layer.0.output.LayerNorm.bias": (8,)}),
    "dora": make.lora({"use_dora": True}, {f"{PREFIX}{name}.lora_magnitude_vector": (8,) for name in _LORAS}),
    "lora with biases of its own": make.lora({"lora_bias": True}, {f"{PREFIX}{name}.lora_B.bias": (8,) for name in _LORAS}),
    "lora on embeddings": make.lora(
        {"target_modules": ["query", "value", "word_embeddings"]},
        {f"{_WORDS}.lora_embedding_A": (2, 11), f"{_WORDS}.lora_embedding_B": (8, 2)}),
    "lora with rows of tokens": make.lora(
        {"trainable_token_indices": {"word_embeddings": [1, 2]}}, {f"{_WORDS}.token_adapter.trainable_tokens_delta": (2, 8)}),
    "lora with a whole table": make.lora({"modules_to_save": ["classifier", "word_embeddings"]}, {f"{_WORDS}.weight": (13, 8)}),
    "ia3": make.peft(
        "IA3", {"target_modules": ["key"], "feedforward_modules": []},
        {f"{PREFIX}bert.encoder.layer.{layer}.attention.self.key.ia3_l": (8, 1) for layer in (0, 1)}),
    "houlsby": make.bottleneck(),
    "houlsby without the bert. prefix": make.bottleneck(shapes=make.bottleneck_shapes(prefix="")),
    "pfeiffer": make.bottleneck(
        {"config": {"mh_adapter": False, "non_linearity": "relu", "original_ln_before": True}},
        make.bottleneck_shapes(places=("output",))),
    "pfeiffer that leaves a layer out": make.bottleneck(
        {"config": {"mh_adapter": False, "leave_out": [0]}},
        {key: shape for key, shape in make.bottleneck_shapes(places=("output",)).items() if "layer.1" in key}),
    "houlsby with an activation in capitals": make.bottleneck({"config": {"non_linearity": "ReLU"}}),
    "houlsby with a fixed scaling": make.bottleneck({"config": {"scaling": 4.0}}),
    "houlsby without a head": make.without(make.bottleneck(), "head_config.json", "model_head.safetensors"),
    "houlsby with the model's own head": _static_head(),
    "houlsby with a linear head on the pooler": _linear_head(),
    "two adapters in folders": {
        f"{folder}/{path}": data for folder, made in (("a", make.lora()), ("b", make.bottleneck())) for path, data in made.items()},
    "an adapter with prose beside it": make.lora(**{
        "README.md": b"---\nlicense: mit\nlabels: {0: no, 1: yes}\n---\n# Title\n\nFinds the good ones.\n",
        "LICENSE": b"MIT", ".gitattributes": b"*.safetensors filter=lfs\n", "picture.png": b"\x89PNG\r\n\x1a\n....",
        "hub.json": b'{"base": "tiny-bert", "labels": ["negative", "positive"], "benchmarks": ["glue/sst2"]}'}),
}  # fmt: skip


def parameters(**config):
    """LoRA on the parameters of experts, and on no module."""
    experts = f"{PREFIX}model.layers.0.mlp.experts.lora_"
    keys = {"r": 2, "target_modules": None, "target_parameters": ["mlp.experts.down_proj"]}
    return make.peft("LORA", keys | config, {f"{experts}A.weight": (4, 8), f"{experts}B.weight": (8, 4)})


EVIL = "([a-z0-9_.]+)+!"
"""On a long name it takes a reader of patterns longer than anybody waits."""
BESIDE_PARAMETERS = {
    "what to leave out": {"exclude_modules": EVIL},
    "layers": {"layers_to_transform": [0, 1], "layers_pattern": EVIL},
    "both": {"layers_to_transform": 1, "layers_pattern": EVIL, "exclude_modules": EVIL},
}
"""Patterns where parameters are adapted and no module: keys of `parameters`."""
