"""Tensors that are missing, too many, of another shape, or somebody else's."""

import json

import peft
import torch
from safetensors.torch import load_file

from tests.engine import makers
from tests.specimens.spoilt.goods import LORAS, RECIPES
from tests.specimens.spoilt.kinds import Draft, Kind

PREFIX = "base_model.model."
BOTTLENECKS = ("Houlsby", "Pfeiffer")
PEFTS = tuple(name for name in RECIPES if name not in BOTTLENECKS)
ALL = tuple(RECIPES)
WIDTHS = (8, 16, 24, 48, 96, 128, 384, 768)
HIDDEN, INNER = 32, 64
PAIRED = tuple(
    name
    for name in ALL
    if name
    not in (
        "LoRA with biases",
        "LoRA with rows of tokens",
        "SHiRA",
        "VB-LoRA",
        "VeRA",
        "AdaLoRA",
        "LoKr",
        "FourierFT",
        "OFT",
    )
)


def another_width(draft: Draft) -> tuple[str, ...]:
    """As if it came from a base model of another width."""
    key = draft.pick(lambda key, tensor: HIDDEN in tensor.shape or INNER in tensor.shape)
    tensors = draft.load()
    width = draft.draw.choice(WIDTHS)
    tensors[key] = draft.noise(*(width if size in (HIDDEN, INNER) else size for size in tensors[key].shape))
    draft.save(tensors)
    return (key,)


def transposed(draft: Draft) -> tuple[str, ...]:
    """Rows for columns, in one matrix or in all."""
    keys = draft.own(lambda key, tensor: tensor.dim() == 2 and tensor.shape[0] != tensor.shape[1])
    chosen = [draft.draw.choice(keys)] if draft.draw.random() < 0.7 else keys
    tensors = draft.load()
    draft.save(tensors | {key: tensors[key].T for key in chosen})
    return (chosen[0],)


def missing(draft: Draft) -> tuple[str, ...]:
    """A layer lost a tensor; libraries would make one up."""
    key = draft.pick()
    draft.save({name: tensor for name, tensor in draft.load().items() if name != key})
    return (module(key),)


def module(key: str) -> str:
    """The place of a tensor in the base model, as a message tells it."""
    return (
        key.removeprefix(PREFIX)
        .removeprefix("bert.")
        .partition(".lora_")[0]
        .partition(".adapters.")[0]
        .removesuffix(".ia3_l")
        .removesuffix(".fourierft_spectrum")
        .removesuffix(".oft_R.weight")
    )


def of_base(draft: Draft) -> tuple[str, ...]:
    """A weight of the base model itself, with that very shape."""
    base = load_file(makers.TINY / "model.safetensors")
    name = draft.draw.choice(sorted(base))
    path = name if name.startswith("bert.") else f"bert.{name}"
    key = path if draft.good.method == "bottleneck" else f"{PREFIX}{path}"
    draft.save(draft.load() | {key: draft.noise(*base[name].shape)})
    return (key,)


def of_adapted_layer(draft: Draft) -> tuple[str, ...]:
    """The weight that lies under an adapted layer."""
    half = draft.pick(lambda key, tensor: "lora_A" in key)
    key = half.partition(".lora_A")[0] + ".base_layer.weight"
    draft.save(draft.load() | {key: draft.noise(HIDDEN, HIDDEN)})
    return (key,)


def bias(draft: Draft) -> tuple[str, ...]:
    """A bias of the base model, and the configuration says that there is none."""
    half = draft.pick(lambda key, tensor: "lora_B" in key)
    key = half.partition(".lora_B")[0] + ".base_layer.bias"
    draft.save(draft.load() | {key: draft.noise(draft.load()[half].shape[0])})
    return (key,)


def of_other_adapter(draft: Draft) -> tuple[str, ...]:
    """A key by another adapter's name, beside the good one or in its place."""
    key = draft.pick(lambda key, tensor: ".lora_" in key and key.endswith(".weight"))
    name = draft.draw.choice(("other", "default", "task_2", "a", "policy", "victim"))
    renamed = f"{key.removesuffix('.weight')}.{name}.weight"
    tensors = draft.load()
    tensors[renamed] = draft.noise(*tensors[key].shape)
    if draft.draw.random() < 0.5:
        del tensors[key]
    draft.save(tensors)
    return (renamed,)


def unknown(draft: Draft) -> tuple[str, ...]:
    """A tensor that belongs to nothing."""
    word = "".join(draft.draw.choices("abcdefgh", k=6))
    key = draft.draw.choice(
        (word, f"{PREFIX}{word}", f"{PREFIX}bert.{word}.weight", f"{PREFIX}bert.encoder.layer.0.{word}.lora_C.weight")
    )
    draft.save(draft.load() | {key: draft.noise(draft.draw.randint(1, 40))})
    return (word,)


def whole_numbers(draft: Draft) -> tuple[str, ...]:
    key = draft.pick(lambda key, tensor: tensor.is_floating_point())
    dtype = draft.draw.choice((torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool))
    tensors = draft.load()
    tensors[key] = (tensors[key] * 10).to(dtype)
    draft.save(tensors)
    return (key,)


def another_rank(draft: Draft) -> None:
    """The configuration names another rank than the tensors have."""
    has = draft.good.config["r"]
    draft.config(r=draft.draw.choice([rank for rank in (*range(1, 65), 128, 256, 512) if rank != has]), rank_pattern={})


def not_named(draft: Draft) -> tuple[str, ...]:
    """Tensors for a module that the configuration does not name."""
    names = sorted(draft.good.config["target_modules"])
    gone = draft.draw.choice(names)
    draft.config(target_modules=[name for name in names if name != gone] + ["key"] * (len(names) == 1))
    return (gone,)


def named_in_vain(draft: Draft) -> tuple[str, ...]:
    """The configuration names a module, and no tensor is there for it."""
    name = draft.draw.choice(("key", "intermediate.dense", "attention.output.dense"))
    names = sorted(draft.good.config["target_modules"])
    draft.config(target_modules=[*names, name])
    return ()


def another_method(draft: Draft) -> None:
    """The configuration of one method, and the tensors of another."""
    others = (
        "IA3Config",
        "LoHaConfig",
        "LoKrConfig",
        "OFTConfig",
        "VeraConfig",
        "FourierFTConfig",
        "BOFTConfig",
        "HRAConfig",
    )

    settings = getattr(peft, draft.draw.choice(others))(
        target_modules=list(draft.good.config["target_modules"]), task_type="SEQ_CLS"
    )
    if hasattr(settings, "feedforward_modules"):
        settings.feedforward_modules = []
    found = {key: sorted(value) if isinstance(value, set) else value for key, value in settings.to_dict().items()}
    (draft.folder / "adapter_config.json").write_text(json.dumps(found))


def rows(draft: Draft) -> tuple[str, ...]:
    """More new tokens than there are rows for."""
    count = draft.draw.randint(4, 40)
    draft.config(trainable_token_indices={"word_embeddings": draft.draw.sample(range(160), count)})
    return (f"{count} tokens", "embeddings.word_embeddings")


def table(draft: Draft) -> tuple[str, ...]:
    """Rows of a table for which no tokens are named."""
    other = draft.draw.choice(("embed_tokens", "position_embeddings", "wte", "lm_head", "embeddings"))
    draft.config(trainable_token_indices={other: draft.draw.sample(range(160), 3)})
    return ("trainable_tokens_delta",)


KINDS = (
    Kind("a matrix of another width", "shapes", "needs? \\[", another_width, PAIRED),
    Kind("matrices with rows for columns", "shapes", "needs? \\[", transposed, LORAS),
    Kind("a tensor is missing", "shapes", "missing|lacks", missing, ALL),
    Kind("a weight of the base model", "shapes", "of the base model", of_base, ALL),
    Kind(
        "a weight under an adapted layer",
        "shapes",
        "would overwrite the base model's own weights",
        of_adapted_layer,
        LORAS,
    ),
    Kind(
        "a bias that nobody declared",
        "shapes",
        "would overwrite the base model's own weights",
        bias,
        tuple(name for name in LORAS if "bias" not in name),
    ),
    Kind("a key of another adapter", "shapes", "belongs to another adapter's name", of_other_adapter, LORAS),
    Kind("a tensor that belongs to nothing", "shapes", "belongs to no module|does not begin with", unknown, PEFTS),
    Kind("whole numbers as weights", "shapes", "adapters are float32, float16 or bfloat16", whole_numbers, ALL),
    Kind("another rank than the configuration says", "shapes", "the tensors have rank", another_rank, LORAS),
    Kind(
        "a module that the configuration does not name",
        "shapes",
        "adapts a module that target_modules does not name",
        not_named,
        ("LoRA of rank 4", "LoRA of rank 1 on every layer", "rsLoRA"),
    ),
    Kind(
        "a module that has no tensors",
        "shapes",
        "missing: target_modules names them",
        named_in_vain,
        ("LoRA of rank 4",),
    ),
    Kind(
        "the configuration of another method",
        "shapes",
        "is of LoRA, the configuration says",
        another_method,
        ("LoRA of rank 4", "LoRA of rank 1 on every layer"),
    ),
    Kind("fewer rows than tokens", "shapes", "has 3 rows", rows, ("LoRA with rows of tokens",)),
    Kind("rows of a table that nobody named", "shapes", "names no tokens", table, ("LoRA with rows of tokens",)),
)
