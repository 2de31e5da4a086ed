"""AdapterHub's methods, a row each: what `adapters` 1.3.0 writes (found by running it; tests/formats compares).

A key is `[<body>.]<module>.<container>.<name>.<role>`, where `<name>` is the adapter's own. `d` is the base model's hidden
size, `b` a bottleneck's width; the other signs are explained in `layout`.
"""

from __future__ import annotations

import dataclasses

from hub.spec.methods.layout import Form, Knob, form


@dataclasses.dataclass(frozen=True)
class Row:
    """One way of adapting, by the container that its tensors lie in. `stem`: roles begin with it and a name of the place."""

    name: str
    container: str
    forms: tuple[Form, ...]
    knobs: tuple[Knob, ...] = ()
    once: bool = False
    """Whether its tensors belong to the whole model, not to a module."""


_GATE = ("?gate.weight: 1 d", "?gate.bias: 1")
_NORM = ("?adapter_norm_after.weight: d", "?adapter_norm_after.bias: d")
_MORE = ("?scaling: ...", *_GATE, *_NORM)


def _bottleneck() -> tuple[Form, ...]:
    """Plain projections; those of Compacter in halves, whole, or shared by all layers. A layer norm before the adapter takes the
    first place of the sequence, and stands in the file twice."""
    found = []
    for at in (0, 1):
        down, up = f"adapter_down.{at}.", "adapter_up."
        norm = ("adapter_norm_before.weight: d", "adapter_norm_before.bias: d", "!adapter_down.0.weight: d",
                "!adapter_down.0.bias: d") * at  # fmt: skip
        rules = tuple(
            f"?{side}phm_rule{end}" for side in (down, up) for end in (": p p p", "_left: p p 1", "_right: p 1 p")
        )
        bias = (f"?{down}b: b", f"?{up}b: d")
        plain = (f"{down}weight: b d", f"{down}bias: b", f"{up}weight: d b", f"{up}bias: d")
        halves = (f"{down}W_left: p d/p k", f"{down}W_right: p k b/p", f"{up}W_left: p b/p k", f"{up}W_right: p k d/p")
        whole = (f"{down}W: p d/p b/p", f"{up}W: p b/p d/p")
        shared = (f"{down}b: b", f"{up}b: d", *rules)
        found += [form("any", *norm, *own, *_MORE) for own in (
            plain, (*halves, *bias, *rules), (*whole, *bias, *rules), shared)]  # fmt: skip
    return tuple(found)


BOTTLENECK = Row("bottleneck", "adapters", _bottleneck(), knobs=(Knob("p", "phm_dim", 4), Knob("k", "phm_rank", 1)))
_OPENED = ("?gate.weight: 1 IN", "?gate.bias: 1")
_MERGED = ("?gate.weight: parts IN", "?gate.bias: parts")
_TASKS = ("lora_A: r IN", "lora_B: n OUT r", "weights: n", *_OPENED)
LORAS = Row(
    "lora", "loras",
    forms=(
        form("linear", "lora_A: r IN", "lora_B: OUT r", "?m.weight: OUT 1", *_OPENED),
        # GPT-2 keeps query, key and value in one module, of which some are adapted
        form("linear", "lora_A: r*parts IN", "lora_B: OUT*parts/3 r", "?m.weight: ...", *_MERGED),
        form("linear", "lora_B: OUT 1", *_OPENED),
        form("linear", "lora_B: OUT*parts/3 1", *_MERGED),
        form("linear", "vera_B: OUT OUT", "vera_D: ...", "?m.weight: OUT 1", *_OPENED),  # with m: DVoRA
        form("linear", "vera_B: OUT*parts/3 OUT*parts/3", "vera_D: ...", "?m.weight: ...", *_MERGED),
        # MTL-LoRA: a matrix of each task's own, diagonal or whole
        form("linear", *_TASKS, "task_specific.values: r"),
        form("linear", *_TASKS, "task_specific: r r"),
    ),
    knobs=(Knob("r", "r", 8), Knob("n", "n_up_projection", 1)),
)  # fmt: skip
REFT = Row(
    "reft", "refts",
    forms=(
        form("any", "learned_source.weight: r d", "learned_source.bias: r",
             "projection.parametrizations.weight.original: r d", "!projection.parametrizations.weight.0.base: d d"),
        form("any", "learned_source.weight: r d", "learned_source.bias: r", "projection.weight: r d"),
    ),
    knobs=(Knob("r", "r", 1),),
)  # fmt: skip
PREFIX = Row(
    "prefix_tuning", "prefix_tunings",
    forms=(
        form("any", "control_trans: n*prefix"),
        form("any", "wte.weight: n d", "control_trans.0.weight: h d", "control_trans.0.bias: h",
             "control_trans.2.weight: prefix h", "control_trans.2.bias: prefix"),
    ),
    knobs=(Knob("n", "prefix_length", 30),), once=True,
)  # fmt: skip
PROMPT = Row(
    "prompt_tuning", "prompt_tunings", (form("any", "prompt_embedding.weight: n d"),),
    (Knob("n", "prompt_length", 10),), once=True,
)  # fmt: skip
FUSION = Row(
    "fusion", "adapter_fusion_layer",
    (form("any", "query.weight: d d", "query.bias: d", "key.weight: d d", "key.bias: d", "?value.weight: d d", "?value.bias: d"),),
)  # fmt: skip
# what stands beside the others' tensors
BESIDE = (
    Row("prefix_tuning", "prefix_gates", (form("any", "weight: 1 d", "bias: 1"), form("any", "weight: 2 d", "bias: 2"))),
    Row("invertible", "invertible_adapters", (
        form("any", "F.0.weight: h d/2", "F.0.bias: h", "F.2.weight: d/2 h", "F.2.bias: d/2", "G.0.weight: h d/2",
             "G.0.bias: h", "G.2.weight: d/2 h", "G.2.bias: d/2"),
        form("any", "s1.0.weight: h d/2", "s1.0.bias: h", "s1.2.weight: d h", "s1.2.bias: d", "s2.0.weight: h d/2",
             "s2.0.bias: h", "s2.2.weight: d h", "s2.2.bias: d")), once=True),
    Row("shared", "shared_parameters", (
        form("any", "phm_rule: p p p"), form("any", "phm_rule_left: p p 1", "phm_rule_right: p 1 p"),
        form("any", "!lora_A: ...", "!lora_B: ..."),
        form("any", "phm_rule: p p p", "W_down_left: ...", "W_down_right: ...", "W_up_left: ...", "W_up_right: ..."),
    ), once=True),
)  # fmt: skip
ROWS = (BOTTLENECK, LORAS, REFT, PREFIX, PROMPT)
CONTAINERS: dict[str, Row] = {row.container: row for row in (*ROWS, FUSION, *BESIDE)}
# the configuration's architecture -> what its files may hold besides what every one may
ARCHITECTURES: dict[str, tuple[str, tuple[Row, ...]]] = {
    "bottleneck": ("bottleneck adapter", (BOTTLENECK,)),
    "lora": ("AdapterHub's LoRA", (LORAS,)),
    "mtl_lora": ("AdapterHub's MTL-LoRA", (LORAS,)),
    "prefix_tuning": ("AdapterHub's prefix tuning", (PREFIX,)),
    "prompt_tuning": ("AdapterHub's prompt tuning", (PROMPT,)),
    "reft": ("AdapterHub's ReFT", (REFT,)),
    "union": ("AdapterHub's union", ROWS),
    "fusion": ("AdapterHub's fusion", (FUSION,)),
}
