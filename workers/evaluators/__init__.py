"""One module per ML task: what its rows are to a model, what its predictions are and how they are scored
(`workers.evaluation` says what each has to offer)."""

import importlib

from hub.spec import tasks
from workers.evaluation import Evaluator


def of(task: str) -> Evaluator:
    """Return the module that judges an ML task. Raises SpecError for one that is not known."""
    found: Evaluator = importlib.import_module(f"workers.evaluators.{tasks.get(task).evaluator}")
    return found
