"""Adapters that must be refused, by name: (files, code of a problem that must be told, words its text must hold).

Each is a good adapter with one thing wrong, so that nothing else can be the reason.
"""

import struct

from tests.specimens.spec import builders as make
from tests.specimens.spec.builders import PREFIX, REMOVE

_QUERY = f"{PREFIX}bert.encoder.layer.0.attention.self.query"
_HEAD = (f"{PREFIX}classifier.weight", f"{PREFIX}classifier.bias")
_UNCHECKED = {f"{_QUERY}.adamss_A": (4,)}
_SCALED = {"target_modules": ["query"], "feedforward_modules": []}
_IA3 = {f"{PREFIX}bert.encoder.layer.{layer}.attention.self.query.ia3_l": (8, 1) for layer in range(make.LAYERS)}
_NO_HEAD = dict.fromkeys(_HEAD, REMOVE)
# inert: opcodes that would make a folder, never run here
PICKLE = b"cos\nmkdir\n(S'canary'\ntR."
MAGIC = {
    "zip": b"PK\x03\x04" + bytes(600), "pickle 2": b"\x80\x02}q\x00." + bytes(600), "pickle 3": b"\x80\x03}q\x00.",
    "pickle 4": b"\x80\x04\x95\x02" + bytes(60), "pickle 5": b"\x80\x05\x95\x02" + bytes(60), "pickle 0": PICKLE,
    "elf": b"\x7fELF\x02\x01" + bytes(60), "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(60), "gzip": b"\x1f\x8b\x08" + bytes(60),
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(60), "tar": bytes(257) + b"ustar\x0000" + bytes(300),
    "numpy": b"\x93NUMPY\x01" + bytes(60), "script": b"#!/bin/sh\necho\n" + bytes(8),
}  # fmt: skip


def _text(**files):
    return make.lora(**files)


def _config(text):
    """A configuration with raw JSON laid in, which json.dumps would not write."""
    return make.lora() | {"adapter_config.json": make.lora()["adapter_config.json"][:-1] + b", " + text + b"}"}


def _weights(data):
    return make.lora() | {"adapter_model.safetensors": data}


ATTACKS = {
    "a key that overwrites the base layer": (
        make.lora(shapes={f"{_QUERY}.base_layer.weight": (8, 8)}), "tensors.base_layer", "query.base_layer.weight"),
    "a key of a module that is not adapted": (
        make.lora(shapes={f"{PREFIX}bert.encoder.layer.0.intermediate.dense.bias": (16,)}), "tensors.backbone", "frozen"),
    "a word embedding": (
        make.lora(shapes={f"{PREFIX}bert.embeddings.word_embeddings.weight": (11, 8)}), "tensors.backbone", "a table of the base"),
    "a key of another adapter": (
        make.lora(shapes={f"{_QUERY}.lora_A.other.weight": (2, 8)}), "tensors.other_adapter", "lora_A.other"),
    "pissa": (make.lora({"init_lora_weights": "pissa"}), "config.init", "'pissa'"),
    "pissa_niter_4": (make.lora({"init_lora_weights": "pissa_niter_4"}), "config.init", "pissa_niter_4"),
    "olora": (make.lora({"init_lora_weights": "olora"}), "config.init", "'olora'"),
    "corda with a pickle to load": (
        make.lora({"init_lora_weights": "corda", "corda_config": {"cache_file": "/tmp/x.pt"}}), "config.init", "corda"),
    "bias=lora_only, undeclared": (
        make.lora(shapes={f"{_QUERY}.base_layer.bias": (8,)}), "tensors.base_layer", "query.base_layer.bias"),
    "layer_replication": (make.lora({"layer_replication": [[0, 2], [0, 2]]}), "config.unsupported", "layer_replication"),
    "a pattern for ranks": (make.lora({"rank_pattern": {r".*\.(query|value)": 2}}), "config.pattern", "rank_pattern"),
    "a pattern among names": (make.lora({"target_modules": ["query", "(a+)+"]}), "config.pattern", "no module name"),
    "rank 2e6": (make.lora({"r": 2_000_000}), "config.rank", "2000000"),
    "rank 10^9": (make.lora({"r": 10**9}), "config.rank", "1000000000"),
    "rank true": (make.lora({"r": True}), "config.rank", "True"),
    "rank -1": (make.lora({"r": -1}), "config.rank", "-1"),
    "rank 10^9 in the pattern": (make.lora({"rank_pattern": {"query": 10**9}}), "config.rank", "rank_pattern.query"),
    "alpha 1e30": (make.lora({"lora_alpha": 1e30}), "config.alpha", "1e+30"),
    "megatron_core": (make.lora({"megatron_core": "evilplug"}), "config.import", "evilplug"),
    "auto_mapping": (
        make.lora({"auto_mapping": {"base_model_class": "x", "parent_library": "evil.module"}}), "config.import", "evil.module"),
    "trainable tokens, undeclared": (
        make.lora(shapes={f"{PREFIX}bert.embeddings.word_embeddings.token_adapter.trainable_tokens_delta": (2, 8)}),
        "tensors.unsupported", "trainable tokens"),
    "dora, undeclared": (
        make.lora(shapes={f"{_QUERY}.lora_magnitude_vector": (8,)}), "tensors.unsupported", "DoRA"),
    "lora_bias, undeclared": (make.lora(shapes={f"{_QUERY}.lora_B.bias": (8,)}), "tensors.unsupported", "lora_bias"),
    "lora as if embeddings were linear": (
        make.lora({"target_modules": ["query", "value", "word_embeddings"]},
                  {f"{PREFIX}bert.embeddings.word_embeddings.lora_A.weight": (2, 8),
                   f"{PREFIX}bert.embeddings.word_embeddings.lora_B.weight": (11, 2)}), "tensors.module", "no linear layer"),
    "a variant of a PEFT to come": (make.lora({"use_hyperscale": True}), "config.unsupported", "use_hyperscale"),
    "a leftover of old PEFT": (
        make.lora(shapes={f"{PREFIX}classifier.original_module.weight": (2, 8)}), "tensors.leftover", "old PEFT"),
    "kohya keys": (make.lora(shapes={"lora_te1_x.lora_down.weight": (2, 8)}), "tensors.prefix", "kohya"),
    "code beside the weights": (_text(**{"modeling_x.py": b"import os"}), "files.refused", "is code"),
    "a way out of the folder": (make.lora(**{"../../etc/passwd.txt": b"x"}), "path.syntax", "'..'"),
    "weights nobody uses": (
        make.lora(**{"extra.safetensors": make.safetensors({"x": (1,)})}), "files.unused", "belongs to no adapter"),
}  # fmt: skip

# understood, with every tensor in its place, and not run here: refused when it is to run, and told when it is only read
NOT_RUN = {
    "aLoRA": (
        make.lora({"alora_invocation_tokens": [1]}), "config.unsupported",
        "nobody runs aLoRA (alora_invocation_tokens) but for task_type CAUSAL_LM"),
    "aLoRA of another method": (
        make.peft("IA3", _SCALED | {"alora_invocation_tokens": [1]}, _IA3), "config.unsupported", "does not run aLoRA"),
    "a decoder's head": (
        make.lora(shapes=_NO_HEAD | {f"{PREFIX}score.weight": (2, 8)}), "tensors.head_unsupported", "a decoder's head"),
    "DistilBERT's head": (
        make.lora(shapes={f"{PREFIX}pre_classifier.weight": (8, 8)}), "tensors.head_unsupported", "DistilBERT"),
    "a task not run yet": (
        make.lora({"task_type": "SEQ_2_SEQ_LM"}), "config.task_type", "this hub does not run SEQ_2_SEQ_LM yet"),
    "a method not run": (
        make.peft("ADAMSS", {}, _UNCHECKED), "method.unsupported", "AdaMSS"),
}  # fmt: skip

# understood, and run by the library that wrote it: no problem, and told in words
_PROMPT = f"{PREFIX}model.layers.0.self_attn.adaption_"
BY_LIBRARY = {
    "aLoRA": (make.lora({"alora_invocation_tokens": [1], "task_type": "CAUSAL_LM", "modules_to_save": None}, _NO_HEAD), "aLoRA"),
    "a parameter by its name": (make.lora({"target_parameters": ["mlp.experts.down_proj"]}), "LoRA on parameters"),
    "LLaMA-Adapter": (
        make.peft("ADAPTION_PROMPT", {"adapter_len": 2, "adapter_layers": 1, "target_modules": "self_attn"},
                  {f"{_PROMPT}prompt": (1, 2, 8), f"{_PROMPT}gate": (1,)}), "LLaMA-Adapter"),
    "UniLoRA without its positions": (
        make.peft("UNILORA", {"r": 2, "theta_d_length": 8, "target_modules": ["query"]}, {"base_model.unilora_theta_d": (8,)}),
        "save_indices=True"),
    "WaveFT with another wavelet": (
        make.peft("WAVEFT", {"n_frequency": 3, "wavelet_family": "db2", "target_modules": ["query"]},
                  {key.replace("ia3_l", "waveft_spectrum"): (3,) for key in _IA3}), "other wavelets"),
}  # fmt: skip

METHODS = {
    "a pattern of a method known by name only": (
        make.peft("ADAMSS", {"target_modules": "(([a-z.]+)+)+[0-9]!"}, _UNCHECKED), "config.pattern", "for ever"),
    "patterns of such a method, by module": (
        make.peft("ADAMSS", {"rank_pattern": {"(a|a)*b": 1}}, _UNCHECKED), "config.pattern", "for ever"),
    "a switch that is none": (make.lora({"use_dora": "perhaps"}), "config.type", "use_dora"),
    "terms of a series without end": (
        make.peft("OFT", {"target_modules": ["key"], "num_cayley_neumann_terms": 10**9},
                  {f"{PREFIX}bert.encoder.layer.{layer}.attention.self.key.oft_R.weight": (2, 6) for layer in (0, 1)}),
        "config.type", "num_cayley_neumann_terms"),
    "a seed that is a text": (
        make.peft("VERA", {"target_modules": ["key"], "r": 2, "projection_prng_key": "x"},
                  {f"{PREFIX}bert.encoder.layer.{layer}.attention.self.key.{role}": size for layer in (0, 1)
                   for role, size in (("vera_lambda_b", (8,)), ("vera_lambda_d", (2,)))}), "config.type", "projection_prng_key"),
    "tokens before the first": (
        make.lora({"trainable_token_indices": {"word_embeddings": [-1, 2]}},
                  {f"{PREFIX}bert.embeddings.word_embeddings.token_adapter.trainable_tokens_delta": (2, 8)}), "config.type", "token"),
    "no peft_type": (make.lora({"peft_type": REMOVE}), "config.no_peft_type", "peft_type"),
    "LoRA's tensors under another name": (make.lora({"peft_type": "LOHA"}), "tensors.method", "is of LoRA, the configuration says LoHa"),
    "a task that is none": (make.lora({"task_type": "MAGIC"}), "config.task_type", "no task of PEFT"),
    "a second model beside the first": (make.lora({"peft_type": "SHADOW"}), "config.refused", "second model"),
    "an unknown method": (make.lora({"peft_type": "MAGIC"}), "method.unknown", "LORA, ADALORA"),
    "a method that is no text": (make.lora({"peft_type": ["LORA"]}), "method.unknown", "no method"),
    "AdapterHub's own lora": (
        make.bottleneck({"config": {"architecture": "lora"}}), "tensors.method", "another method (bottleneck)"),
    "no adapter at all": ({"README.md": b"# hello"}, "config.missing", "holds no adapter"),
    "no weights": (make.without(make.lora(), "adapter_model.safetensors"), "files.weights", "no weights"),
}  # fmt: skip

SHAPES = {
    "a rank that disagrees with the tensors": (make.lora({"r": 4}), "tensors.rank", "says rank 4 at"),
    "halves of two ranks": (
        make.lora(shapes={f"{_QUERY}.lora_A.weight": (3, 8)}), "tensors.rank", "lora_A has rank 3, lora_B has rank 2"),
    "tensors for another base": (
        make.lora(shapes=make.lora_shapes(hidden=12)), "tensors.shape", "has shape [2, 12]"),
    "a missing half": (make.lora(shapes={f"{_QUERY}.lora_B.weight": REMOVE}), "tensors.missing", "query.lora_B.weight"),
    "a missing layer": (
        make.lora(shapes={key: REMOVE for key in make.lora_shapes() if "layer.1" in key}), "tensors.missing", "layer.1"),
    "a module nobody named": (
        make.lora({"target_modules": ["query"]}), "tensors.untargeted", "value"),
    "a layer the base does not have": (
        make.lora(shapes=make.lora_shapes(layers=3)), "tensors.module", "encoder.layer.2"),
    "no lora tensors": (
        make.lora(shapes=dict.fromkeys(make.lora_shapes(classes=0), REMOVE)), "tensors.none", "no LoRA tensor"),
    "integers": (make.lora(shapes={f"{_QUERY}.lora_A.weight": ("I8", (2, 8))}), "tensors.dtype", "is I8"),
    "a vector for a matrix": (make.lora(shapes={f"{_QUERY}.lora_A.weight": (16,)}), "tensors.shape", "not [r, in]"),
    "the same tensor under two names": (
        make.lora(shapes={_QUERY.replace("bert.", "") + ".lora_A.weight": (2, 8)}), "tensors.twice", "two of them"),
    "a head of another width": (
        make.lora(shapes={f"{PREFIX}classifier.weight": (2, 12)}), "tensors.head_shape", "[2, 12], but needs [2, 8]"),
    "a head without a bias": (make.lora(shapes={f"{PREFIX}classifier.bias": REMOVE}), "tensors.head_missing", "bias"),
    "no head": (make.lora(shapes=_NO_HEAD), "tensors.head_missing", "no classifier"),
    "an undeclared head": (
        make.lora({"task_type": None, "modules_to_save": None}), "tensors.undeclared", "classifier"),
    "an undeclared pooler": (
        make.lora(shapes={f"{PREFIX}bert.pooler.dense.bias": (8,)}), "tensors.backbone", "pooler.dense.bias"),
    "a module to save that is not there": (
        make.lora({"modules_to_save": ["classifier", "encoder.layer.1"]}), "tensors.saved", "encoder.layer.1"),
    "three names for two classes": (
        make.lora(**{"hub.json": b'{"labels": ["a", "b", "c"]}'}), "tensors.head_labels", "2 classes, but 3 labels"),
    "a bottleneck for another base": (
        make.bottleneck(shapes=make.bottleneck_shapes(hidden=12)), "tensors.shape", "has shape [2, 12]"),
    "a bottleneck of another width": (
        make.bottleneck({"config": {"reduction_factor": 2}}), "tensors.shape", "[4, 8]"),
    "a bottleneck without its upper half": (
        make.bottleneck(shapes={k: v for k, v in make.bottleneck_shapes().items() if "adapter_up" not in k}),
        "tensors.missing", "adapter_up.weight, adapter_up.bias"),
    "a bottleneck without a layer": (
        make.bottleneck(shapes=make.bottleneck_shapes(layers=1)), "tensors.missing", "encoder.layer.1"),
    "a bottleneck where the configuration has none": (
        make.bottleneck({"config": {"mh_adapter": False}}), "tensors.untargeted", "attention.output"),
    "a bottleneck with a backbone key": (
        make.bottleneck(shapes=make.bottleneck_shapes() | {"bert.encoder.layer.0.output.dense.weight": (8, 16)}),
        "tensors.backbone", "stays frozen"),
    "a bottleneck of another name": (
        make.bottleneck({"name": "other"}), "tensors.other_adapter", "than 'other'"),
    "a bottleneck with lora keys": (
        make.bottleneck(shapes=make.bottleneck_shapes() | {"bert.encoder.layer.0.attention.self.query.loras.m.lora_A": (2, 8)}),
        "tensors.method", "another method"),
    "an adapter in cross-attention": (
        make.bottleneck({"config": {"cross_adapter": True}}), "config.unsupported", "cross-attention"),
    "an invertible adapter without its coupling": (
        make.bottleneck({"config": {"inv_adapter": "nice"}}), "tensors.missing", "lacks invertible_adapters"),
    "learned scaling without its factor": (
        make.bottleneck({"config": {"scaling": "learned"}}), "tensors.missing", "lacks scaling"),
    "a reduction factor of nothing": (
        make.bottleneck({"config": {"reduction_factor": 0}}), "config.reduction", "reduction_factor"),
    "an activation nobody knows": (
        make.bottleneck({"config": {"non_linearity": "__import__"}}), "config.activation", "__import__"),
    "a bottleneck on GPT-2": (make.bottleneck({"model_type": "gpt2"}), "config.unsupported", "gpt2"),
    "a name with a dot": (make.bottleneck({"name": "m.x"}), "config.name", "m.x"),
    "a head for choosing": (make.bottleneck(head={"config": {"head_type": "multiple_choice"}}), "head.unsupported", "multiple_choice heads yet"),
    "a head of three layers": (make.bottleneck(head={"config": {"layers": 3}}), "head.unsupported", "3 layers"),
    "a head with relu": (
        make.bottleneck(head={"config": {"activation_function": "relu"}}), "head.unsupported", "relu"),
    "a head that lies about its classes": (
        make.bottleneck(head={"config": {"num_labels": 5}}), "head.num_labels", "says 5 classes"),
    "a head with a stranger's tensor": (
        make.bottleneck(head_tensors=make.head_shapes() | {"heads.other.1.bias": (8,)}), "tensors.unknown", "heads.other"),
    "a head without its configuration": (
        make.without(make.bottleneck(), "head_config.json"), "tensors.head_missing", "head_config.json is not"),
    "a head configuration without a head": (
        make.without(make.bottleneck(), "model_head.safetensors"), "tensors.head_missing", "model_head.safetensors is not"),
}  # fmt: skip

FILES = {
    "a pickle": (make.lora(**{"pytorch_model.bin": MAGIC["zip"]}), "files.refused", "save the weights as safetensors"),
    "weights of PyTorch's that are none": (make.lora(**{"sub/adapter_model.bin": MAGIC["zip"]}), "torch.zip", "cut off"),
    "weights of PyTorch's beside safetensors": (make.lora(**{"adapter_model.bin": MAGIC["zip"]}), "torch.both", "keep the safetensors"),
    "a checkpoint": (make.lora(**{"optimizer.pt": MAGIC["pickle 2"]}), "files.refused", "can run code"),
    "a pickle called README.md": (make.lora(**{"README.md": MAGIC["pickle 4"]}), "scan.disguised", "a pickle"),
    "a zip called tokenizer.json": (make.lora(**{"tokenizer.json": MAGIC["zip"]}), "scan.disguised", "a zip archive"),
    "a README with a NUL far behind": (
        make.lora(**{"README.md": b"# hi\n" + b"x" * 600 + b"\n\nhello\0world\n"}), "scan.binary", "NUL"),
    "notes that hide a pickle behind their beginning": (
        make.lora(**{"notes.txt": b"a" * 600 + MAGIC["pickle 4"]}), "scan.binary", "not UTF-8"),
    "more lists than anybody reads": (
        make.lora(**{"trainer_state.json": b"[" + b"[]," * 2_000_000 + b"[]]"}), "json.nodes", "more than 2000000 values"),
    "a picture that is none": (make.lora(**{"picture.png": b"<svg onload=alert(1)>"}), "scan.image", "not the image"),
    "a file of no kind": (make.lora(**{"data.xyz": b"1"}), "files.unknown", "does not keep"),
    "two names that differ in case": (make.lora(**{"a.txt": b"1", "A.txt": b"2"}), "path.twice", "only in case"),
    "a file that is a folder too": (make.lora(**{"a.txt": b"1", "a.txt/b.txt": b"2"}), "path.clash", "cannot be a folder"),
    "cut weights": (_weights(make.lora()["adapter_model.safetensors"][:-10]), "tensors.truncated", "cut off"),
    "weights with a tail": (_weights(make.lora()["adapter_model.safetensors"] + b"PK"), "tensors.trailing", "2 bytes follow"),
    "a header of 2^63 bytes": (_weights(struct.pack("<Q", 1 << 63) + b"{}"), "tensors.header_size", "9223372036854775808"),
    "empty weights": (_weights(b""), "tensors.truncated", "too short"),
    "a deep configuration": (_config(b'"x": ' + b"[" * 40 + b"]" * 40), "json.depth", "deeper than 32"),
    "a configuration 90 000 deep": (_config(b'"x": ' + b"[" * 90_000), "json.depth", "deeper than 32"),
    "a configuration with NUL": (_config(b'"x": "\\u0000"'), "document.nul", "NUL"),
    "a configuration with half a pair": (_config(b'"x": "\\ud800"'), "document.surrogate", "surrogate"),
    "a configuration with NaN": (_config(b'"lora_dropout": NaN'), "json.not_finite", "NaN"),
    "a configuration with two ranks": (_config(b'"r": 4'), "json.duplicate_key", "'r' is there twice"),
    "a configuration that is a list": (make.lora() | {"adapter_config.json": b"[]"}, "json.object", "a list"),
    "a log with NaN": (make.lora(**{"trainer_state.json": b'{"loss": NaN}'}), "json.not_finite", "trainer_state.json"),
    "hub.json with a stranger's key": (make.lora(**{"hub.json": b'{"bsae": "x"}'}), "facts", "'bsae' is not one of"),
    "hub.json with a path as base": (make.lora(**{"hub.json": b'{"base": "/etc/passwd"}'}), "facts", "no name of a base"),
    "a YAML bomb in the README": (
        make.lora(**{"README.md": b"---\na: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n---\n"}), "yaml.alias", "alias"),
    "a YAML object in the README": (
        make.lora(**{"README.md": b"---\na: !!python/object/apply:os.system [id]\n---\n"}), "yaml.tag", "python/object"),
    "a deep README": (make.lora(**{"README.md": b"---\na: " + b"[" * 20_000 + b"\n---\n"}), "yaml.depth", "deeper"),
}  # fmt: skip
for _name, _data in MAGIC.items():
    FILES[f"{_name} called adapter_model.safetensors"] = (_weights(_data), "scan.disguised", "the bytes are")

ALL = ATTACKS | NOT_RUN | METHODS | SHAPES | FILES
