"""Does the library that wrote the adapter answer the same?

A few rows through PEFT, on a copy of the base model of its own: PEFT wraps modules, sets flags and loads some tensors in
place, and none of that may reach the backbone. It is asked only where a worker is told to (HUB_PARITY) and has the library;
it costs a second model and seconds a run. A difference is told and refuses nothing: which of the two is wrong, nobody knows
from here. Equal means within 1e-5 of the largest number + 1e-6, and no answer another.
"""

import json
from collections.abc import Mapping
from typing import Any

import torch

from hub import errors
from hub.runtime import heads
from hub.runtime.base import Backbone
from hub.runtime.predict import Batch, Outputs
from hub.spec.components import Component
from workers import library
from workers.ledger import Finding, significant

RELATIVE, ABSOLUTE = 1e-5, 1e-6
ITSELF = "the library that wrote it ran it"
NOT_ASKED = "not asked: this worker compares with no library (HUB_PARITY)"

Tensors = Mapping[str, torch.Tensor]


def parity(
    backbone: Backbone, component: Component, config: bytes, tensors: Tensors, ours: Outputs, batch: Batch
) -> Finding:
    """Hold our outputs of a batch (`predict.outputs` with the adapter on) against PEFT's. Nothing may be attached.

    `config` is adapter_config.json as a hub serves it: rebuilt from an allow-list.
    """
    reason = _cannot(backbone, component)
    if reason:
        return Finding("parity", "skipped", reason)
    import peft

    told = f"PEFT {peft.__version__}"
    try:
        asked = json.loads(config)
        library.refuse_patterns(asked)
        theirs = _asked(backbone, component, asked, tensors, batch)
    except Exception as error:  # what a library raises on a configuration is its own affair
        return Finding("parity", "skipped", f"{told} does not run it on this base model: {library.words_of(error)}")
    mine = _answers(backbone, component, tensors, ours, batch)
    distance, scale = float((mine - theirs).abs().max()), float(theirs.abs().max())
    flipped = int((mine.argmax(-1) != theirs.argmax(-1)).sum()) if component.head else 0
    same = distance <= RELATIVE * scale + ABSOLUTE and not flipped
    evidence = {"library": told, "rows": len(batch.rows), "distance": significant(distance), "flipped": flipped}
    message = f"{len(batch.rows)} rows are within {distance:.2g} of {told}'s (numbers up to {scale:.2g})"
    if same:
        return Finding("parity", "passed", f"{message}, and no answer is another", evidence=evidence)
    return Finding("parity", "warning", f"answers are not {told}'s: {message}, {flipped} are others", evidence=evidence)


def _cannot(backbone: Backbone, component: Component) -> str:
    if component.library != "peft":
        return f"what the library {component.library} writes is compared with no library here"
    if component.head is not None and component.task != "text-classification":
        return f"heads for {component.task} are compared with no library here"
    if backbone.dtype != "float32":
        return f"the base model is in {backbone.dtype}: sums differ by rounding"
    return library.cannot(backbone)


def _asked(
    backbone: Backbone, component: Component, config: dict[str, Any], tensors: Tensors, batch: Batch
) -> torch.Tensor:
    """PEFT's answer on a model of its own: logits [rows, labels], or hidden states at the tokens without a head."""
    import peft

    model = _copy(backbone, component, tensors)
    kind = peft.PEFT_TYPE_TO_CONFIG_MAPPING[config["peft_type"]]
    adapted = peft.get_peft_model(model, kind.from_peft_type(**{**config, "inference_mode": True})).eval()
    loaded = peft.set_peft_model_state_dict(adapted, dict(tensors))
    # with bias="all" PEFT writes a head's bias a second time, under a name that it does not read back
    homeless = [key for key in loaded.unexpected_keys if "modules_to_save" not in key]
    if adapted.active_peft_config.is_prompt_learning:  # prompts it reads by themselves, and calls unexpected afterwards
        homeless = [key for key in homeless if "." in key]
    if homeless:
        raise errors.HubError(f"it has no place for {homeless[0]}")
    with torch.no_grad():
        if component.head:
            return adapted(**batch.inputs).logits
        if (
            adapted.active_peft_config.is_prompt_learning
        ):  # its rows stand before the text, and only PEFT's own call has them
            states = adapted(**batch.inputs).last_hidden_state
            return states[:, states.shape[1] - batch.input_ids.shape[1] :][batch.attention_mask.bool()]
        body = adapted.get_base_model()
        body = getattr(body, body.base_model_prefix, body)
        return body(**batch.inputs).last_hidden_state[batch.attention_mask.bool()]


def _copy(backbone: Backbone, component: Component, tensors: Tensors) -> Any:
    """The base model once more, with weights of its own, in the class whose names the adapter's file uses."""
    import transformers

    config = backbone.model.config
    inside = f"base_model.model.{backbone.model.base_model_prefix}."
    if component.head is None and not any(key.startswith(inside) for key in tensors):
        model = body = transformers.AutoModel.from_config(config)
    else:
        labels = component.head.num_labels if component.head else 2
        asked = type(config).from_dict({**config.to_dict(), "num_labels": labels})
        model = transformers.AutoModelForSequenceClassification.from_config(asked)
        body = getattr(model, model.base_model_prefix)
    own = {name: tensor.detach().clone() for name, tensor in backbone.model.state_dict().items()}
    missing = [name for name in body.load_state_dict(own, strict=False).missing_keys if "pooler" not in name]
    if missing:
        raise errors.HubError(f"the class it is made for has {missing[0]}, the base model has not")
    return model.eval()


def _answers(backbone: Backbone, component: Component, tensors: Tensors, ours: Outputs, batch: Batch) -> torch.Tensor:
    """Ours in the same shape as `_asked` gives PEFT's."""
    if component.head is None:
        return ours.hidden[batch.attention_mask.bool()]
    return heads.build(component.head, tensors, backbone.pools)(ours.read, ours.pooler)
