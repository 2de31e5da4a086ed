"""What a policy may say: absent is not the same as wrong."""

import pytest

from hub.spec import policy
from hub.spec.errors import SpecError


def test_a_policy_that_says_nothing_keeps_every_default():
    plain = policy.parse({})
    assert policy.parse({"required": None, "gates": None}) == policy.parse(b"required:\ngates:\n") == plain
    assert plain.required == () and "min_gain" in plain.gates


@pytest.mark.parametrize("key", ["required", "gates"])
def test_a_zero_in_place_of_a_list_or_a_mapping_is_refused(key):
    for value in (0, False, ""):
        with pytest.raises(SpecError, match=f"{key}.*must be a"):
            policy.parse({key: value})
