"""Adapters that only a run finds to be bad: every kind in five variants (`make specimens`: in 25); and the table of all kinds in docs/bad-adapters.md.

`PYTHONPATH=. python tests/engine/test_bad_weights.py` writes that table anew.
"""

import re
from pathlib import Path

import pytest

from tests.engine.bad import assert_refused
from tests.specimens.spoilt import goods, kinds
from tests.specimens.spoilt.court import Court
from tests.specimens.spoilt.kinds import Kind

KINDS = [kind for kind in kinds.every().values() if not kind.at_ingest]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "bad-adapters.md"
TABLE = re.compile(r"(?<=<!-- bad adapters -->\n).*?(?=<!-- end -->)", re.DOTALL)


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Court:
    return Court(tmp_path_factory.mktemp("court"))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_it_is_refused_by_a_run(kind: Kind, court: Court, tmp_path: Path) -> None:
    assert_refused(kind, court, tmp_path)


@pytest.mark.parametrize("name", goods.RECIPES)
def test_what_bad_ones_are_made_of_is_accepted(name: str, court: Court) -> None:
    assert court.accepts(court.goods[name])


def test_the_page_lists_every_kind() -> None:
    (found,) = TABLE.findall(PAGE.read_text())
    assert found == kinds.table()


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: kinds.table(), PAGE.read_text()))
