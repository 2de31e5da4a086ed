"""Cast roots: the fingerprint that a copy of a base model in another number format has.

A copy in bfloat16 has other bytes, so another root; yet its values follow from those of the original. Whoever holds the
original computes the root of such a copy without writing it, and a copy that turns up later is known for what it is.

What a cast does to a tensor are steps from format to format (`steps`); each is what torch's `.to(dtype)` does: round to
nearest, ties to even. The bytes are the business of `hub.casting`; here leaves become roots. Rules and vectors:
docs/fingerprint.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from hub.spec import base_model
from hub.spec.base_model import BaseModel, Leaf

Steps = tuple[str, ...]
FLOATS = ("F64", "F32", "F16", "BF16")
# name of a cast root -> the formats that every floating tensor goes through
CASTS: dict[str, Steps] = {
    "bf16": ("BF16",),
    "fp16": ("F16",),
    "bf16_of_fp16": ("F16", "BF16"),
}
WORDS = {"bf16": "bf16 copy", "fp16": "fp16 copy", "bf16_of_fp16": "bf16 copy of the fp16 copy"}


def steps(cast: str, dtype: str) -> Steps:
    """Return the formats that a tensor goes through, without its own; () for one that stays as it is."""
    if dtype not in FLOATS:
        return ()
    through = CASTS[cast]
    return through[1:] if through[0] == dtype else through


def all_steps(dtype: str) -> tuple[Steps, ...]:
    """Return the ways that a tensor of this dtype goes under some cast, each once; () comes first: as it is."""
    return tuple(dict.fromkeys(((), *(steps(cast, dtype) for cast in CASTS))))


def roots(leaves: Iterable[Leaf], digests: Mapping[str, Mapping[Steps, str]]) -> dict[str, dict[str, str]]:
    """Return the cast roots of a base model: {"bf16": {"root": 64 hex, "backbone": 64 hex, "embeddings": 64 hex}, ...}.

    `leaves` are those of the `BaseModel`; `digests` holds per name the BLAKE3 of the tensor's bytes after its steps. A
    cast whose root is the exact one, or that of an earlier cast, says nothing new and is left out.
    """
    exact = tuple(leaves)
    known = {base_model.root(exact)}
    found: dict[str, dict[str, str]] = {}
    for cast in CASTS:
        # rounding may make two tensors equal that were not: a copy's reader would drop the tied one
        copy = base_model.without_tied(
            _cast(leaf, digests.get(leaf.name, {}), steps(cast, leaf.dtype)) for leaf in exact
        )
        root = base_model.root(copy)
        if root not in known:
            known.add(root)
            parts = base_model.roots(copy)
            found[cast] = {"root": root} | {part: parts[part] for part in base_model.CAST_PARTS if part in parts}
    return found


def same_values(first: BaseModel, second: BaseModel) -> str | None:
    """Tell how the values of one base model follow from the other's, in words that stand between the two names.

    "is the bf16 copy of", "has as its bf16 copy"; None where nothing is known. Backbones are compared, as an adapter
    binds to the backbone. Of the two, the one that was cast needs its cast roots.
    """
    one, other = first.roots.get("backbone"), second.roots.get("backbone")
    if one is None or other is None:
        return None
    if one == other:
        return "has the same weights as"
    for cast, words in WORDS.items():
        if second.cast_roots.get(cast, {}).get("backbone") == one:
            return f"is the {words} of"
        if first.cast_roots.get(cast, {}).get("backbone") == other:
            return f"has as its {words}"
    return None


def quantised_from(packed: BaseModel, parent: BaseModel) -> bool:
    """Tell whether what the packer left alone is the parent's: the tables of embeddings, exactly or under a cast of which
    the parent has the roots, and every other tensor of the backbone that kept its format.

    A fine-tuned copy that changed nothing but what is packed now looks like the parent, too: the two are kin either way.
    """
    if packed.logical is None or parent.quantisation or packed.architecture != parent.architecture:
        return False
    tables = {parts.get("embeddings") for parts in (parent.roots, *parent.cast_roots.values())} - {None}
    if packed.roots.get("embeddings") not in tables:
        return False
    theirs = {leaf.name: leaf for leaf in parent.leaves}
    return all(
        theirs[leaf.name] == leaf
        for leaf in packed.leaves
        if _left_alone(leaf, packed.logical) and leaf.name in theirs and theirs[leaf.name].dtype == leaf.dtype
    )


def _left_alone(leaf: Leaf, logical: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a tensor of a quantised base model's backbone stands in the file as it was before."""
    kept = leaf.dtype in FLOATS and logical.get(leaf.name) == leaf.shape
    return kept and base_model.part_of(leaf.name) in ("layers", "embeddings")


def _cast(leaf: Leaf, digests: Mapping[Steps, str], through: Steps) -> Leaf:
    return dataclasses.replace(leaf, dtype=through[-1], digest=digests[through]) if through else leaf
