"""Whatever shapes and names a file's header claims, looking at it ends in an answer and never in an exception."""

import json

import hypothesis
import pytest
from hypothesis import strategies as st

from hub.spec import base_model, compatibility, validation
from hub.spec.validation import MemorySnapshot
from tests.specimens.spec import builders

SHAPE = st.lists(st.integers(0, 9), max_size=4).map(tuple)
LORA = sorted(builders.lora_shapes())
BOTTLENECK = sorted(builders.bottleneck_shapes())


@st.composite
def snapshots(draw):
    """A good adapter some of whose tensors have other shapes, or another one's names."""
    make, names = draw(st.sampled_from([(builders.lora, LORA), (builders.bottleneck, BOTTLENECK)]))
    changed = draw(st.dictionaries(st.sampled_from([*names, *LORA[:2], *BOTTLENECK[:2]]), SHAPE, max_size=5))
    return make(shapes={**(builders.bottleneck_shapes() if make is builders.bottleneck else {}), **changed})


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(files=snapshots(), known=st.booleans())
def test_no_shape_makes_an_inspection_fail_otherwise(base, files, known):
    found = validation.inspect(MemorySnapshot(files), base if known else None, ("a", "b", "c"))
    assert found.problems or found.ok
    json.dumps([component.to_json() for component in found.components])
    compatibility.check(found, base)


def test_a_scalar_in_the_place_of_a_matrix_is_told(base):
    """It once ended in an IndexError, and the hub tried the upload again for ever."""
    key = next(name for name in BOTTLENECK if name.endswith("adapter_down.0.weight"))
    for shape in ((), (8,)):
        files = builders.bottleneck(shapes=builders.bottleneck_shapes() | {key: shape})
        found = validation.inspect(MemorySnapshot(files), base)
        assert [problem for problem in found.problems if key in problem.message], found.problems


def test_a_base_that_claims_three_million_layers_costs_nothing():
    """Layers are counted where they are, in the tensors; a set of as many as claimed took a gigabyte."""
    claimed = base_model.from_leaves(builders.leaves(), builders.CONFIG | {"num_hidden_layers": 3_000_000})
    assert claimed.layers == {0, 1}
    assert validation.inspect(MemorySnapshot(builders.bottleneck()), claimed).ok


@pytest.mark.parametrize("factor", [1e-320, 0.001, float(10**9)])
def test_a_reduction_factor_that_nobody_trains_with_is_told(base, factor):
    found = validation.inspect(MemorySnapshot(builders.bottleneck({"config": {"reduction_factor": factor}})), base)
    assert "config.reduction" in {problem.code for problem in found.problems}
