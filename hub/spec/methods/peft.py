"""PEFT's files: adapter_config.json + adapter_model.safetensors, keys `base_model.model.<module>.<role>`.

Every tensor of the file must be one that the method's row names, on a module that the configuration names, or belong to what
the configuration declares besides: a head, whole modules, biases, rows of new tokens. Anything else is refused: a key that
names a tensor of the base model would overwrite it in a library that loads by name.
"""

from __future__ import annotations

from hub.spec import components
from hub.spec.methods import (
    peft_complete,
    peft_component,
    peft_config,
    peft_heads,
    peft_overlays,
    peft_reckoning,
    peft_runs,
    peft_table,
)
from hub.spec.methods.peft_keys import Sorted
from hub.spec.methods.peft_modules import Modules
from hub.spec.methods.peft_places import Places
from hub.spec.methods.peft_shapes import Shapes

__all__ = ["read"]


def read(source: components.Source) -> components.Component | None:
    """Return the component of a PEFT folder; every fault goes to the source's collector."""
    row = peft_table.TABLE[source.config["peft_type"]]
    settings = peft_config.read(source, row)
    reckoned = peft_reckoning.read(source, row)
    peft_reckoning.check_invocation(source, reckoned)
    if row.refused:
        source.config_problem("refused", "peft_type", f"{row.title} {row.refused}")
        return None
    modules = Modules(source, settings)
    found = Sorted(source, row, modules)
    shapes = Shapes(Places(source, row, settings, modules), reckoned)
    shapes.read(found)
    peft_complete.check(shapes.places, found, read=bool(shapes.parts))
    shapes.read_tokens(found.tokens)
    head, others = peft_heads.read(source, settings, found.saved)
    overlays = [*peft_overlays.whole(modules, others), *peft_overlays.biases(modules, found.biases)]
    copies = sorted(found.copies.items())
    overlays += [peft_overlays.overlay(modules, module, roles, "copy") for module, roles in copies]
    peft_runs.say_what_is_not_run(source, row, shapes.parts)
    return peft_component.build(shapes, head, overlays, tuple(found.aside))
