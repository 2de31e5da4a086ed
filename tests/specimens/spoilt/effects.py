"""Adapters that do nothing, or nothing good."""

import torch
from safetensors.torch import load_file, save_file

from tests.engine import makers
from tests.specimens.spoilt import fitted
from tests.specimens.spoilt.goods import LORAS, RECIPES
from tests.specimens.spoilt.kinds import Draft, Kind, Tensors

NO_GAIN = "no gain over the"
OFF = {
    "LORA": (("lora_B",), ("lora_A",), ("lora_A", "lora_B")),
    "ADALORA": (("lora_E",), ("lora_A",), ("lora_B",)),
    "LOHA": (("hada_w1_a",), ("hada_w1_b",), ("hada_w2_a",), ("hada_w2_b",)),
    "LOKR": (("lokr_w1",), ("lokr_w2",)),
    "VERA": (("vera_lambda_b",), ("vera_lambda_d",)),
    "VBLORA": (("vector_bank",),),
    "FOURIERFT": (("fourierft_spectrum",),),
    "SHIRA": (("shira_weight",),),
    "OFT": (("oft_R",),),
    "bottleneck": (("adapter_up",),),
}
"""Tensors of which nothing comes when they are zero, by method."""
MOVES_MORE = ("LoRA with biases", "LoRA with rows of tokens", "DoRA", "IA3")
"""Whose other tensors replace numbers of the base model: with B = 0 they still do something."""
CAN_BE_OFF = tuple(name for name in RECIPES if name not in MOVES_MORE)
SAME = tuple(RECIPES)


def zero(draft: Draft) -> None:
    """As before training: one factor is zero, and the other is what chance made it."""
    gone = draft.draw.choice(OFF[draft.good.method])
    sign = draft.draw.choice((0.0, -0.0))
    draft.change(lambda key, tensor: torch.full_like(tensor, sign) if any(part in key for part in gone) else tensor)


def ones(draft: Draft) -> None:
    """IA3 multiplies by one, DoRA by the length that the base model's rows have anyway."""
    base = load_file(makers.TINY / "model.safetensors")

    def change(key: str, tensor: torch.Tensor) -> torch.Tensor:
        if "ia3_l" in key:
            return torch.ones_like(tensor)
        if "lora_magnitude_vector" in key:
            return weight_of(base, key).norm(dim=1)
        return torch.zeros_like(tensor) if "lora_B" in key else tensor

    draft.change(change)


def weight_of(base: Tensors, key: str) -> torch.Tensor:
    path = key.removeprefix("base_model.model.").partition(".lora_")[0]
    return next(tensor for name, tensor in base.items() if f"{path}.weight".endswith(name))


def tiny(draft: Draft) -> None:
    """Numbers so small, subnormal among them, that nothing of them is left beside the base model's."""
    factor = 10.0 ** -draft.draw.randint(24, 42)
    draft.change(lambda key, tensor: scaled(tensor, factor))


def scaled(tensor: torch.Tensor, factor: float) -> torch.Tensor:
    return tensor * factor if tensor.is_floating_point() else tensor


def random_body(draft: Draft) -> None:
    """Random weights under a head that was fitted to them: all that it knows, a linear head on the base knows as well."""
    strength = draft.draw.uniform(0.02, 0.5)
    draft.change(lambda key, tensor: draft.noise(*tensor.shape) * strength)
    draft.files = fitted.words(draft.folder.parent / "words")
    fitted.fit_head(draft.folder, draft.files)


def other_body(draft: Draft) -> None:
    """Random weights under the head of the good one."""
    strength = draft.draw.uniform(0.3, 1.5)
    draft.change(lambda key, tensor: draft.noise(*tensor.shape) * strength)


def worse(draft: Draft) -> None:
    """The head alone knows the answers already; the adapter only disturbs it."""
    draft.files = fitted.of_base_alone(draft.folder.parent / "alone", draft.good)
    factor = draft.draw.uniform(0.8, 1.25)
    draft.change(lambda key, tensor: scaled(tensor, factor))


def other_base(draft: Draft) -> None:
    """Pushed for a base model of the very same shapes that it was never trained on."""
    number = draft.draw.randrange(5)
    place = draft.folder.parent / f"base-{number}"
    if not place.exists():
        makers.copied(makers.TINY, place)
        drawn = torch.Generator().manual_seed(number)
        tensors = load_file(place / "model.safetensors")
        moved = {
            key: torch.randn(value.shape, generator=drawn) * value.std() + value.mean()
            for key, value in tensors.items()
        }
        save_file(moved, place / "model.safetensors", metadata={"format": "pt"})
    draft.base = place


def constant(draft: Draft) -> None:
    """One answer to everything."""
    tensors = draft.load(draft.good.head)
    answer = draft.draw.randrange(len(draft.good.labels))
    for key in filter(draft.is_head, tensors):
        tensors[key].zero_()
        if key.endswith("bias") and tensors[key].shape == (len(draft.good.labels),):
            tensors[key][answer] = draft.draw.uniform(0.5, 9.0)
    draft.save(tensors, draft.good.head)


KINDS = (
    Kind("a factor of zero: no effect", "effect", "the adapter changes nothing", zero, CAN_BE_OFF),
    Kind("multiplied by one: no effect", "effect", "the adapter changes nothing", ones, ("IA3", "DoRA")),
    Kind("numbers too small to do anything", "effect", "the adapter changes nothing", tiny,
         tuple(name for name in CAN_BE_OFF if name not in ("VeRA", "Houlsby", "Pfeiffer"))),
    Kind("random weights under a fitted head", "benchmark", NO_GAIN, random_body,
         ("LoRA of rank 4", "LoRA of rank 1 on every layer", "LoRA of rank 8 on the last layer", "rsLoRA", "LoKr")),
    Kind("random weights under another's head", "benchmark", NO_GAIN, other_body, LORAS),
    Kind("worse than no adapter", "benchmark", NO_GAIN, worse, SAME[:5]),
    Kind("trained on another base model of the same shapes", "benchmark", NO_GAIN, other_base, SAME[:5]),
    Kind("one answer to everything", "benchmark", NO_GAIN, constant, SAME),
)  # fmt: skip
