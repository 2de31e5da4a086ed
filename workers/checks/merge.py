"""How large is what the adapter adds to each layer, and how much of it survives where the merged weight is bfloat16?

Of a layer W with the adapter merged in, W + D:

    ratio   ||D|| / ||W||, Frobenius
    lost    ||bf16(V + D) - V - D|| / ||D||  with V = bf16(W): the part of D that is rounded away when it is merged into a
            base model that lies in bfloat16. Between 0 and 1, for V itself is a bfloat16 number and so never further away

Most programs serve base models in bfloat16 with 8 bits of precision; there a small D vanishes and the merged model answers
like the base model, though the same adapter works unmerged.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from hub.runtime.attached import REFERENCE, Attached
from hub.runtime.base import Backbone
from hub.runtime.merging import Layer
from hub.spec.words import counted
from workers.ledger import Finding, significant

MOST_LOST = 0.5
"""Share of the whole delta beyond which a warning is due."""
UNMERGED = "load it unmerged, or merge in float32; a larger scale or a longer training survives better"


def merge(backbone: Backbone, attached: Attached) -> Finding:
    """Sizes of the merged deltas by layer, and what is lost of them in bfloat16. Never fails."""
    if attached.runtime != REFERENCE:
        return Finding("merge", "skipped", f"{attached.runtime} runs this adapter, and merges nothing")
    found = list(_layers(backbone, attached))
    if not found:
        return Finding("merge", "skipped", "nothing of this adapter is merged into weights")
    largest = max(found, key=lambda layer: layer["ratio"])
    told = f"{counted(len(found), 'layer')}; the largest delta is {largest['ratio']:.2%} of its weight ({largest['module']})"
    evidence: dict[str, Any] = {"layers": found}
    if backbone.dtype != "float32":
        return Finding("merge", "passed", f"{told}; merged in {backbone.dtype} here", evidence=evidence)
    lost = _overall(found)
    evidence["lost"] = significant(lost)
    message = f"{told}; merged in bfloat16, {lost:.1%} of the delta is rounded away"
    status, hint = ("warning", UNMERGED) if lost > MOST_LOST else ("passed", "")
    return Finding("merge", status, message, hint, {**evidence, "layers": [_shown(layer) for layer in found]})


def _layers(backbone: Backbone, attached: Attached) -> Iterator[dict[str, Any]]:
    paths = {id(module): path for path, module in backbone.modules.items()}
    for module, own, merged in attached.layers():
        if own.weight.shape != merged.weight.shape:
            continue
        size, weight, lost = _measured(own, merged)
        if size > 0:
            ratio = significant(size / weight) if weight else 0.0
            yield {"module": paths.get(id(module), "?"), "ratio": ratio, "size": size, "lost": lost}


def _measured(own: Layer, merged: Layer) -> tuple[float, float, float]:
    """(norm of the delta, norm of the weight, norm of what bfloat16 loses of the delta)."""
    weight = own.weight.detach().float()
    delta = merged.weight.detach().float() - weight
    kept = weight.to(torch.bfloat16).float()
    lost = (kept + delta).to(torch.bfloat16).float() - kept - delta
    return float(delta.norm()), float(weight.norm()), float(lost.norm())


def _overall(layers: list[dict[str, Any]]) -> float:
    lost, size = (sum(layer[key] ** 2 for layer in layers) ** 0.5 for key in ("lost", "size"))
    return float(lost / size)


def _shown(layer: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "module": layer["module"],
        "ratio": layer["ratio"],
        "lost": significant(layer["lost"] / layer["size"]),
    }
