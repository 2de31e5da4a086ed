"""What fills an adapter's bytes: told in the version's JSON, in the report and on the page, and never by the publisher."""

import json
import struct
from typing import Any

import pytest

from hub import base_folder
from hub.spec import sizes, tensors
from tests.registry import adapters
from tests.registry.cast import Caller, publish

POOLER = ("pooler.dense.weight", "pooler.dense.bias")
WORDS = "embeddings.word_embeddings.weight"


def own(name: str) -> bytes:
    """Return the bytes of a tensor of the tiny base model."""
    path, start, end = base_folder.places(adapters.TINY)[name]
    return path.read_bytes()[start:end]


def with_overlays(found: dict[str, tuple[list[int], bytes]], **config: Any) -> dict[str, bytes]:
    """Return a good LoRA whose file also holds these tensors of the base model, by key."""
    head, body = {}, b""
    plain = adapters.safetensors(adapters.lora_tensors())
    for tensor in tensors.parse_header(plain, len(plain)):
        start = len(plain) - sum(one.nbytes for one in tensors.parse_header(plain, len(plain))) + tensor.start
        found = {tensor.name: (list(tensor.shape), plain[start : start + tensor.nbytes]), **found}
    for name, (shape, data) in found.items():
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    weights = struct.pack("<Q", len(text)) + text + body
    return adapters.lora(weights=weights, config=adapters.lora_config(**config))


def pooler(change: bytes = b"") -> dict[str, bytes]:
    """Return a LoRA with a pooler of its own: the base's, or one with other bytes at its beginning."""
    weight = change + own(POOLER[0])[len(change) :]
    key = f"{adapters.PREFIX}bert.pooler.dense."
    found = {f"{key}weight": ([32, 32], weight), f"{key}bias": ([32], own(POOLER[1]))}
    return with_overlays(found, modules_to_save=["pooler", "classifier", "score"])


@pytest.mark.django_db
class TestTheVersion:
    def test_adapter_and_head_are_counted_apart(self, owner: Caller, base) -> None:
        answer = owner.push("acme/tone-bert", adapters.lora())
        (part,) = owner.get("adapters/acme/tone-bert/versions/1")["components"]
        whole = adapters.tiny().parameters
        assert answer.status in (200, 201, 202)
        assert part["sizes"]["adapter"] == {"parameters": 512, "bytes": 2048, "percent": round(51200 / whole, 4)}
        assert part["sizes"]["head"] == {"parameters": 66, "bytes": 264, "percent": round(6600 / whole, 4)}
        assert part["sizes"]["saved"]["bytes"] == part["sizes"]["copied"]["bytes"] == 0
        assert part["sizes"]["unchanged"] == {"bytes": 0, "told": ""}

    def test_a_pooler_that_is_the_bases_own_is_told_as_a_copy(self, owner: Caller, base, benchmark) -> None:
        publish(owner, "acme/tone-bert", pooler())
        (part,) = owner.get("adapters/acme/tone-bert/versions/1")["components"]
        assert part["sizes"]["unchanged"]["bytes"] == 4 * (32 * 32 + 32)
        told = part["sizes"]["unchanged"]["told"]
        assert (
            told
            == "4.22 KB of 4.22 KB are unchanged copies of the base's pooler.dense; saving without them: leave them out of modules_to_save"
        )
        assert owner.get("adapters/acme/tone-bert/versions/1/report")["sizes"][0]["unchanged"]["told"] == told
        page = owner.client.get("/a/acme/tone-bert").content.decode()
        assert "unchanged copies of the base&#x27;s pooler.dense" in page
        assert "whole modules" not in page

    def test_a_pooler_that_was_trained_is_not(self, owner: Caller, base) -> None:
        owner.push("acme/tone-bert", pooler(b"\0\0\x80\x3f"))
        (part,) = owner.get("adapters/acme/tone-bert/versions/1")["components"]
        assert part["sizes"]["unchanged"]["bytes"] == 4 * 32, "the bias is still the base's"

    def test_files_that_are_refused_for_their_embeddings_are_told_what_fills_them(self, owner: Caller, base) -> None:
        words = own(WORDS)
        key = f"{adapters.PREFIX}bert.embeddings.word_embeddings.base_layer.weight"
        answer = owner.push("acme/tone-bert", with_overlays({key: ([len(words) // 128, 32], words)}))
        assert (answer.status, answer["code"]) == (422, "rejected")
        (size,) = owner.get("adapters/acme/tone-bert/versions/1/report")["sizes"]
        assert size["copied"]["bytes"] == size["unchanged"]["bytes"] == len(words)
        assert size["unchanged"]["told"].endswith(
            "the base's embeddings; saving without them: save_embedding_layers=False"
        )


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 KB"),
        (37_400_000, "37.4 MB"),
        (412_345_678, "412 MB"),
        (3_200_000_000, "3.2 GB"),
    ],
)
def test_bytes_are_shown_as_a_person_reads_them(count: int, shown: str) -> None:
    assert sizes.shown(count) == shown
