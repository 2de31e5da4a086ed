"""The AdapterHub library itself answers anew with every sample: what is kept of its answers is still what it says.

`make formats` makes the environment and runs this. HUB_TEST_ADAPTERS names another Python that has the library.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.specimens.adapterhub import drawn

pytestmark = [pytest.mark.formats, pytest.mark.timeout(1800)]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def anew(tmp_path_factory):
    """Its answers of just now, and why it has none to the others."""
    python = Path(os.environ.get("HUB_TEST_ADAPTERS") or ROOT / ".venv-adapters" / "bin" / "python")
    if not python.is_file():
        pytest.skip(
            f"no AdapterHub library: {python} is not there (`make formats` makes it; HUB_TEST_ADAPTERS names one)"
        )
    target = tmp_path_factory.mktemp("answers") / "answers"
    done = subprocess.run([python, drawn.HERE / "answers.py", target], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(np.load(f"{target}.npz")), json.loads(Path(f"{target}.json").read_text())


def test_the_library_still_answers_what_was_kept_of_it(anew):
    fresh, _ = anew
    kept = dict(np.load(drawn.HERE / "answers.npz"))
    assert fresh.keys() == kept.keys()
    apart = {name: np.abs(fresh[name] - kept[name]).max() / np.abs(kept[name]).max() for name in kept}
    print(
        f"\n{len(kept)} answers of the library, the largest difference {max(apart.values()):.1e} of the largest number"
    )
    assert [name for name, ratio in apart.items() if ratio > 1e-5] == []


def test_what_it_cannot_answer_is_what_was_kept(anew):
    _, refused = anew
    assert refused.keys() == json.loads((drawn.HERE / "answers.json").read_text()).keys()


def test_every_sample_moves_its_answer(anew):
    """The negative control: answers that were all alike would hold nothing against anything."""
    fresh, _ = anew
    of_bert = {name: value.tobytes() for name, value in fresh.items() if name.endswith(" on bert")}
    alike = {
        frozenset(name for name in of_bert if of_bert[name] == value)
        for value in of_bert.values()
    }  # fmt: skip
    # three pairs of words for one function, and what an order without a norm of its own leaves as it is
    assert len(alike) > 0.8 * len(of_bert)
