"""Messages to the broker: written with the change they tell of, sent by the relay, sent again without harm.

A message is a hint. It names a task and carries the id of a row and nothing else, so losing one costs time, and
delivering one five times changes nothing.
"""

import contextlib
import datetime
import logging
import uuid
from collections.abc import Iterable, Iterator

import kombu
from celery import Celery
from celery.exceptions import OperationalError as CeleryError
from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from kombu.exceptions import KombuError, OperationalError

from registry import celery
from registry.models import Outbox
from registry.models.events import Queue

logger = logging.getLogger(__name__)

VALIDATE, INGEST = celery.TASKS[celery.RUNS], celery.TASKS[celery.REGISTRY]
COMPARE = celery.COMPARE
KINDS = {
    VALIDATE: (Queue.RUNS, "run_id"),
    INGEST: (Queue.REGISTRY, "upload_id"),
    COMPARE: (Queue.REGISTRY, "digest"),
}
"""Which queue carries a kind of message, and what the task calls the id. A kind is the name of the task it starts."""

BATCH = 100
ANSWER_SECONDS = 5
BROKER_ERRORS = (KombuError, CeleryError, OSError)


def hint_run(run_id: uuid.UUID | str) -> None:
    """Tell the workers that a run waits."""
    _hint(VALIDATE, [run_id])


def hint_upload(upload_id: uuid.UUID | str) -> None:
    """Tell the registry's own jobs that an upload waits to be ingested."""
    _hint(INGEST, [upload_id])


def hint_comparison(digest: str) -> None:
    """Tell the registry's own jobs that a need or an offer waits to be compared."""
    _hint(COMPARE, [digest])


@transaction.atomic
def hint_again(*, kind: str, ids: Iterable[uuid.UUID | str], seconds: int) -> int:
    """Note a new message for each of these rows that had none in so many seconds; return how many.

    None is added while the broker still holds a full batch: nobody reads it, and more messages would change nothing.
    """
    waiting = dict.fromkeys(str(each) for each in ids)
    if not waiting or not _is_alone(kind):
        return 0
    queue, key = KINDS[kind]
    recent = Q(sent_at=None) | Q(sent_at__gt=Now() - datetime.timedelta(seconds=seconds))
    known = Outbox.objects.filter(recent, kind=kind, **{f"payload__{key}__in": list(waiting)})
    for told in known.values_list(f"payload__{key}", flat=True):
        waiting.pop(told, None)
    if not waiting or backlog(queue) >= BATCH:
        return 0
    return _hint(kind, waiting)


def _is_alone(kind: str) -> bool:
    """Whether no other relay is at this, until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext(%s))", [f"hint again {kind}"])
        return bool(cursor.fetchone()[0])


def _hint(kind: str, ids: Iterable[uuid.UUID | str]) -> int:
    queue, key = KINDS[kind]
    rows = [Outbox(queue=queue, kind=kind, payload={key: str(each)}) for each in ids]
    return len(Outbox.objects.bulk_create(rows))


def send_due() -> int:
    """Send what was not sent yet, oldest first, and return how many left. A broker that is down costs a line in the log."""
    return sum(_send(queue) for queue in Queue.values)


@transaction.atomic
def _send(queue: str) -> int:
    """Send the messages of one queue: the broker of the other may be down.

    The rows stay locked until they are marked, so that two relays send different ones. After a crash in between they
    are sent once more.
    """
    due = Outbox.objects.unsent().filter(queue=queue).select_for_update(skip_locked=True)
    rows = list(due[:BATCH])
    sent: list[int] = []
    try:
        for key in _publish(queue, rows):
            sent.append(key)  # at once: a broker that goes away half-way has taken these
    except BROKER_ERRORS as error:
        logger.warning("the broker of the queue %s is away, %d messages wait: %s", queue, len(rows) - len(sent), error)
    if sent:
        Outbox.objects.filter(pk__in=sent).update(sent_at=Now(), sends=F("sends") + 1)
    return len(sent)


def _publish(queue: str, rows: list[Outbox]) -> Iterator[int]:
    """Hand the messages over, giving the key of each that the broker took."""
    if not rows:
        return
    app = _app(queue)
    with _connected(app) as broker:
        for row in rows:
            app.send_task(row.kind, kwargs=row.payload, queue=queue, connection=broker, retry=False, ignore_result=True)
            yield row.pk


def backlog(queue: str) -> int:
    """Return how many messages the broker holds for a queue; 0 while it is away."""
    app = _app(queue)
    try:
        with _connected(app) as broker:
            declared = app.amqp.queues[queue](broker.default_channel).queue_declare()
            return int(declared.message_count)
    except BROKER_ERRORS:
        return 0


@contextlib.contextmanager
def _connected(app: Celery) -> Iterator[kombu.Connection]:
    """Give a fresh connection to the broker. Raises OperationalError, within seconds, where it does not answer.

    Fresh each time: kombu remembers on a connection what it has declared, and a broker that was wiped has forgotten it.
    """
    is_redis = str(app.conf.broker_url or "").startswith("redis")
    limits = {"socket_timeout": ANSWER_SECONDS} if is_redis else {}
    with app.connection_for_write(transport_options=limits) as broker:
        broker.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        try:
            yield broker
        except (*broker.connection_errors, *broker.channel_errors) as error:
            raise OperationalError(str(error)) from error


def _app(queue: str) -> Celery:
    return celery.runs if queue == Queue.RUNS else celery.app


@transaction.atomic
def forget_sent(*, seconds: int) -> int:
    """Delete messages that left so many seconds ago: an outbox is no archive. Returns how many."""
    old = Outbox.objects.filter(sent_at__lte=Now() - datetime.timedelta(seconds=seconds))
    return old.delete()[0]
