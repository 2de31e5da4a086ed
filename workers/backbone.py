"""The backbone process: holds frozen base models, forks a child per run, never reads an upload itself.

Started by `workers.process` as `python -m workers.backbone READ WRITE PARENT` with an empty environment and no
descriptors but its two pipes. {"open": {fingerprint: folder}} has base models opened before a run asks for them and is
not answered; an assignment is answered by stages and one result:

    {"stage": "score glue/sst2"} ...      then one of
    {"report": {...}}                                the child finished
    {"fault": "killed by SIGSEGV while effect",      it did not, which says nothing about the adapter; `started`
     "started": true}                                says whether the child that runs it was at work
    {"cancelled": true}                              because {"cancel": true} came in

It dies with its parent, and its children die with it.
"""

import argparse
import collections
import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers import pipes, sandbox
from workers.assignment import Assignment, BenchmarkFiles, Limits
from workers.errors import Fault
from workers.sandbox import Child

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
KEPT = 2
"""Base models held at once; the one unused for longest goes first."""
KEPT_READY = 32
"""Benchmarks held ready at once, over all base models."""

Message = dict[str, Any]
Tell = Callable[[str], None]
Work = Callable[[], Callable[[Tell], Message]]
"""Entered outside the walls, it gives what is done inside them."""


class Cancelled(Exception):
    """The worker no longer wants the answer."""


class Server:
    """One assignment at a time, for as long as the parent lives."""

    def __init__(self, commands: int, answers: int, scratch: Path) -> None:
        self.commands = pipes.Reader(commands)
        self.answers = answers
        self.scratch = scratch
        self.backbones: collections.OrderedDict[str, Any] = collections.OrderedDict()
        self.prepared: collections.OrderedDict[tuple[str, str], Any] = collections.OrderedDict()

    def serve(self) -> None:
        """Answer assignments until the parent closes its end."""
        while not self.commands.ended:
            for message in self.commands.read():
                if "open" in message:
                    self._open_ahead(message["open"])
                elif "run" in message:
                    pipes.send(self.answers, self._answer(Assignment.from_json(message)))

    def _answer(self, assignment: Assignment) -> Message:
        started = False
        try:
            backbone = self._backbone(assignment)
            prepared = {
                files.benchmark.digest: self._prepared(backbone, files, assignment.limits)
                for files in assignment.benchmarks
            }
            started = True
            report = self._in_child(_judging(assignment, backbone, prepared), assignment.limits, writes=False)
            self._still_frozen(backbone)
            return {"report": report}
        except Cancelled:
            return {"cancelled": True}
        except Fault as fault:
            return {"fault": str(fault), "started": started and fault.started}
        except Exception as error:
            traceback.print_exc()
            return {"fault": f"{type(error).__name__}: {error}", "started": started}

    def _open_ahead(self, folders: dict[str, str]) -> None:
        """Base models that runs will ask for; one that cannot be opened is told to the run that needs it."""
        for fingerprint, folder in folders.items():
            try:
                self._open(fingerprint, Path(folder))
            except Exception:
                traceback.print_exc()

    def _backbone(self, assignment: Assignment) -> Any:
        if assignment.fingerprint not in self.backbones:
            pipes.send(self.answers, {"stage": "base"})
            self._open(assignment.fingerprint, assignment.base)
        self.backbones.move_to_end(assignment.fingerprint)
        return self.backbones[assignment.fingerprint]

    def _open(self, fingerprint: str, folder: Path) -> None:
        from hub import runtime
        from workers import engine

        opened = runtime.open_backbone(folder, fingerprint=fingerprint)
        engine.warm(opened)
        self.backbones[fingerprint] = opened
        while len(self.backbones) > KEPT:
            gone, _ = self.backbones.popitem(last=False)
            for key in [key for key in self.prepared if key[0] == gone]:
                del self.prepared[key]

    def _prepared(self, backbone: Any, files: BenchmarkFiles, limits: Limits) -> Any:
        from workers import benchmarks

        place = (backbone.fingerprint, files.benchmark.digest)
        if place not in self.prepared:
            found = benchmarks.cached(backbone, files.benchmark, self.scratch)
            if found is None:
                self._in_child(_preparing(backbone, files, self.scratch), limits, writes=True)
                found = benchmarks.cached(backbone, files.benchmark, self.scratch)
            self.prepared[place] = found
        self.prepared.move_to_end(place)
        while len(self.prepared) > KEPT_READY:
            self.prepared.popitem(last=False)
        return self.prepared[place]

    def _still_frozen(self, backbone: Any) -> None:
        """The files under the mapping have to be what they were, or no verdict of this process counts."""
        from hub import runtime

        if runtime.rehash(backbone) != backbone.fingerprint:
            self.backbones.pop(backbone.fingerprint, None)
            raise Fault(f"the base model in {backbone.folder} was changed on disk while it was in use", started=False)

    def _in_child(self, work: Work, limits: Limits, writes: bool) -> Any:
        """Fork, relay stages, give the result. Raises Fault where the child does not come to one."""
        ends = (self.commands.descriptor, self.answers)
        child = sandbox.fork(_talking(work), ends, limits, writes)
        try:
            return self._listen(child, time.monotonic() + limits.seconds)
        finally:
            child.kill()
            os.close(child.pipe)

    def _listen(self, child: Child, deadline: float) -> Any:
        reader, stage = pipes.Reader(child.pipe), "start"
        while not reader.ended:
            ready, _, _ = select.select(
                [child.pipe, self.commands.descriptor], [], [], max(0.0, deadline - time.monotonic())
            )
            if not ready:
                child.kill()
                os.waitpid(child.pid, 0)
                raise Fault(f"time limit passed while {stage}")
            if self.commands.descriptor in ready:
                self._interrupted(child)
            for message in reader.read() if child.pipe in ready else []:
                if "stage" in message:
                    stage = message["stage"]
                    pipes.send(self.answers, message)
                else:
                    os.waitpid(child.pid, 0)
                    return _result(message)
        _, status = os.waitpid(child.pid, 0)
        raise Fault(f"{_ending(status)} while {stage}")

    def _interrupted(self, child: Child) -> None:
        """Something came from the parent while a child works: a wish to stop, or its end."""
        messages = self.commands.read()
        if self.commands.ended or any("cancel" in message for message in messages):
            child.kill()
            os.waitpid(child.pid, 0)
            raise Cancelled


def _judging(assignment: Assignment, backbone: Any, prepared: Any) -> Work:
    def enter() -> Callable[[Tell], Message]:
        from workers import engine

        # Read, not parsed: behind the walls the child cannot open files any more.
        snapshot = engine.in_memory(assignment.snapshot)
        return lambda tell: engine.judge(assignment, backbone, prepared, snapshot, tell)

    return enter


def _preparing(backbone: Any, files: BenchmarkFiles, scratch: Path) -> Work:
    def work(tell: Tell) -> Message:
        from workers import benchmarks

        benchmarks.prepare(backbone, files, scratch, tell)
        return {}

    return lambda: work


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
        return {"fault": str(fault)}
    except MemoryError:
        return {"fault": "out of memory"}
    except Exception as error:
        traceback.print_exc()
        if "allocate memory" in str(error):
            return {"fault": "out of memory"}
        return {"fault": f"{type(error).__name__}: {error}"}


def _result(message: Message) -> Any:
    if "result" in message:
        return message["result"]
    raise Fault(str(message.get("fault", "the child gave no result")))


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
    given = parser.parse_args()
    sandbox.die_with_parent(given.parent)
    os.environ.update(SETTINGS)
    isolated = sandbox.leave_network()
    sandbox.hide()

    import torch

    torch.set_num_threads(1)
    from workers import engine  # noqa: F401  loads transformers and the engine once, for all children

    pipes.send(given.answers, {"ready": True, "isolated": isolated})
    Server(given.commands, given.answers, given.scratch).serve()


if __name__ == "__main__":
    main()
