"""States below the first layer that an adapter touches are kept, and change no bit of what is answered."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hub.runtime import encoder
from hub.runtime.base import Backbone
from hub.runtime.predict import Trunks
from tests.engine import makers
from tests.engine.makers import on
from workers import benchmarks, trunk
from workers import scratch as scratch_files
from workers.assignment import Assignment, Limits
from workers.errors import Fault
from workers.evaluation import Prepared
from workers.process import BackboneProcess
from workers.shelf import Bounded, Shelf

UPPER = {"layers_to_transform": [1], "target_modules": ["query", "value"]}


@pytest.fixture
def prepared(tmp_path: Path, backbone: Backbone) -> Prepared:
    good = makers.teacher(tmp_path / "good", makers.TINY)
    files = makers.benchmark_of(tmp_path / "rows", good, makers.TINY, rows=200, train=0)
    return makers.ready(files, backbone, tmp_path / "scratch")


def firsts(prepared: Prepared, backbone: Backbone, trunks: Trunks) -> torch.Tensor:
    """First tokens and poolers of all stages, [rows, 2 * hidden]."""
    assert len(prepared.staged) == 3, "several stages, so that each has to find its own part"
    seen = [states for _, states in dataclasses.replace(prepared, trunks=trunks).passes(backbone)]
    return torch.cat([torch.cat([one.token, one.pooler], 1) for one in seen if one.pooler is not None])


def test_what_is_computed_on_from_kept_states_has_the_same_bits(
    prepared: Prepared, backbone: Backbone, tmp_path: Path, save_lora: Callable[..., Path]
) -> None:
    assert trunk.read(backbone, prepared, 1, tmp_path) is None
    trunk.write(backbone, prepared, 1, tmp_path)
    scratch_files.take(tmp_path / trunk.name_of(backbone, prepared, 1), benchmarks.folder(tmp_path))
    states = trunk.read(backbone, prepared, 1, tmp_path)
    assert states is not None
    plain = firsts(prepared, backbone, {})
    with on(backbone, save_lora(**UPPER)):
        assert trunk.asked(backbone) == 1
        whole, short, wrong = (firsts(prepared, backbone, kept) for kept in ({}, {1: states}, {1: states * 1.5}))
    assert torch.equal(whole, short)
    assert not torch.equal(whole, plain), "the adapter did nothing"
    assert not torch.equal(wrong, whole), "the kept states were not read"


def test_an_adapter_that_touches_a_lower_layer_does_not_begin_above_it(
    prepared: Prepared, backbone: Backbone, save_lora: Callable[..., Path]
) -> None:
    wrong = torch.zeros(1, sum(batch.input_ids.numel() for batch in prepared.batches), backbone.hidden_size)
    with on(backbone, save_lora(target_modules=["query"], layers_to_transform=[0])):
        assert trunk.asked(backbone) == 0
        assert torch.equal(firsts(prepared, backbone, {1: wrong}), firsts(prepared, backbone, {}))


def test_what_only_the_head_adapts_begins_at_the_last_layer(prepared: Prepared, backbone: Backbone) -> None:
    assert encoder.untouched(backbone) == 2
    assert trunk.asked(backbone) == 1, "the last layer has to be computed: its first token is asked for"


# --- the backbone process ---------------------------------------------------------------------------------------------
@pytest.fixture
def process(tmp_path: Path) -> Iterator[BackboneProcess]:
    found = BackboneProcess(tmp_path / "held")
    yield found
    found.stop()


def upper(tmp_path: Path) -> Assignment:
    good = makers.teacher(tmp_path / "upper", makers.TINY, **UPPER)
    files = makers.benchmark_of(tmp_path / "rows", good, makers.TINY, rows=200, train=0)
    return makers.assignment(good, makers.TINY, files)


def test_runs_on_upper_layers_have_the_lower_ones_kept_from_the_third_on(
    process: BackboneProcess, tmp_path: Path
) -> None:
    given, kept, digests = upper(tmp_path), [], set()
    for _ in range(4):
        digests.add(process.judge(given, lambda stage: None)["result_digest"])
        kept.append(len(list((tmp_path / "held").rglob("*.layer1.safetensors.*"))))
    assert kept == [0, 0, 1, 1]
    assert len(digests) == 1, "kept states change a result"


def test_states_that_cannot_be_kept_cost_no_run_its_verdict_and_are_tried_once(
    tmp_path: Path, backbone: Backbone
) -> None:
    good, tries = makers.teacher(tmp_path / "good", makers.TINY), []
    files = makers.benchmark_of(tmp_path / "rows", good, makers.TINY, rows=40, train=0)
    makers.ready(files, backbone, tmp_path / "held")

    def too_large(work: Any, limits: Limits, reach: Any) -> None:
        (made,) = reach.writes
        (made / "killed.tmp").write_bytes(b"half")
        tries.append(work)
        raise Fault("out of memory")

    shelf = Shelf(tmp_path / "held", too_large, lambda stage: None)
    for _ in range(5):
        assert shelf.prepared(backbone, files, Limits()).trunks == {}
        shelf.note(backbone, {files.benchmark.digest: 1}, {files.benchmark.digest})
    assert len(tries) == 1
    assert not list((tmp_path / "held").rglob("*.tmp")), "what a child that was ended has left half written"


class Layers:
    """A base model as far as `Shelf.note` looks at it."""

    fingerprint = "base:1"

    class model:
        class config:
            num_hidden_layers = 6


@pytest.mark.parametrize(
    "said", [None, [], "x", {"d": 0}, {"d": 6}, {"d": -1}, {"d": True}, {"d": "3"}, {"other": 3}, {"d": [3]}]
)
def test_a_child_can_ask_for_nothing_but_a_layer_of_a_benchmark_of_its_run(said: Any, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, lambda *given: None, lambda stage: None)
    for held in ("d", "other"):
        shelf._ready.put(("base:1", held), object(), 1)
    shelf.note(Layers, said, {"d"})
    assert not shelf._asked
    shelf.note(Layers, {"d": 3}, {"d"})
    assert shelf._asked == {("base:1", "d", 3): 1}


def test_what_was_unused_for_longest_goes_first_and_the_newest_stays_whatever_its_size() -> None:
    held: Bounded[str] = Bounded(10)
    assert held.put("a", 1, 4) == []
    assert held.put("b", 2, 4) == []
    assert held.get("a") == 1
    assert held.put("c", 3, 4) == ["b"]
    assert held.put("d", 4, 40) == ["a", "c"]
    assert (held.get("d"), held.get("a")) == (4, None)


def test_files_go_when_they_are_too_many_and_those_in_use_stay(tmp_path: Path) -> None:
    for at, name in enumerate("abcd"):
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, (at + 1, at + 1))
    scratch_files.used(tmp_path / "a")
    assert [path.name for path in scratch_files.tidy(tmp_path.iterdir(), 25)] == ["b", "c"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "d"]
    assert scratch_files.tidy(tmp_path.iterdir(), 0)[0].name == "d", "the last one stays"
