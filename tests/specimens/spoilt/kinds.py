"""A kind of bad adapter: how a good one is spoilt, which check must refuse it, and what that check must say."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.engine import makers
from tests.specimens.spoilt.goods import LORAS, Good, Goods
from workers.assignment import BenchmarkFiles

VARIANTS = 25
"""Of each kind: what `make specimens` tries."""
TRIED = int(os.environ.get("HUB_TEST_VARIANTS", 2))
"""What `make test` tries of them: the same reasons by the same ways, in a tenth of the time."""
AT_INGEST = frozenset({"files", "config", "scan", "shapes", "head"})
ONLY_ON_THE_RUN = frozenset({"labels of another benchmark"})
"""Heads that only the labels of a benchmark show to be wrong."""
Tensors = dict[str, torch.Tensor]


@dataclass
class Draft:
    """A copy of a good adapter that is being spoilt."""

    good: Good
    folder: Path
    draw: random.Random
    base: Path = makers.TINY
    """The base model that it is judged on."""
    files: BenchmarkFiles = field(init=False)
    """The benchmark that it is judged on."""

    def __post_init__(self) -> None:
        self.files = self.good.files
        self._stir()

    def _stir(self) -> None:
        """Scale the head's last layer: the same answers from other numbers, so that no two variants are the same bytes."""
        factor, tensors = self.draw.uniform(0.5, 2.0), self.load(self.good.head)
        for key, tensor in tensors.items():
            if self.is_head(key) and tensor.shape[0] == len(self.good.labels):
                tensors[key] = tensor * factor
        self.save(tensors, self.good.head)

    def is_head(self, key: str) -> bool:
        """Whether a tensor of its head's file is one of the head."""
        return self.good.head != self.good.weights or is_head(key)

    def load(self, file: str = "") -> Tensors:
        """The tensors of its weights, or of another of its files."""
        return load_file(self.folder / (file or self.good.weights))

    def save(self, tensors: Tensors, file: str = "") -> None:
        contiguous = {key: tensor.contiguous() for key, tensor in tensors.items()}
        save_file(contiguous, self.folder / (file or self.good.weights))

    def change(self, change: Callable[[str, torch.Tensor], torch.Tensor]) -> None:
        """Put another tensor in the place of each of the adapter's own (not of the head's)."""
        self.save({key: tensor if is_head(key) else change(key, tensor) for key, tensor in self.load().items()})

    def config(self, **changes: Any) -> None:
        """Change keys of the configuration; None removes one."""
        makers.edit_json(self.folder / "adapter_config.json", **changes)

    def own(self, wanted: Callable[[str, torch.Tensor], bool] = lambda key, tensor: True) -> list[str]:
        """Keys of the adapter's own tensors that are like this, in a fixed order."""
        return sorted(key for key, tensor in self.load().items() if not is_head(key) and wanted(key, tensor))

    def pick(self, wanted: Callable[[str, torch.Tensor], bool] = lambda key, tensor: True) -> str:
        """One of those keys."""
        return self.draw.choice(self.own(wanted))

    def noise(self, *shape: int) -> torch.Tensor:
        """Drawn from a normal distribution, by this variant's seed."""
        return torch.randn(*shape, generator=torch.Generator().manual_seed(self.draw.getrandbits(40)))


Spoil = Callable[[Draft], tuple[str, ...] | None]
"""Spoils a copy; returns names (tensor, key, file) that the refusing check has to tell."""


@dataclass(frozen=True)
class Kind:
    """A kind of bad adapter."""

    name: str
    check: str
    says: str
    """Words that the check must say; a pattern."""
    spoil: Spoil
    of: tuple[str, ...] = LORAS
    """The good adapters that it is made from, in turn."""
    also: frozenset[str] = frozenset()
    """Checks that the same fault may fail as well."""

    @property
    def at_ingest(self) -> bool:
        """Whether the files show it, so that no worker is asked."""
        return self.check in AT_INGEST and self.name not in ONLY_ON_THE_RUN

    def variants(self, goods: Goods, place: Path) -> Iterator[tuple[Draft, tuple[str, ...]]]:
        """Bad adapters of this kind, each with the names that its refusal has to tell."""
        for number in range(TRIED):
            good = goods[self.of[number % len(self.of)]]
            folder = Path(shutil.copytree(good.folder, place / f"{number}"))
            draft = Draft(good, folder, random.Random(f"{self.name} {number}"))
            yield draft, self.spoil(draft) or ()


def is_head(key: str) -> bool:
    return "classifier" in key


def every() -> dict[str, Kind]:
    """All kinds by name."""
    from tests.specimens.spoilt import configs, effects, files, headers, heads, keys, numbers, places

    modules = (effects, heads, numbers, keys, places, configs, headers, files)
    return {kind.name: kind for module in modules for kind in module.KINDS}


def table() -> str:
    """The kinds as a table for docs/bad-adapters.md."""
    lines = ["| kind | variants refused | by | where | it says |", "|---|---|---|---|---|"]
    for kind in sorted(every().values(), key=lambda kind: not kind.at_ingest):
        says = " / ".join(part.replace(" ?", "").replace("needs? \\[", "needs") for part in kind.says.split("|"))
        where = "ingest" if kind.at_ingest else "run"
        lines.append(
            f"| {kind.name} | {VARIANTS} of {VARIANTS} | `{kind.check}` | {where} | {says.replace('[0-9]+', 'N')} |"
        )
    return "\n".join([*lines, ""])
