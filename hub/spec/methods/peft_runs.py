"""Which of PEFT's methods are run, by whom, and what is told of the others."""

from __future__ import annotations

from collections.abc import Sequence

from hub.spec import components, families
from hub.spec.methods import peft_blocks, peft_reckoning
from hub.spec.methods.layout import Layout

RUNS = frozenset(
    {"lora", "adalora", "loha", "lokr", "vera", "randlora", "vblora", "delora", "gralora", "miss", "bone", "fourierft",
     "shira", "c3a", "ia3", "oft", "boft", "hra", "road", "ln_tuning", "trainable_tokens", "prompt_tuning", "p_tuning",
     "multitask_prompt_tuning", "prefix_tuning", "cpt", "cartridge", "beft", "hira", "glora", "peanut", "pvera", "supertuning", "unilora", "waveft",
     "deft", "osf", "psoft", "tinylora", "frod", "poly", "lily"}
)  # fmt: skip
"""Methods that `hub.runtime` runs."""
BY_LIBRARY = frozenset({"adaption_prompt"})
"""Methods that PEFT runs for a worker; all else is understood only."""
_WHY_NOT = {
    "xlora": "its experts lie in folders of their own, and are mixed by a pass of the base model before the one that answers",
    "adamss": "how a module is cut into subspaces follows from a clustering of the base model's weights, and is in no file",
}
"""Why a method that is understood is not run."""
_PLACES = {"embedding": "embeddings", "conv": "convolutions", "experts": "fused experts"}


def say_what_is_not_run(source: components.Source, row: Layout, parts: Sequence[components.Part]) -> None:
    """Note what of an adapter the hub understands and does not run."""
    if row.name in BY_LIBRARY:
        peft_blocks.say_who_runs(source, row.title)
    elif row.name not in RUNS:
        message = f"this hub does not run {row.title} yet: {_WHY_NOT.get(row.name, 'it waits its turn')}"
        source.not_run(
            "method.unsupported",
            f"{source.config_path}: peft_type",
            message,
            "docs/formats.md tells of every method whether it runs",
        )
    else:
        peft_reckoning.say_what_is_not_run(source, row, list(parts))
        for kind in sorted({part.kind for part in parts if part.kind.endswith(".experts")}):
            place = kind.partition(".")[2]
            source.leave_to_library(f"{row.title} on {_PLACES.get(place, place)}")
    if source.base is not None and not families.of(source.base.model_type).runs:
        message = f"this hub does not run adapters on {source.base.model_type or 'such base models'} yet"
        source.not_run(
            "base.unsupported", source.weights, message, "docs/validation.md tells which base models run", "shapes"
        )
