"""What has to be known of a model family before its tensors can be named: a row for each `model_type`.

Canonical names are those of the published checkpoint files, without the attribute under which a model with a head keeps
its body. Libraries rename modules while the files stay as they are (transformers 5 calls ViT's
`encoder.layer.0.attention.attention.query` `layers.0.attention.q_proj`, and still reads and writes the old name), so
every later generation is led back to the files' one: a fingerprint must outlive the next renaming.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

Renames = tuple[tuple[re.Pattern[str], str, re.Pattern[str], str], ...]


@dataclasses.dataclass(frozen=True)
class Family:
    """`prefix`: where a model with a head keeps its body. `transposed`: last segments of modules whose weight lies as
    [in, out]. `renames`: a later generation's names -> the files' names, and what that generation is called."""

    prefix: str = ""
    transposed: frozenset[str] = frozenset()
    renames: Renames = ()
    generation: str = ""
    mask: str = ""
    """The end of the name under which old files keep the causal mask, which is no weight."""
    experts: tuple[str, str, str] | None = None
    """Names of an expert's gate, up and down projection in the files, where live models hold them fused."""
    runs: bool = False
    """Whether this hub opens such a base model and attaches adapters to it."""
    blocks: bool = False
    """Whether its layers end in output blocks as BERT's do, where AdapterHub's bottlenecks sit."""
    decoder: bool = False
    """Whether a token sees only those before it: a classifier reads the last one, and the model continues texts."""
    head: str = ""
    """Whose head a sequence classifier of this family has (`hub.spec.methods.heads.FORMS`)."""
    padded: bool = False
    """Whether positions are counted from the padding index on, so that the table has rows that no token gets."""


def _renames(*rows: tuple[str, str]) -> Renames:
    """Rows of (a later generation's name, the files' name), whole segments each; `{i}` stands for a layer's number."""
    return tuple((_pattern(new), old, _pattern(old), new) for new, old in rows)


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(re.escape(text).replace(r"\{i\}", r"(\d+)") + r"(?=\.|$)")


_VIT = _renames(
    ("layers.{i}.attention.q_proj", "encoder.layer.{i}.attention.attention.query"),
    ("layers.{i}.attention.k_proj", "encoder.layer.{i}.attention.attention.key"),
    ("layers.{i}.attention.v_proj", "encoder.layer.{i}.attention.attention.value"),
    ("layers.{i}.attention.o_proj", "encoder.layer.{i}.attention.output.dense"),
    ("layers.{i}.mlp.fc1", "encoder.layer.{i}.intermediate.dense"),
    ("layers.{i}.mlp.fc2", "encoder.layer.{i}.output.dense"),
    ("layers.{i}.layernorm_before", "encoder.layer.{i}.layernorm_before"),
    ("layers.{i}.layernorm_after", "encoder.layer.{i}.layernorm_after"),
)
_MIXTRAL = _renames(
    ("layers.{i}.mlp.gate", "layers.{i}.block_sparse_moe.gate"),
    ("layers.{i}.mlp.experts", "layers.{i}.block_sparse_moe.experts"),
)
_NEOX = _renames(("lm_head", "embed_out"))
# models that see and write: transformers 4.52 moved their parts under one more attribute
_SEEING = _renames(
    ("model.language_model", "language_model.model"),
    *((f"model.{part}", part) for part in
      ("vision_tower", "vision_model", "image_tower", "video_tower", "multi_modal_projector", "image_newline")),
)  # fmt: skip
_QWEN_VL = _renames(("model.language_model", "model"), ("model.visual", "visual"))
_CONV1D = frozenset({"c_attn", "c_proj", "c_fc", "q_attn"})
_GENERATION = "transformers 5"
_MOVED = "transformers 4.52"


def _vit(prefix: str) -> Family:
    return Family(prefix, renames=_VIT, generation=_GENERATION)


def _decoder(prefix: str, **more: Any) -> Family:
    return Family(prefix, runs=True, head="score", decoder=True, **more)


_MOE = _decoder("model.", experts=("gate_proj", "up_proj", "down_proj"))

FAMILIES: dict[str, Family] = {
    # encoders of text
    "bert": Family("bert.", runs=True, head="bert", blocks=True),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert"), Family("roberta.", runs=True, head="roberta", blocks=True, padded=True)),
    "distilbert": Family("distilbert.", runs=True, head="distilbert"),
    "electra": Family("electra.", runs=True, head="electra"),
    "albert": Family("albert.", runs=True, head="albert"),
    "mpnet": Family("mpnet.", runs=True, head="roberta", padded=True),
    "deberta": Family("deberta.", runs=True, head="deberta"),
    "deberta-v2": Family("deberta.", runs=True, head="deberta"),
    "modernbert": Family("model.", runs=True),
    # decoders of text
    "gpt2": _decoder("transformer.", transposed=_CONV1D, mask=".attn.bias"),
    "openai-gpt": _decoder("transformer.", transposed=_CONV1D, mask=".attn.bias"),
    "gpt_neo": _decoder("transformer.", mask=".attn.attention.bias"),
    "gptj": _decoder("transformer.", mask=".attn.bias"),
    "gpt_bigcode": _decoder("transformer."),
    "gpt_neox": _decoder("gpt_neox.", mask=".attention.bias", renames=_NEOX, generation=_GENERATION),
    "bloom": _decoder("transformer."),
    "falcon": _decoder("transformer."),
    **dict.fromkeys(
        ("opt", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "olmo", "olmo2",
         "stablelm", "starcoder2", "cohere", "granite", "smollm3", "glm", "glm4"), _decoder("model.")),
    **dict.fromkeys(("qwen2_moe", "qwen3_moe", "olmoe", "deepseek_v3"), _MOE),
    "mixtral": dataclasses.replace(_MOE, renames=_MIXTRAL, generation=_GENERATION, experts=("w1", "w3", "w2")),
    # encoder and decoder; T5 keeps its body at the top, but for one that has a classifier
    **dict.fromkeys(("bart", "mbart", "pegasus", "m2m_100", "marian", "blenderbot", "whisper"), Family("model.")),
    **dict.fromkeys(("t5", "mt5", "umt5"), Family("transformer.")),
    # images, speech, both
    **{name: _vit(f"{prefix}.") for name, prefix in (
        ("vit", "vit"), ("deit", "deit"), ("vit_mae", "vit"), ("vit_msn", "vit"), ("ijepa", "ijepa"),
        ("audio-spectrogram-transformer", "audio_spectrogram_transformer"))},
    **dict.fromkeys(
        ("llava", "llava_next", "llava_onevision", "llava_next_video", "video_llava", "vipllava", "paligemma", "gemma3",
         "mistral3", "mllama", "internvl", "aya_vision", "got_ocr2"), Family(renames=_SEEING, generation=_MOVED)),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl"), Family(renames=_QWEN_VL, generation=_MOVED)),
    "wav2vec2": Family("wav2vec2."),
    "hubert": Family("hubert."),
    "wavlm": Family("wavlm."),
    **dict.fromkeys(("clip", "clip_text_model", "clip_vision_model", "siglip"), Family()),
}  # fmt: skip
_PREFIXES = tuple(sorted({family.prefix for family in FAMILIES.values()} - {""}))
RUNS = tuple(name for name, family in FAMILIES.items() if family.runs)
BLOCKS = tuple(name for name, family in FAMILIES.items() if family.blocks)
_UNKNOWN = Family()
_BUFFERS = re.compile(r"(.*\.)?(position_ids|token_type_ids|masked_bias|inv_freq)")
_LEGACY_NORM = re.compile(r"(.*LayerNorm)\.(gamma|beta)")
_EMBEDDINGS = re.compile(
    r"(.*\.)?([a-z_]*embeddings?|embed_tokens|embed_positions|embed_in|wte|wpe|shared|tokens_embed|positions_embed"
    r"|relative_attention_bias)"
)


def of(model_type: str | None) -> Family:
    """Return a family's row; one without prefix and renames where the type is not in the table."""
    return FAMILIES.get(model_type or "", _UNKNOWN)


@functools.lru_cache(1 << 13)
def strip_prefix(name: str, model_type: str | None) -> str:
    """Return a tensor's or module's name without the attribute under which a model with a head keeps its body.

    Without a model type every known prefix is tried.
    """
    if model_type in FAMILIES:
        return name.removeprefix(FAMILIES[model_type].prefix)
    known = () if model_type else _PREFIXES
    return next((name.removeprefix(prefix) for prefix in known if name.startswith(prefix)), name)


def canonical_path(path: str, model_type: str | None) -> str:
    """Return the canonical path of a module or tensor: without prefix, in the names of the files."""
    path = strip_prefix(path, model_type)
    for pattern, old, _, _ in of(model_type).renames:
        if match := pattern.match(path):
            return _filled(old, match) + path[match.end() :]
    return path


def spellings(path: str, model_type: str | None) -> tuple[str, ...]:
    """Return a canonical path in the words of every generation, the files' first."""
    for _, _, pattern, new in of(model_type).renames:
        if match := pattern.match(path):
            return path, _filled(new, match) + path[match.end() :]
    return (path,)


def _filled(template: str, match: re.Match[str]) -> str:
    return template.replace("{i}", match[1]) if match.re.groups else template


def generation_of(path: str, model_type: str | None) -> str:
    """Return which later generation of a library names a module so; empty where the files do."""
    family = of(model_type)
    return family.generation if strip_prefix(path, model_type) != canonical_path(path, model_type) else ""


def moved(path: str) -> str:
    """Return how a module of a model that sees and writes is called since transformers 4.52, as the end of its path; empty
    where its name in the file ends so already, or does not say that it is one of these."""
    rest = path.removeprefix("language_model.model.")
    return f"language_model.{rest}" if rest != path else ""


def canonical_name(name: str, model_type: str | None) -> str | None:
    """Return the name under which a tensor counts, or None for a buffer that is no weight.

    `gamma`/`beta` of old files become `weight`/`bias`.
    """
    name = canonical_path(name, model_type)
    mask = of(model_type).mask
    if _BUFFERS.fullmatch(name) or (mask and name.endswith(mask)):
        return None
    if match := _LEGACY_NORM.fullmatch(name):
        return f"{match[1]}.{'weight' if match[2] == 'gamma' else 'bias'}"
    return name


@functools.lru_cache(1 << 16)
def is_embedding(path: str) -> bool:
    """Tell whether a module looks rows up in its weight rather than multiply by it."""
    return _EMBEDDINGS.fullmatch(path) is not None


def is_transposed(path: str, model_type: str | None) -> bool:
    """Tell whether a module's weight lies as [in, out] (GPT-2's Conv1D)."""
    return path.rpartition(".")[2] in of(model_type).transposed
