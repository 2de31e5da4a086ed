"""A benchmark's rows may be Parquet, or a data set of the Hugging Face Hub: they are sent as JSONL, and the definition says
where they come from. The tests that read such files need the extra `benchmarks`."""

import hashlib
import json
import sys
from pathlib import Path

import pytest

from hub import errors, registration
from hub.spec import benchmark, rows
from hub.spec.errors import SpecError

ROWS = [
    {"sentence": 'she said "no"', "label": 0, "extra": 1},
    {"sentence": "a tab\tand a line\n", "label": 1, "extra": 2},
]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
DEFINITION = """
name: acme/tone
task: text-classification
data: {data}
columns: {{text: sentence, label: label}}
labels: [negative, positive]
metric: accuracy
"""


def write(folder: Path, data: str) -> Path:
    (folder / "b.yaml").write_text(DEFINITION.format(data=data))
    return folder / "b.yaml"


def read(source: Path) -> tuple[benchmark.Benchmark, list[rows.Text]]:
    definition, data = registration.read_benchmark(source)
    found = benchmark.parse(definition, {name: hashlib.sha256(content).hexdigest() for name, content in data.items()})
    assert benchmark.from_json(json.loads(json.dumps(found.to_json()))) == found
    return found, rows.read(data[found.data], found, found.data)


def test_a_missing_data_file_is_told_with_its_neighbour_and_every_other_fault(tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nfine\t1\n")
    source = write(tmp_path, "dve.tsv")
    source.write_text(source.read_text().replace("accuracy", "acuracy").replace("text: sentence", "sentence: sentence"))
    with pytest.raises(errors.UsageError, match=r"b\.yaml is not a benchmark") as caught:
        registration.read_benchmark(source)
    told = {problem.where: str(problem) for problem in caught.value.problems}
    assert told.keys() == {"data", "metric", "columns"}
    assert "dve.tsv cannot be read" in told["data"] and "did you mean dev.tsv?" in told["data"]
    assert "'sentence' is none of them" in told["columns"]


def test_parquet_is_sent_as_jsonl_and_the_definition_says_what_it_was(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow (extra benchmarks) is not installed")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "dev.parquet")
    found, examples = read(write(tmp_path, "dev.parquet"))
    assert found.data == "dev.jsonl"
    assert examples == [rows.Text(row["sentence"], None, row["label"]) for row in ROWS]
    digest = hashlib.sha256((tmp_path / "dev.parquet").read_bytes()).hexdigest()
    assert found.source == {"data": {"file": "dev.parquet", "sha256": digest}}
    (tmp_path / "dev.jsonl").write_text(
        "".join(json.dumps({k: r[k] for k in ("sentence", "label")}) + "\n" for r in ROWS)
    )
    plain, _ = read(write(tmp_path, "dev.jsonl"))
    assert plain.digest == found.digest, "where rows come from is no part of what is measured"


def test_what_is_no_parquet_is_told(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow (extra benchmarks) is not installed")
    (tmp_path / "dev.parquet").write_bytes(b"no such thing")
    with pytest.raises(errors.UsageError, match=r"dev\.parquet is no Parquet file"):
        read(write(tmp_path, "dev.parquet"))


@pytest.mark.parametrize("compression", ["snappy", "none"])
def test_a_parquet_file_that_is_damaged_within_is_named(compression: str, tmp_path: Path) -> None:
    """Its footer is in order: the fault comes up when rows are read, long after the file was opened."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow (extra benchmarks) is not installed")
    from pyarrow import parquet

    path = tmp_path / "dev.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(ROWS * 500), path, compression=compression)
    data = bytearray(path.read_bytes())
    data[4:64] = bytes(byte ^ 0xFF for byte in data[4:64])
    path.write_bytes(data)
    assert parquet.ParquetFile(path).metadata.num_rows == 1000, "the footer says that all is well"
    with pytest.raises(errors.UsageError, match=r"^dev\.parquet is no Parquet file, or damaged: \w"):
        read(write(tmp_path, "dev.parquet"))


def test_a_parquet_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow (extra benchmarks) is not installed")
    with pytest.raises(errors.UsageError, match=r"dev\.parquet cannot be read: No such file"):
        read(write(tmp_path, "dev.parquet"))


def test_a_column_that_a_parquet_file_lacks_is_told_once_with_those_that_it_has(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow (extra benchmarks) is not installed")
    from pyarrow import parquet

    rows_of_others = [{"sentences": row["sentence"], "label": row["label"]} for row in ROWS]
    parquet.write_table(pyarrow.Table.from_pylist(rows_of_others), tmp_path / "dev.parquet")
    with pytest.raises(errors.UsageError, match="dev.parquet has no column 'sentence'") as caught:
        read(write(tmp_path, "dev.parquet"))
    assert caught.value.hint == "its columns are sentences, label; did you mean 'sentences'?"


def test_a_data_set_is_read_by_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets", reason="datasets (extra benchmarks) is not installed")
    monkeypatch.chdir(tmp_path)  # a folder of this name stands for the data set: no connection is opened
    (tmp_path / "acme" / "tone").mkdir(parents=True)
    (tmp_path / "acme" / "tone" / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    place = f"{{dataset: acme/tone, split: validation, revision: {COMMIT}}}"
    found, examples = read(write(tmp_path, place))
    assert examples == [rows.Text(row["sentence"], None, row["label"]) for row in ROWS]
    assert found.source == {"data": {"dataset": "acme/tone", "split": "validation", "revision": COMMIT}}


@pytest.mark.parametrize(
    "place", ["{dataset: acme/tone, split: test, revision: main}", "{dataset: acme/tone}", "{what: 1}"]
)
def test_a_data_set_without_its_commit_is_not_read(place: str, tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="named by dataset, split, revision"):
        read(write(tmp_path, place))


@pytest.mark.parametrize(
    ("place", "package"),
    [("dev.parquet", "pyarrow"), (f"{{dataset: a/b, split: test, revision: {COMMIT}}}", "datasets")],
)
def test_without_the_library_the_extra_is_named(
    place: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    (tmp_path / "dev.parquet").write_bytes(b"PAR1")
    with pytest.raises(errors.UsageError, match=f"needs the package {package}") as caught:
        read(write(tmp_path, place))
    assert "adapter-hub[benchmarks]" in str(caught.value.hint)


def test_a_source_is_short_texts() -> None:
    given = {"name": "a/b", "task": "text-classification", "data": "dev.tsv", "metric": "accuracy", "labels": ["x", "y"],
             "columns": {"text": "t", "label": "l"}}  # fmt: skip
    with pytest.raises(SpecError, match="says where data and train come from"):
        benchmark.parse(given | {"source": {"data": {"dataset": "x" * 600}}}, {"dev.tsv": "a" * 64})
