"""A worker, as tests play it: it claims, beats and reports over the API."""

import dataclasses
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from hub.spec import policy
from registry.models import Run
from tests.registry import adapters
from tests.registry.cast import Answer, Caller


@dataclasses.dataclass
class Lease:
    """A run that was claimed, and the one who holds its token."""

    claim: dict[str, Any]
    holder: Caller

    @property
    def id(self) -> str:
        return str(self.claim["run"]["id"])

    @property
    def run(self) -> Run:
        return Run.objects.get(pk=self.id)

    def beat(self, **body: Any) -> Answer:
        return self.holder.post(f"runs/{self.id}/heartbeat", body)

    def report(self, report: dict[str, Any]) -> Answer:
        return self.holder.post(f"runs/{self.id}/report", {"report": report})

    def expire(self) -> None:
        """Let the time of the lease be over."""
        Run.objects.filter(pk=self.id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


def ask(worker: Caller, *bases: str, name: str = "w1", **more: Any) -> Answer:
    """Ask for a run."""
    return worker.post("runs/claim", {"worker": name, "bases": list(bases), "protocols": [policy.PROTOCOL], **more})


def take(worker: Caller, *bases: str, name: str = "w1", **more: Any) -> Lease:
    """Claim a run that is known to wait."""
    answer = ask(worker, *bases, name=name, **more)
    assert answer.status == 200, answer.json
    return Lease(answer.json, Caller(answer["token"]))


def push(owner: Caller, ref: str = "acme/tone-bert", **more: Any) -> Run:
    """Push an adapter and return the run it waits for."""
    answer = owner.push(ref, adapters.lora(hub={"benchmarks": ["acme/tone"]}, **more))
    assert answer.status == 202, answer.json
    return Run.objects.get(pk=answer["version"]["queue"]["run"])


ERROR = {"verdict": "error", "error": "the GPU fell off the bus"}


def at_once(jobs: list[Callable[[], Any]]) -> list[Any]:
    """Do these at the same moment, each in a thread with a database connection of its own; return what each gave."""
    barrier, found = threading.Barrier(len(jobs)), [None] * len(jobs)

    def work(n: int) -> None:
        barrier.wait()
        try:
            found[n] = jobs[n]()
        except Exception as error:
            found[n] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found
