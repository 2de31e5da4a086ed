"""Why a gate was not passed, in words: what was measured, by which interval, against what."""

from collections.abc import Callable, Mapping
from typing import Any

from hub.spec import report

HINTS = {
    "min_gain": "it has to beat what a linear head gets from the plain base model: train longer, or on more data",
    "max_drop": "the version behind `latest` does better on the same rows",
    "min_value": "the policy of this namespace asks for more",
}


def over(score: Mapping[str, Any]) -> str:
    """The gain of a score with its interval, and what it is over."""
    gain = score["gain"]
    baseline = score["baselines"][gain["over"]]
    return f"{_measured(gain)} against the {report.over_what(gain)} ({baseline:.3f})"


def _measured(difference: Mapping[str, Any]) -> str:
    low, high = difference["interval"]
    return f"{difference['value']:+.3f} [{low:+.3f}, {high:+.3f}]"


def of_gates(score: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(message, hint) of every gate that was not passed. Not asked where labels are swapped: that explains them all."""
    return [(_REFUSAL[gate["gate"]](gate, score), _hint(gate, score)) for gate in score["gates"] if not gate["passed"]]


def _hint(gate: Mapping[str, Any], score: Mapping[str, Any]) -> str:
    if gate["gate"] == "min_gain" and score["gain"].get("called"):
        return f"it has to beat the {score['gain']['called']}: train longer, or on texts like the benchmark's"
    return HINTS[gate["gate"]]


def _no_gain(gate: Mapping[str, Any], score: Mapping[str, Any]) -> str:
    text = f"no gain over the {report.over_what(score['gain'])}: {score['metric']} {score['value']:.3f}, {over(score)}"
    bound, least = ("lower", gate["threshold"]) if score["direction"] == "up" else ("upper", -gate["threshold"])
    return f"{text}; the {bound} bound has to be {'above' if bound == 'lower' else 'below'} {least + 0.0:g}"


def _dropped(gate: Mapping[str, Any], score: Mapping[str, Any]) -> str:
    limit = f"max_drop {gate['threshold']:g} against the version behind `latest`"
    change = score["change"]
    if change is None:
        return f"{limit} cannot be decided: its answers to these rows are not known"
    return f"{limit} is not kept: {score['metric']} changes by {_measured(change)}"


def _too_low(gate: Mapping[str, Any], score: Mapping[str, Any]) -> str:
    low, high = score["interval"]
    value = f"{score['metric']} is {score['value']:.3f} [{low:.3f}, {high:.3f}]"
    return f"min_value {gate['threshold']:g} is not surely reached: {value}"


_REFUSAL: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], str]] = {
    "min_gain": _no_gain,
    "max_drop": _dropped,
    "min_value": _too_low,
}
