"""Write down what the AdapterHub library saves for each of its configurations: settings, names, dtypes and shapes.

Runs in an environment of its own (adapters 1.3.0 on transformers 4.57; `make formats` makes it and compares):

    .venv-adapters/bin/python tests/specimens/adapterhub/zoo.py [DIR] > tests/specimens/adapterhub/zoo.json

The tensors' values are not kept: whoever reads makes them up. With DIR the files themselves are kept there, in a folder per
sample called by its number, and `catalogue.json`: the library's own names of its configurations. `trainable` counts what the
library trains in the adapter alone, `head` the parameters of the head that was saved with it.
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
    AdapterPlusConfig,
    AutoAdapterModel,
    BertAdapterModel,
    BnConfig,
    CompacterConfig,
    ConfigUnion,
    DoRAConfig,
    DoubleSeqBnConfig,
    IA3Config,
    LoRAConfig,
    LoReftConfig,
    MTLLoRAConfig,
    NoReftConfig,
    ParBnConfig,
    SeqBnConfig,
    VeraConfig,
)
from adapters.configuration.adapter_config import ADAPTER_CONFIG_MAP  # type: ignore[import-not-found]  # noqa: E402
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
    "mam", "unipelt",
    "seq_bn[reduction_factor=4]", "double_seq_bn[reduction_factor=8,non_linearity=gelu]", "seq_bn[leave_out=[0]]",
    "seq_bn[use_gating=True]", "seq_bn[scaling=learned]", "seq_bn[ln_before=True]", "seq_bn[ln_after=True]",
    "lora[r=4,alpha=8]", "lora[r=2,intermediate_lora=True,output_lora=True]", "lora[attn_matrices=[q]]",
    "prefix_tuning[prefix_length=5]", "prefix_tuning[bottleneck_size=16]", "prompt_tuning[prompt_length=4]",
    "dvora", "loreft[r=2]", "compacter[reduction_factor=4]", "compacter++[reduction_factor=4]", "compacter[phm_dim=2,reduction_factor=8]", "seq_bn[reduction_factor={\"0\": 4, \"default\": 8}]",
)  # fmt: skip

NORMS = {"use_gating": True, "ln_before": True, "ln_after": True, "reduction_factor": 8}
SMALL = {"reduction_factor": 4}
PLACED = {"reduction_factor": 8, "non_linearity": "gelu"}
# what the library's own words for a configuration cannot say
MADE = {
    "adapter_plus[reduction_factor=8]": AdapterPlusConfig(reduction_factor=8, stochastic_depth=0.0),
    "seq_bn[scaling=learned]": SeqBnConfig(scaling="learned", reduction_factor=8),
    "double_seq_bn[use_gating,ln_before,ln_after]": DoubleSeqBnConfig(**NORMS),
    "par_bn[use_gating,ln_before,ln_after]": ParBnConfig(**NORMS),
    "double_seq_bn_inv[glow]": DoubleSeqBnConfig(inv_adapter="glow", inv_adapter_reduction_factor=2),
    "compacter[shared_phm_rule=False]": CompacterConfig(shared_phm_rule=False, **SMALL),
    "compacter[factorized_phm_rule]": CompacterConfig(factorized_phm_rule=True, **SMALL),
    "compacter[shared_phm_rule=False,factorized_phm_rule]": CompacterConfig(
        shared_phm_rule=False, factorized_phm_rule=True, **SMALL
    ),
    "compacter[factorized_phm_W=False]": CompacterConfig(factorized_phm_W=False, **SMALL),
    "compacter[shared_W_phm]": CompacterConfig(shared_W_phm=True, **SMALL),
    "compacter[phm_bias=False]": CompacterConfig(phm_bias=False, **SMALL),
    "compacter[phm_rank=2,ln_before,use_gating]": CompacterConfig(phm_rank=2, ln_before=True, use_gating=True, **SMALL),
    "compacter[is_parallel]": CompacterConfig(is_parallel=True, **SMALL),
    "lora[use_gating]": LoRAConfig(use_gating=True, alpha=16, intermediate_lora=True, output_lora=True),
    "ia3[use_gating]": IA3Config(use_gating=True),
    "dora[use_gating]": DoRAConfig(use_gating=True),
    "vera[use_gating]": VeraConfig(use_gating=True),
    "loreft[tied_weights,suffix_positions=2]": LoReftConfig(tied_weights=True, suffix_positions=2, r=2),
    "loreft[r=48]": LoReftConfig(r=48, layers=[0]),
    "noreft[layers=[1],non_linearity=relu]": NoReftConfig(r=3, layers=[1], suffix_positions=2, non_linearity="relu"),
    "union[two bottlenecks]": ConfigUnion(
        BnConfig(mh_adapter=True, output_adapter=False, is_parallel=True, **PLACED),
        BnConfig(mh_adapter=False, output_adapter=True, use_gating=True, **PLACED),
    ),
    "union[lora,seq_bn]": ConfigUnion(LoRAConfig(r=4, alpha=8, attn_matrices=["k"]), SeqBnConfig()),
    "union[loreft,ia3]": ConfigUnion(LoReftConfig(r=2), IA3Config()),
}


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
        for path in place.iterdir():
            path.unlink()
        model.save_adapter(str(place), name, use_safetensors=False, **save)
    return listed(place)


def listed(place):
    return {path.name: read(path) for path in sorted(place.iterdir())}


def read(path):
    if path.suffix == ".json":
        return json.loads(path.read_text())
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            keys = file.keys()  # noqa: SIM118  # it cannot be gone through itself
            return {key: [str(file.get_slice(key).get_dtype()), file.get_slice(key).get_shape()] for key in keys}
    assert zipfile.is_zipfile(path)
    names = {torch.float32: "F32", torch.int64: "I64"}
    tensors = torch.load(path, weights_only=True)
    return {key: [names[value.dtype], list(value.shape)] for key, value in tensors.items()}


def sample(family, make, config, place):
    model = make()
    name = "a-task"
    model.add_adapter(name, config=MADE.get(config, config))
    if hasattr(model, "add_classification_head") and family == "bert":
        model.add_classification_head(name, num_labels=3)
    model.train_adapter(name)
    trainable = counted(model, lambda key, one: one.requires_grad and not of_head(key))
    files = saved(model, name, place, head=family in ("bert", "bert with its own head"))
    return told(family, config, trainable, model, files)


def told(family, config, trainable, model, files):
    head = counted(model, lambda key, _: of_head(key)) if any("head" in name for name in files) else 0
    return {"family": family, "config": config, "trainable": trainable, "head": head, "files": files}


def counted(model, wanted):
    return sum(one.numel() for key, one in model.named_parameters() if wanted(key, one))


def of_head(key):
    return "heads." in key or "classifier" in key


def of_tasks(make, place):
    """Two tasks with one LoRA between them: what belongs to the first."""
    model, names = make(), ("a-task", "another")
    for name in names:
        model.add_adapter(name, config=MTLLoRAConfig(n_up_projection=2))
    model.share_parameters(adapter_names=list(names))
    model.train_adapter(composition.MultiTask(*names))
    (count,) = [row["#param"] for row in model.adapter_summary(as_dict=True) if row["name"] == names[0]]
    return told("bert", "mtl_lora", count, model, saved(model, names[0], place))


def fusion(family, make, place):
    model = make()
    for name in ("a", "b"):
        model.add_adapter(name, config="seq_bn")
    both = composition.Fuse("a", "b")
    model.add_adapter_fusion(both)
    head = family == "bert"
    if head:
        model.add_classification_head("a,b", num_labels=3)
    model.train_adapter_fusion(both)
    trainable = counted(model, lambda key, one: one.requires_grad and not of_head(key))
    save = {"with_head": "a,b"} if head else {}
    model.save_adapter_fusion(str(place), "a,b", use_safetensors=True, **save)
    return told(family, "fusion", trainable, model, listed(place))


def samples(root):
    """Every sample that the library can make; each with the folder that it was written into."""
    makers = dict(models())
    asked = [
        (family, config, lambda place, family=family, make=make, config=config: sample(family, make, config, place))
        for family, make in makers.items() for config in ((*CONFIGS, *MADE) if family == "bert" else CONFIGS[:20])
    ]  # fmt: skip
    asked.append(("bert", "mtl_lora", lambda place: of_tasks(makers["bert"], place)))
    asked += [
        (family, "fusion", lambda place, family=family: fusion(family, makers[family], place))
        for family in ("bert", "roberta")
    ]
    for family, config, write in asked:
        place = Path(tempfile.mkdtemp(dir=root))
        try:
            yield write(place), place
        except Exception as error:  # what the library itself cannot do is no sample
            print(family, config, type(error).__name__, str(error)[:120], file=sys.stderr)


def main(kept=None):
    with tempfile.TemporaryDirectory(dir=kept) as root:
        found = []
        for one, place in samples(root):
            if kept:
                place.rename(Path(kept) / str(len(found)))
            found.append(one)
    if kept:
        (Path(kept) / "catalogue.json").write_text(json.dumps(list(ADAPTER_CONFIG_MAP)))
    json.dump(found, sys.stdout, separators=(",", ":"))


main(*sys.argv[1:])
