"""What the backbone process holds from run to run: base models, benchmarks made ready for them, states of their lower layers.

Each is bounded in bytes, and what was unused for longest goes first. What lies on disk is made by forked children that hold no
upload, each in a folder of its own, taken from there and mapped read-only: no run can change what the next one reads, and no
benchmark what is made of another.
"""

import collections
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Collection, Hashable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from workers.assignment import Assignment, BenchmarkFiles, Limits
from workers.errors import Fault
from workers.sandbox import Reach

BASES_BYTES = 8 << 30
"""Weights of base models held at once; the newest is held whatever its size."""
READY_BYTES = 1 << 30
"""Token ids of benchmarks held at once."""
DISK_BYTES = 8 << 30
"""Files of prepared benchmarks and of states in the scratch folder."""
MOST_ENDS, REST_SECONDS = 3, 3600.0
"""How often a benchmark may end the child that makes it ready, and the seconds that it is then left alone."""
_UNFIT = "cannot be made ready"
ASKED_TWICE = 2
"""How often a layer has to be asked for before the states that enter it are kept: once may be the last time."""

Message = dict[str, Any]
Tell = Callable[[str], None]
Work = Callable[[], Callable[[Tell], Message]]
"""Entered outside the walls, it gives what is done inside them."""
InChild = Callable[[Work, Limits, Reach], Any]

Stamp = frozenset[tuple[Any, ...]]
TRUSTED_SECONDS = 60.0
"""How long a base model's files are trusted that look untouched."""
Key = TypeVar("Key", bound=Hashable)


class Bounded(Generic[Key]):
    """Values with a size each; beyond `most` bytes the one unused for longest goes, never the newest."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._held: collections.OrderedDict[Key, tuple[Any, int]] = collections.OrderedDict()

    def get(self, key: Key) -> Any:
        """The value, used now; None where there is none."""
        if key not in self._held:
            return None
        self._held.move_to_end(key)
        return self._held[key][0]

    def put(self, key: Key, value: Any, nbytes: int) -> list[Key]:
        """Hold a value; returns the keys that had to go for it."""
        self._held[key] = value, nbytes
        self._held.move_to_end(key)
        gone = []
        while len(self._held) > 1 and sum(size for _, size in self._held.values()) > self.most:
            gone.append(self._held.popitem(last=False)[0])
        return gone

    def drop(self, key: Key) -> None:
        """Forget a value, if it is held."""
        self._held.pop(key, None)

    def __iter__(self) -> Iterator[Key]:
        """What is held, unused for longest first."""
        return iter(list(self._held))


class Shelf:
    """What one backbone process holds. `in_child` runs work in a forked child, `tell` hears a stage."""

    def __init__(self, scratch: Path, in_child: InChild, tell: Tell) -> None:
        self.scratch, self._in_child, self._tell = scratch, in_child, tell
        self._bases: Bounded[str] = Bounded(BASES_BYTES)
        self._stamps: dict[str, tuple[Stamp, float]] = {}
        """Fingerprint -> what the base model's files looked like when they were last hashed, and when that was."""
        self._ready: Bounded[tuple[str, str]] = Bounded(READY_BYTES)
        self._asked: collections.Counter[tuple[str, str, int]] = collections.Counter()
        self._ended: dict[str, tuple[int, float, str]] = {}
        """How often what is made of a benchmark has ended its child, when last, and of what."""
        self._given_up: set[tuple[str, str, int]] = set()
        """States that could not be kept, for lack of memory, disk or time: no run waits for a second try."""

    def backbone(self, assignment: Assignment) -> Any:
        """The base model of a run, opened if it is not."""
        if self._bases.get(assignment.fingerprint) is None:
            self._tell("base")
            self.open(assignment.fingerprint, assignment.base)
        return self._bases.get(assignment.fingerprint)

    @property
    def held(self) -> list[str]:
        """Fingerprints of the base models that are open."""
        return list(self._bases)

    def open(self, fingerprint: str, folder: Path) -> None:
        """Open a base model ahead of its runs."""
        from hub import runtime
        from workers import engine

        self._stamps[fingerprint] = _stamp(folder), time.monotonic()
        opened = runtime.open_backbone(folder, fingerprint=fingerprint)
        engine.warm(opened)
        size = sum(parameter.nbytes for parameter in opened.own.values())
        for gone in self._bases.put(fingerprint, opened, size):
            self._forget(gone)

    def holds_unchanged(self, backbone: Any) -> bool:
        """Whether the files of a base model are what they were. Each child hashes what it has computed with; here they are hashed
        where one was touched, and once a minute besides: a store through a mapping may leave the time of change as it was."""
        from hub import runtime

        stamp, (known, hashed) = _stamp(backbone.folder), self._stamps.get(backbone.fingerprint, (None, -math.inf))
        if stamp != known or time.monotonic() - hashed > TRUSTED_SECONDS:
            if runtime.rehash(backbone) != backbone.fingerprint:
                return False
            self._stamps[backbone.fingerprint] = stamp, time.monotonic()
        return True

    def drop(self, fingerprint: str) -> None:
        """Forget a base model and all that was made with it."""
        self._bases.drop(fingerprint)
        self._forget(fingerprint)

    def prepared(self, backbone: Any, files: BenchmarkFiles, limits: Limits) -> Any:
        """A benchmark made ready for a base model, with the states of lower layers that runs have asked for."""
        place = (backbone.fingerprint, files.benchmark.digest)
        found = self._ready.get(place)
        if found is None:
            found = self._made_ready(backbone, files, limits)
        found = self._with_trunks(backbone, found, files, limits)
        self._ready.put(place, found, sum(3 * batch.input_ids.nbytes for batch in found.batches))
        return found

    def _made_ready(self, backbone: Any, files: BenchmarkFiles, limits: Limits) -> Any:
        from workers import benchmarks, engine

        found = benchmarks.cached(backbone, files.benchmark, self.scratch)
        if found is None:
            self._prepare(backbone, files, limits)
            found = benchmarks.cached(backbone, files.benchmark, self.scratch)
        if found is None:
            raise Fault(f"nothing was made of the benchmark {files.benchmark.name}", started=False)
        engine.look_ahead(backbone, found)
        return found

    def _prepare(self, backbone: Any, files: BenchmarkFiles, limits: Limits) -> None:
        """Have a benchmark made ready. One that has ended its child several times is not tried again for a while."""
        from workers import benchmarks

        name, digest = benchmarks.name_of(backbone, files.benchmark), files.benchmark.digest
        ends, last, cause = self._ended.get(name, (0, 0.0, ""))
        if ends >= MOST_ENDS and time.monotonic() - last < REST_SECONDS:
            tried = f"tried {ends} times here, last: {cause}"
            raise Fault(f"benchmark {files.benchmark.name} {_UNFIT}: {tried}", benchmark=digest)
        try:
            self._make(name, files, limits, lambda made, tell: benchmarks.prepare(backbone, files, made, tell))
        except Fault as fault:
            if not fault.started:
                raise
            self._ended[name] = (ends + 1 if ends < MOST_ENDS else 1, time.monotonic(), str(fault))
            raise Fault(f"benchmark {files.benchmark.name} {_UNFIT}: {fault}", benchmark=digest) from fault
        self._ended.pop(name, None)

    def note(self, backbone: Any, wanted: Any, among: Collection[str]) -> None:
        """Remember the layers that a run asked for. Whoever says so is not believed: a number of a layer or nothing, for a
        benchmark `among` those of its own run."""
        layers = range(1, int(backbone.model.config.num_hidden_layers))
        for digest, layer in wanted.items() if isinstance(wanted, dict) else ():
            if type(layer) is int and layer in layers and digest in among:
                self._asked[backbone.fingerprint, digest, layer] += 1

    def _with_trunks(self, backbone: Any, found: Any, files: BenchmarkFiles, limits: Limits) -> Any:
        from workers import trunk

        known = dict(found.trunks)
        for (fingerprint, digest, layer), times in self._asked.items():
            if (fingerprint, digest) != (backbone.fingerprint, files.benchmark.digest) or layer in known:
                continue
            states = trunk.read(backbone, found, layer, self.scratch)
            if states is None and times >= ASKED_TWICE and (fingerprint, digest, layer) not in self._given_up:
                states = self._climbed(backbone, found, layer, files, limits)
            if states is not None:
                known[layer] = states
        return dataclasses.replace(found, trunks=known)

    def _climbed(self, backbone: Any, found: Any, layer: int, files: BenchmarkFiles, limits: Limits) -> Any:
        """States that are made now; None where they cannot be kept, which a run does without."""
        from workers import trunk

        try:
            name = trunk.name_of(backbone, found, layer)
            self._make(name, files, limits, lambda made, tell: trunk.write(backbone, found, layer, made))
        except Fault as fault:
            self._given_up.add((backbone.fingerprint, files.benchmark.digest, layer))
            print(f"the states that enter layer {layer} are not kept: {fault}", file=sys.stderr)
            return None
        return trunk.read(backbone, found, layer, self.scratch)

    def _make(self, name: str, files: BenchmarkFiles, limits: Limits, work: Callable[[Path, Tell], None]) -> None:
        """Have a child make a file of this name, and nothing else, then keep what is ready within its bytes."""
        from workers import benchmarks, scratch

        kept = benchmarks.folder(self.scratch)
        read = (files.data,) if files.train is None else (files.data, files.train)
        with scratch.making(self.scratch / "making") as made:

            def done(tell: Tell) -> Message:
                try:
                    work(made, tell)
                except OSError as error:
                    return {"unwritten": f"{type(error).__name__}: {error}"}
                return {}

            told = self._in_child(lambda: done, limits, Reach(read, (made,), helpers=True))
            if isinstance(told, dict) and "unwritten" in told:  # a full disk, say: of this machine
                raise Fault(
                    f"what is made of a benchmark cannot be kept: {str(told['unwritten'])[:500]}", started=False
                )
            scratch.take(made / name, kept)
        scratch.tidy(kept.iterdir(), DISK_BYTES)

    def _forget(self, fingerprint: str) -> None:
        for key in self._ready:
            if key[0] == fingerprint:
                self._ready.drop(key)


def _stamp(folder: Path) -> Stamp:
    found = [(path, path.stat()) for path in folder.iterdir()]
    return frozenset((path.name, said.st_ino, said.st_size, said.st_ctime_ns) for path, said in found)
