"""`manage.py derive`: what an earlier edition of this hub did not note of its rows."""

from typing import Any

from django.core.management.base import BaseCommand

from registry.services import fits


class Command(BaseCommand):
    """Prints how many rows of each kind it has written. Stopped anywhere and run again, it goes on; then there is nothing to do."""

    help = "Derive what adapters need, what base models offer and what weights files say, where that is not noted yet."
    requires_system_checks = ()

    def handle(self, *args: Any, **given: Any) -> None:
        """Derive and tell."""
        for what, count in fits.note_missing().items():
            self.stdout.write(f"{what}: {count}")
