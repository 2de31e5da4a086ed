"""Celery: carries hints, each a task's name and the id of a row. The row says whether there is work.

Nothing here has to arrive: the relay sends a hint again as long as its row waits. So messages are
acknowledged before the work begins, publishing does not insist, and no result is kept.
"""

import os
from typing import Any

from celery import Celery
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")

REGISTRY, RUNS = "registry", "runs"
TASKS = {REGISTRY: "registry.ingest", RUNS: "workers.validate"}
COMPARE = "registry.compare"
HOUR = 3600


def configured(name: str, broker: str, queue: str, include: tuple[str, ...] = ()) -> Celery:
    """Return an app that knows one queue on one broker."""
    app = Celery(name, broker=broker, include=include, set_as_current=queue != RUNS)
    app.conf.update(
        task_default_queue=queue,
        task_create_missing_queues=False,
        task_queues={queue: {"exchange": queue, "routing_key": queue}},
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=False,
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=5,
        broker_transport_options=transport_options(broker, queue),
        enable_utc=True,
        timezone="UTC",
    )
    return app


def transport_options(broker: str, queue: str) -> dict[str, Any]:
    """Return what a Redis connection needs; other brokers get nothing."""
    if not broker.startswith(("redis", "rediss")):
        return {}
    names = ("unacked", "unacked_index", "unacked_mutex")
    # The workers' queue keeps Celery's own names: only to them is a worker's Redis user let in.
    own = {} if queue == RUNS else {f"{name}_key": f"{queue}.{name}" for name in names}
    return own | {"visibility_timeout": HOUR, "socket_connect_timeout": 3, "socket_keepalive": True}


app = configured("registry", settings.BROKER_URL, REGISTRY, include=("registry.jobs",))
runs = configured("runs", settings.HUB_WORKER_BROKER_URL, RUNS)
