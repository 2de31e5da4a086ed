"""Adapters that show by their files that they are bad: every kind in five variants (`make specimens`: in 25), refused before a worker sees it."""

from pathlib import Path

import pytest

from tests.engine.bad import assert_refused
from tests.specimens.spoilt import kinds
from tests.specimens.spoilt.court import Court
from tests.specimens.spoilt.kinds import Kind

KINDS = [kind for kind in kinds.every().values() if kind.at_ingest]


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Court:
    return Court(tmp_path_factory.mktemp("court"))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_it_is_refused_at_ingest(kind: Kind, court: Court, tmp_path: Path) -> None:
    assert_refused(kind, court, tmp_path)
