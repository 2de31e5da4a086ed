"""What can be wrong with a document, said once and completely.

* SpecError(ValueError)      the input breaks the format; `.problems` lists every fault that was found
* Problem                    one fault: where it is, what it is, how to mend it

A caller that wants all faults at once collects them (`Collector`) and raises at the end.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

MAX_PROBLEMS = 50


@dataclasses.dataclass(frozen=True)
class Problem:
    """One fault. `where` names a file or field, `check` is one of the report's check names."""

    code: str
    where: str
    message: str
    hint: str = ""
    check: str = "files"

    def __str__(self) -> str:
        """This problem on one line, hint included."""
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} ({self.hint})" if self.hint else text

    def to_json(self) -> dict[str, str]:
        """The problem as the API and the reports write it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Problem:
        """Read what `to_json` wrote; unknown keys are ignored, so that an older client reads a newer hub."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{"hint": "", "check": "files"} | {name: str(value[name]) for name in names if name in value})


class SpecError(ValueError):
    """The input breaks the format. `str()` gives every problem, one a line."""

    problems: tuple[Problem, ...]

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(str(self))

    @classmethod
    def of(cls, code: str, where: str, message: str, hint: str = "", check: str = "files") -> SpecError:
        """An error with a single problem."""
        return cls([Problem(code, where, message, hint, check)])

    def __str__(self) -> str:
        """Every problem, one a line."""
        return "\n".join(str(problem) for problem in self.problems)

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the problems when the error crosses a process border."""
        return type(self), (self.problems,)


@contextlib.contextmanager
def as_check(name: str) -> Iterator[None]:
    """Count the problems of a SpecError raised inside as faults of this check of the report."""
    try:
        yield
    except SpecError as error:
        raise SpecError([dataclasses.replace(problem, check=name) for problem in error.problems]) from error


class Collector:
    """Gathers problems so that a person hears about all of them at once.

    At most MAX_PROBLEMS per check are told: a flood under one check must not hide the faults of another.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._counts: collections.Counter[str] = collections.Counter()

    def add(self, problem: Problem) -> None:
        """Remember one problem. A file of 20 000 wrong tensors does not need 20 000 sentences."""
        if problem in self.problems:
            return
        self._counts[problem.check] += 1
        if self._counts[problem.check] <= MAX_PROBLEMS:
            self.problems.append(problem)

    def problem(self, code: str, where: str, message: str, hint: str = "", check: str = "files") -> None:
        """Remember one problem, given by its fields."""
        self.add(Problem(code, where, message, hint, check))

    def extend(self, problems: Iterable[Problem]) -> None:
        """Remember several problems."""
        for problem in problems:
            self.add(problem)

    @contextlib.contextmanager
    def collect(self) -> Iterator[None]:
        """Swallow a SpecError raised inside and keep its problems."""
        try:
            yield
        except SpecError as error:
            self.extend(error.problems)

    def all(self) -> tuple[Problem, ...]:
        """Every problem, and for each check a line that counts those left out."""
        more = [
            Problem(
                "more", "", f"{count - MAX_PROBLEMS} more problems of this kind", "mend the first ones first", check
            )
            for check, count in self._counts.items()
            if count > MAX_PROBLEMS
        ]
        return (*self.problems, *more)

    def finalize(self) -> None:
        """Raise everything that was collected; do nothing if that is nothing."""
        if self.problems:
            raise SpecError(self.all())
