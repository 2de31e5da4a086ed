"""The backbone process: holds frozen base models, forks a child per run, never reads an upload itself.

Started by `workers.process` as `python -m workers.backbone READ WRITE PARENT` with an empty environment and no
descriptors but its two pipes. One message in (an assignment) is answered by stages and one result:

    {"stage": "score glue/sst2"} ...      then one of
    {"report": {...}}                                the child finished
    {"fault": "killed by SIGSEGV while effect"}      it did not, which says nothing about the adapter
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
from workers.assignment import Assignment, Limits
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

Message = dict[str, Any]


class Cancelled(Exception):
    """The worker no longer wants the answer."""


class Server:
    """One assignment at a time, for as long as the parent lives."""

    def __init__(self, commands: int, answers: int, scratch: Path) -> None:
        self.commands = pipes.Reader(commands)
        self.answers = answers
        self.scratch = scratch
        self.backbones: collections.OrderedDict[str, Any] = collections.OrderedDict()
        self.prepared: dict[tuple[str, str], Any] = {}

    def serve(self) -> None:
        """Answer assignments until the parent closes its end."""
        while not self.commands.ended:
            for message in self.commands.read():
                if "run" in message:
                    pipes.send(self.answers, self._answer(Assignment.from_json(message)))

    def _answer(self, assignment: Assignment) -> Message:
        try:
            backbone = self._backbone(assignment)
            prepared = {f.benchmark.digest: self._prepared(backbone, f, assignment) for f in assignment.benchmarks}
            report = self._in_child(_judging(assignment, backbone, prepared), assignment.limits, writes=False)
            self._still_frozen(backbone)
            return {"report": report}
        except Cancelled:
            return {"cancelled": True}
        except Fault as fault:
            return {"fault": str(fault)}
        except Exception as error:
            traceback.print_exc()
            return {"fault": f"{type(error).__name__}: {error}"}

    def _backbone(self, assignment: Assignment) -> Any:
        from hub import runtime

        known = self.backbones.get(assignment.fingerprint)
        if known is None:
            pipes.send(self.answers, {"stage": "base"})
            known = runtime.open_backbone(assignment.base, fingerprint=assignment.fingerprint)
            self.backbones[assignment.fingerprint] = known
        self.backbones.move_to_end(assignment.fingerprint)
        while len(self.backbones) > KEPT:
            gone, _ = self.backbones.popitem(last=False)
            self.prepared = {key: value for key, value in self.prepared.items() if key[0] != gone}
        return known

    def _prepared(self, backbone: Any, files: Any, assignment: Assignment) -> Any:
        from workers import benchmarks

        place = (backbone.fingerprint, files.benchmark.digest)
        if place not in self.prepared:
            found = benchmarks.cached(backbone, files.benchmark, self.scratch)
            if found is None:

                def work(tell: Callable[[str], None]) -> Message:
                    benchmarks.prepare(backbone, files, self.scratch, tell)
                    return {}

                self._in_child(work, assignment.limits, writes=True)
                found = benchmarks.cached(backbone, files.benchmark, self.scratch)
            self.prepared[place] = found
        return self.prepared[place]

    def _still_frozen(self, backbone: Any) -> None:
        """The files under the mapping have to be what they were, or no verdict of this process counts."""
        from hub import runtime

        if runtime.rehash(backbone) != backbone.fingerprint:
            self.backbones.pop(backbone.fingerprint, None)
            raise Fault(f"the base model in {backbone.folder} was changed on disk while it was in use")

    def _in_child(self, work: Callable[[Callable[[str], None]], Message], limits: Limits, writes: bool) -> Any:
        """Fork, relay stages, give the result. Raises Fault where the child does not come to one."""
        ends = (self.commands.descriptor, self.answers)
        child = sandbox.fork(lambda pipe: _work(work, pipe), ends, limits, writes)
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


def _judging(assignment: Assignment, backbone: Any, prepared: Any) -> Callable[[Callable[[str], None]], Message]:
    def work(tell: Callable[[str], None]) -> Message:
        from workers import engine

        return engine.judge(assignment, backbone, prepared, tell)

    return work


def _work(work: Callable[[Callable[[str], None]], Message], pipe: int) -> None:
    """The child's whole life: do the work, say how it ended."""
    try:
        pipes.send(pipe, {"result": work(lambda stage: pipes.send(pipe, {"stage": stage}))})
    except MemoryError:
        pipes.send(pipe, {"fault": "out of memory"})
    except RuntimeError as error:
        text = "out of memory" if "allocate memory" in str(error) else f"{type(error).__name__}: {error}"
        traceback.print_exc()
        pipes.send(pipe, {"fault": text})
    except Exception as error:
        if not isinstance(error, Fault):
            traceback.print_exc()
        pipes.send(pipe, {"fault": str(error) if isinstance(error, Fault) else f"{type(error).__name__}: {error}"})


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

    import torch

    torch.set_num_threads(1)
    from workers import engine  # noqa: F401  loads transformers and the engine once, for all children

    pipes.send(given.answers, {"ready": True, "isolated": isolated})
    Server(given.commands, given.answers, given.scratch).serve()


if __name__ == "__main__":
    main()
