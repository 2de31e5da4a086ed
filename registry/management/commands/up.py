"""`manage.py up`: a whole hub as one foreground process that owns its children."""

import os
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from registry.embedded import hub
from registry.embedded.errors import EmbeddedError

DATA = Path(os.environ.get("HUB_DATA") or settings.BASE_DIR / "var")


def tell(text: str) -> None:
    """One line for the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


class Command(BaseCommand):
    """Runs until Ctrl-C or SIGTERM; started again on the same folder, everything is still there."""

    help = "Start PostgreSQL, Redis, the web server, the relay and the workers, and keep them running."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options of interfaces.md, and a few more."""
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: only this machine)")
        parser.add_argument("--data", type=Path, default=DATA, help="folder that holds everything (default: ./var)")
        parser.add_argument("--workers", type=int, default=1, help="validation workers (default: 1)")
        parser.add_argument("--no-demo", action="store_true", help="start without the demo content")
        parser.add_argument("--web-processes", type=int, default=2)
        parser.add_argument("--follow", action="store_true", help="show the children's logs too")

    def handle(self, *args: Any, **given: Any) -> None:
        """Run the hub; a problem ends the process with exit status 1 and one clear message."""
        options = hub.Options(
            data=given["data"].absolute(),
            port=given["port"],
            host=given["host"].strip("[]"),
            workers=max(0, given["workers"]),
            demo=not given["no_demo"],
            follow=given["follow"] or given["verbosity"] > 1,
            web_processes=max(1, given["web_processes"]),
        )
        if not 0 < options.port < 65536:
            raise CommandError(f"--port {options.port}: give a number from 1 to 65535")
        begin = time.monotonic()
        try:
            hub.up(options, tell, lambda running: self.welcome(running, time.monotonic() - begin))
        except EmbeddedError as error:
            raise CommandError(f"the hub stopped: {error}") from None
        except OSError as error:
            raise CommandError(f"the hub stopped: {error}") from None

    def welcome(self, running: hub.Hub, seconds: float) -> None:
        """Say where the hub is and what to do next."""
        folder = running.folder.path
        data = "" if folder == DATA.absolute() else f" --data {folder}"
        demo = "  demo     its adapters appear as they are judged\n" if running.options.demo else ""
        tell(
            f"ready after {seconds:.1f} s: {running.programs.environment['HUB_PUBLIC_URL']}\n"
            f"  data     {folder} (logs in {folder / 'logs'})\n"
            f"  sign in  as `operator`, password in {folder / 'secrets.json'} (operator_password)\n"
            f"  token    python manage.py token NAME --create --scope push{data}\n"
            f"{demo}"
            "  stop     Ctrl-C"
        )
