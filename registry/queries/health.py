"""Is the hub fit to serve, and how busy is it?"""

import time
from collections.abc import Callable
from typing import Any

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Min
from django.utils import timezone

from registry import celery
from registry.models import Outbox, Run, Upload, Version
from registry.queries import blobs

NOTHING = "0" * 64
REMEMBER_SECONDS = 15
_migrated: list[bool] = []
_remembered: dict[str, tuple[float, str]] = {}


def checks() -> dict[str, str]:
    """Return `ok` or what is wrong, for each thing without which the hub cannot serve."""
    return {"database": _try(_database), "migrations": _try(_migrations), "storage": _now_and_then(_store)}


def _try(check: Callable[[], None]) -> str:
    try:
        check()
    except Exception as error:
        return f"{type(error).__name__}"
    return "ok"


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _migrations() -> None:
    """Once applied, migrations stay applied: asked until then only."""
    if _migrated:
        return
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise RuntimeError("migrations are missing")
    _migrated.append(True)


def _store() -> None:
    blobs.store().size(NOTHING)


def broker() -> str:
    """Return `ok` or what is wrong with the broker, without which the hub serves all the same."""
    return _now_and_then(_broker)


def _broker() -> None:
    with celery.app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=2)


def _now_and_then(check: Callable[[], None]) -> str:
    """Ask others sparingly, as long as they are well."""
    now, (at, answer) = time.monotonic(), _remembered.get(check.__name__, (0.0, ""))
    if answer != "ok" or now - at > REMEMBER_SECONDS:
        answer = _try(check)
        _remembered[check.__name__] = now, answer
    return answer


def metrics() -> dict[str, float]:
    """Return the figures that a monitor watches, by name and labels. No name of anything private is in them."""
    runs = dict(Run.objects.values_list("status").annotate(n=Count("pk")))
    oldest = Run.objects.waiting().aggregate(at=Min("created_at"))["at"]
    unsent = Outbox.objects.filter(sent_at=None).aggregate(n=Count("pk"), at=Min("created_at"))
    uploads: dict[str, int] = dict(Upload.objects.pending().values_list("state").annotate(n=Count("pk")))
    return {
        **{f'hub_runs{{status="{status}"}}': runs.get(status, 0) for status in Run.Status.values},
        **{f'hub_uploads{{state="{state}"}}': uploads.get(state, 0) for state in ("open", "ingesting")},
        "hub_run_oldest_queued_seconds": _age(oldest),
        "hub_outbox_unsent": unsent["n"],
        "hub_outbox_oldest_seconds": _age(unsent["at"]),
        "hub_published_without_run": Version.objects.published().exclude(run__status=Run.Status.PASSED).count(),
    }


def _age(moment: Any) -> float:
    return (timezone.now() - moment).total_seconds() if moment else 0.0
