"""`manage.py token USER`: a new API token, from the server's own console."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from registry.errors import RegistryError
from registry.models import Scope
from registry.services import tokens


class Command(BaseCommand):
    """Prints the token and nothing else, so that `HUB_TOKEN=$(python manage.py token me --create)` works."""

    help = "Print a new API token for a user."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options of interfaces.md."""
        parser.add_argument("user")
        parser.add_argument("--scope", choices=Scope.values, default=Scope.PUSH.value)
        parser.add_argument("--create", action="store_true", help="make the user where there is none")
        parser.add_argument("--data", help="folder of the running hub (default: HUB_DATA, then ./var)")

    def handle(self, *args: Any, **given: Any) -> None:
        """Issue and print; a refusal is told on stderr with exit status 1."""
        try:
            secret = tokens.issue_by_operator(
                username=given["user"],
                scope=given["scope"],
                create=given["create"],
                name="made on the server",
            )
        except RegistryError as error:
            raise CommandError(f"{error} {error.hint}".strip()) from None
        except (ImproperlyConfigured, OperationalError):
            raise CommandError(
                "no database: no hub runs on this folder (start one with `python manage.py up`, or name the "
                "folder with --data), and DATABASE_URL names no server that answers"
            ) from None
        self.stdout.write(secret)
