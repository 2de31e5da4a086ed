"""The story of a run: check -> attach -> effect -> score -> prove frozen -> report.

Runs in a forked child. Everything that can be checked is checked, so that a publisher hears about all
problems at once; but the adapter is attached only when its files, configuration, tensors and values have been
found in order.
"""

import importlib
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers

import hub
from hub import errors, runtime
from hub.runtime import predict, weights
from hub.runtime.attach import Attached
from hub.runtime.base import Backbone
from hub.runtime.heads import ClassificationHead
from hub.spec import report, tasks, validation
from hub.spec.components import Component
from hub.spec.snapshot import Snapshot
from hub.spec.validation import Inspection
from workers import benchmarks, labels
from workers.assignment import Assignment
from workers.benchmarks import Prepared
from workers.checks import Ledger
from workers.evaluators.text_classification import Outcome, Previous

STATIC = ("files", "config", "scan", "shapes", "head", "tokenizer")
SENTENCES = (
    "A sentence to see whether anything changes.",
    "Another one, a little longer than the first of them.",
)
LISTED = 5
DIGITS = 4


@dataclass
class Run:
    """What the steps of one run share."""

    assignment: Assignment
    backbone: Backbone
    prepared: Mapping[str, Prepared]
    """Benchmark digest -> the benchmark made ready for this backbone."""
    tell: Callable[[str], None]
    ledger: Ledger = field(default_factory=Ledger)
    components: list[dict[str, Any]] = field(default_factory=list)
    predictions: dict[str, dict[str, Any]] = field(default_factory=dict)

    def judge(self) -> dict[str, Any]:
        """Tell the story; returns the report. Whatever is raised from here is a fault of ours."""
        started = time.monotonic()
        self.tell("checks")
        snapshot = runtime.open_snapshot(self.assignment.snapshot)
        inspection = validation.inspect(snapshot, self.backbone.base, _labels(self.prepared))
        self.ledger.adopt(inspection.checks)
        for component in inspection.components:
            self._component(snapshot, inspection, component)
        self._frozen()
        return self._report(time.monotonic() - started)

    def _component(self, snapshot: Snapshot, inspection: Inspection, component: Component) -> None:
        judged: dict[str, Any] = {"folder": component.folder, "scores": []}
        self.components.append(judged)
        tensors = self._finite(snapshot, component)
        if tensors is None or not inspection.ok:
            return
        self.tell("attach")
        with runtime.attach(self.backbone, component, _of_adapter(component, tensors)) as attached:
            head = self._head(component, tensors)
            self._applied(component, attached, head, tensors)
            if self._effect(component, attached, head) and head is not None:
                judged["scores"] = list(self._scores(inspection, component, head))
        if head is None and component.head is None and self.prepared:
            self._note(
                "head",
                "failed",
                component,
                "the adapter brings no head, and the benchmarks of its plan need one",
                'train with one: task_type="SEQ_CLS" in PEFT, add_classification_head in AdapterHub',
            )

    def _finite(self, snapshot: Snapshot, component: Component) -> dict[str, torch.Tensor] | None:
        """Read the component's tensors; None where they cannot be used."""
        try:
            tensors = _read(snapshot, component)
        except ValueError as error:
            self._note("finite", "failed", component, f"the weights cannot be read: {error}")
            return None
        wrong = weights.unsound(tensors)
        scales = [part.scale for part in component.parts if not abs(part.scale) <= weights.MAGNITUDE]
        if not wrong and not scales:
            self._note("finite", "passed", component, f"{len(tensors)} tensors", evidence={"tensors": len(tensors)})
            return tensors
        told = [f"{item.name} {item.reason}" for item in wrong[:LISTED]]
        told += [f"scale {scale:g} is beyond {weights.MAGNITUDE:g}" for scale in scales[:1]]
        self._note(
            "finite",
            "failed",
            component,
            f"{len(wrong)} of {len(tensors)} tensors are unsound: {', '.join(told)}",
            "training diverged: lower the learning rate, look for a loss of NaN, save again",
            {"unsound": [item.name for item in wrong[:LISTED]]},
        )
        return None

    def _head(self, component: Component, tensors: Mapping[str, torch.Tensor]) -> ClassificationHead | None:
        if component.head is None:
            return None
        try:
            return ClassificationHead(component.head, tensors, self.backbone.pools)
        except errors.HubError as error:
            self._note("head", "failed", component, error.message, error.hint)
            return None

    def _applied(
        self,
        component: Component,
        attached: Attached,
        head: ClassificationHead | None,
        tensors: Mapping[str, torch.Tensor],
    ) -> None:
        at_work = set(attached.applied[0]) | (set() if head is None else set(head.consumed))
        idle = sorted(set(tensors) - at_work)
        evidence: dict[str, Any] = {"consumed": len(at_work), "tensors": len(tensors)}
        if not idle and component.parts:
            self._note(
                "applied",
                "passed",
                component,
                f"{len(at_work)} of {len(tensors)} tensors at work",
                evidence=evidence,
            )
            return
        self._note(
            "applied",
            "failed",
            component,
            f"{len(at_work)} of {len(tensors)} tensors at work; "
            f"unused: {_listed(idle)}; used: {_listed(sorted(at_work))}",
            "save the adapter without tensors that belong to nothing",
            evidence | {"idle": idle[:LISTED]},
        )

    def _effect(self, component: Component, attached: Attached, head: ClassificationHead | None) -> bool:
        """Whether the adapter changes what the encoder says about the benchmark's first rows."""
        self.tell("effect")
        first = next(iter(self.prepared.values()), None)
        batch = benchmarks.in_memory(self.backbone, SENTENCES) if first is None else first.first_rows
        on = predict.hidden(self.backbone, batch)
        attached.enabled = False
        off = predict.hidden(self.backbone, batch)
        attached.enabled = True
        if not bool(torch.isfinite(on).all()):
            self._note(
                "finite",
                "failed",
                component,
                "the adapted model answers NaN or infinity",
                "training diverged",
            )
            return False
        change = float((on - off).abs().max())
        evidence = {"rows": len(batch.rows), "hidden": _significant(change)}
        if change == 0.0:
            self._note(
                "effect",
                "failed",
                component,
                "the adapter changes nothing: every hidden state is exactly what the base model gives"
                + (" (every B is zero: B = 0)" if component.method == "lora" else ""),
                "the weights were saved before training, or training never reached them",
                evidence,
            )
            return False
        self._note("effect", "passed", component, f"hidden states move by up to {change:.3g}", evidence=evidence)
        return True

    def _scores(
        self, inspection: Inspection, component: Component, head: ClassificationHead
    ) -> Iterator[dict[str, Any]]:
        declared = inspection.facts.labels or (component.head.labels if component.head else None)
        for digest, prepared in self.prepared.items():
            self.tell(f"score {prepared.benchmark.name}")
            evaluator = importlib.import_module(f"workers.evaluators.{tasks.get(prepared.benchmark.task).evaluator}")
            try:
                outcome = evaluator.score(
                    self.backbone,
                    head,
                    declared,
                    prepared,
                    self.assignment.plan["gates"],
                    self._previous(digest),
                )
            except labels.Mismatch as error:
                self._note("head", "failed", component, f"{prepared.benchmark.name}: {error}", _RELABEL)
            except FloatingPointError as error:
                self._note("finite", "failed", component, f"{prepared.benchmark.name}: {error}", "training diverged")
            else:
                self._keep(digest, component, prepared, outcome)
                yield outcome.score

    def _keep(self, digest: str, component: Component, prepared: Prepared, outcome: Outcome) -> None:
        kept = self.predictions.setdefault(f"sha256:{digest}", {})
        kept.setdefault("labels", outcome.predictions)
        if component.folder:
            kept.setdefault("folders", {})[component.folder] = outcome.predictions
        name = prepared.benchmark.name
        score = outcome.score
        self._note(
            "benchmark",
            "passed",
            component,
            f"{name}: {score['metric']} {score['value']:.3f}, gain over {_over(score)}",
            evidence={name: outcome.evidence},
        )
        for text in outcome.warnings:
            self._note("benchmark", "warning", component, f"{name}: {text}")
        for message, hint in outcome.failures:
            self._note("benchmark", "failed", component, f"{name}: {message}", hint)
        for gate in score["gates"]:
            if not gate["passed"]:
                self._note("benchmark", "failed", component, f"{name}: {_refusal(gate, score)}", _HINTS[gate["gate"]])

    def _previous(self, digest: str) -> Previous | None:
        given = self.assignment.previous
        answers = (given or {}).get("predictions", {}).get(f"sha256:{digest}")
        if given is None or answers is None:
            return None
        found = answers["labels"] if isinstance(answers, dict) else answers
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
            "components": self.components,
            "base_model": {
                "state": "observed",
                **self.assignment.base_model,
                "fingerprint": self.backbone.fingerprint,
            },
            "adapter_digest": self.assignment.adapter_digest,
            "policy": self.assignment.plan,
            "environment": environment(),
            "predictions": self.predictions,
            "seconds": round(seconds, 3),
        }
        refused = self.ledger.failed or report.failed_gates(written)
        written["verdict"] = "failed" if refused else "passed"
        written["summary"] = report.summary_line(written)
        return written | {"result_digest": report.result_digest(written)}


def judge(
    assignment: Assignment, backbone: Backbone, prepared: Mapping[str, Prepared], tell: Callable[[str], None]
) -> dict[str, Any]:
    """Judge one adapter; returns the report. `tell` hears the name of each stage."""
    return Run(assignment, backbone, prepared, tell).judge()


def environment() -> dict[str, Any]:
    """What a replay has to have the same to give the same bits."""
    return {
        "adapter_hub": hub.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "dtype": "float32",
    }


_RELABEL = 'name the labels in the head\'s order: "labels" in hub.json, or --labels'
_HINTS = {
    "min_gain": "it has to beat what a linear head gets from the plain base model: train longer, or on more data",
    "max_drop": "the version behind `latest` does better on the same rows",
    "min_value": "the policy of this namespace asks for more",
}
_WORDS = {
    "probe": "the probe",
    "majority": "the majority",
    "adapter_off": "the same head without the adapter",
}


def _read(snapshot: Snapshot, component: Component) -> dict[str, torch.Tensor]:
    found = weights.copied(snapshot, component.weights)
    head = component.head
    return (
        found if head is None or head.weights == component.weights else found | weights.copied(snapshot, head.weights)
    )


def _of_adapter(component: Component, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Only what the component's parts name: nothing else of an upload comes near the backbone."""
    wanted = {key for part in component.parts for key in part.tensors.values()}
    return {key: tensor for key, tensor in tensors.items() if key in wanted}


def _labels(prepared: Mapping[str, Prepared]) -> tuple[str, ...] | None:
    """The labels that the head has to have, where all benchmarks agree."""
    found = {item.benchmark.labels for item in prepared.values()}
    return found.pop() if len(found) == 1 else None


def _over(score: Mapping[str, Any]) -> str:
    gain = score["gain"]
    low, high = gain["interval"]
    return f"{_WORDS[gain['over']]} {gain['value']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _refusal(gate: Mapping[str, Any], score: Mapping[str, Any]) -> str:
    bound = "nothing to measure it by" if gate["bound"] is None else f"bound {gate['bound']:+.3f}"
    if gate["gate"] == "min_gain":
        return f"no gain over {_over(score)} that is surely above {gate['threshold']:g}"
    return f"{gate['gate']} {gate['threshold']:g} is not met ({bound})"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (", ".join(names[:LISTED]) or "none") + more


def _significant(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
