"""What the Redis user of workers may not do, whichever server it is."""

from collections.abc import Callable

import pytest
import redis


def assert_walled_in(everything: redis.Redis, worker: redis.Redis) -> None:
    """The worker's user reaches the queue of runs, and nothing of the registry's queue.

    Nothing is put where a process of the hub looks: to those this is junk.
    """
    idle, theirs = "runs\x06\x161", "registry\x06\x161"  # of both queues a priority that nobody asks for
    everything.lpush(theirs, "secret")
    try:
        worker.lpush(idle, "hint")
        assert worker.brpop([idle], timeout=5) == (idle.encode(), b"hint")
        for act in forbidden(worker, theirs):
            with pytest.raises(redis.exceptions.ResponseError):
                act()
        assert everything.lrange(theirs, 0, -1) == [b"secret"]
    finally:
        everything.delete(theirs)


def forbidden(worker: redis.Redis, theirs: str) -> tuple[Callable[[], object], ...]:
    """Acts that would read, forge, list or empty what is not the worker's."""
    return (
        lambda: worker.lrange(theirs, 0, -1),
        lambda: worker.rpop(theirs),
        lambda: worker.lpush(theirs, "forged"),
        lambda: worker.lrange("registry", 0, -1),
        lambda: worker.lpush("registry", "forged"),
        lambda: worker.hgetall("registry.unacked"),
        lambda: worker.eval(f"return redis.call('rpop', '{theirs}')", 0),
        worker.flushall,
        worker.flushdb,
        worker.keys,
        lambda: list(worker.scan_iter()),
        worker.randomkey,
        lambda: worker.config_get("requirepass"),
        worker.acl_list,
        lambda: worker.publish("any", "thing"),
    )
