"""`manage.py relay`: sends the outbox, frees expired leases, ends forgotten uploads; again and again."""

import logging
import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import close_old_connections

from registry.services import relay

logger = logging.getLogger("registry.relay")
LONGEST_PAUSE = 5.0


class Command(BaseCommand):
    """Runs until SIGTERM. Several may run at once; without a broker it goes on, and hints go out later."""

    help = "Run the relay: outbox, leases, upload expiry."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare one option."""
        parser.add_argument("--once", action="store_true", help="one round, then end")

    def handle(self, *args: Any, **given: Any) -> None:
        """Loop over relay.tick()."""
        stop = threading.Event()
        if given["once"]:
            relay.tick()
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        failures = 0
        while not stop.is_set():
            failures = 0 if round_went_well() else failures + 1
            stop.wait(min(settings.HUB_RELAY_MILLISECONDS / 1000 * 2**failures, LONGEST_PAUSE))


def round_went_well() -> bool:
    """Do one round. A failure (the database restarts) is logged and never the end of the relay."""
    close_old_connections()
    try:
        relay.tick()
    except Exception:
        logger.exception("a round of the relay failed")
        close_old_connections()
        return False
    return True
