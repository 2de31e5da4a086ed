"""The five adapters of the demo: one good, four that must not pass, each bad in one way only."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.hubs import Hub

WEIGHTS = "adapter_model.safetensors"
OTHER_HIDDEN = 768
RANDOM_STD = 0.05


@dataclass(frozen=True)
class Push:
    """One push: the adapter's name, what is wrong with it, how it has to end, and words that its refusal must contain."""

    name: str
    story: str
    status: str
    checks: tuple[str, ...]
    """The checks that refuse it, and no other."""
    words: tuple[str, ...]
    make: Callable[[Path, Path, Path], None]
    labels: tuple[str, ...] = ("negative", "positive")


def _tensors(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return dict(load_file(folder / WEIGHTS))


def _save(folder: Path, tensors: dict[str, Any]) -> None:
    from safetensors.numpy import save_file

    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def good(source: Path, out: Path, data: Path) -> None:
    """The trained adapter as it is."""
    shutil.copytree(source, out)


def no_effect(source: Path, out: Path, data: Path) -> None:
    """Every lora_B is zero, as in an adapter saved before its first step: W + BA = W."""
    good(source, out, data)
    _save(out, {key: value * 0 if ".lora_B." in key else value for key, value in _tensors(out).items()})


def other_base(source: Path, out: Path, data: Path) -> None:
    """The same modules for a base of hidden size 768."""
    import numpy

    good(source, out, data)

    def resized(key: str, value: Any) -> Any:
        shape = [OTHER_HIDDEN if length == 384 else length for length in value.shape]
        return numpy.zeros(shape, value.dtype) + numpy.float32(0.01)

    _save(out, {key: resized(key, value) for key, value in _tensors(out).items()})


def random_with_head(source: Path, out: Path, data: Path) -> None:
    """Random LoRA weights, never trained, and a head fitted on top of them: looks trained, brings nothing over the probe."""
    import numpy
    from sklearn.linear_model import LogisticRegression

    good(source, out, data)
    rng = numpy.random.default_rng(0)
    tensors = {
        key: rng.normal(0, RANDOM_STD, value.shape).astype("float32") if ".lora_" in key else value
        for key, value in _tensors(out).items()
    }
    _save(out, tensors)
    features, labels = _pooled(out, data)
    head = LogisticRegression(max_iter=1000).fit(features, labels)
    weight, bias = head.coef_[0], head.intercept_[0]
    for key in tensors:
        if key.endswith("classifier.weight"):
            tensors[key] = numpy.stack([-weight / 2, weight / 2]).astype("float32")
        if key.endswith("classifier.bias"):
            tensors[key] = numpy.array([-bias / 2, bias / 2], "float32")
    _save(out, tensors)


def _pooled(folder: Path, data: Path) -> tuple[Any, list[int]]:
    """Pooled features [rows, hidden] of the training sentences under the adapter in `folder`, with plain transformers + peft."""
    import torch
    import transformers
    from peft import PeftModel

    from demo.base import base_folder
    from demo.train import padded, quiet, read_rows, train_file

    quiet(transformers)
    torch.set_num_threads(1)  # the hub's worker has the other core
    sentences, labels = read_rows(train_file(data))
    sentences, labels = sentences[:2000], labels[:2000]
    tokenizer = transformers.AutoTokenizer.from_pretrained(base_folder())
    token_ids = tokenizer(sentences, truncation=True, max_length=128)["input_ids"]
    model = transformers.BertForSequenceClassification.from_pretrained(base_folder(), num_labels=2)
    adapted = PeftModel.from_pretrained(model, str(folder)).eval()
    body = adapted.base_model.model.bert
    order = sorted(range(len(token_ids)), key=lambda row: len(token_ids[row]))
    pooled = torch.zeros(len(order), body.config.hidden_size)
    with torch.inference_mode():
        for start in range(0, len(order), 64):
            rows = order[start : start + 64]
            pooled[rows] = body(**padded([token_ids[row] for row in rows])).pooler_output
    return pooled.numpy(), labels


PUSHES = (
    Push("sentiment-bert", "trained LoRA", "published", (), (), good),
    Push("sentiment-zero", "no effect: every lora_B is zero", "rejected", ("effect",), ("B = 0",), no_effect),
    Push(
        "sentiment-768",
        "made for another base (hidden size 768)",
        "rejected",
        ("shapes", "head"),
        ("768", "384"),
        other_base,
    ),
    Push(
        "sentiment-swapped",
        "label names in the wrong order",
        "rejected",
        ("benchmark",),
        ("labels look swapped",),
        good,
        ("positive", "negative"),
    ),
    Push(
        "sentiment-random",
        "random weights with a head fitted on them",
        "rejected",
        ("benchmark",),
        ("no gain over",),
        random_with_head,
    ),
)


@dataclass(frozen=True)
class Outcome:
    """How a push ended: the exit code of `hub push --wait --json`, its answer, and what it told the person."""

    exit: int
    answer: dict[str, Any]
    stderr: str

    def told(self) -> str:
        """Everything it said."""
        return json.dumps(self.answer, ensure_ascii=False) + self.stderr

    def is_as_it_should_be(self, item: Push) -> bool:
        """Did the push end as it has to: 0 for published, 7 for rejected, by these checks alone and in these words?"""
        wanted = 0 if item.status == "published" else 7
        failed = [check for check in self.report.get("checks") or [] if check["status"] == "failed"]
        told = " ".join(str(check["message"]) for check in failed)
        right = {check["name"] for check in failed} == set(item.checks) and all(word in told for word in item.words)
        return self.exit == wanted and right

    @property
    def report(self) -> dict[str, Any]:
        """The report, where the answer holds one."""
        return dict(self.answer.get("report") or self.answer)

    def lines(self) -> list[str]:
        """The scores and the reasons, a line each."""
        report = self.report
        scores = [score for part in report.get("components") or [] for score in part.get("scores") or []]
        lines = [
            f"{score['metric']} {score['value']:.3f} [{score['interval'][0]:.3f}, {score['interval'][1]:.3f}]"
            f", probe {score['baselines']['probe']:.3f}"
            for score in scores
        ]
        failed = [check for check in report.get("checks") or [] if check["status"] == "failed"]
        return lines + list(dict.fromkeys(f"{check['name']}: {check['message']}" for check in failed))


def push(hub: Hub, item: Push, folder: Path, base: str, benchmark: str) -> Outcome:
    """Push one adapter with the command line, and wait for the verdict."""
    words = ["--base", base, "--benchmark", benchmark, "--labels", ",".join(item.labels), "--wait", "--json"]
    done = hub.command("push", str(folder), item.name, *words)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = {}
    return Outcome(done.returncode, answer, done.stderr)
