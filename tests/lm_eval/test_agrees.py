"""lm-evaluation-harness says the same of the same rows: numbers of whole texts and of choices, with the adapter and without.

A lane of its own (`make lm-eval`): the harness lies in an environment of its own, and where that is not there, this is skipped.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hub import runtime
from tests.engine import makers, speakers

pytestmark = [pytest.mark.lm_eval, pytest.mark.timeout(900)]
ASK = Path(__file__).with_name("ask.py")
LONGEST = 24
"""Short, so that texts need several windows and contexts lose their beginning."""


@pytest.fixture(scope="session")
def harness() -> Path:
    """The interpreter of the environment that holds lm_eval."""
    found = Path(os.environ.get("HUB_TEST_LM_EVAL") or Path(__file__).parents[2] / ".venv-lm-eval") / "bin" / "python"
    if not found.exists():
        pytest.skip("no environment with lm_eval here: make lm-eval makes one")
    return found


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_harness_gives_the_same_numbers(family: str, harness: Path, tmp_path: Path) -> None:
    base = speakers.base(tmp_path / "base", family)
    speakers.adapter(tmp_path / "adapter", base, steps=20)
    ours: dict[str, dict[str, Any]] = {"adapted": {}, "plain": {}}
    for metric in ("bits_per_byte", "acc", "acc_norm", "acc_bytes"):
        make = speakers.texts if metric == "bits_per_byte" else speakers.choices
        files = make(tmp_path / metric, metric, rows=60, max_length=LONGEST)
        report = makers.judged(
            makers.assignment(tmp_path / "adapter", base, files), runtime.open_backbone(base), tmp_path / "s"
        )
        (score,) = report["components"][0]["scores"]
        ours["adapted"][metric], ours["plain"][metric] = score["value"], score["baselines"]["adapter_off"]
    rows = [str(tmp_path / name / "rows.jsonl") for name in ("bits_per_byte", "acc")]
    given = [str(harness), str(ASK), str(base), str(tmp_path / "adapter"), *rows, str(LONGEST)]
    done = subprocess.run(
        given, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = json.loads(done.stdout.splitlines()[-1])
    print(family, ours, theirs)
    for which, found in ours.items():
        for metric, value in found.items():
            assert value == pytest.approx(float(theirs[which][metric]), rel=1e-5), (which, metric)
