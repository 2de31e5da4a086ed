"""A policy decides: which benchmarks an adapter must run, and what its scores must show.

Each gate is judged on a 95 % interval. Where the interval lies clear of the threshold the gate is decided;
where it does not, the gate's `undecided` says whether that counts as passed.

    min_gain    gain over the strongest baseline: passed if the whole interval lies above `value`
    max_drop    change against the version behind `latest`: passed if even the worst end drops by at most `value`
    min_value   the metric itself: passed if the whole interval lies at or above `value`
    min_effect  how far the adapter moves hidden states, in multiples of the noise that the base model itself shows when
                the same rows stand in other batches. What moves them by less is undecided: a warning, or a refusal

Differences in a score (`gain`, `change`) are plain: this adapter minus the other. `direction` says which sign is good.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from hub.spec import documents, errors

PROTOCOL = "2"
"""How scores come about from answers, and gates from scores. Raised when the same answers may get another verdict: a plan names it,
so that what was judged by the rules of before is no evidence under these. 2: intervals count with kinds of rows not seen."""
UNTOLD = "1"
"""The protocol of who names none: a worker, or a report, of before it was told."""
EARLIER = tuple(str(number) for number in range(1, int(PROTOCOL)))
"""The protocols of before, which nobody judges by any more."""
GATES = ("min_gain", "max_drop", "min_value")
RUN_GATES = ("min_effect",)
"""Gates about a run as a whole, not about a score; a policy that does not name one has its default without writing it."""
RUN_DEFAULTS: dict[str, dict[str, Any]] = {"min_effect": {"value": 10.0, "undecided": "pass"}}
"""Ten times: merging a delta that is next to nothing rounds weights anew, and that alone shows as several times the noise."""
_DEFAULTS: dict[str, dict[str, Any] | None] = {
    "min_gain": {"value": 0.0, "undecided": "fail"},
    "max_drop": {"value": 0.01, "undecided": "pass"},
    "min_value": None,
}


@dataclasses.dataclass(frozen=True)
class Policy:
    """`required` are benchmark names; `gates` maps a gate's name to {"value", "undecided"}, absent gates left out."""

    required: tuple[str, ...]
    gates: dict[str, dict[str, Any]]

    def resolve(self, against: str | None = None) -> dict[str, dict[str, Any]]:
        """Return the gates of one run. `against` is the adapter digest (64 hex) behind `latest`; without one
        nothing can drop, and `max_drop` is left out."""
        gates = {name: dict(gate) for name, gate in self.gates.items() if name != "max_drop"}
        if against is not None and "max_drop" in self.gates:
            gates["max_drop"] = dict(self.gates["max_drop"]) | {"against": against}
        return gates

    def to_json(self) -> dict[str, Any]:
        """The policy as a user would write it."""
        named = {name: self.gates[name] for name in RUN_GATES if name in self.gates}
        return {"required": list(self.required), "gates": {name: self.gates.get(name) for name in GATES} | named}


DEFAULT = Policy((), {name: gate for name, gate in _DEFAULTS.items() if gate is not None})


def parse(definition: bytes | dict[str, Any]) -> Policy:
    """Read a policy (YAML bytes or an object). A gate that is not mentioned keeps its default, null removes it. Raises
    SpecError."""
    raw = documents.loads_yaml(definition, where="policy") if isinstance(definition, bytes) else definition
    if not isinstance(raw, dict) or set(raw) - {"required", "gates"}:
        raise _error("policy", "must be a mapping of required and gates", "write `required: []` and `gates: {}`")
    required = [] if raw.get("required") is None else raw["required"]
    gates = {} if raw.get("gates") is None else raw["gates"]
    if not isinstance(required, list) or any(not isinstance(name, str) for name in required):
        raise _error("required", "must be a list of benchmark names", "write names such as glue/sst2")
    if not isinstance(gates, dict) or set(gates) - {*GATES, *RUN_GATES}:
        known = ", ".join((*GATES, *RUN_GATES))
        raise _error("gates", "must be a mapping of gates that are known", f"known are {known}")
    collector = errors.Collector()
    given = {name: gates.get(name, _DEFAULTS.get(name)) for name in (*GATES, *RUN_GATES)}
    found = {name: gate for name, raw in given.items() if (gate := _gate(name, raw, collector))}
    collector.finalize()
    return Policy(tuple(dict.fromkeys(required)), found)


def plan(benchmark_digests: Iterable[str], gates: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run has to answer: sorted benchmark digests (64 hex), gates and the protocol's version."""
    bare = sorted({digest.removeprefix("sha256:") for digest in benchmark_digests})
    return {
        "benchmarks": bare,
        "gates": {name: dict(gate) for name, gate in gates.items()},
        "protocol": PROTOCOL,
    }


def renewed(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a plan asks, to be judged by the rules of today."""
    return {**plan, "protocol": PROTOCOL}


def protocol_of(told: Mapping[str, Any]) -> Any:
    """Return the protocol that a plan or a report names; anything may stand there in a report."""
    return told.get("protocol", UNTOLD)


def plan_digest(plan: Mapping[str, Any]) -> str:
    """Return the SHA-256 (64 hex) of a plan: the third part of the key under which evidence is kept."""
    return documents.digest(dict(plan))


def decide(score: Mapping[str, Any], gates: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Judge one score by the gates of its plan.

    `score` holds direction, interval [low, high], gain {"interval"} or None, and change {"interval"} or None
    (only looked at for the gates that need them). Returns [{"gate", "threshold", "bound", "decided",
    "passed"}] in the order of GATES; `bound` is the end of the interval (in the score's own sign) that
    settled it, None where nothing was measured.
    """
    return [_decide(name, gates[name], score) for name in GATES if gates.get(name) is not None]


def run_gate(name: str, gates: Mapping[str, Any]) -> dict[str, Any]:
    """The {"value", "undecided"} of a gate about the run as a whole, by its default where the plan does not name it."""
    return dict(gates.get(name) or RUN_DEFAULTS[name])


def _decide(name: str, gate: Mapping[str, Any], score: Mapping[str, Any]) -> dict[str, Any]:
    sign = 1.0 if score.get("direction", "up") == "up" else -1.0
    # every gate becomes "more is better, and it must be at least this"
    measured = {"min_gain": score.get("gain"), "max_drop": score.get("change"), "min_value": score}[name]
    least = {"min_gain": gate["value"], "max_drop": -gate["value"], "min_value": sign * gate["value"]}[name]
    answer = {"gate": name, "threshold": float(gate["value"]), "bound": None, "decided": False}
    if not measured or not measured.get("interval"):
        return answer | {"passed": gate["undecided"] == "pass"}
    low, high = sorted(sign * float(end) for end in measured["interval"])
    # no gain at all is no gain: equal predictions must not pass a threshold of zero
    good = low > least if name == "min_gain" else low >= least
    bad = high <= least if name == "min_gain" else high < least
    bound = sign * (high if bad else low)
    passed = good or (not bad and gate["undecided"] == "pass")
    return answer | {"bound": bound, "decided": good or bad, "passed": passed}


def _gate(name: str, raw: Any, collector: errors.Collector) -> dict[str, Any] | None:
    if raw is None:
        return None
    fallback = ((_DEFAULTS | RUN_DEFAULTS)[name] or {"undecided": "fail"})["undecided"]
    gate = raw if isinstance(raw, dict) else {"value": raw}
    value, undecided = gate.get("value"), gate.get("undecided", fallback)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or undecided not in ("pass", "fail") or set(gate) - {"value", "undecided"}:
        message = f"{documents.shorten(raw)} is no threshold"
        collector.add(_problem(f"gates.{name}", message, "write null, or {value: a number, undecided: pass or fail}"))
        return None
    return {"value": float(gate["value"]), "undecided": undecided}


def _problem(where: str, message: str, hint: str) -> errors.Problem:
    return errors.Problem("policy", where, message, hint, "benchmark")


def _error(where: str, message: str, hint: str) -> errors.SpecError:
    return errors.SpecError([_problem(where, message, hint)])
