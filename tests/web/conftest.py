"""The cast of the registry's tests, for those of its pages."""

import os

import django

# A conftest below the top is read before pytest_configure runs there: the models need Django now.
os.environ["DJANGO_SETTINGS_MODULE"] = "registry.settings"
django.setup()

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

__all__ = ["admin", "anybody", "base", "benchmark", "member", "owner", "published", "reader", "stranger", "worker"]
