"""What a run finds out about an adapter, told by its report."""

from pathlib import Path

import pytest

from hub.runtime.base import Backbone
from tests.engine import makers
from tests.engine.makers import check, judged


@pytest.fixture
def good(tmp_path: Path, tiny: Path) -> Path:
    return makers.teacher(tmp_path / "good", tiny)


def test_a_good_adapter_passes_every_check(good: Path, tiny: Path, backbone: Backbone, tmp_path: Path) -> None:
    given = makers.assignment(good, tiny, makers.benchmark_of(tmp_path / "bench", good, tiny))
    found = judged(given, backbone, tmp_path)
    assert found["verdict"] == "passed", found["summary"]
    score = found["components"][0]["scores"][0]
    assert score["value"] > 0.9 > score["baselines"]["probe"] > score["baselines"]["majority"]
    assert score["gain"]["over"] == "probe"
    assert score["gain"]["interval"][0] > 0
    assert "resamples" in score["gain"]["method"]
    assert check(found, "applied")["evidence"] == {"consumed": 10, "tensors": 10}
    assert check(found, "benchmark")["evidence"]["tests/salad"]["probe"]["features"] in (
        "first_token",
        "pooler",
        "mean",
    )
    assert found["base_model"] == {"fingerprint": backbone.fingerprint, "state": "observed"}
