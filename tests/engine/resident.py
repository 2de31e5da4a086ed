"""A resident backbone process made of the real parts, whose next run is judged by hostile code in place of the engine's.

The process is forked from the test, so that code can be put into it; from there on everything is as `workers.backbone` has
it: the same server, the same fork, the same walls. After the attack it judges an honest run, which has to pass.
"""

import contextlib
import json
import os
import select
import signal
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hub.runtime.base import Backbone
from workers import engine, sandbox, walls
from workers.assignment import Assignment, Limits
from workers.backbone import Server

PATIENCE = 90.0
LIMITS = Limits(seconds=20, memory_gb=1.0)
MEANS = sandbox.means()
SECRET = "ahub_secret_of_somebody"
Attack = Callable[["Place"], object]


@dataclass(frozen=True)
class Place:
    """What an attack finds: a folder that anybody may write to, a process of somebody else, ports that listen."""

    folder: Path
    victim: int = 0
    parent: int = 0
    backbone: Any = None
    tell: Callable[[str], None] = print
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How an attacked run ended, and the honest one after it."""

    answer: dict[str, Any]
    after: dict[str, Any]
    lived: bool
    """Whether the resident process came to the end of its own accord."""

    @property
    def got(self) -> Any:
        """What the attack got hold of; None where the child did not live to tell."""
        return self.answer.get("report", {}).get("got")

    @property
    def passed(self) -> bool:
        """Whether the resident process lived, left nobody behind and let the next run pass."""
        return self.lived and self.after.get("report", {}).get("verdict") == "passed"

    @property
    def fault(self) -> str:
        return str(self.answer.get("fault", ""))


@dataclass(frozen=True)
class Resident:
    """A backbone process that holds `backbone` and judges `honest` runs on it."""

    backbone: Backbone
    honest: Assignment
    scratch: Path

    def attacked(
        self,
        attack: Attack,
        place: Place,
        raised: Collection[str] | None = None,
        limits: Limits = LIMITS,
        prepare: Callable[[], None] = lambda: None,
        honest: bool = True,
    ) -> Outcome:
        """Have a run judged by `attack`, behind the walls of the means `raised` (None: all that this kernel has).

        `prepare` is called in the resident process before. What the attack returns is what it got. `honest` says
        whether another run is judged afterwards.
        """

        def work() -> list[Any]:
            prepare()
            return self._serve(attack, place, sandbox.means() if raised is None else raised, limits, honest)

        told = self._forked(work)
        return Outcome(*(told or [{}, {}]), lived=bool(told))

    def answers(self, *runs: Assignment) -> list[dict[str, Any]]:
        """What it answers to real runs, one after another, each in a child behind all walls that this kernel has."""

        def work() -> list[Any]:
            server = self._server(sandbox.means())
            return [server._answer(run) for run in runs]

        return self._forked(work)

    def _forked(self, work: Callable[[], list[Any]]) -> list[Any]:
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            status = 1
            try:
                os.setpgid(0, 0)
                os.close(reading)
                told = work()
                with os.fdopen(writing, "w") as pipe:
                    pipe.write(json.dumps(told) + "\n")
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(writing)
        said = self._heard(reading)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return list(json.loads(said or "[]"))

    def _serve(self, attack: Attack, place: Place, raised: Collection[str], limits: Limits, honest: bool) -> list[Any]:
        server = self._server(raised)
        usual, mine = engine.judge, os.getpid()

        def hostile(assignment: Any, backbone: Any, prepared: Any, snapshot: Any, tell: Any, *_: Any) -> dict[str, Any]:
            met = replace(place, parent=mine, backbone=backbone, tell=tell)
            return {"got": attack(met), "environment": {}}

        engine.judge = hostile  # type: ignore[assignment]
        answer = server._answer(replace(self.honest, limits=limits))
        engine.judge = usual
        return [answer, server._answer(self.honest) if honest else {}]

    def _server(self, raised: Collection[str]) -> Server:
        sandbox.adopt_orphans()
        commands, _kept_open = os.pipe()
        server = Server(commands, os.open(os.devnull, os.O_WRONLY), self.scratch, walls.found(()), raised)
        server.shelf._bases.put(self.backbone.fingerprint, self.backbone, 0)
        return server

    @staticmethod
    def _heard(reading: int) -> bytes:
        found = b""
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            while not found.endswith(b"\n") and select.select([pipe], [], [], PATIENCE)[0]:
                if not (data := pipe.read(1 << 20)):
                    break
                found += data
        return found
