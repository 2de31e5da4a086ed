"""What ends a run before its story does, sorted by whose fault it is.

* JobError
  x Rejected     the adapter's: told to its publisher as a failed check, verdict `failed`
  x Fault        the machinery's (child killed, out of memory, time limit, base changed on disk):
                 verdict `error`, tried again; an attempt if the adapter had started
  x LeaseLost    the run is no longer ours: stop at once, tell nobody
"""

from typing import Any

from hub.spec.errors import Problem

OUT_OF_MEMORY = ("allocate memory", "not enough memory", "could not create a primitive", "bad_alloc", "bad allocation")
"""How torch, oneDNN and the C++ library say it where no MemoryError is raised."""

WORDS = 500
"""Characters that are kept of what a child or a library says."""


def plain(words: object, most: int = WORDS) -> str:
    """Words of a stranger as they may stand in a log or a report: so many, and nothing that moves a terminal's cursor."""
    return "".join(mark if mark.isprintable() or mark == "\n" else "?" for mark in str(words)[:most])


def is_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)


class JobError(Exception):
    """The root: everything that a worker raises on purpose."""


class Rejected(JobError):
    """A step found the adapter at fault; what follows it cannot run. `.evidence` goes into the report."""

    def __init__(self, check: str, message: str, hint: str = "", evidence: dict[str, Any] | None = None) -> None:
        self.problem = Problem(f"run.{check}", "", message, hint, check)
        self.evidence = evidence or {}
        super().__init__(message)


class Fault(JobError):
    """The infrastructure failed; says nothing about the adapter.

    `started` tells whether the adapter's child was at work: only then does the run count an attempt (of three), for
    only then can the adapter be what kills its workers. `benchmark`: the digest of the one that could not be made ready,
    where that ended its child: it counts an attempt, too, and nothing is wrong with this machine.
    """

    def __init__(self, message: str, *, started: bool = True, benchmark: str | None = None) -> None:
        self.started, self.benchmark = started, benchmark
        super().__init__(message)


class LeaseLost(JobError):
    """Another worker holds the run, or nobody does any more."""
