"""Adapters a minute, ours beside what a person would do: all sides in turn, round by round."""

from pathlib import Path
from typing import Any

from bench.judging import adapters, opponents, ours
from bench.judging.measuring import PROCESSES, Cost, middle, say
from bench.judging.runs import assignment, rows_of
from demo.base import base_folder
from hub import base_folder as bases

ASKED = {"fresh": {128: 6.0, 512: 3.7}, "resident": {512: 1.25}, "forward": {512: 1.25}}
"""Opponent -> rows -> how many times as fast ours has to be."""


def measure(folder: Path, data: Path, counts: list[int], each: int, rounds: int) -> list[dict[str, Any]]:
    """A row of the table for each number of benchmark rows; `each` adapters a process and round."""
    base = base_folder()
    fingerprint = bases.fingerprint(base)
    judged = [adapters.lora(folder / f"lora{n}", base, n) for n in range(each + 1)]
    found = []
    with ours.resident(folder) as resident:
        for count in counts:
            files = rows_of(data, count, folder / f"rows{count}")
            runs = [assignment(adapter, base, fingerprint, files) for adapter in judged]
            resident.judge(runs[:2])  # makes the benchmark ready
            sides: dict[str, list[Cost]] = {name: [] for name in (*ASKED, "ours")}
            for _ in range(rounds):
                sides["fresh"].append(opponents.fresh(base, files.data, judged))
                sides["resident"].append(opponents.resident(base, files.data, judged))
                sides["forward"].append(opponents.forward(base, files.data, each + 1))
                sides["ours"].append(resident.judge(runs))
            found.append({"rows": count, **_row({name: middle(costs) for name, costs in sides.items()})})
    return found


def _row(costs: dict[str, Cost]) -> dict[str, Any]:
    return {
        "costs": {name: cost.to_json() for name, cost in costs.items()},
        "ratios": {name: costs[name].of(costs["ours"]) for name in ASKED},
    }


def met(row: dict[str, Any]) -> bool:
    """Whether one number of rows reaches what was asked, by CPU time: other work of the machine does not count."""
    return all(
        row["ratios"][name]["cpu"] >= asked[row["rows"]] for name, asked in ASKED.items() if row["rows"] in asked
    )


def tell(found: list[dict[str, Any]]) -> None:
    for row in found:
        say(
            f"\n{row['rows']} rows: adapters a minute ({PROCESSES} processes), CPU seconds an adapter, ours is so many times as fast"
        )
        for name, cost in row["costs"].items():
            ratio, asked = row["ratios"].get(name), ASKED.get(name, {}).get(row["rows"])
            times = f"{ratio['wall']:6.2f} (CPU {ratio['cpu']:.2f})" if ratio else ""
            say(
                f"  {name:10} {cost['a_minute']:8.1f} {cost['cpu']:8.2f} {times} {f'asked {asked}' if asked else ''}".rstrip()
            )
