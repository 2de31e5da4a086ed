"""The answers that an adapter's own stand beside: of what needs no adapter, and of the version before."""

from collections.abc import Callable
from typing import Any, TypeVar

from hub.spec import tasks
from workers import probe
from workers.evaluation import Prepared, Previous

A = TypeVar("A")


def _as_they_are(predictions: Any) -> Any:
    return predictions


def baselines(prepared: Prepared, majority: A, adapter_off: A, read: Callable[[Any], A] = _as_they_are) -> dict[str, A]:
    """Answers to the scored rows by their name in `comparing.BASELINES`; the probe's are there where one could be fitted, and
    `read` gives its predictions the form of the others."""
    found = {"majority": majority, "adapter_off": adapter_off}
    return found if prepared.probe is None else found | {"probe": read(prepared.probe.predictions)}


def former(previous: Previous | None, rows: int, read: Callable[[list[Any]], A | None]) -> tuple[str, A] | None:
    """(adapter digest, answers) of the version before, as `comparing.compared` takes them; None without one, or where it was
    asked about other rows.

    `read` gives its predictions the form of an evaluator's answers, None where they do not go with the rows.
    """
    if previous is None or len(previous.predictions) != rows:
        return None
    answers = read(previous.predictions)
    return None if answers is None else (previous.adapter_digest, answers)


def warnings(prepared: Prepared) -> list[str]:
    """What has to be said of a benchmark without a probe."""
    return [] if prepared.probe is not None else [probe.none(tasks.get(prepared.benchmark.task))]
