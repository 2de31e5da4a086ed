"""An adapter on a frozen backbone: merged copies of the weights it changes, and forward hooks for what no weight can say.

A method that changes weights is merged (`hub.runtime.merging`) into copies of the layers it touches, which take the place of the
backbone's own tensors as long as the adapter is on; nothing is written into what lies there. Where the base model is in half
precision a LoRA is added to what the layer returns instead: merged, part of it would be rounded away.
What no weight can say is a block (`hub.runtime.blocks`): forward hooks that a file of its own sets for each.
"""

from typing import Any

import torch

from hub import errors
from hub.runtime.attached import Attached
from hub.runtime.base import Backbone
from hub.runtime.blocks import BLOCKS, Tensors
from hub.runtime.merging import MERGES, Layer, Said
from hub.spec.components import Component, Part

__all__ = ["Attached", "attach"]

_ROWS = frozenset({"tokens", "trainable_tokens.embedding"})
"""Parts that are rows of some tokens."""


def attach(backbone: Backbone, component: Component, tensors: Tensors) -> Attached:
    """Put a component's parts on the backbone. `tensors`: key in the weights file -> tensor, floating ones as float32."""
    attached = Attached(frozenset(tensors))
    merging, hooked = _sorted(backbone, component)
    try:
        with torch.no_grad():
            for module, parts in merging.items():
                _merge(attached, backbone, component, module, parts, tensors)
        for part in hooked:
            BLOCKS[part.kind](attached, backbone, component, part, tensors)
    except Exception:
        attached.detach()
        raise
    return attached


def _sorted(backbone: Backbone, component: Component) -> tuple[dict[str, list[Part]], list[Part]]:
    """(what is merged, by module; what is hooked in). Tensors of no module go to those that use them."""
    merging: dict[str, list[Part]] = {}
    hooked = []
    for part in component.parts:
        half = part.kind in BLOCKS and backbone.dtype != "float32"
        if part.module and part.kind in MERGES and not half:
            merging.setdefault(part.module, []).append(part)
        elif part.module or part.kind in BLOCKS:
            hooked.append(part)
    head = _tied_head(backbone)
    if head and not any(part.kind in _ROWS | {"saved"} for part in merging.get(head, [])):
        rows = [part for part in component.parts if part.kind in _ROWS and _reads(backbone, part.module)]
        merging[head] = [*merging.get(head, []), *rows]
    return {path: sorted(parts, key=_depth) for path, parts in merging.items() if parts}, hooked


def _depth(part: Part) -> int:
    """A copy of the base model's own table stands under everything else, rows of tokens under what is adapted."""
    return 0 if part.kind == "copy" else 1 if part.kind in _ROWS else 2


def _tied_head(backbone: Backbone) -> str | None:
    """The path of a language-model head that gives scores by the table that texts are read by. Rows of tokens are the head's,
    too, where nothing else is said of it (PEFT's `set_additional_trainable_modules`)."""
    whole = backbone.language_model
    if whole is None or not getattr(whole.config, "tie_word_embeddings", False):
        return None
    head = whole.get_output_embeddings()
    return next((path for path, module in backbone.modules.items() if module is head), None)


def _reads(backbone: Backbone, path: str) -> bool:
    return backbone.modules.get(path) is backbone.model.get_input_embeddings()


def _merge(
    attached: Attached, backbone: Backbone, component: Component, path: str, parts: list[Part], tensors: Tensors
) -> None:
    shared = {
        role: key
        for part in component.parts
        if not part.module and part.kind not in BLOCKS
        for role, key in part.tensors.items()
    }
    if path not in backbone.modules:
        raise errors.HubError(f"the part of the base model that runs here has no {path}", hint="leave its tensors out")
    module = backbone.modules[path]
    turned = backbone.is_transposed(path)
    layer = _layer(module, turned)
    for part in parts:
        own = {role: tensors[key] for role, key in (shared | part.tensors).items()}
        config = component.config | part.options
        said = Said(config, part.scale, *_widest(component), part.module, _adapted(backbone, component))
        try:
            layer = MERGES[part.kind](layer, own, said)
        except (ArithmeticError, LookupError, RuntimeError, ValueError) as error:
            message = f"{next(iter(part.tensors.values()))} cannot be merged into {path}: {error}"
            raise errors.HubError(message, hint="save the adapter again; it may be damaged") from error
    used = frozenset(key for part in parts for key in part.tensors.values()) | frozenset(shared.values())
    attached.put(module, Layer(layer.weight.T.contiguous() if turned else layer.weight, layer.bias), used)


def _adapted(backbone: Backbone, component: Component) -> tuple[str, ...]:
    """The modules that the method adapts, in the model's own order."""
    of_method = [part for part in component.parts if part.kind.partition(".")[0] == component.method]
    adapted = {part.module for part in of_method if part.module}
    return tuple(name for name in backbone.modules if name in adapted)


def _layer(module: Any, turned: bool) -> Layer:
    bias = getattr(module, "bias", None)
    weight = module.weight.detach().float()
    return Layer(weight.T if turned else weight, None if bias is None else bias.detach().float())


def _widest(component: Component) -> tuple[int, int]:
    """The largest input and output of the layers that a component adapts: what shared matrices were drawn for."""
    sizes = [need for part in component.parts for path, need in part.needs.items() if path]
    return max((size.get("in", 0) for size in sizes), default=0), max((size.get("out", 0) for size in sizes), default=0)
