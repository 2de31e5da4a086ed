"""The examples of docs/benchmarks.md are definitions and rows that this hub takes: one of each ML task at least."""

import re
from pathlib import Path

import pytest
import yaml

from hub.spec import benchmark, rows, tasks

PAGE = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```\n\n```(tsv|json)\n(.*?)```", PAGE, re.DOTALL)
DIGESTS = {
    f"{name}.{kind}": str(at) * 64
    for at, name in enumerate(("dev", "train", "passages", "endings"))
    for kind in ("tsv", "jsonl")
}


def test_every_ml_task_has_an_example() -> None:
    assert {yaml.safe_load(definition)["task"] for definition, _, _ in EXAMPLES} == set(tasks.TASKS)


@pytest.mark.parametrize(("definition", "kind", "data"), EXAMPLES)
def test_an_example_is_a_benchmark_and_its_row_is_read(definition: str, kind: str, data: str) -> None:
    found = benchmark.parse(definition.encode(), DIGESTS)
    assert found.data.endswith(kind if kind == "tsv" else "jsonl")
    assert len(rows.read(data.encode(), found, found.data)) == 1


def test_every_metric_is_named() -> None:
    assert [name for name in tasks.METRICS if f"`{name}`" not in PAGE] == []
