"""How judging goes on: with the number of adapters behind it, of base models in turn, of rows."""

import shutil
from pathlib import Path
from typing import Any

from bench.judging import adapters, ours
from bench.judging.measuring import say
from bench.judging.ours import Ours
from bench.judging.runs import assignment, rows_of
from demo.base import base_folder
from hub import base_folder as bases
from workers.assignment import Assignment, BenchmarkFiles

Table = list[dict[str, Any]]

ADAPTERS = (1, 20, 50, 100, 200)
BASES = (1, 2, 4, 8)
ROWS = (128, 512, 2048, 8192)
DIFFERENT = 20
"""Adapters that take turns, so that the numbers above need not all be made."""


def measure(folder: Path, data: Path) -> dict[str, Table]:
    """Adapters a minute and memory by each of the three."""
    base = base_folder()
    fingerprint = bases.fingerprint(base)
    files = rows_of(data, ROWS[0], folder / "growth")
    judged = [adapters.lora(folder / f"many{n}", base, n) for n in range(DIFFERENT)]
    with ours.resident(folder / "g") as resident:
        return {
            "adapters": _adapters(resident, [assignment(adapter, base, fingerprint, files) for adapter in judged]),
            "bases": _bases(resident, judged[0], files, _copies(base, folder)),
            "rows": _rows(resident, judged[0], base, fingerprint, data, folder),
        }


def _adapters(resident: Ours, runs: list[Assignment]) -> Table:
    found: Table = []
    resident.judge(runs[:2])
    done = 0
    for upto in ADAPTERS:
        cost = resident.judge([runs[n % DIFFERENT] for n in range(max(2, upto - done))])
        found.append({"adapters": upto} | cost.to_json() | {"bytes": resident.resident_bytes()})
        done = upto
    return found


def _bases(resident: Ours, adapter: Path, files: BenchmarkFiles, copies: list[tuple[Path, str]]) -> Table:
    found: Table = []
    for upto in BASES:
        turn = [assignment(adapter, *copies[n], files) for n in range(upto)]
        resident.judge(turn + turn[:1])
        cost = resident.judge(turn * max(2, BASES[-1] // upto) + turn[:1])
        found.append({"bases": upto} | cost.to_json() | {"bytes": resident.resident_bytes()})
    return found


def _copies(base: Path, folder: Path) -> list[tuple[Path, str]]:
    """As many base models as are asked for, of one architecture, each with weights and so a fingerprint of its own."""
    from safetensors.torch import load_file, save_file

    found = []
    for number in range(BASES[-1]):
        place = folder / f"base{number}"
        shutil.copytree(base, place)
        weights = place / "model.safetensors"
        tensors = load_file(weights)
        tensors["embeddings.LayerNorm.bias"] = tensors["embeddings.LayerNorm.bias"] + 1e-4 * number
        save_file({k: v.contiguous() for k, v in tensors.items()}, weights, metadata={"format": "pt"})
        found.append((place, bases.fingerprint(place)))
    return found


def _rows(resident: Ours, adapter: Path, base: Path, fingerprint: str, data: Path, folder: Path) -> Table:
    found: Table = []
    for count in ROWS:
        run = assignment(adapter, base, fingerprint, rows_of(data, count, folder / f"growth{count}"))
        resident.judge([run] * 2)
        found.append({"rows": count} | resident.judge([run] * 3).to_json())
    return found


def tell(found: dict[str, Table]) -> None:
    for what, rows in found.items():
        say(f"\ngrowth with {what}")
        for row in rows:
            say("  " + "  ".join(f"{key} {value}" for key, value in row.items()))
