"""A base model opened as a backbone: loaded once, frozen, and able to prove that it still is what it was."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from blake3 import blake3

from hub import base_folder, errors
from hub.runtime import experts, weights
from hub.runtime.assembly import HALF, RECORD_IN_FLOAT32, assemble
from hub.spec import base_model, families
from hub.spec.base_model import BaseModel, Leaf

__all__ = ["RECORD_IN_FLOAT32", "Backbone", "open_backbone", "rehash"]


@dataclass(frozen=True)
class Backbone:
    """A frozen body in evaluation mode; its weights lie in memory that cannot be written."""

    model: Any
    """The body: it answers with hidden states."""
    tokenizer: Any
    base: BaseModel
    folder: Path
    buffers: dict[str, torch.Tensor]
    """What the non-persistent buffers (position ids and the like) have to hold."""
    own: dict[str, torch.nn.Parameter]
    """The model's parameters as it was opened; while an adapter is on, some modules hold others."""
    language_model: Any | None = None
    """A decoder's body with the base model's own head over it, tied or not; None where the files hold none."""

    @property
    def whole(self) -> Any:
        """Everything of the base model that is loaded."""
        return self.model if self.language_model is None else self.language_model

    @property
    def is_decoder(self) -> bool:
        """Whether a token sees only those before it, so that a classifier reads the last one."""
        return families.of(self.base.model_type).decoder

    def is_transposed(self, path: str) -> bool:
        """Whether the module's weight lies [in, out]."""
        return families.is_transposed(path, self.base.model_type)

    @functools.cached_property
    def modules(self) -> dict[str, Any]:
        """The live modules by canonical path."""
        kind = self.base.model_type
        return {families.canonical_path(name, kind): module for name, module in self.whole.named_modules()}

    @property
    def fingerprint(self) -> str:
        return self.base.fingerprint

    @property
    def hidden_size(self) -> int:
        return int(self.model.config.hidden_size)

    @property
    def dtype(self) -> str:
        """The number format of the weights: float32, bfloat16, float16; several are joined by a plus sign."""
        return "+".join(sorted({str(parameter.dtype).removeprefix("torch.") for parameter in self.whole.parameters()}))

    @property
    def pools(self) -> bool:
        """Whether the base model brings a pooler of its own."""
        return getattr(self.model, "pooler", None) is not None

    @property
    def first_position(self) -> int:
        """The position id of a row's first token: RoBERTa's family counts from the padding index on."""
        return int(self.model.config.pad_token_id) + 1 if families.of(self.base.model_type).padded else 0

    @property
    def max_length(self) -> int:
        """Longest input in tokens that the position embeddings allow, or that the tokenizer was made for where there are none."""
        config = self.model.config
        allowed = getattr(config, "max_position_embeddings", None)
        if not isinstance(allowed, int) or allowed < 1:
            return int(min(self.tokenizer.model_max_length, 1 << 20))
        return allowed - self.first_position


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
    whole = assemble(folder, base, writable)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    buffers = {name: buffer.clone() for name, buffer in whole.named_buffers()}
    body, own = whole.base_model, dict(whole.named_parameters())
    return Backbone(body, tokenizer, base, folder, buffers, own, None if body is whole else whole)


def rehash(backbone: Backbone) -> str:
    """The fingerprint computed from the tensors as they are in memory now.

    Leaves of the file that the body does not use (a masked-language-model head, say) are taken as they
    were read. A changed non-persistent buffer changes the answer too.
    """
    live = _live(backbone)
    leaves = [_leaf(leaf, live.pop(leaf.name, None)) for leaf in backbone.base.leaves]
    altered = [name for name, buffer in backbone.whole.named_buffers() if not _same(backbone, name, buffer)]
    altered += [name for name, tensor in live.items() if not _repeats(backbone.base, tensor)]
    return base_model.fingerprint(leaves) if not altered else f"altered:{','.join(altered)}"


def _live(backbone: Backbone) -> dict[str, torch.Tensor]:
    kind = backbone.base.model_type
    found: dict[str, torch.Tensor] = {}
    for live, tensor in backbone.whole.named_parameters():
        if (name := families.canonical_name(live, kind)) is not None:
            found |= experts.apart(name, tensor, families.of(kind).experts)
    return found


def _leaf(recorded: Leaf, tensor: torch.Tensor | None) -> Leaf:
    if tensor is None:
        return recorded
    kept = weights.DTYPES[recorded.dtype]
    if tensor.dtype != kept and kept in HALF:  # it was widened: nothing of it is lost on the way back
        tensor = tensor.to(kept)
    digest = blake3(weights.bytes_of(tensor)).hexdigest()
    return Leaf(recorded.name, weights.NAMES[tensor.dtype], tuple(tensor.shape), digest)


def _repeats(base: BaseModel, tensor: torch.Tensor) -> bool:
    """Whether a tensor that is no leaf holds what one of the leaves does, as a tied one that the files repeat."""
    return any(_leaf(leaf, tensor) == leaf for leaf in base.leaves if leaf.shape == tuple(tensor.shape))


def _same(backbone: Backbone, name: str, buffer: torch.Tensor) -> bool:
    return torch.equal(backbone.buffers[name], buffer)
