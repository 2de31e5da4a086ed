"""The backbone process: holds frozen base models, forks a child per run, never reads an upload itself.

Started by `workers.process` as `python -m workers.backbone READ WRITE PARENT SCRATCH ISOLATION` with an empty environment
and no descriptors but its two pipes. It says first which walls hold here, {"walls": ["network", ...]}, and where its parent
asks for those that are missing it gets no run. {"open": {fingerprint: folder}} has base models opened before a run asks for them and is
not answered; an assignment is answered by stages and one result:

    {"stage": "score glue/sst2"} ...      then one of
    {"report": {...}}                                the child finished
    {"fault": "killed by SIGSEGV while effect",      it did not, which says nothing about the adapter; `started`
     "started": true, "benchmark": null}             says whether the child that runs it was at work, `benchmark` which
                                                     one could not be made ready
    {"cancelled": true}                              because {"cancel": true} came in

It dies with its parent, and its children die with it.
"""

import argparse
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from workers import pipes, sandbox, selftest, walls
from workers.assignment import Assignment, Limits
from workers.errors import Fault, is_memory, plain
from workers.sandbox import NOTHING, Child, Reach
from workers.shelf import Message, Shelf, Tell, Work
from workers.walls import Isolation

SETTINGS = {
    # One thread: a pool of threads does not survive a fork.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""What the libraries read when they are imported; set by `main`, because the environment comes empty."""
MOST_SAID = pipes.LARGEST - (1 << 16)
"""Bytes that a child may say in all: its report, completed here, has to fit into one message."""
TRACE = 8000
"""Characters that are kept of a traceback."""


class Cancelled(Exception):
    """The worker no longer wants the answer."""


class Server:
    """One assignment at a time, for as long as the parent lives."""

    def __init__(
        self, commands: int, answers: int, scratch: Path, isolation: Isolation, raised: Collection[str] = walls.MEANS
    ) -> None:
        self.commands = pipes.Reader(commands)
        self.answers = answers
        self.isolation = isolation
        self.raised = raised
        self.shelf = Shelf(scratch, self._in_child, lambda stage: pipes.send(answers, {"stage": stage}))

    def serve(self) -> None:
        """Answer assignments until the parent closes its end."""
        while not self.commands.ended:
            for message in self.commands.read():
                if "open" in message:
                    self._open_ahead(message["open"])
                elif "run" in message:
                    self._reply(self._answer(Assignment.from_json(message)))

    def _reply(self, answer: Message) -> None:
        try:
            pipes.send(self.answers, answer)
        except ValueError as error:  # too large, or what JSON cannot say
            pipes.send(self.answers, {"fault": f"the child's result cannot be told: {error}"})

    def _answer(self, assignment: Assignment) -> Message:
        started = False
        try:
            backbone = self.shelf.backbone(assignment)
            prepared = {
                files.benchmark.digest: self.shelf.prepared(backbone, files, assignment.limits)
                for files in assignment.benchmarks
            }
            started = True
            found = self._in_child(_judging(assignment, backbone, prepared), assignment.limits)
            self._still_frozen(backbone)
            answer = {"report": self._completed(found), "held": self.shelf.held}
            self.shelf.note(backbone, found.get("wanted"), among=prepared)
            return answer
        except Cancelled:
            return {"cancelled": True}
        except Fault as fault:
            return {"fault": str(fault), "started": started and fault.started, "benchmark": fault.benchmark}
        except Exception as error:
            traceback.print_exc()
            return {"fault": f"{type(error).__name__}: {error}", "started": started}

    def _completed(self, found: Any) -> Message:
        """A child's report with what it cannot know: how it was confined."""
        report = found.get("report") if isinstance(found, dict) else None
        if not isinstance(report, dict) or not isinstance(report.get("environment"), dict):
            raise Fault("the child gave something that is no report")
        return report | {"environment": report["environment"] | {"isolation": self.isolation.to_json()}}

    def _open_ahead(self, folders: dict[str, str]) -> None:
        """Base models that runs will ask for; one that cannot be opened is told to the run that needs it."""
        for fingerprint, folder in folders.items():
            try:
                self.shelf.open(fingerprint, Path(folder))
            except Exception:
                traceback.print_exc()

    def _still_frozen(self, backbone: Any) -> None:
        """The files under the mapping have to be what they were, or no verdict of this process counts."""
        if not self.shelf.holds_unchanged(backbone):
            self.shelf.drop(backbone.fingerprint)
            raise Fault(f"the base model in {backbone.folder} was changed on disk while it was in use", started=False)

    def _in_child(self, work: Work, limits: Limits, reach: Reach = NOTHING) -> Any:
        """Fork, relay stages, give the result. Raises Fault where the child does not come to one.

        Nothing of the child is left then: neither its process group nor what slipped out of that.
        """
        child = sandbox.fork(_talking(work), limits, reach, self.raised)
        try:
            stage, message = self._listen(child, time.monotonic() + limits.seconds)
        finally:
            status = child.end()
            if not sandbox.end_leftovers():
                raise Fault("what the child has left behind does not end")
        if message is None:
            raise Fault(f"{_ending(status)} while {stage}")
        return _result(message)

    def _listen(self, child: Child, deadline: float) -> tuple[str, Message | None]:
        """Relay what the child says until its result; gives the last stage and the result, None where it ended without.

        Its words are bounded and nothing in them is believed: who is behind the walls may say anything.
        """
        from workers.early import COMPLETING

        reader, stage = pipes.Reader(child.pipe, MOST_SAID), "start"
        try:
            while not reader.ended:
                ready, _, _ = select.select(
                    [child.pipe, self.commands.descriptor], [], [], max(0.0, deadline - time.monotonic())
                )
                if time.monotonic() >= deadline:
                    raise Fault(f"time limit passed while {stage}")
                if self.commands.descriptor in ready:
                    self._interrupted()
                for message in reader.read() if child.pipe in ready else []:
                    if "stage" not in message:
                        return stage, message
                    stage = plain(message["stage"])
                    if stage.endswith(COMPLETING):
                        child.step_back()
                    pipes.send(self.answers, {"stage": stage})
        except ValueError as error:
            raise Fault(f"the child said what no child says while {stage}: {error}") from error
        return stage, None

    def _interrupted(self) -> None:
        """Something came from the parent while a child works: a wish to stop, or its end."""
        messages = self.commands.read()
        if self.commands.ended or any("cancel" in message for message in messages):
            raise Cancelled


def _judging(assignment: Assignment, backbone: Any, prepared: Any) -> Work:
    def enter() -> Callable[[Tell], Message]:
        from workers import engine

        # Read, not parsed: behind the walls the child cannot open files any more.
        snapshot = engine.in_memory(assignment.snapshot)
        wanted: dict[str, int] = {}

        def judge(tell: Tell) -> Message:
            report = engine.judge(assignment, backbone, prepared, snapshot, tell, wanted.__setitem__)
            return {"report": report, "wanted": wanted}

        return judge

    return enter


def _talking(work: Work) -> Callable[[], Callable[[int], None]]:
    """Work that speaks through a pipe: stages while it goes on, then its result or how it failed."""

    def enter() -> Callable[[int], None]:
        try:
            inner = work()
        except MemoryError:
            return lambda pipe: pipes.send(pipe, {"fault": "out of memory"})
        return lambda pipe: pipes.send(pipe, _outcome(inner, lambda stage: pipes.send(pipe, {"stage": stage})))

    return enter


def _outcome(work: Callable[[Tell], Message], tell: Tell) -> Message:
    try:
        return {"result": work(tell)}
    except Fault as fault:
        return {"fault": str(fault), "started": fault.started}
    except Exception as error:
        if is_memory(error):
            return {"fault": "out of memory"}
        return {"fault": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}


def _result(message: Message) -> Any:
    """What a child has found. That its fault is no attempt is believed only on a worker that does lack PEFT."""
    if "result" in message:
        return message["result"]
    if "trace" in message:
        print(plain(message["trace"], TRACE), file=sys.stderr)
    from workers import library

    started = message.get("started") is not False or library.installed()
    raise Fault(plain(message.get("fault", "the child gave no result")), started=started)


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with status {os.waitstatus_to_exitcode(status)}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Hold frozen base models; answer assignments from a pipe.")
    parser.add_argument("commands", type=int)
    parser.add_argument("answers", type=int)
    parser.add_argument("parent", type=int)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("isolation", choices=("required", "best", "off"))
    given = parser.parse_args()
    sandbox.die_with_parent(given.parent)
    os.environ.update(SETTINGS)
    raised, isolation = _withdraw(given.scratch, asked=given.isolation != "off")
    pipes.send(given.answers, {"walls": list(isolation.held)})

    import torch

    torch.set_num_threads(1)
    from workers import engine, library  # noqa: F401  loads transformers and the engine once, for all children

    pipes.send(given.answers, {"ready": True})
    library.ready()
    Server(given.commands, given.answers, given.scratch, isolation, raised).serve()


def _withdraw(scratch: Path, asked: bool) -> tuple[frozenset[str], Isolation]:
    """Leave what children must not reach, see which walls hold for them; gives the means to raise them by."""
    sandbox.adopt_orphans()
    namespace = asked and sandbox.leave_network()
    sandbox.hide()
    raised = sandbox.means() if asked else frozenset()
    return raised, selftest.run(scratch, raised, namespace) if asked else walls.found((), asked=False)


if __name__ == "__main__":
    main()
