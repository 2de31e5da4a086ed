"""Workers that were given one scratch folder, as real processes."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
WORKER = """
import sys
from pathlib import Path
from workers.assignment import Limits
from workers.jobs import Worker
from workers.settings import Settings

{more}
worker = Worker("w1@host", Settings("http://127.0.0.1:9", None, "", (), Path(sys.argv[1]), Limits()))
print(worker.name, worker._pulled, worker.process.scratch, flush=True)
sys.stdin.read()
"""
LOCKLESS = "import fcntl; fcntl.flock = lambda file, how: None"
Start = Callable[..., tuple["subprocess.Popen[str]", list[str]]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a worker of one and the same name on one and the same folder; gives (process, what it says of its place)."""
    started: list[subprocess.Popen[str]] = []

    def run(more: str = "") -> tuple["subprocess.Popen[str]", list[str]]:
        command = [sys.executable, "-c", WORKER.format(more=more), str(tmp_path)]
        process = subprocess.Popen(  # noqa: S603
            command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().split()

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_two_on_one_folder_share_nothing_and_a_seat_is_free_when_its_worker_is_killed(
    start: Start, tmp_path: Path
) -> None:
    first, place = start()
    assert place == ["w1@host", str(tmp_path / "runs" / "w1@host"), str(tmp_path)]
    _, other = start()
    beside = tmp_path / "worker-2"
    assert other == ["w1@host#2", str(beside / "runs" / "w1@host"), str(beside)]
    first.kill()
    first.wait()
    assert start()[1] == place


def test_the_control_without_the_lock_they_sit_in_one_place(start: Start) -> None:
    assert start(LOCKLESS)[1] == start(LOCKLESS)[1]
