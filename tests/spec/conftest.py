"""A tiny BERT that exists as names and shapes only, and the way to the shared real samples."""

import os
from pathlib import Path

import pytest

from tests.specimens.spec import builders

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def base():
    return builders.base()


@pytest.fixture(scope="session")
def real_data():
    """The folder of real adapters and configurations that strangers made; not part of the repository."""
    folder = Path(os.environ.get("HUB_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / "real-adapters").is_dir():
        pytest.skip(f"no real samples: {folder}/real-adapters is not there (HUB_TEST_DATA names the folder)")
    return folder
