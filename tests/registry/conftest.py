"""What every test of the registry stands on."""

import os

import django

# A conftest below the top is read before pytest_configure runs there: the models need Django now.
os.environ["DJANGO_SETTINGS_MODULE"] = "registry.settings"
django.setup()

import pytest  # noqa: E402

from tests.flush import committed_tests_leave_the_seed  # noqa: E402
from tests.registry.cast import (  # noqa: E402
    admin,
    anybody,
    base,
    benchmark,
    member,
    owner,
    published,
    reader,
    stranger,
    worker,
)

__all__ = [
    "admin", "anybody", "base", "benchmark", "committed_tests_leave_the_seed", "member", "owner", "published", "reader",
    "stranger", "worker",
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_pauses(settings: pytest.FixtureRequest) -> None:
    """What failed may be tried again at once. The tests of the pauses set them."""
    settings.HUB_RETRY_SECONDS = 0  # type: ignore[attr-defined]
