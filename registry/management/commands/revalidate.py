"""`manage.py revalidate`: published versions are judged again, under the programs and machines of today."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from registry.errors import RegistryError
from registry.queries import viewers
from registry.services import revalidation


class Command(BaseCommand):
    """Prints how many runs were queued. They wait behind all others; what no longer passes is flagged, never withdrawn."""

    help = "Judge published versions again. What no longer passes is flagged as regressed; a later pass takes the flag back."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare which of them: all, those on a base model, those that ran a benchmark, so many by lot."""
        parser.add_argument("--all", action="store_true", dest="everything", help="every published version")
        parser.add_argument("--base", default="", metavar="NAME|FINGERPRINT", help="those on this base model")
        parser.add_argument("--benchmark", default="", metavar="NAME|DIGEST", help="those that ran this benchmark")
        parser.add_argument("--sample", type=int, metavar="N", help="so many of them, by lot")

    def handle(self, *args: Any, **given: Any) -> None:
        """Queue them and tell."""
        names = ("everything", "base", "benchmark", "sample")
        try:
            count = revalidation.queue(viewer=viewers.of_console(), **{name: given[name] for name in names})
        except RegistryError as error:
            raise CommandError(f"{error} {error.hint}".strip()) from None
        self.stdout.write(f"{count} {'run waits' if count == 1 else 'runs wait'} to be judged again")
