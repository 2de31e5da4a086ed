"""What is asked of every kind of bad adapter (tests/specimens/spoilt), whichever file tests it."""

import re
from pathlib import Path

from tests.engine.makers import check
from tests.specimens.spoilt.court import Court
from tests.specimens.spoilt.kinds import TRIED, Kind


def assert_refused(kind: Kind, court: Court, place: Path) -> None:
    """Each of the different adapters fails the one check that it must, for its reason; what it was made of passes."""
    seen = set()
    for draft, names in kind.variants(court.goods, place):
        outcome = court.of(draft)
        told = f"{draft.folder.name} of {draft.good.name}: {outcome.report['summary']}"
        said = outcome.said(kind.check)
        assert outcome.report["verdict"] == "failed", told
        assert kind.check in outcome.failed <= {kind.check, *kind.also}, told
        assert re.search(kind.says, said), told
        assert [name for name in names if name not in said] == [], told
        assert outcome.stopped == kind.at_ingest, told
        assert check(outcome.report, "frozen")["status"] == "passed", told
        assert court.accepts(draft.good), f"{draft.good.name} itself is refused"
        seen.add((outcome.report["adapter_digest"], draft.base, draft.files.benchmark.digest))
    assert len(seen) == TRIED, "each is another one"
