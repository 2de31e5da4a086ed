"""The Celery app of a worker: one queue of hints. Start it with `celery -A workers.celery worker --pool solo`.

A hint says "there may be work" and names a run; whether there is, the registry says when it is asked. So nothing has
to arrive, nothing is acknowledged late, and no result is kept.
"""

import logging

from celery import Celery
from celery.signals import worker_ready

from workers import sandbox, settings

QUEUE = "runs"
VALIDATE = "workers.validate"
HOUR = 3600


def configured(broker: str) -> Celery:
    """An app that knows the queue of runs, and asks of the broker nothing beyond it."""
    app = Celery("workers", broker=broker, include=("workers.jobs",))
    app.conf.update(
        task_default_queue=QUEUE,
        task_create_missing_queues=False,
        task_queues={QUEUE: {"exchange": QUEUE, "routing_key": QUEUE}},
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
        broker_transport_options=_redis(broker),
    )
    return app


def _redis(broker: str) -> dict[str, object]:
    if not broker.startswith(("redis", "rediss")):
        return {}
    return {"visibility_timeout": HOUR, "socket_connect_timeout": 3, "socket_keepalive": True}


sandbox.hide()
# It logs whole addresses, and a presigned one is a key for whoever reads the log.
logging.getLogger("httpx2").setLevel(logging.WARNING)
app = configured(settings.read().broker)


@worker_ready.connect  # type: ignore[untyped-decorator]
def look_for_work(**_: object) -> None:
    """A hint to ourselves: what waited while no worker was there, or was ours before a crash, is claimed at once."""
    app.send_task(VALIDATE, kwargs={}, queue=QUEUE)
