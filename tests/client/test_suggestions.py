"""Names that may have been meant."""

import pytest

from hub import errors, suggestions


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("me/nope", "me/gen", ""),
        ("me/gne", "me/gen", "me/gen"),
        ("mee/gen", "me/gen", "me/gen"),
        ("tny", "tiny", "tiny"),
    ],
)
def test_a_name_is_offered_where_more_than_its_namespace_is_alike(name: str, known: str, hint: str) -> None:
    told = suggestions.improve(errors.NotFound("it is not there"), name, [known]).hint
    assert told == (f"did you mean {hint}?" if hint else "")
