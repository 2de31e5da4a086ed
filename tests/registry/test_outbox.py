"""The outbox: what was committed is told, what was not is not, and a broker may do whatever it likes."""

import logging
import time
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from registry import celery
from registry.models import Outbox
from registry.services import outbox
from tests.registry import factories as make
from tests.registry.broker import broker, redis_server
from tests.registry.workers import at_once

__all__ = ["broker", "redis_server"]

pytestmark = pytest.mark.django_db


def unsent() -> int:
    return Outbox.objects.unsent().count()


def test_a_message_names_its_task_and_a_row(broker):
    outbox.hint_run("8b7f1f0c-5f5e-4f7e-9f0f-000000000001")
    outbox.hint_upload("8b7f1f0c-5f5e-4f7e-9f0f-000000000002")
    assert outbox.send_due() == 2
    assert broker.read("runs") == [{"task": "workers.validate", "run_id": "8b7f1f0c-5f5e-4f7e-9f0f-000000000001"}]
    assert broker.read("registry") == [{"task": "registry.ingest", "upload_id": "8b7f1f0c-5f5e-4f7e-9f0f-000000000002"}]


def test_messages_leave_in_order_and_once(broker):
    for n in range(5):
        outbox.hint_run(str(n))
    assert [outbox.send_due(), outbox.send_due()] == [5, 0]
    assert [message["run_id"] for message in broker.read("runs")] == list("01234")
    assert set(Outbox.objects.values_list("sends", flat=True)) == {1}


def test_what_is_rolled_back_is_never_told(broker):
    with transaction.atomic():
        outbox.hint_run("1")
        transaction.set_rollback(True)
    assert outbox.send_due() == 0
    assert broker.read("runs") == []


def test_a_broker_that_was_wiped_between_two_messages_gets_the_second(broker):
    outbox.hint_run("1")
    assert outbox.send_due() == 1
    broker.wipe()
    assert broker.read("runs") == []
    broker.wipe()
    outbox.hint_run("2")
    assert outbox.send_due() == 1
    assert [message["run_id"] for message in broker.read("runs")] == ["2"]


def test_while_the_broker_is_down_messages_wait_and_nothing_is_lost(broker, caplog):
    broker.stop()
    outbox.hint_run("1")
    outbox.hint_upload("2")
    started = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert outbox.send_due() == 0
    assert time.monotonic() - started < 3
    assert "is away, 1 messages wait" in caplog.text
    assert broker.server.password not in caplog.text
    assert unsent() == 2
    broker.start()
    assert outbox.send_due() == 2
    assert len(broker.read("runs")) == len(broker.read("registry")) == 1


def test_a_broker_that_hangs_holds_nobody_up_for_long(broker, monkeypatch):
    monkeypatch.setattr(outbox, "ANSWER_SECONDS", 1)
    outbox.hint_run("1")
    broker.hang()
    started = time.monotonic()
    assert outbox.send_due() == 0
    assert outbox.backlog("runs") == 0
    assert time.monotonic() - started < 10
    assert unsent() == 1
    broker.wake()
    assert outbox.send_due() == 1


def test_one_broker_that_is_down_does_not_keep_the_other_waiting(broker, monkeypatch):
    monkeypatch.setitem(celery.runs.conf, "broker_url", "redis+socket:///nowhere/redis.sock")
    outbox.hint_run("1")
    outbox.hint_upload("2")
    assert outbox.send_due() == 1
    assert len(broker.read("registry")) == 1
    assert unsent() == 1


def test_messages_that_were_sent_are_forgotten_and_those_that_wait_are_kept():
    long_ago = timezone.now() - timedelta(seconds=100)
    make.make_outbox(sent_at=long_ago)
    kept = [make.make_outbox(), make.make_outbox(sent_at=timezone.now()), make.make_outbox(created_at=long_ago)]
    assert outbox.forget_sent(seconds=60) == 1
    assert set(Outbox.objects.all()) == set(kept)


def test_a_row_is_hinted_at_again_once_in_a_while(broker):
    outbox.hint_run("1")
    assert outbox.hint_again(kind=outbox.VALIDATE, ids=["1", "2"], seconds=5) == 1
    outbox.send_due()
    assert outbox.hint_again(kind=outbox.VALIDATE, ids=["1", "2"], seconds=5) == 0
    Outbox.objects.update(sent_at=timezone.now() - timedelta(seconds=6))
    assert outbox.hint_again(kind=outbox.VALIDATE, ids=["1", "2"], seconds=5) == 2
    assert outbox.hint_again(kind=outbox.VALIDATE, ids=["1", "2"], seconds=5) == 0


def test_a_broker_that_nobody_reads_is_not_filled(broker):
    for n in range(outbox.BATCH):
        outbox.hint_run(str(n))
    assert outbox.send_due() == outbox.BATCH
    Outbox.objects.update(sent_at=timezone.now() - timedelta(seconds=60))
    assert outbox.hint_again(kind=outbox.VALIDATE, ids=["1"], seconds=5) == 0
    broker.wipe()
    assert outbox.hint_again(kind=outbox.VALIDATE, ids=["1"], seconds=5) == 1


@pytest.mark.django_db(transaction=True)
def test_two_relays_send_each_message_once(broker):
    for n in range(60):
        outbox.hint_run(str(n))
    sent = at_once([outbox.send_due] * 4)
    assert sum(sent) == 60
    assert sorted(int(message["run_id"]) for message in broker.read("runs")) == list(range(60))
    assert set(Outbox.objects.values_list("sends", flat=True)) == {1}


@pytest.mark.django_db(transaction=True)
def test_two_relays_hint_again_once(broker):
    found = at_once([lambda: outbox.hint_again(kind=outbox.VALIDATE, ids=["1", "2"], seconds=5)] * 4)
    assert sum(found) == 2


@pytest.mark.django_db(transaction=True)
def test_a_relay_that_dies_between_the_broker_and_its_mark_sends_again(broker, monkeypatch):
    """The price of losing nothing: a message may come twice."""
    outbox.hint_run("1")
    publish = outbox._publish

    def dying(queue, rows):
        yield from publish(queue, rows)
        if rows:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "_publish", dying)
        with pytest.raises(KeyboardInterrupt):
            outbox.send_due()
    assert unsent() == 1
    assert outbox.send_due() == 1
    assert [message["run_id"] for message in broker.read("runs")] == ["1", "1"]
