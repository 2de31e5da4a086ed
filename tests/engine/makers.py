"""What the engine's tests are made of: real PEFT adapters on a tiny random BERT, benchmarks of a few sentences."""

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

from hub import base_folder, registration, runtime
from hub.folder import FolderSnapshot
from hub.runtime.base import Backbone
from hub.spec import benchmark, policy, report, validation
from workers import benchmarks, engine
from workers import scratch as scratch_files
from workers.assignment import Assignment, BenchmarkFiles

SPECIMENS = Path(__file__).parents[1] / "specimens"
TINY = SPECIMENS / "tiny-bert"


def lora_model(
    base: Path,
    seed: int = 0,
    std: float = 0.5,
    labels: int = 2,
    kind: Any = transformers.AutoModelForSequenceClassification,
    **options: Any,
) -> Any:
    """A PEFT model on a classifier of a `kind`, its LoRA and head filled with noise so that they do something."""
    torch.manual_seed(seed)
    model = kind.from_pretrained(base, num_labels=labels)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["query", "value"], "task_type": "SEQ_CLS"} | options
    found = peft.get_peft_model(model, peft.LoraConfig(**settings))
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.normal_(std=std)
    return found.eval()


def roberta(folder: Path, family: str = "roberta") -> Path:
    """A tiny base model of RoBERTa's kin with random weights, whose positions count from its padding index on."""
    config = transformers.AutoConfig.for_model(
        family, vocab_size=90, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=66, initializer_range=0.2, pad_token_id=1,
    )  # fmt: skip
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(SPECIMENS / "tiny-bert").save_pretrained(folder)
    return folder


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None removes one."""
    value = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: item for key, item in value.items() if item is not None}))


def sentences(count: int, seed: int = 0) -> list[str]:
    """Different word salads of three to twelve words from the vocabulary of the tiny base."""
    words = [
        w for w in json.loads((TINY / "tokenizer.json").read_text())["model"]["vocab"] if w.isalpha() and len(w) > 1
    ]
    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(draw.choices(words, k=draw.randint(3, 12)))] = None
    return list(found)


def teacher(folder: Path, base: Path, seed: int = 0, **options: Any) -> Path:
    """An adapter with random weights whose head is shifted so that it answers both classes about equally often.

    A benchmark that asks for its own answers (`benchmark_of`) is one it is good at.
    """
    model = lora_model(base, seed=seed, std=1.0, **options)
    logits = answers(model, base, sentences(200, seed=99))
    with torch.no_grad():
        head = model.base_model.model.classifier.modules_to_save["default"]
        head.bias -= logits.median(0).values
    model.save_pretrained(folder)
    return folder


def answers(model: Any, base: Path, texts: list[str]) -> torch.Tensor:
    """Plain transformers, one batch: logits [rows, labels]."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    with torch.no_grad():
        return model(**tokenizer(texts, padding=True, return_tensors="pt")).logits


def benchmark_of(
    folder: Path, adapter: Path, base: Path, rows: int = 160, train: int = 200, noise: float = 0.05, **more: Any
) -> BenchmarkFiles:
    """A benchmark labelled by an adapter's own answers, some of them flipped; `train=0` leaves the train split out."""
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    model = peft.PeftModel.from_pretrained(plain, adapter).eval()
    texts = sentences(rows + train, seed=5)
    truth = answers(model, base, texts).argmax(-1).tolist()
    draw = random.Random(6)
    lines = [
        f"{text}\t{1 - label if draw.random() < noise else label}" for text, label in zip(texts, truth, strict=True)
    ]
    return write_benchmark(folder, lines[:rows], lines[rows:], **more)


def write_benchmark(folder: Path, dev: list[str], train: list[str], **more: Any) -> BenchmarkFiles:
    """Lines `sentence<TAB>label` as a benchmark on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    definition: dict[str, Any] = {
        "name": "tests/salad",
        "task": "text-classification",
        "data": "dev.tsv",
        "columns": {"text": "sentence", "label": "label"},
        "labels": ["negative", "positive"],
        "metric": "accuracy",
        "max_length": 64,
    } | more
    digests = {}
    for name, lines in {"dev": dev, "train": train}.items():
        if lines:
            data = "\n".join(["\t".join(more.get("header", ["sentence", "label"])), *lines, ""]).encode()
            (folder / f"{name}.tsv").write_bytes(data)
            digests[f"{name}.tsv"] = hashlib.sha256(data).hexdigest()
    definition.pop("header", None)
    if train:
        definition["train"] = "train.tsv"
    found = benchmark.parse(definition, digests)
    return BenchmarkFiles(found, folder / "dev.tsv", folder / "train.tsv" if train else None)


def laid(file: Path) -> BenchmarkFiles:
    """A definition on disk with its data beside it, as a worker has it that has pulled both."""
    definition, contents = registration.read_benchmark(file)
    found = benchmark.parse(definition, {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()})
    return BenchmarkFiles(found, file.parent / found.data, file.parent / found.train if found.train else None)


def assignment(
    adapter: Path, base: Path, *files: BenchmarkFiles, gates: dict[str, Any] | None = None, **more: Any
) -> Assignment:
    """A run of an adapter as the worker would hand it on, with the default policy unless `gates` are given."""
    chosen = policy.DEFAULT.resolve() if gates is None else gates
    given: dict[str, Any] = {
        "run": "test",
        "snapshot": adapter,
        "adapter_digest": "sha256:" + FolderSnapshot(adapter).manifest().adapter_digest,
        "base": base,
        "fingerprint": more.pop("fingerprint", None) or base_folder.fingerprint(base),
        "benchmarks": files,
        "plan": policy.plan([item.benchmark.digest for item in files], chosen),
    }
    return Assignment(**given | more)


def ready(files: BenchmarkFiles, backbone: Backbone, scratch: Path) -> benchmarks.Prepared:
    """A benchmark made ready for a backbone, in this very process."""
    if benchmarks.cached(backbone, files.benchmark, scratch) is None:
        with scratch_files.making(scratch / "making") as made:
            benchmarks.prepare(backbone, files, made, lambda stage: None)
            scratch_files.take(made / benchmarks.name_of(backbone, files.benchmark), benchmarks.folder(scratch))
    found = benchmarks.cached(backbone, files.benchmark, scratch)
    assert found is not None
    return found


def shira(base: Path, folder: Path) -> Path:
    """A SHiRA adapter as PEFT writes it: numbers at positions that stand in the file."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    trained = peft.get_peft_model(model, peft.ShiraConfig(r=1, target_modules=["query"], task_type="SEQ_CLS"))
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            if "shira_weight" in name:
                parameter.fill_(0.1)
    trained.save_pretrained(folder)
    return folder


def judged(given: Assignment, backbone: Backbone, scratch: Path) -> dict[str, Any]:
    """The report of a run in this very process, and nothing else: no child, no pipes."""
    prepared = {files.benchmark.digest: ready(files, backbone, scratch) for files in given.benchmarks}
    found = engine.judge(given, backbone, prepared, engine.in_memory(given.snapshot), lambda stage: None)
    report.validate(found, given.plan)
    return found


def on(backbone: Backbone, folder: Path, to_run: bool = True) -> runtime.Attached:
    """The one adapter of a folder, attached, with the tensors of its parts and without those of its head."""
    snapshot = runtime.open_snapshot(folder)
    (component,) = validation.inspect(snapshot, backbone.base, to_run=to_run).components
    used = {key for part in component.parts for key in part.tensors.values()}
    tensors = runtime.tensors_of(snapshot, component)
    return runtime.attach(backbone, component, {key: tensors[key] for key in used})


def check(found: dict[str, Any], name: str) -> dict[str, Any]:
    """One check of a report by its name."""
    return next(item for item in found["checks"] if item["name"] == name)


def failed(found: dict[str, Any]) -> list[str]:
    """Names of the checks that failed."""
    return [item["name"] for item in found["checks"] if item["status"] == "failed"]


def copied(folder: Path, target: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(folder, target))
