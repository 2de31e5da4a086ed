"""What a verdict takes for adapters of several methods, beside the plain base model's forward over the same rows."""

from pathlib import Path
from typing import Any

from bench.judging import adapters, opponents, ours
from bench.judging.measuring import say
from bench.judging.runs import assignment, rows_of
from demo.base import base_folder
from hub import base_folder as bases

ASKED = {adapters.ON_TOP: 2.3}
"""Method -> how many times as fast as the plain forward it has to be."""


def measure(folder: Path, data: Path, count: int, each: int) -> dict[str, Any]:
    """The table over `count` rows; every method is judged `each` times a process."""
    base = base_folder()
    fingerprint = bases.fingerprint(base)
    files = rows_of(data, count, folder / f"methods{count}")
    found: dict[str, Any] = {}
    with ours.resident(folder / "m") as resident:
        forward = opponents.forward(base, files.data, each + 1)
        for name, adapter in adapters.of_methods(folder / "methods", base).items():
            run = assignment(adapter, base, fingerprint, files)
            resident.judge([run] * 4)  # the third time the lower layers' states are there
            cost = resident.judge([run] * (each + 1))
            found[name] = cost.to_json() | {"of_forward": forward.of(cost)}
    return {"rows": count, "forward": forward.to_json(), "methods": found}


def tell(found: dict[str, Any]) -> None:
    say(f"\nmethods over {found['rows']} rows; the plain forward takes {found['forward']['cpu']:.2f} CPU seconds")
    for name, cost in found["methods"].items():
        asked = f", asked {ASKED[name]}" if name in ASKED else ""
        say(
            f"  {name:32} {cost['a_minute']:8.1f} a minute {cost['cpu']:6.2f} s CPU, {cost['of_forward']['cpu']:.2f}x the forward{asked}"
        )
