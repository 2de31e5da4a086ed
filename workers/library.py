"""PEFT as an engine: adapters that this hub's own runtime does not run, run by the library that wrote them.

PEFT wraps modules, sets flags and loads some tensors in place. None of that may reach the frozen backbone, so it works on a copy
with weights of its own; what it is told is the configuration as a hub serves it, rebuilt from an allow-list, and the tensors
that the checks have named. Read back from PEFT, each of them has to be there with its numbers, and no other. The head stays
this hub's own. With the adapter off it is the frozen backbone itself that answers, so that nothing left in the copy can pass for it.
"""

import contextlib
import copy
import dataclasses
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from importlib import util
from typing import Any

import torch
from torch import nn

from hub import errors
from hub.runtime.attached import Attached
from hub.runtime.base import Backbone
from hub.spec import documents
from hub.spec.components import Component
from hub.spec.methods import peft_config
from workers.errors import Fault, is_memory, plain

MOST_PARAMETERS = 250_000_000
"""Above this no second base model is made."""
_PREFIX = "base_model.model."
_INSTALL = "an operator can install it: pip install peft"
_SMALLER = "load it with peft.PeftModel.from_pretrained; only a smaller base model has a verdict on it here"
_AGAIN = "save the adapter again with PEFT's save_pretrained"
_PLACE = re.compile(r"(?<![\w.])/[^\s/'\"]+/[^\s'\",;:)]+")

Tensors = Mapping[str, torch.Tensor]


def installed() -> bool:
    """Whether this worker has PEFT."""
    return util.find_spec("peft") is not None


def ready() -> bool:
    """Have PEFT imported with what it imports late, before the walls are up; False where it is not installed."""
    if not installed():
        return False
    import peft.tuners.lora.variants  # noqa: F401

    with contextlib.suppress(ImportError):  # not of every version, and not for every one of transformers
        importlib.import_module("peft.utils.transformers_weight_conversion")
    return True


def cannot(backbone: Backbone) -> str:
    """Why PEFT cannot be asked about a base model here; empty where it can."""
    return _too_large(backbone) if installed() else "the library peft is not installed here"


def _too_large(backbone: Backbone) -> str:
    if backbone.base.parameters > MOST_PARAMETERS:
        return f"the base model is too large for a second copy ({backbone.base.parameters} parameters)"
    return ""


class Lent(Attached):
    """An adapter that PEFT runs on a copy of the backbone's model."""

    def __init__(self, adapted: Any, every: frozenset[str]) -> None:
        import peft

        super().__init__(every)
        self.runtime = f"peft=={peft.__version__}"
        self._adapted = adapted
        self._inside = False

    def stand_in(self, model: Any, plain: Any) -> None:
        """Have a module of the copy answer with the adapter while it is on, and the backbone's own `plain` while it is off."""
        own = model.forward

        def forward(*args: Any, **given: Any) -> Any:
            if not self.enabled:
                return plain(*args, **given)
            with self._prepared(given.get("input_ids")):
                return own(*args, **given)

        model.forward = forward

    @contextlib.contextmanager
    def _prepared(self, ids: torch.Tensor | None) -> Iterator[None]:
        """What PEFT's own call does around its model, once where one model calls another: aLoRA is told where its tokens stand."""
        if self._inside:
            yield
            return
        from peft.tuners.lora.variants import get_alora_offsets_for_forward

        self._inside = True
        try:
            with self._adapted._enable_peft_forward_hooks(**get_alora_offsets_for_forward(self._adapted, ids)):
                yield
        finally:
            self._inside = False


def lend(backbone: Backbone, component: Component, config: bytes, tensors: Tensors) -> tuple[Backbone, Attached]:
    """(a backbone that answers with the adapter, the adapter on it). The backbone given stays as it is.

    `config` is adapter_config.json as a hub serves it, `tensors` what the component's parts name. Raises Fault where there is
    no PEFT, for another worker may have it; HubError where there is no room for a copy, or where PEFT does not run the adapter
    on this base model.
    """
    only = f"only {component.library} runs {component.by_library[0]}, and"
    if not installed():
        raise Fault(f"{only} this worker does not have it ({_INSTALL})", started=False)
    if reason := _too_large(backbone):
        raise errors.HubError(f"{only} {reason}", hint=_SMALLER)
    import peft

    told = f"PEFT {peft.__version__}"
    asked = json.loads(config)
    refuse_patterns(asked)
    whole = copy.deepcopy(backbone.whole)
    body = whole.base_model
    with _explained(told):
        adapted = _adapted(_as_named(whole, body, tensors), component, asked, tensors)
    attached = Lent(adapted, frozenset(tensors))
    attached.stand_in(body, backbone.model)
    if backbone.language_model is not None:
        attached.stand_in(whole, backbone.language_model)
    attached.consumed = _read_back(adapted, component, tensors, told)
    lent = dataclasses.replace(
        backbone, model=body, language_model=None if backbone.language_model is None else whole, own={}
    )
    with _explained(told), torch.inference_mode():
        body(input_ids=torch.tensor([[0, 1]]), attention_mask=torch.ones(1, 2, dtype=torch.long))
    return lent, attached


def refuse_patterns(config: Mapping[str, Any]) -> None:
    """PEFT evaluates patterns, and some never end. A hub serves none: raises HubError where one stands there all the same."""
    for key, text in peft_config.patterns(config):
        raise errors.HubError(f"{key} holds a pattern ({documents.shorten(text)}); none is ever evaluated", hint=_AGAIN)


def _as_named(whole: Any, body: Any, tensors: Tensors) -> Any:
    """The model whose modules are called as the file's keys say: with a head over the body, or the body alone."""
    under = f"{_PREFIX}{body.base_model_prefix}."
    if not any(key.startswith((under, f"{_PREFIX}lm_head.")) for key in tensors):
        return body
    return _named(body) if whole is body else whole


def _named(body: Any) -> Any:
    """A body under the name that it has in a model with a head, as the file's keys have it."""
    holder = nn.Module()
    holder.config = body.config
    holder.add_module(body.base_model_prefix, body)
    return holder


def _adapted(model: Any, component: Component, config: dict[str, Any], tensors: Tensors) -> Any:
    """A PeftModel over the model, with the adapter's tensors in it."""
    import peft

    kind = peft.PEFT_TYPE_TO_CONFIG_MAPPING[config["peft_type"]]
    given = {**config, "inference_mode": True, "task_type": None, "base_model_name_or_path": None}
    if named := given.get("modules_to_save"):  # the head's are not among the tensors: heads are built here
        saved = [part.module for part in component.parts if part.kind == "saved"]
        given["modules_to_save"] = [name for name in named if any(path.endswith(name) for path in saved)] or None
    if "init_lora_weights" in given:
        given["init_lora_weights"] = True  # every number is replaced: the plainest beginning will do
    adapted = peft.get_peft_model(model, kind.from_peft_type(**given)).eval()
    peft.set_peft_model_state_dict(adapted, dict(tensors))
    return adapted.requires_grad_(False)


def _read_back(adapted: Any, component: Component, tensors: Tensors, told: str) -> frozenset[str]:
    """The keys of the tensors that PEFT holds now, with the numbers of the file. Raises HubError for one that it has no place
    for, or that it would make up."""
    import peft

    found = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    every = adapted.state_dict()
    copies = {key for part in component.parts if part.kind in ("copy", "bias") for key in part.tensors.values()}
    found = found | {key: every[key] for key in copies if key in every}
    if made_up := sorted(found.keys() - tensors.keys()):
        raise errors.HubError(f"{told} would make up {made_up[0]}, which is not in the file", hint=_AGAIN)
    if homeless := sorted(tensors.keys() - found.keys()):
        raise errors.HubError(f"{told} has no place for {homeless[0]}", hint=_AGAIN)
    return frozenset(key for key, value in found.items() if torch.equal(value, tensors[key].to(value.dtype)))


@contextlib.contextmanager
def _explained(told: str) -> Iterator[None]:
    """What a library raises on an adapter is the adapter's affair, as far as it is not this worker that lacks something:
    memory, a file, a module."""
    try:
        yield
    except (MemoryError, OSError, ImportError, errors.HubError):
        raise
    except Exception as error:
        if is_memory(error):
            raise
        message = f"{told} does not run it on this base model: {words_of(error)}"
        raise errors.HubError(message, hint="docs/formats.md tells what runs, and by whom") from error


def words_of(error: Exception) -> str:
    """What a library says, as a publisher may read it: on one line, not for ever, and with no place on this machine."""
    return plain(" ".join(_PLACE.sub("(a file)", f"{type(error).__name__}: {error}").split()))
