"""What the Redis user of workers may not do, whichever server it is."""

from collections.abc import Callable

import pytest
import redis


def assert_walled_in(everything: redis.Redis, worker: redis.Redis) -> None:
    """The worker's user reaches the queue of runs, and nothing of the registry's queue."""
    idle = "runs\x06\x161"  # a key of that queue by its priority, which no worker that runs meanwhile looks at
    everything.lpush("registry", "secret")
    everything.hset("registry.unacked", "tag", "secret")
    try:
        worker.lpush(idle, "hint")
        assert worker.brpop([idle], timeout=5) == (idle.encode(), b"hint")
        for act in forbidden(worker):
            with pytest.raises(redis.exceptions.ResponseError):
                act()
    finally:
        everything.delete("registry", "registry.unacked")


def forbidden(worker: redis.Redis) -> tuple[Callable[[], object], ...]:
    """Acts that would read, forge, list or empty what is not the worker's."""
    return (
        lambda: worker.lrange("registry", 0, -1),
        lambda: worker.rpop("registry"),
        lambda: worker.lpush("registry", "forged"),
        lambda: worker.hgetall("registry.unacked"),
        lambda: worker.eval("return redis.call('rpop', 'registry')", 0),
        worker.flushall,
        worker.flushdb,
        worker.keys,
        lambda: list(worker.scan_iter()),
        worker.randomkey,
        lambda: worker.config_get("requirepass"),
        worker.acl_list,
        lambda: worker.publish("any", "thing"),
    )
