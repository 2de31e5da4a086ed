"""Data of a user's own is laid out as a benchmark, however it lies there."""

import shutil
from pathlib import Path

from demo.shipped import REVIEWS, lay_benchmark


def test_data_that_may_only_be_read_is_laid_out_in_a_folder_that_can_be_written(tmp_path: Path) -> None:
    data = Path(shutil.copytree(REVIEWS, tmp_path / "data"))
    (data / "notes.md").write_text("nothing of the benchmark")
    for path in (*data.iterdir(), data):
        path.chmod(path.stat().st_mode & ~0o222)
    laid = lay_benchmark(tmp_path / "laid", data)
    folder = laid.file.parent
    assert {path.name for path in folder.iterdir()} == {"benchmark.yaml", "dev.tsv", "train.tsv"}
    assert all(path.stat().st_mode & 0o200 for path in (folder, *folder.iterdir()))
    assert (folder / "dev.tsv").read_bytes() == (REVIEWS / "dev.tsv").read_bytes()
