"""Rows of a benchmark from Parquet files and from data sets of the Hugging Face Hub, written as the JSONL that a hub keeps.

    data: dev.parquet
    train: {dataset: nyu-mll/glue, config: sst2, split: train, revision: <commit, 40 hex digits>}

Read on this machine, by pyarrow and by `datasets` where they are installed; what was read is kept in the definition as `source`.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hub import errors
from hub.spec import rows as examples

COMMIT = re.compile(r"[0-9a-f]{40}")
KEYS = frozenset({"dataset", "config", "split", "revision"})
INSTALL = 'pip install "adapter-hub[benchmarks]"'


def resolved(raw: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A definition whose `data` and `train` name TSV or JSONL files, and those files that had to be made.

    Raises UsageError where a library is missing, where a data set is not named by commit and split, and for a row that JSON
    cannot hold; SpecError for a column that is not there; OSError where a file cannot be read.
    """
    found, made, sources = dict(raw), {}, {}
    named = raw["columns"].values() if isinstance(raw.get("columns"), dict) else ()
    columns = list(dict.fromkeys(name for name in named if isinstance(name, str)))
    for key in ("data", "train"):
        value = raw.get(key)
        if isinstance(value, dict):
            rows, name = _dataset(value, columns, key), f"{key}.jsonl"
            sources[key] = {part: str(text) for part, text in value.items()}
        elif isinstance(value, str) and value.endswith(".parquet"):
            path = folder / Path(value).name
            data = path.read_bytes()
            rows, name = _parquet(data, columns, path.name), f"{path.stem}.jsonl"
            sources[key] = {"file": path.name, "sha256": hashlib.sha256(data).hexdigest()}
        else:
            continue
        found[key], made[name] = name, _jsonl(rows, columns, key)
    return (found | {"source": sources} if sources else found), made


def _dataset(value: Mapping[str, Any], columns: list[str], key: str) -> Iterable[Mapping[str, Any]]:
    told = {part: value.get(part) for part in KEYS}
    wrong = set(value) - KEYS or any(not isinstance(text, str) for text in value.values())
    if wrong or not told["dataset"] or not told["split"] or not COMMIT.fullmatch(str(told["revision"])):
        raise errors.UsageError(
            f"{key}: a data set is named by dataset, split, revision and, where it has several, config",
            hint="the revision is a commit of 40 hex digits: a name such as main may mean other rows tomorrow",
        )
    try:
        import datasets
    except ImportError:
        raise errors.UsageError(f"{key}: reading a data set needs the package datasets", hint=INSTALL) from None
    try:
        found = datasets.load_dataset(told["dataset"], told["config"], split=told["split"], revision=told["revision"])
    except Exception as error:
        raise errors.UsageError(
            f"{key}: {told['dataset']} at {told['revision']} cannot be read: {error}",
            hint="is it there, has it this config and split, and is there a way to the Hugging Face Hub?",
        ) from error
    examples.insist_on_columns(columns, found.column_names, f"{key}: {told['dataset']}")
    return found


def _parquet(data: bytes, columns: list[str], name: str) -> Iterator[Mapping[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise errors.UsageError(f"{name}: reading Parquet needs the package pyarrow", hint=INSTALL) from None
    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        examples.insist_on_columns(columns, file.schema_arrow.names, name)
        for batch in file.iter_batches(columns=columns):
            yield from batch.to_pylist()
    except (
        ArrowException,
        OSError,
        UnicodeDecodeError,
    ) as error:  # a damaged page is an OSError, found while rows are read
        message = f"{name} is no Parquet file, or damaged: {str(error).strip()}"
        raise errors.UsageError(message, hint="write it again") from error


def _jsonl(rows: Iterable[Mapping[str, Any]], columns: list[str], key: str) -> bytes:
    """The columns that the definition names, a row a line. What a row lacks is told when the lines are read."""
    lines = []
    for number, row in enumerate(rows, 1):
        kept = {name: row[name] for name in columns if name in row}
        try:
            lines.append(json.dumps(kept, ensure_ascii=False, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise errors.UsageError(f"{key}: row {number} cannot be written as JSON: {error}") from error
    return "".join(line + "\n" for line in lines).encode()
