"""What ends a run before its story does, sorted by whose fault it is.

* JobError
  x Rejected     the adapter's: told to its publisher, verdict `failed`
  x Fault        the machinery's (child killed, out of memory, time limit, base changed on disk):
                 verdict `error`, tried again
  x LeaseLost    the run is no longer ours: stop at once, tell nobody
"""

from hub.spec.errors import Problem


class JobError(Exception):
    """The root: everything that a worker raises on purpose."""


class Rejected(JobError):
    """The upload makes going on pointless or unsafe. `.problems` says what and how to mend it."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("; ".join(problem.message for problem in problems))


class Fault(JobError):
    """The infrastructure failed; says nothing about the adapter."""


class LeaseLost(JobError):
    """Another worker holds the run, or nobody does any more."""
