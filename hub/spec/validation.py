"""Everything that can be said about an adapter without running it.

One function (`inspect`) for the client before a byte travels, for the registry before a GPU is spent, and for the
worker before anything is loaded. It looks at names, first bytes, JSON and safetensors headers; it reads no weights.
"""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Collection, Sequence
from typing import Any

from hub.spec import base_model, card, documents, errors, snapshot, static_checks, suitability
from hub.spec.components import Component, Head, Part
from hub.spec.inspecting import Inspector
from hub.spec.methods.rewriting import Rewritten
from hub.spec.snapshot import MemorySnapshot, Snapshot
from hub.spec.static_checks import CHECKS

__all__ = ["CHECKS", "Component", "Head", "Inspection", "MemorySnapshot", "Part", "Snapshot", "inspect"]


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What was found: facts, adapters, one entry per check, every problem, and what was set aside.

    `rewritten`: the configurations that a hub serves otherwise than they are, where nothing is wrong.
    """

    facts: card.Facts
    components: tuple[Component, ...]
    checks: tuple[dict[str, Any], ...]
    problems: tuple[errors.Problem, ...]
    notices: tuple[str, ...] = ()
    rewritten: tuple[Rewritten, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def task(self) -> str | None:
        """The ML task that the heads prove; None where there is none, or they differ."""
        found = {component.task for component in self.components}
        return found.pop() if len(found) == 1 else None

    def configuration(self, files: Snapshot, component: Component) -> bytes:
        """A component's configuration as a hub serves it: rebuilt from an allow-list, the sent bytes where they say the same."""
        path = snapshot.config_of(component.folder, files.files)
        served = {found.path: found.data for found in self.rewritten}
        return served.get(path) or snapshot.whole(files, path, documents.MAX_BYTES)

    def against(self, labels: tuple[str, ...] | None, *, named: bool = True) -> Inspection:
        """The same with every head held against a benchmark's labels (by class index; None: not known).

        `named`: whether a problem may name them: those of a private benchmark are not for everybody who reads it.
        """
        held = self.components if labels is not None else ()
        return self._with_heads([suitability.other_classes(item, labels or (), named) for item in held])

    def asked(self, names: Collection[str], base: base_model.BaseModel | None = None, called: str = "") -> Inspection:
        """The same with every adapter, and the base model (as it is `called`), held against the ML tasks of its plan."""
        told = {posixpath.dirname(problem.where) for problem in self.problems if problem.check == "head"}
        lacking = [suitability.lacks_head(item, names) for item in self.components if item.folder not in told]
        return self._with_heads([*lacking, suitability.cannot_speak(base, called, names)])

    def _with_heads(self, found: Sequence[errors.Problem | None]) -> Inspection:
        more = [problem for problem in found if problem is not None]
        if not more:
            return self
        of_heads = [problem for problem in (*self.problems, *more) if problem.check == "head"]
        checks = tuple(
            static_checks.refused("head", of_heads) if check["name"] == "head" else check for check in self.checks
        )
        return dataclasses.replace(self, checks=checks, problems=(*self.problems, *more))


def inspect(
    files: Snapshot,
    base: base_model.BaseModel | None,
    labels: tuple[str, ...] | None = None,
    *,
    to_run: bool = True,
) -> Inspection:
    """Check a snapshot against a base model and a benchmark's labels (by class index), as far as they are known.

    Without a base the comparison of shapes is skipped. `to_run`: what this hub understands, but cannot run, counts as a
    problem; else it is told in each component's `unrun`. Never raises for what is in the files: all problems are in the
    answer at once.
    """
    found = Inspector(files, base, to_run=to_run)
    found.run()
    checks, problems = static_checks.entries(found), found.collector.all()
    notices = (*found.facts.notices, *found.notices)
    rewritten = () if problems else tuple(found.rewritten)
    return Inspection(found.facts, tuple(found.components), checks, problems, notices, rewritten).against(labels)
