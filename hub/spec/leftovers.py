"""Weights in a snapshot that no adapter uses: whose they look like, and what to do with them. By names alone."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

WEIGHTS = {"peft": "adapter_model.safetensors", "adapters": "adapter.safetensors"}
"""What each library calls an adapter's weights."""
FUSION_WEIGHTS = "model_adapter_fusion.safetensors"
HEAD_CONFIG, HEAD_WEIGHTS = "head_config.json", "model_head.safetensors"
_TITLES = {"peft": "PEFT's", "adapters": "AdapterHub's"}


def beside(folder: str) -> set[str]:
    """Return the paths of all weights that a library may write into the folder of an adapter."""
    return {posixpath.join(folder, name) for name in (*WEIGHTS.values(), FUSION_WEIGHTS, HEAD_WEIGHTS)}


def reason(path: str, libraries: Mapping[str, str]) -> tuple[str, str]:
    """Say (what it is, what to do) of weights that belong to no adapter. `libraries`: who wrote the adapter of a folder."""
    folder, name = posixpath.split(path)
    library = libraries.get(folder)
    place = f"{folder}/" if folder else "the snapshot's root"
    if name == HEAD_WEIGHTS and library == "peft":
        return (
            "is a head as AdapterHub writes it, beside an adapter of PEFT, which does not read it",
            f"leave it out; PEFT keeps a head in {WEIGHTS['peft']}: name it in modules_to_save",
        )
    if name == HEAD_WEIGHTS and library is None:
        return (
            "is a head, and no adapter lies beside it",
            f"leave {place} out, or put the head beside the adapter_config.json it was trained with: one head an adapter",
        )
    if name == FUSION_WEIGHTS and library is not None:
        return (
            "is a fusion beside an adapter: in one folder nobody could name one of them",
            f"put it with its adapter_fusion_config.json into a folder of its own below {place}",
        )
    if name in WEIGHTS.values() and library is not None:
        return (
            f"is not what the adapter here uses: its adapter_config.json is {_TITLES[library]}",
            f"leave it out; {_TITLES[library]} weights are called {WEIGHTS[library]}",
        )
    names = ", ".join(sorted(WEIGHTS.values()))
    return (
        "belongs to no adapter of this snapshot",
        f"leave it out; an adapter's weights are called {names} beside its adapter_config.json",
    )
