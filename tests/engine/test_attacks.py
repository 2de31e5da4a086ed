"""Hostile and broken uploads: each is refused for its reason, and none of them comes near the backbone."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hub import runtime
from hub.runtime.base import Backbone
from tests.engine import makers
from tests.engine.makers import check, edit_json, failed, judged
from workers.assignment import BenchmarkFiles

WEIGHTS = "adapter_model.safetensors"
QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"
Attack = Callable[[Path], None]


def tensors(change: Callable[[dict[str, torch.Tensor]], None]) -> Attack:
    def attack(folder: Path) -> None:
        found = load_file(folder / WEIGHTS)
        change(found)
        save_file({key: value.contiguous() for key, value in found.items()}, folder / WEIGHTS)

    return attack


def adding(key: str, *shape: int) -> Attack:
    return tensors(lambda found: found.update({key: torch.ones(*shape)}))


def filling(value: float) -> Attack:
    return tensors(lambda found: found[f"{QUERY}.lora_B.weight"].view(-1)[:1].fill_(value))


def config(**changes: object) -> Attack:
    return lambda folder: edit_json(folder / "adapter_config.json", **changes)


def both(*attacks: Attack) -> Attack:
    def attack(folder: Path) -> None:
        for one in attacks:
            one(folder)

    return attack


def header(change: Callable[[bytes, bytes], bytes]) -> Attack:
    def attack(folder: Path) -> None:
        raw = (folder / WEIGHTS).read_bytes()
        (length,) = struct.unpack("<Q", raw[:8])
        (folder / WEIGHTS).write_bytes(change(raw[8 : 8 + length], raw[8 + length :]))

    return attack


def framed(head: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(head)) + head + data


def twice(head: bytes, data: bytes) -> bytes:
    name = next(key for key in json.loads(head) if key != "__metadata__")
    entry = json.dumps({name: json.loads(head)[name]})[1:-1].encode()
    return framed(head.rstrip()[:-1] + b"," + entry + b"}", data)


# name -> (attack, check that has to fail)
ATTACKS: dict[str, tuple[Attack, str]] = {
    "base weight": (adding(f"{QUERY}.base_layer.weight", 32, 32), "shapes"),
    "base bias where nothing is adapted": (
        adding("base_model.model.bert.encoder.layer.0.intermediate.dense.bias", 64),
        "shapes",
    ),
    "weight of another adapter": (adding(f"{QUERY}.lora_A.other.weight", 4, 32), "shapes"),
    "unknown key": (adding("base_model.model.surprise", 3), "shapes"),
    "key of the base model itself": (adding("embeddings.word_embeddings.weight", 164, 32), "shapes"),
    "pissa": (config(init_lora_weights="pissa"), "config"),
    "olora": (config(init_lora_weights="olora"), "config"),
    "a bias of the base that nobody declared": (adding(f"{QUERY}.base_layer.bias", 32), "shapes"),
    "missing tensor": (tensors(lambda found: found.pop(f"{QUERY}.lora_B.weight")), "shapes"),
    "not a number": (filling(float("nan")), "finite"),
    "infinity": (filling(float("inf")), "finite"),
    "1e30": (filling(1e30), "finite"),
    "alpha 1e30": (config(lora_alpha=1e30), "config"),
    "layer replication": (config(layer_replication=[[0, 2], [0, 2]]), "config"),
    "rank two million": (config(r=2_000_000), "config"),
    "rank that disagrees": (config(r=8), "shapes"),
    "import by name": (config(megatron_core="evilplug"), "config"),
    "import by mapping": (config(auto_mapping={"parent_library": "os"}), "config"),
    "no peft_type": (config(peft_type=None), "config"),
    "unknown method": (config(peft_type="NOVEL"), "config"),
    "shape of another base": (
        tensors(lambda found: found.update({f"{QUERY}.lora_A.weight": torch.ones(4, 48)})),
        "shapes",
    ),
    "duplicate key in the header": (header(twice), "scan"),
    "truncated": (header(lambda head, data: framed(head, data[:-7])), "scan"),
    "trailing bytes": (header(lambda head, data: framed(head, data + b"PK\x03\x04")), "scan"),
    "header of 2^63 bytes": (header(lambda head, data: struct.pack("<Q", 1 << 63) + head + data), "scan"),
    "pickle by another name": (
        lambda folder: (folder / "notes.txt").write_bytes(b"\x80\x04\x95cos\nsystem\n."),
        "scan",
    ),
    "pickled weights": (lambda folder: (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04"), "files"),
    "weights that nobody converted": (lambda folder: (folder / "adapter_model.bin").write_bytes(b"PK\x03\x04"), "scan"),
    "code": (lambda folder: (folder / "modeling.py").write_text("import os"), "files"),
}


@dataclass(frozen=True)
class Target:
    """A good adapter, the benchmark it is good at, and what a run of it says: shared by all attacks."""

    adapter: Path
    files: BenchmarkFiles
    scratch: Path
    result_digest: str

    def judged(self, folder: Path, backbone: Backbone) -> dict[str, Any]:
        return judged(makers.assignment(folder, makers.TINY, self.files), backbone, self.scratch)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    folder = tmp_path_factory.mktemp("attacks")
    good = makers.teacher(folder / "good", makers.TINY)
    files = makers.benchmark_of(folder / "bench", good, makers.TINY, rows=64, train=64)
    found = judged(makers.assignment(good, makers.TINY, files), runtime.open_backbone(makers.TINY), folder)
    assert found["verdict"] == "passed"
    return Target(good, files, folder, found["result_digest"])


@pytest.mark.parametrize("name", ATTACKS)
def test_is_refused_and_leaves_the_backbone_as_it_was(
    name: str, target: Target, backbone: Backbone, tmp_path: Path
) -> None:
    bad = makers.copied(target.adapter, tmp_path / "bad")
    attack, refused_by = ATTACKS[name]
    attack(bad)
    found = target.judged(bad, backbone)
    assert found["verdict"] == "failed"
    assert refused_by in failed(found), found["summary"]
    assert check(found, refused_by)["hint"] or check(found, refused_by)["message"]
    assert not found["components"] or not found["components"][0]["scores"], "it was attached"
    assert check(found, "frozen")["status"] == "passed"
    assert runtime.rehash(backbone) == backbone.fingerprint
    assert target.judged(target.adapter, backbone)["result_digest"] == target.result_digest


def test_a_pattern_of_the_users_is_never_evaluated(target: Target, backbone: Backbone, tmp_path: Path) -> None:
    bad = makers.copied(target.adapter, tmp_path / "bad")
    edit_json(bad / "adapter_config.json", target_modules="(([a-z.]+)+)+[0-9]!")
    found = target.judged(bad, backbone)
    assert found["seconds"] < 5


def test_a_path_as_base_model_is_set_aside(target: Target, backbone: Backbone, tmp_path: Path) -> None:
    odd = makers.copied(target.adapter, tmp_path / "odd")
    edit_json(odd / "adapter_config.json", base_model_name_or_path="/etc")
    found = target.judged(odd, backbone)
    assert found["verdict"] == "passed"
    assert "/etc" not in json.dumps(found["components"])


def test_a_backbone_tensor_beside_an_adapterhub_adapter_is_refused(
    copy_of: Callable[[str], Path], backbone: Backbone, tmp_path: Path
) -> None:
    folder = copy_of("adapterhub/seq_bn")
    weights = load_file(folder / "adapter.safetensors")
    weights["bert.encoder.layer.0.output.dense.weight"] = torch.zeros(32, 64)
    save_file(weights, folder / "adapter.safetensors")
    found = judged(makers.assignment(folder, makers.TINY), backbone, tmp_path)
    assert failed(found) == ["shapes"]
    assert runtime.rehash(backbone) == backbone.fingerprint


def test_all_problems_are_told_at_once(target: Target, backbone: Backbone, tmp_path: Path) -> None:
    bad = makers.copied(target.adapter, tmp_path / "bad")
    both(filling(float("nan")), adding("base_model.model.surprise", 3), config(init_lora_weights="pissa"))(bad)
    found = target.judged(bad, backbone)
    assert {"config", "shapes", "finite"} <= set(failed(found))


@pytest.mark.parametrize("place", [-1, 32, 2**40], ids=["before the first", "behind the last", "far away"])
def test_positions_out_of_range_are_refused_and_named(
    place: int, backbone: Backbone, tiny: Path, tmp_path: Path
) -> None:
    folder = makers.shira(tiny, tmp_path / "shira")
    found = judged(makers.assignment(folder, makers.TINY), backbone, tmp_path)
    assert check(found, "load")["status"] == "passed", "the control: as PEFT wrote it, it is put on"

    def moved(found: dict[str, torch.Tensor]) -> None:
        key = next(key for key in found if "shira_indices" in key)
        found[key] = found[key].long()
        found[key][0, 0] = place

    tensors(moved)(folder)
    found = judged(makers.assignment(folder, makers.TINY), backbone, tmp_path)
    assert check(found, "load")["status"] == "failed"
    assert "of 32" in check(found, "load")["message"]
