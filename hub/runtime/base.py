"""A base model opened as a backbone: loaded once, frozen, and able to prove that it still is what it was."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from blake3 import blake3

from hub import base_folder, errors
from hub.runtime import weights
from hub.spec import base_model, families
from hub.spec.base_model import BaseModel, Leaf

BODIES = {
    "bert": "BertModel",
    "roberta": "RobertaModel",
    "xlm-roberta": "XLMRobertaModel",
    "camembert": "CamembertModel",
}
"""Encoder families that adapters can be attached to: model type -> class of the body in transformers."""


HALF = (torch.bfloat16, torch.float16)
RECORD_IN_FLOAT32 = 1_000_000_000
"""Parameters below which a base model in half precision is widened: a measured score should not hang on its rounding."""


@dataclass(frozen=True)
class Backbone:
    """A frozen encoder body in evaluation mode; its weights lie in memory that cannot be written."""

    model: Any
    tokenizer: Any
    base: BaseModel
    folder: Path
    buffers: dict[str, torch.Tensor]
    """What the non-persistent buffers (position ids and the like) have to hold."""
    own: dict[str, torch.nn.Parameter]
    """The model's parameters as it was opened; while an adapter is on, some modules hold others."""

    def is_transposed(self, path: str) -> bool:
        """Whether the module's weight lies [in, out]."""
        return families.is_transposed(path, self.base.model_type)

    @functools.cached_property
    def modules(self) -> dict[str, Any]:
        """The live modules by canonical path."""
        kind = self.base.model_type
        return {families.canonical_path(name, kind): module for name, module in self.model.named_modules()}

    @property
    def fingerprint(self) -> str:
        return self.base.fingerprint

    @property
    def hidden_size(self) -> int:
        return int(self.model.config.hidden_size)

    @property
    def dtype(self) -> str:
        """The number format of the weights: float32, bfloat16, float16; several are joined by a plus sign."""
        return "+".join(sorted({str(parameter.dtype).removeprefix("torch.") for parameter in self.model.parameters()}))

    @property
    def pools(self) -> bool:
        """Whether the base model brings a pooler of its own."""
        return getattr(self.model, "pooler", None) is not None

    @property
    def first_position(self) -> int:
        """The position id of a row's first token: RoBERTa's family counts from the padding index on."""
        config = self.model.config
        return 0 if config.model_type == "bert" else int(config.pad_token_id) + 1

    @property
    def max_length(self) -> int:
        """Longest input in tokens that the position embeddings allow."""
        return int(self.model.config.max_position_embeddings) - self.first_position


def open_backbone(folder: str | Path, *, fingerprint: str | None = None, writable: bool = False) -> Backbone:
    """Open the base model in a folder, its weights mapped read-only; a write would end the process.

    `writable` is for users, who may train on: what they write to becomes a copy of their own.

    With `fingerprint`, a folder that holds other weights is refused (`IncompatibleBaseModel`)
    before a model is made.
    """
    folder = Path(folder)
    base = base_folder.read(folder)
    if fingerprint is not None and base.fingerprint != fingerprint:
        raise errors.IncompatibleBaseModel(
            f"{folder} holds {base.fingerprint}, not {fingerprint}",
            hint="point to the folder of the base model that the adapter was trained on",
        )
    model = _body(folder, base, writable)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    return Backbone(model, tokenizer, base, folder, buffers, dict(model.named_parameters()))


def rehash(backbone: Backbone) -> str:
    """The fingerprint computed from the tensors as they are in memory now.

    Leaves of the file that the body does not use (a language-model head, say) are taken as they
    were read. A changed non-persistent buffer changes the answer too.
    """
    live = _live(backbone)
    leaves = [_leaf(leaf, live.get(leaf.name)) for leaf in backbone.base.leaves]
    altered = [name for name, buffer in backbone.model.named_buffers() if not _same(backbone, name, buffer)]
    return base_model.fingerprint(leaves) if not altered else f"altered:{','.join(altered)}"


def _live(backbone: Backbone) -> dict[str, torch.Tensor]:
    kind = backbone.base.model_type
    named = {families.canonical_name(k, kind): v for k, v in backbone.model.named_parameters()}
    return {name: tensor for name, tensor in named.items() if name is not None}


def _leaf(recorded: Leaf, tensor: torch.Tensor | None) -> Leaf:
    if tensor is None:
        return recorded
    kept = weights.DTYPES[recorded.dtype]
    if tensor.dtype != kept and kept in HALF:  # it was widened: nothing of it is lost on the way back
        tensor = tensor.to(kept)
    digest = blake3(weights.bytes_of(tensor)).hexdigest()
    return Leaf(recorded.name, weights.NAMES[tensor.dtype], tuple(tensor.shape), digest)


def _same(backbone: Backbone, name: str, buffer: torch.Tensor) -> bool:
    return torch.equal(backbone.buffers[name], buffer)


def _body(folder: Path, base: BaseModel, writable: bool) -> Any:
    state = _state(folder, base, writable)
    if base.parameters < RECORD_IN_FLOAT32:
        state = {name: tensor.float() if tensor.dtype in HALF else tensor for name, tensor in state.items()}
    config = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    kind = BODIES.get(base.model_type)
    if kind is None:
        raise errors.HubError(
            f"{folder}: no runtime for model type {base.model_type!r}",
            hint=f"this edition attaches to {', '.join(sorted(BODIES))}",
        )
    pools = "pooler.dense.weight" in state
    with torch.device("meta"):
        model = getattr(transformers, kind)(config, add_pooling_layer=pools)
    wanted = set(model.state_dict())
    missing = sorted(wanted - set(state))
    if missing:
        raise errors.IntegrityError(f"{folder}: base model without {', '.join(missing[:5])}")
    model.load_state_dict({name: state[name] for name in wanted}, strict=True, assign=True)
    _fill_buffers(model, writable)
    return model.eval().requires_grad_(False)


def _state(folder: Path, base: BaseModel, writable: bool) -> dict[str, torch.Tensor]:
    """Canonical name -> mapped tensor, over all shards."""
    found = {}
    for path in base_folder.shards(folder):
        for name, tensor in weights.mapped(path, writable=writable).items():
            canonical = families.canonical_name(name, base.model_type)
            if canonical is not None:
                found[canonical] = tensor
    return found


def _fill_buffers(model: Any, writable: bool) -> None:
    """Give the buffers that no file holds their values: on `meta` the constructor fills them in vain."""
    length = model.config.max_position_embeddings
    values = {
        "embeddings.position_ids": torch.arange(length).expand((1, -1)),
        "embeddings.token_type_ids": torch.zeros((1, length), dtype=torch.long),
    }
    for name, _ in list(model.named_buffers()):
        if name not in values:
            raise errors.HubError(f"the runtime does not know how to fill the buffer {name}")
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, values[name].clone() if writable else weights.read_only(values[name]))
