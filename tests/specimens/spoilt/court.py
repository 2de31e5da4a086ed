"""Judges spoilt adapters as a hub does: the static checks of the registry first, then the worker's engine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub import base_folder, runtime
from hub.runtime.base import Backbone
from hub.spec import benchmark, report, validation
from tests.engine import makers
from tests.specimens.spoilt.goods import Good, Goods
from tests.specimens.spoilt.kinds import Draft
from workers import benchmarks, engine
from workers.assignment import BenchmarkFiles


@dataclass(frozen=True)
class Outcome:
    """What came of an adapter."""

    stopped: bool
    """Whether the registry refuses it at ingest, before a worker sees it."""
    report: dict[str, Any]

    @property
    def failed(self) -> set[str]:
        """Names of the checks that the engine says failed."""
        return set(makers.failed(self.report))

    def said(self, check: str) -> str:
        """Everything that a check says."""
        problems = [str(item) for item in self.report["problems"] if item["check"] == check]
        return " ".join([makers.check(self.report, check)["message"], *problems])


class Court:
    """Keeps base models open and benchmarks ready, as a worker does."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.goods = Goods(place / "goods")
        self._passed: dict[str, bool] = {}
        self._bases: dict[Path, tuple[Backbone, str]] = {}
        self._prepared: dict[tuple[Path, str], benchmarks.Prepared] = {}

    def judged(self, folder: Path, files: BenchmarkFiles, base: Path = makers.TINY) -> Outcome:
        """The outcome of one adapter on its base model and benchmark."""
        backbone, fingerprint = self._opened(base)
        asked = benchmark.common_labels([files.benchmark.labels])
        looked_at = validation.inspect(runtime.open_snapshot(folder), backbone.base, asked)
        stopped = not looked_at.asked([files.benchmark.task]).ok
        given = makers.assignment(folder, base, files, fingerprint=fingerprint)
        prepared = {files.benchmark.digest: self._ready(files, base)}
        found = engine.judge(given, backbone, prepared, engine.in_memory(folder), lambda stage: None)
        report.validate(found, given.plan)
        return Outcome(stopped, found)

    def of(self, draft: Draft) -> Outcome:
        """The outcome of a spoilt adapter."""
        return self.judged(draft.folder, draft.files, draft.base)

    def accepts(self, good: Good) -> bool:
        """Whether the good adapter itself passes; asked once of each."""
        if good.name not in self._passed:
            self._passed[good.name] = self.judged(good.folder, good.files).report["verdict"] == "passed"
        return self._passed[good.name]

    def _opened(self, base: Path) -> tuple[Backbone, str]:
        if base not in self._bases:
            self._bases[base] = runtime.open_backbone(base), base_folder.fingerprint(base)
        return self._bases[base]

    def _ready(self, files: BenchmarkFiles, base: Path) -> benchmarks.Prepared:
        key = (base, files.benchmark.digest)
        if key not in self._prepared:
            self._prepared[key] = makers.ready(files, self._opened(base)[0], self.place / "scratch")
        return self._prepared[key]
