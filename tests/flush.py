"""How tests that commit are tidied up after.

Django empties every table, which this database refuses, and then seeds nothing again.
"""

from collections.abc import Iterator
from typing import Any

import pytest


def empty_and_seed(empty: Any, operations: Any, statements: list[str]) -> None:
    """Empty the tables with the guards against TRUNCATE put aside, and seed what the first migration seeds."""
    from django.db import transaction

    with transaction.atomic(using=operations.connection.alias), operations.connection.cursor() as cursor:
        cursor.execute("SELECT tgname, tgrelid::regclass FROM pg_trigger WHERE tgname LIKE '%is\\_never\\_truncated'")
        guards = cursor.fetchall()
        for name, table in guards:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {name}")
        empty(operations, statements)
        for name, table in guards:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER {name}")
        cursor.execute(
            "INSERT INTO registry_namespace (id, name, kind, created_at) VALUES (1, 'library', 'library', now())"
        )
        # As the first migration does: where the sequences began anew, the next namespace must not become the library.
        cursor.execute("SELECT setval(pg_get_serial_sequence('registry_namespace', 'id'), 1)")


@pytest.fixture(scope="session", autouse=True)
def committed_tests_leave_the_seed() -> Iterator[None]:
    """Give `django_db(transaction=True)` back the database that the migrations made."""
    from django.db.backends.postgresql.operations import DatabaseOperations

    empty = DatabaseOperations.execute_sql_flush
    if empty.__module__ == __name__:  # in a run of several rooms each of them asks for this
        yield
        return
    patch = pytest.MonkeyPatch()

    def flush(self: Any, statements: list[str]) -> None:
        empty_and_seed(empty, self, statements)

    patch.setattr(DatabaseOperations, "execute_sql_flush", flush)
    yield
    patch.undo()
