"""`manage.py storage`: does the blob store do what the hub stands on?"""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from registry.queries import blobs
from registry.storage.base import StorageError


class Command(BaseCommand):
    """Tries the live store and prints a line for each thing tried; exit status 1 where the hub cannot stand on it."""

    help = "Try the store that HUB_STORAGE names: conditions, checksums, ranges, multipart, signed lengths."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare one option."""
        parser.add_argument("--create", action="store_true", help="make the bucket or folder where there is none")

    def handle(self, *args: Any, **given: Any) -> None:
        """Make it if asked, try it, tell."""
        try:
            store = blobs.store()
            if given["create"] and store.make():
                self.stderr.write(f"made {store.address}")
            found = store.probe()
            self.stdout.write(str(found))
            found.require()
        except (StorageError, ValueError) as error:
            raise CommandError(str(error)) from None
