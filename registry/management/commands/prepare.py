"""`manage.py prepare`: what an embedded hub needs in its database before the doors open."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection

from registry.embedded import folder as folders
from registry.errors import RegistryError
from registry.queries import tokens as known_tokens
from registry.services import fits, tokens, users

OPERATOR, WORKER = "operator", "worker"
MIGRATION_LOCK = 0x68756221  # any number that is ours; two hubs on one database migrate one after the other


class Command(BaseCommand):
    """Migrates, derives what was not noted before, makes the user who may sign in at first, and the worker's token. Run again, it changes nothing."""

    help = "Migrate the database and make the operator and the worker's token of an embedded hub (`up` does this)."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the folder whose secrets.json is filled."""
        parser.add_argument("--data", type=Path, required=True)

    def handle(self, *args: Any, **given: Any) -> None:
        """Do all of it."""
        migrate()
        fits.note_missing()
        folder = folders.Folder(given["data"])
        secrets = folders.load_secrets(folder)
        users.make_operator(username=OPERATOR, password=secrets["operator_password"])
        if not is_usable(secrets.get("worker_token", "")):
            token = tokens.issue_by_operator(username=WORKER, scope="worker", create=True, name="embedded worker")
            folders.remember_secret(folder, "worker_token", token)


def migrate() -> None:
    """Bring the schema up to date, however long a statement takes."""
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("SET lock_timeout = 0")
        cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
    call_command("migrate", verbosity=0, interactive=False)
    connection.close()  # and with it lock and settings


def is_usable(secret: str) -> bool:
    """Tell whether the database knows this token, which it does not when it is another database than last time."""
    try:
        return known_tokens.find(secret).scope == "worker"
    except RegistryError:
        return False
