"""SST-2, adapters really trained on it, and the worker's own process to judge them.

The data is not part of the repository: HUB_TEST_DATA names the folder that holds sst2/ (default: ../shared/data).
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.base import base_folder
from demo.shipped import lay_benchmark
from demo.train import read_rows
from hub.spec import report
from tests.engine import makers
from tests.real import trained as training
from tests.real.trained import ROOT, Trained
from workers.assignment import BenchmarkFiles
from workers.process import BackboneProcess

Judge = Callable[[Path], dict[str, Any]]


@pytest.fixture(scope="session")
def sst2() -> Path:
    """The folder with train_10k.tsv (10 000 rows) and dev.tsv (872 rows)."""
    folder = Path(os.environ.get("HUB_TEST_DATA") or ROOT.parent / "shared" / "data") / "sst2"
    if not (folder / "dev.tsv").is_file():
        pytest.skip(f"no SST-2: {folder}/dev.tsv is not there (HUB_TEST_DATA names the folder that holds sst2/)")
    return folder


@pytest.fixture(scope="session")
def dev(sst2: Path) -> tuple[list[str], list[int]]:
    """Sentences and labels of the rows that are scored."""
    return read_rows(sst2 / "dev.tsv")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything of this session is put."""
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="session")
def lora(sst2: Path, dev: tuple[list[str], list[int]], place: Path) -> Trained:
    return training.lora(sst2, place / "lora", dev[0])


@pytest.fixture(scope="session")
def houlsby(sst2: Path, dev: tuple[list[str], list[int]], place: Path) -> Trained:
    return training.houlsby(sst2, place / "houlsby", dev[0])


@pytest.fixture(scope="session", params=["lora", "houlsby"])
def trained(request: pytest.FixtureRequest) -> Trained:
    """Each of the two adapters."""
    found: Trained = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def files(sst2: Path, place: Path) -> BenchmarkFiles:
    """SST-2 as the benchmark that `make demo DEMO_DATA=...` registers, its train split for the probe with it."""
    return makers.laid(lay_benchmark(place / "benchmark", sst2).file)


@pytest.fixture(scope="session")
def judge(files: BenchmarkFiles, place: Path) -> Iterator[Judge]:
    """Judge an adapter as a worker does, by the default policy; `fresh` takes a process that has seen nothing before."""
    processes: list[BackboneProcess] = []

    def run(adapter: Path, fresh: bool = False) -> dict[str, Any]:
        if fresh or not processes:
            processes.append(BackboneProcess(place / f"scratch-{len(processes)}"))
        given = makers.assignment(adapter, base_folder(), files)
        found = processes[-1 if fresh else 0].judge(given, lambda stage: None)
        report.validate(found, given.plan)
        return found

    yield run
    for process in processes:
        process.stop()


@pytest.fixture(scope="session")
def verdict(trained: Trained, judge: Judge) -> dict[str, Any]:
    """The report on one of the two adapters."""
    return judge(trained.folder)
