"""`manage.py requeue RUN|REF`: what ended in an error is done again."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from registry.errors import RegistryError
from registry.queries import viewers
from registry.services import requeue


class Command(BaseCommand):
    """Prints where the run or the version stands. Run again, it changes nothing; exit status 1 where it cannot be."""

    help = "Let a run, or a version's run or ingest, begin again after it ended in an error."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the one argument."""
        parser.add_argument("what", metavar="RUN|REF", help="the id of a run, or namespace/name[:version]")

    def handle(self, *args: Any, **given: Any) -> None:
        """Ask for it and tell."""
        try:
            self.stdout.write(requeue.requeue(viewer=viewers.of_console(), what=given["what"]))
        except RegistryError as error:
            raise CommandError(f"{error} {error.hint}".strip()) from None
