"""A model made of a folder's tensors where they lie: no weight is copied, and nothing stays as a constructor made it.

The model is made on torch's `meta` device, which has shapes and no numbers. Weights come from the files; buffers that no
file holds (position ids, rotary frequencies, masks) come from the model's own initialisation, the one that
`from_pretrained` of transformers lets fill them: what answers here answers there, bit for bit.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import initialization

from hub import base_folder, errors
from hub.runtime import experts, weights
from hub.spec import families
from hub.spec.base_model import BaseModel

HALF = (torch.bfloat16, torch.float16)
RECORD_IN_FLOAT32 = 1_000_000_000
"""Parameters below which a base model in half precision is widened: a measured score should not hang on its rounding."""
_POOLERS = ("pooler.dense.weight", "pooler.weight")

Tensors = dict[str, torch.Tensor]


def assemble(folder: Path, base: BaseModel, writable: bool) -> Any:
    """The model of a folder in evaluation mode, frozen: of a decoder with its language-model head where there is one, of
    every other family the body alone.

    Raises HubError for a family that does not run here, IntegrityError where tensors are missing.
    """
    family = families.of(base.model_type)
    if not family.runs:
        raise errors.HubError(
            f"{folder}: no runtime for model type {base.model_type!r}",
            hint="docs/validation.md tells which base models run",
        )
    state = experts.fused(_state(folder, base, writable), family.experts, writable)
    if base.parameters < RECORD_IN_FLOAT32:
        state = {name: tensor.float() if tensor.dtype in HALF else tensor for name, tensor in state.items()}
    config = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    config.use_cache = False  # whole rows are read at once
    model = _loaded(config, family, base, state, folder)
    _fill_buffers(model, writable)
    _leave_out_types(model.base_model)
    return model.eval().requires_grad_(False)


def _state(folder: Path, base: BaseModel, writable: bool) -> Tensors:
    """Canonical name -> mapped tensor, over all shards."""
    found = {}
    for path in base_folder.shards(folder):
        for name, tensor in weights.mapped(path, writable=writable).items():
            canonical = families.canonical_name(name, base.model_type)
            if canonical is not None:
                found[canonical] = tensor
    return found


def _loaded(config: Any, family: families.Family, base: BaseModel, state: Tensors, folder: Path) -> Any:
    """The model with its weights; a decoder whose files hold no language-model head is its body alone."""
    kinds = (transformers.AutoModelForCausalLM, transformers.AutoModel)[0 if family.decoder else 1 :]
    for kind in kinds:
        model = _empty(kind._model_mapping[type(config)], config, state)
        wanted, tied = _names(model, base)
        missing = sorted(name for name in wanted.values() if name not in state)
        if not missing:
            break
    else:
        raise errors.IntegrityError(f"{folder}: base model without {', '.join(missing[:5])}")
    _check_shapes(model, wanted, state, folder)
    model.load_state_dict({live: state[name] for live, name in wanted.items()}, strict=False, assign=True)
    for live, source in tied.items():
        _put(model, live, model.get_parameter(source))
    return model


def _empty(kind: Any, config: Any, state: Tensors) -> Any:
    """The model without numbers, in the number format of its weights: buffers follow it."""
    found = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
    dtype = torch.float32 if torch.float32 in found or not found else sorted(found, key=str)[0]
    more = {}
    if "add_pooling_layer" in inspect.signature(kind.__init__).parameters:
        more["add_pooling_layer"] = any(name in state for name in _POOLERS)
    with torch.device("meta"), initialization.meta_device_safe_creation_ops():
        return kind._from_config(config, dtype=dtype, **more)


def _names(model: Any, base: BaseModel) -> tuple[dict[str, str], dict[str, str]]:
    """(live name -> canonical name of what the files have to hold, live name -> the live name that it is tied to).

    What may be tied and is a tensor of its own in the files stays one, as `from_pretrained` has it."""
    names = {live: families.canonical_name(live, base.model_type) for live in model.state_dict()}
    tied = {
        live: source
        for live, source in model.all_tied_weights_keys.items()
        if names.get(live) not in base.tensors and source in names
    }
    return {live: name for live, name in names.items() if name is not None and live not in tied}, tied


def _check_shapes(model: Any, wanted: Mapping[str, str], state: Tensors, folder: Path) -> None:
    for live, tensor in model.state_dict().items():
        if live in wanted and tensor.shape != state[wanted[live]].shape:
            name, shapes = wanted[live], f"{list(state[wanted[live]].shape)}, config.json gives {list(tensor.shape)}"
            raise errors.IntegrityError(f"{folder}: {name} has the shape {shapes}")


def _fill_buffers(model: Any, writable: bool) -> None:
    """Give the buffers that no file holds their values: on `meta` the constructor fills them in vain.

    Weights are marked as transformers marks loaded ones, so that its initialisation passes them by.
    """
    blank = {name: _blank(buffer) for name, buffer in model.named_buffers() if buffer.is_meta}
    for name, value in blank.items():
        _put(model, name, value.clone())
    for tensor in (*model.parameters(), *(buffer for name, buffer in model.named_buffers() if name not in blank)):
        tensor._is_hf_initialized = True
    model.initialize_weights()
    for name, buffer in list(model.named_buffers()):
        if name in blank and buffer.numel() and bool(_unfilled(buffer, blank[name]).any()):
            raise errors.HubError(f"the runtime does not know how to fill the buffer {name}")
        if name in blank and not writable:
            _put(model, name, weights.read_only(buffer))


def _blank(buffer: torch.Tensor) -> torch.Tensor:
    """A value that no buffer holds when it is filled (a mask may hold either of its two)."""
    if buffer.is_floating_point():
        return torch.full_like(buffer, torch.nan, device="cpu")
    least = 0 if buffer.dtype == torch.bool else torch.iinfo(buffer.dtype).min
    return torch.full_like(buffer, least, device="cpu")


def _unfilled(buffer: torch.Tensor, blank: torch.Tensor) -> torch.Tensor:
    if buffer.dtype == torch.bool:
        return torch.zeros(())
    return buffer.isnan() if buffer.is_floating_point() else buffer == blank


def _put(model: Any, name: str, value: torch.Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, value)


def _leave_out_types(body: Any) -> None:
    """Let a body that has no table of token types be called with types, too: one that takes them would read them otherwise
    (GPT-2 adds its words' vectors)."""
    if getattr(body.config, "type_vocab_size", 0):
        return

    def without(module: Any, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {name: value for name, value in given.items() if name != "token_type_ids"}

    body.register_forward_pre_hook(without, with_kwargs=True)
