"""Asking the database in plain SQL for what must never be, and asking again with the defence taken away."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import IntegrityError, connection, models, transaction


@contextmanager
def undone() -> Iterator[None]:
    """Undo, at the end, all that was done inside."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def attempt(sql: str, params: Sequence[Any] = ()) -> psycopg.Error | None:
    """Run a statement to its end, deferred checks included; return the error it met, and leave no trace."""
    try:
        with undone(), connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(sql, params)
    except IntegrityError as error:
        cause = error.__cause__
        assert isinstance(cause, psycopg.Error)
        return cause
    return None


def refused(sql: str, params: Sequence[Any] = (), *, by: str, besides: Sequence[str] = ()) -> None:
    """Assert that the constraint `by` refuses a statement, and (negative control) that without it the statement passes.

    `besides` names further defences against the same statement; they are taken away for both askings.
    """
    with undone():
        for name in besides:
            drop(name)
        error = attempt(sql, params)
        assert error is not None, f"the database allowed: {sql} {params}"
        assert error.diag.constraint_name == by, f"refused by {error.diag.constraint_name}: {error}"
        drop(by)
        assert attempt(sql, params) is None


def drop(name: str) -> None:
    """Take away the constraint, trigger or index of this name; `%` stands for any ending."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(
            """
            SELECT format('ALTER TABLE %%s DROP CONSTRAINT %%I CASCADE', conrelid::regclass, conname)
            FROM pg_constraint WHERE conname LIKE %(name)s AND contype <> 't'
            UNION ALL
            SELECT format('DROP TRIGGER %%I ON %%s', tgname, tgrelid::regclass)
            FROM pg_trigger WHERE tgname LIKE %(name)s AND NOT tgisinternal
            UNION ALL
            SELECT format('DROP INDEX %%s', indexrelid::regclass)
            FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
            WHERE relname LIKE %(name)s AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
            """,
            {"name": name.replace("_", r"\_")},
        )
        found = [row[0] for row in cursor.fetchall()]
        assert found, f"nothing is called {name}"
        for statement in found:
            cursor.execute(statement)


@contextmanager
def alone(table: str) -> Iterator[None]:
    """Leave a table with its CHECKs and unique keys only: no triggers, no foreign keys from it or to it."""
    with undone(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(
            """
            SELECT format('ALTER TABLE %%s DROP CONSTRAINT %%I', conrelid::regclass, conname) FROM pg_constraint
            WHERE contype = 'f' AND (conrelid = %(table)s::regclass OR confrelid = %(table)s::regclass)
            UNION ALL
            SELECT format('DROP TRIGGER %%I ON %%s', tgname, tgrelid::regclass) FROM pg_trigger
            WHERE tgrelid = %(table)s::regclass AND NOT tgisinternal
            """,
            {"table": table},
        )
        for (statement,) in cursor.fetchall():
            cursor.execute(statement)
        yield


def update(row: models.Model, **changes: Any) -> tuple[str, list[Any]]:
    """Return the UPDATE that writes these columns of one row."""
    meta = row._meta
    sets = ", ".join(f"{column} = %s" for column in changes)
    values = [_adapted(row, column, value) for column, value in changes.items()]
    return f"UPDATE {meta.db_table} SET {sets} WHERE {meta.pk.column} = %s", [*values, row.pk]


def delete(row: models.Model) -> tuple[str, list[Any]]:
    """Return the DELETE of one row."""
    return f"DELETE FROM {row._meta.db_table} WHERE {row._meta.pk.column} = %s", [row.pk]


def insert_like(row: models.Model, **changes: Any) -> tuple[str, list[Any]]:
    """Return the INSERT of a row equal to this one but for these columns (and, where it counts up, its key)."""
    values = {}
    for field in row._meta.concrete_fields:
        counted = field.primary_key and isinstance(field, models.AutoField)
        if not field.generated and not counted:
            value = changes.get(field.column, getattr(row, field.attname))
            values[field.column] = _adapted(row, field.column, value)
    columns = ", ".join(values)
    marks = ", ".join(["%s"] * len(values))
    return f"INSERT INTO {row._meta.db_table} ({columns}) VALUES ({marks})", list(values.values())


def _adapted(row: models.Model, column: str, value: Any) -> Any:
    field = next(f for f in row._meta.concrete_fields if f.column == column)
    return field.get_db_prep_save(value, connection) if isinstance(field, models.JSONField) else value
