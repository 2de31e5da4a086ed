"""What a README's model-index claims, beside what is measured."""

import pytest

from hub.spec import card, claims
from hub.spec.snapshot import MemorySnapshot

README = b"""---
model-index:
- name: x
  results:
  - task: {type: text-classification}
    dataset: {type: glue, name: GLUE SST-2, config: sst2}
    metrics:
    - {type: accuracy, value: 0.934}
    - {type: F1, value: 93.1}
  - dataset: {type: conll2003, name: CoNLL}
    metrics: [{type: f1, value: yes}, {type: f1}, 5]
  - what: this
---
"""


@pytest.mark.parametrize(
    ("benchmark", "metric", "value"),
    [
        ("glue/sst2", "accuracy", 0.934), ("sst2", "f1", 0.931), ("acme/sst2", "accuracy", 0.934),
        ("glue/cola", "accuracy", None), ("glue/sst2", "matthews", None), ("conll2003", "f1", None),
    ],
)  # fmt: skip
def test_a_claim_is_found_by_benchmark_and_metric(benchmark: str, metric: str, value: float | None) -> None:
    found = card.read(MemorySnapshot({"README.md": README})).claims
    assert claims.of(found, benchmark, metric) == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize("odd", [None, 5, "x", [1], [{"results": 3}], [{"results": [{"dataset": 1, "metrics": {}}]}]])
def test_an_index_of_another_form_claims_nothing(odd: object) -> None:
    assert claims.read(odd) == ()
    assert claims.of(odd, "a", "b") is None
