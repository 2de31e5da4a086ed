"""docs/api.md is complete: every route and every code of a refusal is on it."""

import re
from pathlib import Path

import pytest

from registry import errors
from tests.registry.test_privacy import routes

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def plain(route: str) -> str:
    """Return a route as the page writes it."""
    route = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", route.strip("^$"))
    return re.sub(r"<\w+:(\w+)>", r"{\1}", route)


@pytest.mark.parametrize("route", sorted(routes()))
def test_every_route_is_on_the_page(route: str) -> None:
    assert re.search(rf"`(?:[A-Z]+ )+{re.escape(plain(route))}`", PAGE), plain(route)


def all_codes(kind: type[errors.RegistryError]) -> set[str]:
    """Return the codes of a kind of refusal and of all below it."""
    return {kind.code}.union(*(all_codes(below) for below in kind.__subclasses__()))


def test_every_code_is_on_the_page() -> None:
    source = "".join(path.read_text() for path in Path(errors.__file__).parent.rglob("*.py"))
    said = set(re.findall(r'\bcode="([a-z_]+)"', source)) | all_codes(errors.RegistryError)
    assert {code for code in said if f"`{code}`" not in PAGE} <= {"internal"}
