"""What heads and probes read of the frozen base model, computed by several processes at once.

A run takes one thread, so that workers fill a machine side by side. Making a benchmark ready happens once per base model
and is what a first publisher waits for: there every core may help. Whole bundles are dealt out, so each is computed
as one process alone would compute it, and the bits are the same whatever the number of processes.
"""

import contextlib
import dataclasses
import mmap
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from hub.runtime import predict
from hub.runtime.base import Backbone
from hub.runtime.predict import Batch, Encoded, States
from hub.spec.benchmark import Benchmark
from hub.spec.rows import Text
from workers import sandbox
from workers.errors import Fault

Work = Callable[[int], None]

MOST = 8
"""Processes at once."""
SMALLEST_SHARE = 2
"""Bundles of batches below which another process is not worth its fork."""


def limit(backbone: Backbone, benchmark: Benchmark) -> int:
    """Tokens per row: what the benchmark says, or what the base model can take if that is less."""
    return min(benchmark.max_length, backbone.max_length)


def pad(backbone: Backbone) -> int:
    """The id that fills a batch up."""
    return int(backbone.tokenizer.pad_token_id or 0)


def of_texts(backbone: Backbone, benchmark: Benchmark, rows: Sequence[Text]) -> tuple[list[Encoded], States]:
    """Token ids of texts or pairs of texts, and what heads and probes read of them."""
    pairs = [row.pair or "" for row in rows] if any(row.pair is not None for row in rows) else None
    encoded = predict.tokenise(backbone.tokenizer, [row.text for row in rows], pairs, limit(backbone, benchmark))
    return encoded, states(backbone, predict.batches(encoded, pad(backbone)))


def each(backbone: Backbone, cut: Sequence[Batch], token_types: bool = True) -> Iterator[tuple[int, torch.Tensor]]:
    """One pass of the encoder: (row, its last hidden states [tokens, hidden] in float32), batch by batch.

    Without `token_types` all tokens are of the first text.
    """
    for batch in cut:
        if not token_types:
            batch = dataclasses.replace(batch, token_type_ids=torch.zeros_like(batch.token_type_ids))
        found = predict.hidden(backbone, batch).float()
        sizes = batch.attention_mask.sum(1).tolist()
        for row, states, size in zip(batch.rows, found, sizes, strict=True):
            yield row, states[:size]


def tensors_of(found: States) -> dict[str, torch.Tensor]:
    """States by name, as they are kept on disk; `states_of` reads them back."""
    named = {"token": found.token, "mean": found.mean}
    return named if found.pooler is None else named | {"pooler": found.pooler}


def states_of(tensors: Mapping[str, torch.Tensor]) -> States:
    """What `tensors_of` wrote."""
    return States(tensors["token"], tensors.get("pooler"), tensors["mean"])


def states(backbone: Backbone, cut: Sequence[Batch], processes: int | None = None) -> States:
    """What `predict.states` gives, in the same bits. The caller has to be single-threaded, and outside the walls."""
    bundles = predict.bundles(cut)
    count = min(processes or _cores(), MOST, len(bundles) // SMALLEST_SHARE)
    if count < 2:
        return predict.states(backbone, cut)
    found = predict.room(backbone, sum(len(batch.rows) for batch in cut), _shared)
    # Bundles go from short rows to long ones: dealt out in turn, every process gets as much to do.
    with _helped(lambda share: predict.fill(backbone, bundles[share::count], found), count):
        predict.fill(backbone, bundles[0::count], found)
    return found


@contextmanager
def _helped(work: Work, count: int) -> Iterator[None]:
    """Have shares 1 to `count` - 1 done by children while the block does share 0. Raises Fault where one fails."""
    helpers = [_fork(work, share) for share in range(1, count)]
    try:
        yield
        while helpers:
            _, status = os.waitpid(helpers[0], 0)
            helpers.pop(0)
            if status:
                raise Fault(f"a process that helped with the features failed ({os.waitstatus_to_exitcode(status)})")
    finally:
        for helper in helpers:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(helper, signal.SIGKILL)
                os.waitpid(helper, 0)


def _fork(work: Work, share: int) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        sandbox.die_with_parent(parent)
        work(share)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _shared(rows: int, width: int) -> torch.Tensor:
    """Zeros [rows, width] in memory that children share."""
    return torch.frombuffer(mmap.mmap(-1, rows * width * 4), dtype=torch.float32).view(rows, width)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
