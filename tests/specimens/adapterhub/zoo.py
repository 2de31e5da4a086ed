"""Write down what the AdapterHub library saves for each of its configurations: settings, names, dtypes and shapes.

Runs in the environment of `make real` (adapters 1.3.0 on transformers 4.57):

    .venv-adapters/bin/python tests/specimens/adapterhub/zoo.py > tests/specimens/adapterhub/zoo.json

The tensors' values are not kept: whoever reads makes them up. `trainable` counts what the library trains in the adapter alone.
"""

import json
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

warnings.filterwarnings("ignore")

import adapters  # type: ignore[import-not-found]  # noqa: E402
import adapters.composition as composition  # type: ignore[import-not-found]  # noqa: E402
import torch  # noqa: E402
from adapters import (  # type: ignore[import-not-found]  # noqa: E402
    AutoAdapterModel,
    BertAdapterModel,
)
from safetensors import safe_open  # noqa: E402
from transformers import (  # noqa: E402
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    RobertaConfig,
    ViTConfig,
)

SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
TEXT = SIZES | {"vocab_size": 40, "max_position_embeddings": 16}
CONFIGS = (
    "seq_bn", "double_seq_bn", "par_bn", "scaled_par_bn", "seq_bn_inv", "double_seq_bn_inv", "compacter", "compacter++",
    "lora", "ia3", "dora", "vera", "prefix_tuning", "prefix_tuning_flat", "prompt_tuning", "loreft", "noreft", "direft",
    "mam", "unipelt", "mtl_lora",
    "seq_bn[reduction_factor=4]", "double_seq_bn[reduction_factor=8,non_linearity=gelu]", "seq_bn[leave_out=[0]]",
    "seq_bn[use_gating=True]", "seq_bn[scaling=learned]", "seq_bn[ln_before=True]", "seq_bn[ln_after=True]",
    "lora[r=4,alpha=8]", "lora[r=2,intermediate_lora=True,output_lora=True]", "lora[attn_matrices=[q]]",
    "prefix_tuning[prefix_length=5]", "prefix_tuning[bottleneck_size=16]", "prompt_tuning[prompt_length=4]",
    "loreft[r=2]", "compacter[phm_dim=2]", "seq_bn[reduction_factor={\"0\": 4, \"default\": 8}]",
)  # fmt: skip


def models():
    torch.manual_seed(0)
    yield "bert", lambda: BertAdapterModel(BertConfig(**TEXT))
    yield "bert of AutoModel", lambda: _adapted(BertModel(BertConfig(**TEXT)))
    yield "bert with its own head", lambda: _adapted(BertForSequenceClassification(BertConfig(**TEXT, num_labels=3)))
    yield "roberta", lambda: AutoAdapterModel.from_config(RobertaConfig(**TEXT))
    yield (
        "gpt2",
        lambda: AutoAdapterModel.from_config(GPT2Config(vocab_size=40, n_embd=48, n_layer=2, n_head=4, n_positions=16)),
    )
    yield "vit", lambda: AutoAdapterModel.from_config(ViTConfig(**SIZES, image_size=8, patch_size=4))


def _adapted(model):
    adapters.init(model)
    return model


def saved(model, name, place, head=False):
    """What one save_adapter writes: configuration and {name: [dtype, shape]} of each weights file."""
    save = {"with_head": head} if hasattr(model, "heads") or head else {}
    try:
        model.save_adapter(str(place), name, use_safetensors=True, **save)
    except RuntimeError:  # tensors that share memory are written as a pickle only
        model.save_adapter(str(place), name, use_safetensors=False, **save)
    return {path.name: read(path) for path in sorted(place.iterdir())}


def read(path):
    if path.suffix == ".json":
        return json.loads(path.read_text())
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            return {key: [str(file.get_slice(key).get_dtype()), file.get_slice(key).get_shape()] for key in file}
    assert zipfile.is_zipfile(path)
    names = {torch.float32: "F32", torch.int64: "I64"}
    tensors = torch.load(path, weights_only=True)
    return {key: [names[value.dtype], list(value.shape)] for key, value in tensors.items()}


def sample(family, make, config):
    model = make()
    settings = config
    if config == "mtl_lora":
        from adapters import MTLLoRAConfig

        settings = MTLLoRAConfig(n_up_projection=2)
    name = "a-task"
    model.add_adapter(name, config=settings)
    if hasattr(model, "add_classification_head") and family == "bert":
        model.add_classification_head(name, num_labels=3)
    if config == "mtl_lora":
        return None
    model.train_adapter(name)
    trainable = sum(
        p.numel()
        for n, p in model.named_parameters()
        if p.requires_grad and "heads." not in n and "classifier" not in n
    )
    with tempfile.TemporaryDirectory() as place:
        files = saved(model, name, Path(place), head=family in ("bert", "bert with its own head"))
    return {"family": family, "config": config, "trainable": trainable, "files": files}


def fusion():
    model = BertAdapterModel(BertConfig(**TEXT))
    for name in ("a", "b"):
        model.add_adapter(name, config="seq_bn")
    model.add_adapter_fusion(composition.Fuse("a", "b"))
    model.train_adapter_fusion(composition.Fuse("a", "b"))
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    with tempfile.TemporaryDirectory() as place:
        model.save_adapter_fusion(place, "a,b", use_safetensors=True)
        files = {path.name: read(path) for path in sorted(Path(place).iterdir())}
    return {"family": "bert", "config": "fusion", "trainable": trainable, "files": files}


def main():
    found = []
    for family, make in models():
        for config in CONFIGS if family == "bert" else CONFIGS[:20]:
            try:
                one = sample(family, make, config)
            except Exception as error:  # what the library itself cannot do is no sample
                print(family, config, type(error).__name__, str(error)[:120], file=sys.stderr)
                continue
            found += [one] if one else []
    found.append(fusion())
    json.dump(found, sys.stdout, separators=(",", ":"))


main()
