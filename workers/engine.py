"""The story of a run: check -> attach -> effect -> score -> prove frozen -> report.

Runs in a forked child. Everything that can be checked is checked, so that a publisher hears about all
problems at once; but the adapter is attached only when its files, configuration, tensors and values have been
found in order.
"""

import contextlib
import importlib
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

import hub
from hub import errors, runtime
from hub.runtime import predict, weights
from hub.runtime.attach import Attached
from hub.runtime.base import Backbone
from hub.runtime.heads import ClassificationHead
from hub.spec import benchmark, manifest, report, scan, tasks, validation
from hub.spec.components import Component
from hub.spec.snapshot import MemorySnapshot, Snapshot
from hub.spec.validation import Inspection
from workers import benchmarks, labels
from workers.assignment import Assignment
from workers.benchmarks import Prepared
from workers.checks import Ledger
from workers.errors import Rejected
from workers.evaluators.text_classification import Outcome, Previous

SENTENCES = (
    "A sentence to see whether anything changes.",
    "Another one, a little longer than the first of them.",
)
LISTED = 3
DIGITS = 4
DIVERGED = "training diverged: lower the learning rate, look for a loss of NaN, save again"
NO_HEAD = 'train with one: task_type="SEQ_CLS" in PEFT, add_classification_head in AdapterHub'
RELABEL = 'name the labels in the head\'s order: "labels" in hub.json, or --labels'
HINTS = {
    "min_gain": "it has to beat what a linear head gets from the plain base model: train longer, or on more data",
    "max_drop": "the version behind `latest` does better on the same rows",
    "min_value": "the policy of this namespace asks for more",
}


@dataclass
class Run:
    """What the steps of one run share."""

    assignment: Assignment
    backbone: Backbone
    prepared: Mapping[str, Prepared]
    """Benchmark digest -> the benchmark made ready for this backbone."""
    snapshot: Snapshot
    tell: Callable[[str], None]
    ledger: Ledger = field(default_factory=Ledger)
    problems: list[dict[str, str]] = field(default_factory=list)
    """Everything that is wrong with the files; the checks name the first few."""
    components: list[dict[str, Any]] = field(default_factory=list)
    predictions: dict[str, dict[str, Any]] = field(default_factory=dict)

    def judge(self) -> dict[str, Any]:
        """Tell the story; returns the report. Whatever is raised from here is a fault of ours."""
        started = time.monotonic()
        self.tell("checks")
        asked = benchmark.common_labels(item.benchmark.labels for item in self.prepared.values())
        inspection = validation.inspect(self.snapshot, self.backbone.base, asked)
        self.ledger.adopt(inspection.checks)
        self.problems = [problem.to_json() for problem in inspection.problems]
        for component in inspection.components:
            self._component(inspection, component)
        self._frozen()
        return self._report(time.monotonic() - started)

    def _component(self, inspection: Inspection, component: Component) -> None:
        judged: dict[str, Any] = {"folder": component.folder, "scores": []}
        self.components.append(judged)
        with self._refusals(component):
            tensors = self._finite(component)
            if not inspection.ok:
                return
            self.tell("attach")
            with self._attached(component, tensors) as attached:
                self._applied(component, attached, tensors)
                self._effect(component, attached, tensors)
                head = self._head(component, tensors)
                for digest, prepared in self.prepared.items():
                    with self._refusals(component):
                        judged["scores"].append(self._score(component, head, digest, prepared))

    def _attached(self, component: Component, tensors: Mapping[str, torch.Tensor]) -> Attached:
        try:
            return runtime.attach(self.backbone, component, _of_adapter(component, tensors))
        except errors.HubError as error:
            raise Rejected("applied", error.message, error.hint) from error

    @contextlib.contextmanager
    def _refusals(self, component: Component) -> Iterator[None]:
        try:
            yield
        except Rejected as refused:
            found = refused.problem
            self._note(found.check, "failed", component, found.message, found.hint, refused.evidence)

    def _finite(self, component: Component) -> dict[str, torch.Tensor]:
        """Read the component's tensors, none of them with values that training does not leave behind."""
        try:
            tensors = runtime.tensors_of(self.snapshot, component)
        except ValueError as error:
            raise Rejected("finite", f"the weights cannot be read: {error}", "save the adapter again") from error
        wrong = weights.unsound(tensors)
        if wrong:
            told = _listed([f"{item.name} {item.reason}" for item in wrong])
            message = f"{len(wrong)} of {len(tensors)} tensors are unsound: {told}"
            raise Rejected("finite", message, DIVERGED, {"unsound": [item.name for item in wrong[:LISTED]]})
        self._note("finite", "passed", component, f"{len(tensors)} tensors", evidence={"tensors": len(tensors)})
        return tensors

    def _applied(self, component: Component, attached: Attached, tensors: Mapping[str, torch.Tensor]) -> None:
        """Every tensor of the upload is at work, in the adapter or in the head."""
        in_head = set() if component.head is None else set(component.head.tensors.values())
        used = set(attached.applied[0]) | in_head
        idle = sorted(set(tensors) - used)
        message = f"{len(used)} of {len(tensors)} tensors at work"
        evidence: dict[str, Any] = {"consumed": len(used), "tensors": len(tensors)}
        if not idle and attached.applied[0]:
            self._note("applied", "passed", component, message, evidence=evidence)
            return
        message += f"; unused: {_listed(idle)}; used: {_listed(sorted(used))}"
        hint = "save the adapter without tensors that belong to nothing"
        self._note("applied", "failed", component, message, hint, evidence | {"idle": idle[:LISTED]})

    def _effect(self, component: Component, attached: Attached, tensors: Mapping[str, torch.Tensor]) -> None:
        """The adapter changes what the encoder says about the benchmark's first rows."""
        self.tell("effect")
        first = next(iter(self.prepared.values()), None)
        batch = benchmarks.in_memory(self.backbone, SENTENCES) if first is None else first.first_rows
        on = predict.outputs(self.backbone, batch)
        attached.enabled = False
        off = predict.outputs(self.backbone, batch)
        attached.enabled = True
        if not all(bool(torch.isfinite(item).all()) for item in on):
            raise Rejected("finite", "the adapted model answers with NaN or infinity", DIVERGED)
        change = max(float((here - there).abs().max()) for here, there in zip(on, off, strict=True))
        evidence = {"rows": len(batch.rows), "hidden": _significant(change)}
        if change == 0.0:
            message = "the adapter changes nothing: its hidden states are exactly the base model's"
            message += " (B = 0)" if _is_zero(component, tensors) else ""
            hint = "the weights were saved before training, or training never reached them"
            raise Rejected("effect", message, hint, evidence)
        self._note("effect", "passed", component, f"hidden states move by up to {change:.3g}", evidence=evidence)

    def _head(self, component: Component, tensors: Mapping[str, torch.Tensor]) -> ClassificationHead | None:
        if component.head is not None:
            try:
                return ClassificationHead(component.head, tensors, self.backbone.pools)
            except errors.HubError as error:
                raise Rejected("head", error.message, error.hint) from error
        if self.prepared:
            raise Rejected("head", "the adapter brings no head, and the benchmarks of its plan need one", NO_HEAD)
        return None

    def _score(
        self, component: Component, head: ClassificationHead | None, digest: str, prepared: Prepared
    ) -> dict[str, Any]:
        assert component.head is not None, "without a head there is nothing to score"
        name = prepared.benchmark.name
        self.tell(f"score {name}")
        evaluator = importlib.import_module(f"workers.evaluators.{tasks.get(prepared.benchmark.task).evaluator}")
        gates, previous = self.assignment.plan["gates"], self._previous(digest, component.folder)
        try:
            outcome = evaluator.score(self.backbone, head, self._declared(component), prepared, gates, previous)
        except labels.Mismatch as error:
            raise Rejected("head", f"{name}: {error}", RELABEL) from error
        except FloatingPointError as error:
            raise Rejected("finite", f"{name}: {error}", DIVERGED) from error
        self._keep(digest, component, prepared, outcome)
        return dict(outcome.score)

    def _keep(self, digest: str, component: Component, prepared: Prepared, outcome: Outcome) -> None:
        kept = self.predictions.setdefault(f"sha256:{digest}", {"labels": outcome.predictions})
        if component.folder:
            kept.setdefault("folders", {})[component.folder] = outcome.predictions
        name, score = prepared.benchmark.name, outcome.score
        message = f"{name}: {score['metric']} {score['value']:.3f}, {_over(score)}"
        self._note("benchmark", "passed", component, message, evidence={name: outcome.evidence})
        for text in outcome.warnings:
            self._note("benchmark", "warning", component, f"{name}: {text}")
        for text, hint in outcome.failures or _refusals(score):
            self._note("benchmark", "failed", component, f"{name}: {text}", hint)

    def _declared(self, component: Component) -> tuple[str, ...] | None:
        """Label names in the head's order; those that only the README gives come with the plan."""
        planned = self.assignment.plan.get("labels")
        return tuple(planned) if planned else component.head.labels if component.head else None

    def _previous(self, digest: str, folder: str) -> Previous | None:
        """What the adapter in the same folder answered before; of one that is new there, what its neighbour at the root did."""
        given = self.assignment.previous
        answers = (given or {}).get("predictions", {}).get(f"sha256:{digest}")
        if given is None or answers is None:
            return None
        found = answers.get("folders", {}).get(folder, answers["labels"]) if isinstance(answers, dict) else answers
        return Previous(str(given["adapter_digest"]), [int(label) for label in found])

    def _frozen(self) -> None:
        self.tell("frozen")
        found = runtime.rehash(self.backbone)
        same = found == self.backbone.fingerprint
        self.ledger.note(
            "frozen",
            "passed" if same else "failed",
            "the backbone's hash is what it was" if same else f"the backbone was changed: it hashes to {found} now",
            "" if same else "an adapter must not carry or change weights of its base model",
            {"fingerprint": found},
        )

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
            "environment": environment() | {"dtype": self.backbone.dtype},
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
) -> dict[str, Any]:
    """Judge one adapter; returns the report. `tell` hears the name of each stage."""
    return Run(assignment, backbone, prepared, snapshot, tell).judge()


def in_memory(folder: Path) -> MemorySnapshot:
    """The bytes of a pulled adapter that are evidence, unparsed. What a README says must not matter here: another
    version may have the same evidence and another README."""
    found = runtime.open_snapshot(folder)
    sizes = {path: size for path, size in found.files.items() if manifest.is_evidence(path)}
    return MemorySnapshot(
        {path: found.read(path, 0, size if scan.is_read(path) else scan.HEAD) for path, size in sizes.items()}, sizes
    )


def warm(backbone: Backbone) -> None:
    """Have everything imported that a run or a probe needs: a child may not be able to open files."""
    predict.hidden(backbone, benchmarks.in_memory(backbone, SENTENCES))
    importlib.import_module("sklearn.linear_model")
    for task in tasks.TASKS.values():
        importlib.import_module(f"workers.evaluators.{task.evaluator}")


def environment() -> dict[str, Any]:
    """What a replay has to have the same to give the same bits."""
    return {
        "adapter_hub": hub.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }


def _of_adapter(component: Component, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Only what the component's parts name: nothing else of an upload comes near the backbone."""
    wanted = {key for part in component.parts for key in part.tensors.values()}
    return {key: tensor for key, tensor in tensors.items() if key in wanted}


def _over(score: Mapping[str, Any]) -> str:
    gain = score["gain"]
    baseline = score["baselines"][gain["over"]]
    return f"{_measured(gain)} against the {report.over_what(gain)} ({baseline:.3f})"


def _measured(difference: Mapping[str, Any]) -> str:
    low, high = difference["interval"]
    return f"{difference['value']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _refusals(score: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(message, hint) of every gate that was not passed. Not asked where labels are swapped: that explains them all."""
    return [(_REFUSAL[gate["gate"]](gate, score), HINTS[gate["gate"]]) for gate in score["gates"] if not gate["passed"]]


def _no_gain(gate: Mapping[str, Any], score: Mapping[str, Any]) -> str:
    text = f"no gain over the {report.over_what(score['gain'])}: {score['metric']} {score['value']:.3f}, {_over(score)}"
    return f"{text}; the lower bound has to be above {gate['threshold']:g}"


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


def _is_zero(component: Component, tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether the half that LoRA starts at zero still is."""
    halves = [tensors[part.tensors["B"]] for part in component.parts if part.kind == "lora"]
    return bool(halves) and not any(bool(half.any()) for half in halves)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (", ".join(names[:LISTED]) or "none") + more


def _significant(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
