"""What the evaluators of ML tasks take and give: one module each in `workers.evaluators`, all with these two functions.

prepare(backbone, benchmark, rows, train, tell) -> Made     once per base model and benchmark, no adapter anywhere
score(subject, prepared, previous) -> Outcome               once per adapter
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from hub.runtime import predict
from hub.runtime.attached import REFERENCE
from hub.runtime.base import Backbone
from hub.runtime.predict import Batch, Encoded, Pooled, Trunks
from hub.spec import tasks
from hub.spec.benchmark import Benchmark
from workers.errors import Rejected
from workers.probe import Probe

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Made:
    """A benchmark as an evaluator makes it ready for a base model; all of it is kept on disk."""

    encoded: list[Encoded]
    """What goes through the model, in order; one row of the data may need several."""
    tensors: Tensors
    """Truth, places, features of the plain base, by names of the evaluator's own."""
    probe: Probe | None = None
    texts: Any = None
    """JSON: strings that measuring needs again."""


@dataclass(frozen=True)
class Prepared:
    """The same as it was read back from disk, cut into batches."""

    benchmark: Benchmark
    batches: tuple[Batch, ...]
    first_rows: Batch
    """The benchmark's first rows in one batch, for the check that an adapter does anything."""
    tensors: Tensors
    probe: Probe | None
    texts: Any = None
    stages: tuple[int, ...] = ()
    """How many batches each stage has; all in one, if nothing is said. Stages are samples of the rows."""
    trunks: Trunks = field(default_factory=dict)
    """States of the plain base where adapters on upper layers begin (`workers.trunk`), as far as they are kept."""

    @property
    def staged(self) -> list[tuple[Batch, ...]]:
        """The batches of each stage."""
        ends = list(itertools.accumulate(self.stages or (len(self.batches),)))
        return [self.batches[start:end] for start, end in itertools.pairwise([0, *ends])]

    def passes(self, backbone: Backbone) -> Iterator[tuple[list[int], Pooled]]:
        """Stage by stage: the numbers of its rows, and what a head reads of them with whatever is attached."""
        at = 0
        for cut in self.staged:
            end = at + sum(batch.input_ids.numel() for batch in cut)
            trunks = {layer: states[:, at:end] for layer, states in self.trunks.items()}
            yield sorted(row for batch in cut for row in batch.rows), predict.for_heads(backbone, cut, trunks)
            at = end

    def within(self, tokens: int) -> "Prepared":
        """The same with no row longer than `tokens`: an adapter may take positions of its own. Raises Rejected where answers
        lie in the rows, at places that a cut would move."""
        longest = max(batch.input_ids.shape[1] for batch in self.batches)
        if longest <= tokens:
            return self
        if not tasks.get(self.benchmark.task).read_whole:
            message = f"{self.benchmark.name}: rows have up to {longest} tokens, and beside the adapter's own there is room for {tokens}"
            raise Rejected("load", message, "train with fewer virtual tokens, or choose a benchmark of shorter rows")
        cut = tuple(predict.within(batch, tokens) for batch in self.batches)
        first_rows = predict.within(self.first_rows, tokens)
        return dataclasses.replace(self, batches=cut, first_rows=first_rows, trunks={})


@dataclass(frozen=True)
class Subject:
    """An adapter that is attached to its base model, ready to answer."""

    backbone: Backbone
    head: Any
    """The head it brings, as `hub.runtime.heads` builds it; None only where the ML task needs none."""
    declared: tuple[str, ...] | None
    """What it calls its classes, in the head's order."""
    plain: Callable[[], AbstractContextManager[None]]
    """Within it the adapter is switched off."""
    gates: Mapping[str, Any] = field(default_factory=dict)
    """What the plan asks of a score."""
    tell: Callable[[str], None] = lambda stage: None
    """Hears what is known before the end."""
    alone: bool = True
    """Whether nothing else of its run is to be scored, now or later."""
    runtime: str = REFERENCE
    """Whose arithmetic it is."""


@dataclass(frozen=True)
class Previous:
    """What the version behind `latest` answered for the same rows, as `Outcome.predictions` has it."""

    adapter_digest: str
    predictions: list[Any]


@dataclass(frozen=True)
class Outcome:
    """What one component did on one benchmark."""

    score: dict[str, Any]
    """As `comparing.compared` makes it: all of a report's score but the gates."""
    predictions: list[Any]
    """One JSON value a row of the data."""
    failures: tuple[tuple[str, str], ...] = ()
    """(message, hint) of what explains gates that were not passed, in their place; a warning where they were."""
    warnings: tuple[str, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)


def finite(logits: torch.Tensor, of: str) -> torch.Tensor:
    """What a head says, as it is. Raises FloatingPointError where that is no number for some (`of`: rows, words, tokens)."""
    if not bool(torch.isfinite(logits).all()):
        raise FloatingPointError(f"the head's logits are NaN or infinite for some {of}")
    return logits


class Evaluator(Protocol):
    """A module of `workers.evaluators`."""

    def prepare(
        self,
        backbone: Backbone,
        benchmark: Benchmark,
        rows: Sequence[Any],
        train: Sequence[Any] | None,
        tell: Callable[[str], None],
    ) -> Made:
        """Make a benchmark's rows ready, and fit the probe on its train split; `tell` hears the stage `probe`."""
        ...

    def score(self, subject: Subject, prepared: Prepared, previous: Previous | None) -> Outcome:
        """Run the adapted base model over a benchmark and measure it. The adapter is attached and enabled.

        Raises `labels.Mismatch` where the adapter's labels are not the benchmark's, FloatingPointError where its answers are
        not finite.
        """
        ...
