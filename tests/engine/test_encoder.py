"""The pass that reads the first token only gives what the whole pass gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hub import runtime
from hub.runtime import encoder
from tests.engine.makers import SPECIMENS

IDS = torch.arange(60).reshape(4, 15) % 80 + 5
TYPES = torch.zeros_like(IDS)


def both(body: Any) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode():
        whole = body(input_ids=IDS, token_type_ids=TYPES, attention_mask=torch.ones_like(IDS))
        return encoder.first_states(body, IDS, TYPES), whole.last_hidden_state[:, 0]


def near(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return bool((ours - theirs).abs().max() <= 1e-5 * theirs.abs().max() + 1e-6)


def test_the_plain_encoder(minilm: Path) -> None:
    ours, theirs = both(runtime.open_backbone(minilm).model)
    assert near(ours, theirs)


@pytest.mark.parametrize(
    "names", [["query", "value"], ["key"], ["query", "key", "value", "dense"]], ids=lambda names: "+".join(names)
)
def test_an_encoder_with_merged_weights(names: list[str], tiny: Path, save_lora: Callable[..., Path]) -> None:
    plain, _ = both(runtime.open_backbone(tiny).model)
    model, _ = runtime.load(save_lora(target_modules=names, std=0.5), tiny)
    ours, theirs = both(model.backbone)
    assert near(ours, theirs)
    assert not near(ours, plain), "the adapter did nothing"


@pytest.mark.parametrize("name", ["double_seq_bn", "post_add", "seq_bn_leave_out"])
def test_an_encoder_with_hooked_blocks(name: str, tiny: Path) -> None:
    model, _ = runtime.load(SPECIMENS / "adapterhub" / name, tiny)
    ours, theirs = both(model.backbone)
    assert near(ours, theirs)


def test_keys_and_values_that_are_hooked_are_asked_for(tiny: Path) -> None:
    body = runtime.open_backbone(tiny).model
    last = body.encoder.layer[-1].attention.self
    handles = [module.register_forward_hook(lambda m, a, out: out * 1.5 + a[0]) for module in (last.key, last.value)]
    ours, theirs = both(body)
    assert near(ours, theirs)
    for handle in handles:
        handle.remove()
    plain, _ = both(body)
    assert not near(ours, plain), "the hooks did nothing"
