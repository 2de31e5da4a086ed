"""The identity of a base model: the hash of its weights, whatever the files are called.

A leaf is one tensor under its canonical name, with the BLAKE3 of its little-endian bytes (computed by whoever
holds them). The fingerprint is the root of a Merkle tree over the leaves sorted by name, built as RFC 6962
(section 2.1) builds it, on SHA-256:

    leaf = SHA-256(00 | canonical JSON [name, dtype, shape] | BLAKE3)     node = SHA-256(01 | left | right)

So it does not depend on sharding, on the order in a file, on tied copies or on buffers. Vectors:
docs/fingerprint.md.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from hub.spec import documents, errors, families, quantised

PREFIX = "base:"
MAX_LEAVES = 20_000
CAST_PARTS = ("backbone", "embeddings")
"""The parts of which a cast root is kept besides the whole: an adapter binds to the first, a packer leaves the second alone."""
_HEADS = re.compile(
    r"(cls|classifier|score|qa_outputs|lm_head|embed_out|proj_out|pre_classifier|vocab_transform|vocab_layer_norm|vocab_projector"
    r"|discriminator_predictions|generator_predictions|generator_lm_head|mask_predictions|lm_predictions)(\..*)?"
)
_READ = "let `hub fingerprint` or `hub base add` read the base model's folder"
# names under which a tied tensor is written a second time
_TIED = ("lm_head.weight", "proj_out.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.decoder.weight", "lm_head.decoder.bias", "cls.predictions.decoder.weight",
         "cls.predictions.decoder.bias", "vocab_projector.weight", "generator_lm_head.weight")  # fmt: skip
# keys of config.json that change no number of the frozen model's forward pass
NO_EFFECT = frozenset(
    {"_attn_implementation", "_commit_hash", "_name_or_path", "activation_dropout", "architectures",
     "attention_dropout", "attention_probs_dropout_prob", "attn_implementation",
     "attn_implementation_internal", "attn_pdrop", "auto_map", "bad_words_ids", "begin_suppress_tokens",
     "bos_token_id", "chunk_size_feed_forward", "classifier_dropout", "cls_token_id",
     "decoder_start_token_id", "diversity_penalty", "do_sample", "dropout", "dtype", "early_stopping",
     "embd_pdrop", "encoder_no_repeat_ngram_size", "eos_token_id", "exponential_decay_length_penalty",
     "finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "gradient_checkpointing",
     "hidden_dropout_prob", "id2label", "initializer_factor", "initializer_range", "label2id", "layerdrop",
     "length_penalty", "max_length", "min_length", "name_or_path", "no_repeat_ngram_size", "num_beam_groups",
     "num_beams", "num_labels", "num_return_sequences", "output_attentions", "output_hidden_states",
     "output_past", "output_scores", "prefix", "problem_type", "qa_dropout", "remove_invalid_values",
     "repetition_penalty", "resid_pdrop", "return_dict", "return_dict_in_generate", "sep_token_id",
     "seq_classif_dropout", "summary_last_dropout", "suppress_tokens", "task_specific_params", "temperature",
     "tf_legacy_loss", "tokenizer_class", "top_k", "top_p", "torch_dtype", "torchscript",
     "transformers_version", "typical_p", "use_bfloat16", "use_cache"}
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One tensor of a base model. `digest` is the BLAKE3 (64 hex) of its little-endian bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: str

    def to_json(self) -> list[Any]:
        """[name, dtype, shape, digest]"""
        return [self.name, self.dtype, list(self.shape), self.digest]


@dataclasses.dataclass(frozen=True)
class Module:
    """A module that an adapter may change. `shape`: linear [out, in], whichever way it lies in the file; conv
    [out, in, *kernel]; embedding [rows, width]; norm [size]; experts [experts, out, in]."""

    kind: Literal["linear", "conv", "embedding", "norm", "experts"]
    shape: tuple[int, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """The axes of the weight by name; of a convolution the kernel's as `k0`, `k1`."""
        names = {"linear": ("out", "in"), "conv": ("out", "in", "k0", "k1", "k2"), "embedding": ("rows", "width"),
                 "norm": ("size",), "experts": ("experts", "out", "in")}[self.kind]  # fmt: skip
        return dict(zip(names, self.shape, strict=False))


@dataclasses.dataclass(frozen=True)
class BaseModel:
    """A base model as its weights, configuration and tokenizer define it. Make one with `from_leaves`.

    `cast_roots` are those of `hub.spec.casts`, empty where nobody computed them: they need the bytes. `quantisation` is
    the scheme of a quantised base model, `logical` the shapes of its weights before they were packed, where these are
    known (`hub.spec.quantised`).
    """

    fingerprint: str
    leaves: tuple[Leaf, ...]
    config: dict[str, Any]
    roots: dict[str, str]
    tokenizer_digest: str | None
    architecture: str
    cast_roots: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    quantisation: str | None = None
    logical: dict[str, tuple[int, ...]] | None = None

    @functools.cached_property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor by canonical name; of a quantised base model, of every weight as it was before."""
        return {leaf.name: leaf.shape for leaf in self.leaves} if self.logical is None else dict(self.logical)

    @functools.cached_property
    def modules(self) -> dict[str, Module]:
        """Every module with a weight, by canonical path, and the experts that live models hold fused."""
        found = {}
        for name, shape in self.tensors.items():
            path = name.removesuffix(".weight")
            if path != name and shape and (kind := _kind(path, shape)):
                turned = kind == "linear" and families.is_transposed(path, self.model_type)
                found[path] = Module(kind, shape[::-1] if turned else shape)
        return found | _experts(found, families.of(self.model_type).experts)

    @functools.cached_property
    def linears(self) -> frozenset[str]:
        """Paths of the linear modules an adapter may adapt: not the head of some earlier task."""
        found = (path for path, module in self.modules.items() if module.kind == "linear")
        return frozenset(path for path in found if part_of(path + ".weight") in ("layers", "pooler"))

    @functools.cached_property
    def offers(self) -> dict[str, dict[str, int]]:
        """What adapters may need: sizes by module, and under the empty path those of the whole model."""
        whole = {key: value for key, value in self.sizes.items() if value}
        return {path: module.sizes for path, module in self.modules.items()} | {"": whole}

    @functools.cached_property
    def sizes(self) -> dict[str, int]:
        """Sizes of the whole model as its configuration gives them: hidden, layers, heads, kv (heads of keys and values),
        head (width of one), vocab; 0 where it does not say. `prefix` is the width of keys and values of all layers."""
        config = _text_config(self.config)
        heads = _first_int(config, "num_attention_heads", "n_head", "num_heads", "decoder_attention_heads", "n_heads")
        hidden = _first_int(config, "hidden_size", "n_embd", "d_model", "dim")
        kv = _first_int(config, "num_key_value_heads") or heads
        width = _first_int(config, "head_dim", "d_kv") or (hidden // heads if heads else 0)
        layers = _first_int(config, "num_decoder_layers", "decoder_layers", "num_hidden_layers", "n_layer", "num_layers",
                            "n_layers")  # fmt: skip
        return {
            "hidden": hidden, "layers": layers, "heads": heads, "kv": kv, "head": width,
            "vocab": _first_int(config, "vocab_size"), "prefix": 2 * layers * kv * width,
        }  # fmt: skip

    @property
    def parameters(self) -> int:
        """Number of parameters, tied copies counted once."""
        return sum(math.prod(shape) for shape in self.tensors.values())

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states (0 if the configuration does not say)."""
        return self.sizes["hidden"]

    @functools.cached_property
    def layers(self) -> frozenset[int]:
        """Numbers of the layers, as the tensors' names give them: a configuration may claim any number."""
        found = (layer_of(leaf.name) for leaf in self.leaves)
        return frozenset(number for number in found if number is not None)

    @property
    def model_type(self) -> str:
        """The configuration's model_type, such as `bert`."""
        return str(self.config.get("model_type") or "")

    def to_json(self) -> dict[str, Any]:
        """The base model as the API sends it; `from_json` reads it back."""
        return {
            "fingerprint": self.fingerprint,
            "leaves": [leaf.to_json() for leaf in self.leaves],
            "config": self.config,
            "roots": self.roots,
            "tokenizer_digest": self.tokenizer_digest,
            "architecture": self.architecture,
            "cast_roots": self.cast_roots,
            "quantisation": self.quantisation,
            "logical": self.logical and {name: list(shape) for name, shape in self.logical.items()},
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> BaseModel:
        """Read a base model and compute everything again; a fingerprint that does not match is a SpecError.

        Only what needs the bytes is believed: cast roots, and shapes that lie in the bytes of a quantised base model;
        those are held against the size of the packed bytes. What is told besides is passed over: see `check_told`.
        """
        if not isinstance(value, dict) or not isinstance(value.get("config"), dict):
            raise _error("base.shape", "base model", "needs leaves and config")
        told = value.get("logical")
        if told is not None and not isinstance(told, dict):
            raise _error("base.shape", "logical", "must be an object of shapes by name")
        leaves = parse_leaves(value.get("leaves"))
        base = from_leaves(leaves, value["config"], value.get("tokenizer_digest"), shapes=told)
        claimed = value.get("fingerprint", base.fingerprint)
        if claimed != base.fingerprint:
            message = f"{documents.shorten(claimed)} is claimed, but the leaves give {base.fingerprint}"
            raise _error("base.fingerprint", "fingerprint", message)
        return dataclasses.replace(base, cast_roots=_parse_cast_roots(value.get("cast_roots")))


def from_leaves(
    leaves: Iterable[Leaf],
    config: dict[str, Any],
    tokenizer_digest: str | None = None,
    *,
    read: Callable[[str], bytes] | None = None,
    shapes: Mapping[str, Any] | None = None,
) -> BaseModel:
    """Compute a base model's identity. Names may still carry a prefix; tied copies and buffers are left out.

    `read` and `shapes` tell what `hub.spec.quantised.logical` needs of a quantised base model's bytes.
    """
    kept = canonical_leaves(leaves, str(config.get("model_type") or ""))
    if tokenizer_digest is not None and not documents.is_digest(tokenizer_digest):
        raise _error("base.tokenizer", "tokenizer_digest", "must be 64 hex digits")
    sub_roots = roots(kept)
    packed = quantised.logical({leaf.name: (leaf.dtype, leaf.shape) for leaf in kept}, config, read=read, shapes=shapes)
    return BaseModel(
        PREFIX + root(kept),
        kept,
        config,
        sub_roots,
        tokenizer_digest,
        _architecture(kept, config, packed.tensors if packed else None),
        quantisation=packed.scheme if packed else None,
        logical=packed.tensors if packed else None,
    )


def canonical_leaves(leaves: Iterable[Leaf], model_type: str | None = None) -> tuple[Leaf, ...]:
    """Return the leaves that count, under canonical names, sorted. Raises SpecError if two clash."""
    named: dict[str, Leaf] = {}
    for leaf in leaves:
        name = families.canonical_name(leaf.name, model_type)
        if name is None:
            continue
        known = named.setdefault(name, dataclasses.replace(leaf, name=name))
        if known != dataclasses.replace(leaf, name=name):
            raise _error("base.twice", name, "two different tensors carry this name")
    if not named:
        raise _error("base.empty", "leaves", "a base model has at least one tensor")
    return _without_tied(named)


def without_tied(leaves: Iterable[Leaf]) -> tuple[Leaf, ...]:
    """Return leaves under canonical names, sorted, without those that repeat another one under a tied name."""
    return _without_tied({leaf.name: leaf for leaf in leaves})


def differing(first: BaseModel, second: BaseModel) -> tuple[str, ...]:
    """Return the names of the tensors that one base model holds and the other does not hold alike, sorted."""
    leaves = set(first.leaves) ^ set(second.leaves)
    return tuple(sorted({leaf.name for leaf in leaves}))


def may_be_tied(name: str) -> bool:
    """Tell whether a tensor of this canonical name may be the second copy of another one."""
    return name in _TIED


def check_told(base: BaseModel, told: Mapping[str, Any]) -> None:
    """Raise SpecError for shapes of packed weights, `told` of this base model, that are one too many, too few or other ones
    than its tensors have; and for cast roots of what is packed."""
    if base.cast_roots and base.quantisation:
        raise _error("base.cast_roots", "cast_roots", f"what is packed ({base.quantisation}) is not cast: tell none")
    if told and base.logical is None:
        message = "nothing is packed in a layout that is known here, or the shape of a packed weight is missing"
        raise _error("base.logical", "logical", message)
    for name, shape in told.items():
        if base.logical is None or not isinstance(shape, (list, tuple)) or base.logical.get(name) != tuple(shape):
            message = f"{documents.shorten(shape)} is not the shape that the packed tensors have"
            raise _error("base.logical", f"logical: {documents.shorten(name)}", message)


def root(leaves: Iterable[Leaf]) -> str:
    """Return the Merkle root (64 hex) over the leaves, sorted by name."""
    ordered = sorted(leaves, key=lambda leaf: leaf.name)
    if not ordered:
        raise _error("base.empty", "leaves", "there is no root over nothing")
    return _merkle([_leaf_hash(leaf) for leaf in ordered]).hex()


def fingerprint(leaves: Iterable[Leaf]) -> str:
    """Return `base:<64 hex>` of leaves under canonical names, without tied copies: those of a `BaseModel`."""
    return PREFIX + root(leaves)


def roots(leaves: Iterable[Leaf]) -> dict[str, str]:
    """Return the sub-roots: backbone (all but pooler and head), embeddings, pooler, head; absent parts are
    left out."""
    parts: dict[str, list[Leaf]] = {"backbone": [], "embeddings": [], "pooler": [], "head": []}
    for leaf in leaves:
        part = part_of(leaf.name)
        parts["backbone" if part == "layers" else part].append(leaf)
        if part == "embeddings":
            parts["backbone"].append(leaf)
    return {name: root(members) for name, members in parts.items() if members}


def layer_of(path: str) -> int | None:
    """Return the layer's number in the path of a module or tensor, None where there is none."""
    return next((int(part) for part in path.split(".") if part.isdecimal() and len(part) < 6), None)


def part_of(name: str) -> str:
    """Return the part a canonical tensor name belongs to: layers, embeddings, pooler or head."""
    if name.startswith(("embeddings.", "embeddings_project.")) or _is_table(name):
        return "embeddings"
    if name.startswith("pooler."):
        return "pooler"
    return "head" if _HEADS.fullmatch(name) else "layers"


def is_tied(name: str) -> bool:
    """Tell whether a name is one under which a tied tensor is written a second time."""
    return name in _TIED


def _is_table(name: str) -> bool:
    """Tell whether a tensor is a table of embeddings beside the layers, not within one."""
    return families.is_embedding(name.removesuffix(".weight")) and layer_of(name) is None


def _kind(path: str, shape: tuple[int, ...]) -> Literal["linear", "conv", "embedding", "norm"] | None:
    if len(shape) == 2:
        return "embedding" if families.is_embedding(path) else "linear"
    return {1: "norm", 3: "conv", 4: "conv", 5: "conv"}.get(len(shape))  # type: ignore[return-value]


def _experts(found: dict[str, Module], names: tuple[str, str, str] | None) -> dict[str, Module]:
    """The two fused parameters of each block of experts: gate and up in one, and down."""
    if names is None:
        return {}
    gate, up, down = names
    blocks: dict[str, dict[str, list[Module]]] = {}
    for path, module in found.items():
        block, _, rest = path.rpartition(".experts.")
        number, _, name = rest.partition(".")
        if block and number.isdecimal() and name in names:
            blocks.setdefault(f"{block}.experts", {}).setdefault(name, []).append(module)
    fused = {}
    for path, by_name in blocks.items():
        if set(by_name) != set(names):
            continue
        (out, width), (low, inner) = by_name[gate][0].shape, by_name[down][0].shape
        fused[f"{path}.gate_up_proj"] = Module("experts", (len(by_name[up]), 2 * out, width))
        fused[f"{path}.down_proj"] = Module("experts", (len(by_name[down]), low, inner))
    return fused


def _text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that describes the text model, where a model has several."""
    inner = config.get("text_config")
    return config | inner if isinstance(inner, dict) else config


def parse_leaves(value: Any) -> tuple[Leaf, ...]:
    """Read [[name, dtype, shape, digest], ...] from JSON. Raises SpecError."""
    if not isinstance(value, list) or not 0 < len(value) <= MAX_LEAVES:
        raise _error("base.leaves", "leaves", f"must be a list of 1 to {MAX_LEAVES} tensors")
    return tuple(_parse_leaf(item) for item in value)


def is_fingerprint(value: Any) -> bool:
    """Tell whether a value is `base:` and 64 lower-case hex digits."""
    return isinstance(value, str) and value.startswith(PREFIX) and documents.is_digest(value.removeprefix(PREFIX))


def _parse_leaf(item: Any) -> Leaf:
    if not isinstance(item, list) or len(item) != 4:
        raise _error("base.leaves", "leaves", "each leaf is [name, dtype, shape, digest]")
    name, dtype, shape, digest = item
    if not isinstance(name, str) or not 0 < len(name) <= 512 or not isinstance(dtype, str) or len(dtype) > 16:
        raise _error("base.leaves", documents.shorten(name), "a leaf has a name and a dtype")
    sizes: list[Any] = shape if isinstance(shape, list) and len(shape) <= 8 else [None]
    if any(type(size) is not int or size < 0 for size in sizes):
        raise _error("base.leaves", documents.shorten(name), f"impossible shape {documents.shorten(shape)}")
    if not documents.is_digest(digest):
        raise _error("base.leaves", documents.shorten(name), "the digest must be the BLAKE3 in 64 hex digits")
    return Leaf(name, dtype, tuple(sizes), digest)


def _parse_cast_roots(value: Any) -> dict[str, dict[str, str]]:
    """Read {"bf16": {"root": 64 hex, "backbone": 64 hex}, ...}; casts that are not known yet are kept."""
    entries: Any = {} if value is None else value
    for name, entry in entries.items() if isinstance(entries, dict) and len(entries) <= 16 else [(None, None)]:
        said = entry if isinstance(entry, dict) and isinstance(name, str) and len(name) <= 32 else {}
        if not {"root"} <= set(said) <= {"root", *CAST_PARTS} or not all(map(documents.is_digest, said.values())):
            where = "cast_roots" if name is None else f"cast_roots: {documents.shorten(name)}"
            raise _error("base.cast_roots", where, 'must be {"bf16": {"root": 64 hex, "backbone": 64 hex}, ...}')
    return {name: dict(entry) for name, entry in entries.items()}


def _without_tied(named: dict[str, Leaf]) -> tuple[Leaf, ...]:
    values = {(leaf.dtype, leaf.shape, leaf.digest) for name, leaf in named.items() if name not in _TIED}
    return tuple(
        leaf
        for name, leaf in sorted(named.items())
        if name not in _TIED or (leaf.dtype, leaf.shape, leaf.digest) not in values
    )


def _leaf_hash(leaf: Leaf) -> bytes:
    head = documents.canonical([leaf.name, leaf.dtype, list(leaf.shape)])
    return hashlib.sha256(b"\x00" + head + bytes.fromhex(leaf.digest)).digest()


def _merkle(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    half = 1 << (len(hashes) - 1).bit_length() - 1  # the largest power of two below the number of leaves
    return hashlib.sha256(b"\x01" + _merkle(hashes[:half]) + _merkle(hashes[half:])).digest()


def _architecture(leaves: Iterable[Leaf], config: dict[str, Any], logical: Mapping[str, tuple[int, ...]] | None) -> str:
    """Digest of what the forward pass depends on besides values: the backbone's shapes and the configuration.

    Of a quantised base model whose `logical` shapes are known, these, and not how they are packed: it has its parent's.
    """
    shapes = {leaf.name: leaf.shape for leaf in leaves} if logical is None else logical
    table = [[name, list(shape)] for name, shape in shapes.items() if part_of(name) in ("layers", "embeddings")]
    without = NO_EFFECT if logical is None else NO_EFFECT | {"quantization_config"}
    kept = {key: value for key, value in config.items() if key not in without and value is not None}
    return documents.digest({"architecture": 1, "config": kept, "tensors": sorted(table)})


def _first_int(config: dict[str, Any], *keys: str) -> int:
    return next((config[key] for key in keys if type(config.get(key)) is int), 0)


def _error(code: str, where: str, message: str, hint: str = _READ) -> errors.SpecError:
    return errors.SpecError.of(code, where, message, hint, "shapes")
