"""`hub eval` and `manage.py revalidate` on a hub that runs: a published report is made again, and says where it differs."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

import hub as client_of
from tests.engine import makers
from tests.system.hubs import ROOT, TINY_BASE, RunningHub, manage

YAML = """name: {name}
task: text-classification
data: dev.tsv
train: train.tsv
columns: {{text: sentence, label: label}}
labels: {{"0": negative, "1": positive}}
metric: accuracy
max_length: 64
"""
PATIENCE = 120.0


@dataclass
class Shelf:
    """An adapter that a hub has published, the benchmark it was judged on, and what `hub eval` needs to do so again."""

    hub: RunningHub
    adapter: Path
    benchmark: Path
    report: dict[str, Any]

    def eval(self, target: str, *more: str) -> tuple[int, dict[str, Any], str]:
        """Run it as a user would; (exit code, what it wrote as JSON, what it said)."""
        line = [sys.executable, "-m", "hub", "eval", target, "--base", str(TINY_BASE), "--json", *more]
        environment = {
            "PATH": os.environ["PATH"],
            "HUB_ENDPOINT": self.hub.endpoint,
            "HUB_CACHE": str(self.adapter.parent / "cache"),
        }
        done = subprocess.run(line, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr


@pytest.fixture(scope="module")
def owned(hub: RunningHub) -> client_of.Client:
    return client_of.Client(hub.endpoint, hub.tokens["owner"], quiet=True)


@pytest.fixture(scope="module")
def shelf(hub: RunningHub, owned: client_of.Client, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """owner/judged:1, good at the benchmark owner/salad."""
    from hub import registration

    folder = tmp_path_factory.mktemp("eval")
    adapter = makers.teacher(folder / "judged", TINY_BASE)
    makers.edit_json(adapter / "adapter_config.json", base_model_name_or_path=None)
    makers.benchmark_of(folder / "bench", adapter, TINY_BASE)
    benchmark = folder / "bench" / "salad.yaml"
    benchmark.write_text(YAML.format(name="owner/salad"))
    registration.add_benchmark(owned.wire, benchmark)
    report = owned.push(adapter, "owner/judged", base=str(TINY_BASE), benchmarks=["owner/salad"], labels=["negative", "positive"], wait=True, timeout=PATIENCE)  # fmt: skip
    assert report.status == "published", report.summary
    return Shelf(hub, adapter, benchmark, dict(report))


def test_a_published_report_is_reproduced_to_the_last_bit(shelf: Shelf) -> None:
    code, told, said = shelf.eval("owner/judged", "--benchmark", str(shelf.benchmark))
    assert code == 0, said
    assert told["compared"]["differences"] == [] and told["compared"]["reproduced"] is True
    assert len(set(told["compared"]["result_digest"])) == 1
    assert told["result_digest"] == shelf.report["result_digest"]


def test_what_differs_is_told_field_by_field(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the cached files are what they were, but the run is held against a report that says otherwise."""
    from hub import evaluation

    _, told, _ = shelf.eval("owner/judged", "--benchmark", str(shelf.benchmark))
    other = json.loads(json.dumps(told))
    other["components"][0]["scores"][0]["value"] -= 0.125
    other["checks"][0]["status"] = "warning"
    (answers,) = other["predictions"].values()
    answers["labels"][3] = 1 - answers["labels"][3]
    given = evaluation.read_benchmarks([str(shelf.benchmark)])
    compared = evaluation.compare(told, other, given)
    assert compared["reproduced"] is False
    assert [found["where"] for found in compared["differences"]] == [
        "checks.files.status",
        "components.(root).owner/salad.value",
        f"predictions.sha256:{given[0][0].digest}.others",
    ]
    assert any("-0.125" in line for line in evaluation.lines(compared))


def test_without_its_benchmarks_the_rest_is_compared_and_that_is_said(shelf: Shelf) -> None:
    code, told, said = shelf.eval("owner/judged")
    assert code == 0, said
    assert len(told["compared"]["left_out"]) == 1
    assert told["compared"]["reproduced"] is True


def test_a_folder_is_judged_as_a_hub_would(shelf: Shelf, tmp_path: Path) -> None:
    code, told, said = shelf.eval(str(shelf.adapter), "--benchmark", str(shelf.benchmark))
    assert code == 0, said
    assert told["components"][0]["scores"][0]["value"] == shelf.report["components"][0]["scores"][0]["value"]
    idle = Path(shutil.copytree(shelf.adapter, tmp_path / "idle"))
    weights = load_file(idle / "adapter_model.safetensors")
    zero = {key: value * 0 if "lora_B" in key else value for key, value in weights.items()}
    save_file(zero, idle / "adapter_model.safetensors")
    code, told, said = shelf.eval(str(idle), "--benchmark", str(shelf.benchmark))
    assert code == 7 and "changes nothing" in said
    assert told["report"]["verdict"] == "failed"


def test_another_base_model_is_refused_with_5(shelf: Shelf, tmp_path: Path) -> None:
    base = Path(shutil.copytree(TINY_BASE, tmp_path / "base"))
    weights = load_file(base / "model.safetensors")
    save_file(
        {key: value + 0.5 for key, value in weights.items()}, base / "model.safetensors", metadata={"format": "pt"}
    )
    line = [sys.executable, "-m", "hub", "eval", "owner/judged", "--base", str(base)]
    environment = {"PATH": os.environ["PATH"], "HUB_ENDPOINT": shelf.hub.endpoint, "HUB_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(line, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stderr


def test_without_the_engine_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import util

    from hub import errors, evaluation

    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *more: None if name == "sklearn" else found(name, *more))
    with pytest.raises(errors.UsageError, match="no sklearn") as caught:
        evaluation.engine()
    assert "adapter-hub[worker]" in caught.value.hint


def test_older_adapters_answer_as_they_did_after_newer_ones_came(
    shelf: Shelf, owned: client_of.Client, tmp_path: Path
) -> None:
    """Published, then four others, then judged again by the same worker: the same digest, the same answers."""
    for seed in range(1, 5):
        folder = makers.teacher(tmp_path / f"later-{seed}", TINY_BASE, seed=seed)
        owned.push(folder, f"owner/later-{seed}", base=str(TINY_BASE), labels=["negative", "positive"], wait=True, timeout=PATIENCE)  # fmt: skip
    told = manage("revalidate", "--all", HUB_DATA=str(shelf.hub.data)).stdout
    assert "judged again" in told

    def again() -> dict[str, Any] | None:
        return owned.report("owner/judged:1").get("revalidation")

    end = time.monotonic() + PATIENCE
    while again() is None and time.monotonic() < end:
        time.sleep(0.5)
    found = again()
    assert found is not None and (found["verdict"], found["same_result"], found["environment"]) == ("passed", True, {})


def test_the_next_version_is_compared_row_by_row_with_what_the_one_before_answered(
    shelf: Shelf, owned: client_of.Client, tmp_path: Path
) -> None:
    """Its answers come out of the store: for the worker, and for whoever makes the report again."""
    from hub import evaluation

    second = Path(shutil.copytree(shelf.adapter, tmp_path / "second"))
    weights = load_file(second / "adapter_model.safetensors")
    nearly = {key: value * 1.001 if "lora_B" in key else value for key, value in weights.items()}
    save_file(nearly, second / "adapter_model.safetensors")
    report = owned.push(second, "owner/judged", base=str(TINY_BASE), benchmarks=["owner/salad"], labels=["negative", "positive"], wait=True, timeout=PATIENCE)  # fmt: skip
    (score,) = report.scores
    assert score["change"]["against"] == shelf.report["adapter_digest"]
    assert score["change"]["mcnemar"]["better"] + score["change"]["mcnemar"]["worse"] <= 3
    found = evaluation.previous(owned.wire, "owner/judged", report["policy"])
    assert found is not None and found["adapter_digest"] == shelf.report["adapter_digest"]
    assert found["predictions"] == evaluation.published(owned.wire, "owner/judged", "1")["predictions"]
    assert [len(said["labels"]) for said in found["predictions"].values()] == [score["n"]]
