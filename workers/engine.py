"""The story of a run: check -> attach -> effect -> score -> prove frozen -> report.

Runs in a forked child. Everything that can be checked is checked, so that a publisher hears about all
problems at once; but the adapter is attached only when its files, configuration, tensors and values have been
found in order.
"""

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hub import errors, runtime
from hub.runtime import heads, predict
from hub.runtime.attach import Attached
from hub.runtime.base import Backbone
from hub.runtime.predict import Batch, Outputs
from hub.spec import answers, benchmark, manifest, methods, policy, report, scan, suitability, tasks, validation
from hub.spec.components import Component
from hub.spec.snapshot import MemorySnapshot, Snapshot
from hub.spec.validation import Inspection
from workers import benchmarks, evaluators, labels, refusals, trunk
from workers.assignment import Assignment
from workers.checks.drift import sample
from workers.checks.frozen import frozen
from workers.checks.looking import Looked, look
from workers.checks.parity import ITSELF, NOT_ASKED, parity
from workers.checks.plain import remember
from workers.checks.tensors import DIVERGED, finite, load
from workers.environment import environment
from workers.errors import Rejected
from workers.evaluation import Outcome, Prepared, Previous, Subject
from workers.ledger import Finding, Ledger

SENTENCES = (
    "A sentence to see whether anything changes.",
    "Another one, a little longer than the first of them.",
)
"""The rows to look at where there is no benchmark."""
OTHER_TASK = "choose benchmarks of the head's ML task"
RELABEL = 'name the labels in the head\'s order: "labels" in hub.json, or --labels'


@dataclass
class Run:
    """What the steps of one run share."""

    assignment: Assignment
    backbone: Backbone
    prepared: Mapping[str, Prepared]
    """Benchmark digest -> the benchmark made ready for this backbone."""
    snapshot: Snapshot
    tell: Callable[[str], None]
    want: Callable[[str, int], None]
    """Hears (benchmark digest, layer) of where the adapter would have liked to begin (`workers.trunk`)."""
    alone: bool = False
    """Whether it is about one component on one benchmark."""
    ledger: Ledger = field(default_factory=Ledger)
    problems: list[dict[str, str]] = field(default_factory=list)
    """Everything that is wrong with the files; the checks name the first few."""
    components: list[dict[str, Any]] = field(default_factory=list)
    predictions: dict[str, dict[str, Any]] = field(default_factory=dict)

    def judge(self) -> dict[str, Any]:
        """Tell the story; returns the report. Whatever is raised from here is a fault of ours."""
        started = time.monotonic()
        self.tell("checks")
        asked = [item.benchmark for item in self.prepared.values()]
        wanted = benchmark.common_labels(one.labels for one in asked)
        inspection = validation.inspect(self.snapshot, self.backbone.base)
        inspection = inspection.against(wanted, named=all(one.visibility == "public" for one in asked))
        self.ledger.adopt(inspection.checks)
        self.alone = len(inspection.components) * len(self.prepared) == 1
        self.problems = [problem.to_json() for problem in inspection.problems]
        for component in inspection.components:
            self._component(inspection, component)
        self.tell("frozen")
        self._found(frozen(self.backbone))
        return self._report(time.monotonic() - started)

    def _component(self, inspection: Inspection, component: Component) -> None:
        judged: dict[str, Any] = {"folder": component.folder, "scores": []}
        self.components.append(judged)
        with self._refusals(component):
            tensors, found = finite(self.snapshot, component)
            self._found(found, component)
            if not inspection.ok:
                return
            self.tell("attach")
            config = inspection.configuration(self.snapshot, component)
            backbone, attached = load(self.backbone, component, config, tensors, inspection.facts.usage.get("task"))
            with attached:
                self.tell("effect")
                rows = predict.within(self._rows(), backbone.max_length - attached.taken)
                looked = Looked(backbone, self.snapshot, inspection, component, tensors, attached)
                for seen in look(looked, rows, self.assignment.plan["gates"]):
                    self._found(seen, component)
                ours = predict.outputs(backbone, rows) if self.assignment.parity else None
                subject = self._subject(backbone, component, attached, tensors)
                for digest, prepared in self.prepared.items():
                    self.want(digest, trunk.asked(backbone))
                    with self._refusals(component):
                        within = prepared.within(backbone.max_length - attached.taken)
                        judged["scores"].append(self._score(component, subject, digest, within))
            self._found(self._compared(component, config, tensors, rows, ours), component)

    def _compared(
        self,
        component: Component,
        config: bytes,
        tensors: Mapping[str, torch.Tensor],
        rows: Batch,
        ours: Outputs | None,
    ) -> Finding:
        """What the library that wrote the adapter answers to the rows that we have answered."""
        if component.by_library or ours is None:
            return Finding("parity", "skipped", ITSELF if component.by_library else NOT_ASKED)
        return parity(self.backbone, component, config, tensors, ours, rows)

    def _rows(self) -> Batch:
        """The first rows of the first benchmark; any sentences where there is none."""
        first = next(iter(self.prepared.values()), None)
        return benchmarks.in_memory(self.backbone, SENTENCES) if first is None else first.first_rows

    @contextlib.contextmanager
    def _refusals(self, component: Component) -> Iterator[None]:
        try:
            yield
        except Rejected as refused:
            found = refused.problem
            self._note(found.check, "failed", component, found.message, found.hint, refused.evidence)

    def _subject(
        self, backbone: Backbone, component: Component, attached: Attached, tensors: Mapping[str, torch.Tensor]
    ) -> Subject:
        head = self._head(component, tensors)
        gates, plain = self.assignment.plan["gates"], lambda: _switched_off(attached)
        return Subject(
            backbone,
            head,
            self._declared(component),
            plain,
            gates,
            self.tell,
            runtime=attached.runtime,
            alone=self.alone,
        )

    def _head(self, component: Component, tensors: Mapping[str, torch.Tensor]) -> Any:
        if component.head is not None:
            try:
                return heads.build(component.head, tensors, self.backbone.pools)
            except errors.HubError as error:
                raise Rejected("head", error.message, error.hint) from error
        lacking = suitability.lacks_head(component, {prepared.benchmark.task for prepared in self.prepared.values()})
        if lacking is not None:
            raise Rejected("head", lacking.message, lacking.hint)
        return None

    def _score(self, component: Component, subject: Subject, digest: str, prepared: Prepared) -> dict[str, Any]:
        asked, name = prepared.benchmark.task, prepared.benchmark.name
        if component.task not in (None, asked):
            raise Rejected("head", f"{name} is for {asked}, the adapter's head for {component.task}", OTHER_TASK)
        self.tell(f"score {name}")
        try:
            outcome = evaluators.of(asked).score(subject, prepared, self._previous(digest, component.folder))
        except labels.Mismatch as error:
            raise Rejected("head", f"{name}: {error}", RELABEL) from error
        except FloatingPointError as error:
            raise Rejected("finite", f"{name}: {error}", DIVERGED) from error
        outcome.score["runtime"] = subject.runtime
        outcome.score["gates"] = policy.decide(outcome.score, self.assignment.plan["gates"])
        self._keep(digest, component, prepared, outcome)
        return dict(outcome.score)

    def _keep(self, digest: str, component: Component, prepared: Prepared, outcome: Outcome) -> None:
        answers.put(self.predictions, digest, component.folder, outcome.predictions)
        name, score = prepared.benchmark.name, outcome.score
        message = f"{name}: {score['metric']} {score['value']:.3f}, {refusals.over(score)}"
        self._note("benchmark", "passed", component, message, evidence={name: outcome.evidence})
        for text in outcome.warnings:
            self._note("benchmark", "warning", component, f"{name}: {text}")
        refused = refusals.of_gates(score)
        # What explains a gate that was not passed stands in its place. It is no gate itself: a set may be made to look so.
        for text, hint in outcome.failures or refused:
            self._note("benchmark", "failed" if refused else "warning", component, f"{name}: {text}", hint)

    def _declared(self, component: Component) -> tuple[str, ...] | None:
        """Label names in the head's order; those that only the README gives come with the plan."""
        planned = self.assignment.plan.get("labels")
        return tuple(planned) if planned else component.head.labels if component.head else None

    def _previous(self, digest: str, folder: str) -> Previous | None:
        """What the adapter in the same folder answered before; of one that is new there, what its neighbour at the root did."""
        given = self.assignment.previous or {}
        found = answers.of(given.get("predictions"), digest, folder)
        return None if found is None else Previous(str(given["adapter_digest"]), found)

    def _found(self, finding: Finding | None, component: Component | None = None) -> None:
        if finding is not None:
            self.ledger.add(finding, component.folder if component else "")

    def _note(
        self,
        name: str,
        status: str,
        component: Component,
        message: str,
        hint: str = "",
        evidence: dict[str, Any] | None = None,
    ) -> None:
        self.ledger.note(name, status, message, hint, evidence, component.folder)

    def _report(self, seconds: float) -> dict[str, Any]:
        if not self.prepared:
            self.ledger.note("benchmark", "skipped", "runs, not benchmarked: the plan names no benchmark")
        written: dict[str, Any] = {
            "checks": self.ledger.finish(),
            "problems": self.problems,
            "components": self.components,
            "base_model": {
                "state": "observed",
                **self.assignment.base_model,
                "fingerprint": self.backbone.fingerprint,
                "architecture": self.backbone.base.architecture,
                "tokenizer_digest": self.backbone.base.tokenizer_digest,
            },
            "adapter_digest": self.assignment.adapter_digest,
            "policy": self.assignment.plan,
            "protocol": policy.PROTOCOL,
            "environment": environment(self.backbone),
            "predictions": self.predictions,
            "seconds": round(seconds, 3),
        }
        refused = self.ledger.failed or report.failed_gates(written)
        written["verdict"] = "failed" if refused else "passed"
        written["summary"] = report.summary_line(written)
        return written | {"result_digest": f"sha256:{report.result_digest(written)}"}


def judge(
    assignment: Assignment,
    backbone: Backbone,
    prepared: Mapping[str, Prepared],
    snapshot: Snapshot,
    tell: Callable[[str], None],
    want: Callable[[str, int], None] = lambda digest, layer: None,
) -> dict[str, Any]:
    """Judge one adapter; returns the report. `tell` hears the name of each stage, `want` the layer at which a benchmark's states
    would have been of use."""
    return Run(assignment, backbone, prepared, snapshot, tell, want).judge()


def in_memory(folder: Path) -> MemorySnapshot:
    """The bytes of a pulled adapter that are evidence, unparsed. What a README says must not matter here: another
    version may have the same evidence and another README."""
    found = runtime.open_snapshot(folder)
    sizes = {path: size for path, size in found.files.items() if manifest.is_evidence(path)}
    return MemorySnapshot(
        {path: found.read(path, 0, size if scan.is_read(path) else scan.HEAD) for path, size in sizes.items()}, sizes
    )


def look_ahead(backbone: Backbone, prepared: Prepared) -> None:
    """Have the base model's own answers to a benchmark's first rows ready, for every run to come."""
    remember(backbone, prepared.first_rows)


def warm(backbone: Backbone) -> None:
    """Have everything imported that a run or a probe needs: a child may not be able to open files."""
    remember(backbone, sample(backbone))
    for module in ("sklearn.linear_model", "scipy.stats", *methods.READERS):
        importlib.import_module(module)
    for task in tasks.TASKS:
        evaluators.of(task)


@contextlib.contextmanager
def _switched_off(attached: Attached) -> Iterator[None]:
    attached.enabled = False
    try:
        yield
    finally:
        attached.enabled = True
