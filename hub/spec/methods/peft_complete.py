"""Whether PEFT's files are complete: every module that is named has its tensors, and no other one has."""

from __future__ import annotations

from collections.abc import Mapping

from hub.spec import components
from hub.spec.methods import peft_blocks
from hub.spec.methods.peft_keys import ROWS, SAVE, Group, Sorted
from hub.spec.methods.peft_places import Places


def check(places: Places, found: Sorted, *, read: bool) -> None:
    """Hold the modules that have tensors against those that are named: where names, not a pattern, say which. `read`: whether
    anything of the method was."""
    source, row = places.source, places.row
    per_module = not (row.prompts or row.mark)
    if not ((found.groups or found.tokens) if per_module else read):
        source.tensor_problem("none", f"there is no {row.title} tensor in this file", SAVE)
    if not per_module:
        return
    if places.blocks:
        peft_blocks.check_layers(source, found.groups)
    if places.settings.all_linear or places.settings.targets is not None:
        own = {module: group for module, group in found.groups.items() if not places.parameter_of(group)}
        _check_untargeted(places, own)
        _check_missing(places, own)


def _check_untargeted(places: Places, own: Mapping[str, Group]) -> None:
    settings, modules = places.settings, places.modules
    extra = [
        next(iter(group.found.values())).name
        for module, group in own.items()
        if not (modules.tied(module) and (ROWS in group.found or settings.tying))
        and not settings.targeted(group.name, modules.inside(group.name), module)
    ]
    if extra:
        meaning = ("untargeted", "adapts a module that target_modules does not name", "name it in target_modules")
        components.refuse_by_reason(places.source, {meaning: extra})


def _check_missing(places: Places, own: Mapping[str, Group]) -> None:
    source, base, modules = places.source, places.base, places.modules
    if base is None or (source.config.get("exclude_modules") is not None and places.settings.excluded is None):
        return
    missing = sorted(module for module in modules.wanted(base) - set(own) if modules.names(module, base))
    if missing:
        more = f" and {len(missing) - 1} more modules" if len(missing) > 1 else ""
        message = f"the tensors for {missing[0]!r}{more} are missing: target_modules names them"
        source.tensor_problem("missing", message, "a missing tensor would be made up at random")
