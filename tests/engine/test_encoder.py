"""The pass that reads the first token only gives what the whole pass gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hub import runtime
from hub.runtime import encoder, predict
from hub.runtime.attached import token_wise
from hub.runtime.base import Backbone
from tests.engine.makers import SPECIMENS, on, roberta

ROWS = [
    predict.Encoded(tuple((31 * at + 7 * i) % 80 + 5 for i in range(length)), (0,) * length)
    for at, length in enumerate((15, 3, 15, 8, 3, 21, 1))
]


def both(backbone: Backbone) -> tuple[torch.Tensor, torch.Tensor]:
    """The first tokens' last states of rows of several lengths: by the short way, and by the body's own pass a row."""
    cut = predict.batches(ROWS, 0)
    assert encoder.packs(backbone)
    with torch.inference_mode():
        whole = [backbone.model(**predict.one_batch([row], 0).inputs).last_hidden_state[0, 0] for row in ROWS]
    ours, all_states = predict.for_heads(backbone, cut).token, predict.states(backbone, cut).token
    assert near(all_states, torch.stack(whole))
    return ours, torch.stack(whole)


def near(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return bool((ours - theirs).abs().max() <= 1e-5 * theirs.abs().max() + 1e-6)


def test_the_plain_encoder(minilm: Path) -> None:
    ours, theirs = both(runtime.open_backbone(minilm))
    assert near(ours, theirs)


@pytest.mark.parametrize(
    "names", [["query", "value"], ["key"], ["query", "key", "value", "dense"]], ids=lambda names: "+".join(names)
)
def test_an_encoder_with_merged_weights(names: list[str], tiny: Path, save_lora: Callable[..., Path]) -> None:
    backbone = runtime.open_backbone(tiny)
    plain, _ = both(backbone)
    with on(backbone, save_lora(target_modules=names, std=0.5)):
        ours, theirs = both(backbone)
    assert near(ours, theirs)
    assert not near(ours, plain), "the adapter did nothing"


@pytest.mark.parametrize("name", ["double_seq_bn", "post_add", "seq_bn_leave_out"])
def test_an_encoder_with_hooked_blocks(name: str, tiny: Path) -> None:
    backbone = runtime.open_backbone(tiny)
    plain, _ = both(backbone)
    with on(backbone, SPECIMENS / "adapterhub" / name):
        ours, theirs = both(backbone)
    assert near(ours, theirs)
    assert not near(ours, plain), "the adapter did nothing"


def test_keys_and_values_that_are_hooked_are_asked_for(tiny: Path) -> None:
    backbone = runtime.open_backbone(tiny)
    plain, _ = both(backbone)
    last = backbone.model.encoder.layer[-1].attention.self
    hook = token_wise(lambda module, args, out: out * 1.5 + args[0])
    handles = [module.register_forward_hook(hook) for module in (last.key, last.value)]
    ours, theirs = both(backbone)
    assert near(ours, theirs)
    assert not near(ours, plain), "the hooks did nothing"
    for handle in handles:
        handle.remove()


def test_positions_of_another_family_count_from_its_padding_index_on(tmp_path: Path) -> None:
    ours, theirs = both(runtime.open_backbone(roberta(tmp_path)))
    assert near(ours, theirs)


@pytest.mark.parametrize(
    "place", ["", "encoder", "encoder.layer.1", "encoder.layer.0.attention.self", "embeddings.LayerNorm"]
)
def test_a_hook_on_what_is_passed_over_has_the_whole_pass_made(place: str, tiny: Path) -> None:
    backbone = runtime.open_backbone(tiny)
    hook = token_wise(lambda module, args: None)
    handle = backbone.model.get_submodule(place).register_forward_pre_hook(hook)
    assert not encoder.packs(backbone)
    handle.remove()
    assert encoder.packs(backbone)


def test_a_hook_that_looks_at_a_row_as_a_whole_is_given_whole_rows(tiny: Path) -> None:
    """AdapterHub's gates take the mean over a row's tokens."""
    backbone = runtime.open_backbone(tiny)
    cut = predict.batches(ROWS, 0)
    handle = backbone.model.encoder.layer[1].output.register_forward_hook(
        lambda m, a, out: out * out.mean(1, keepdim=True)
    )
    seen = predict.for_heads(backbone, cut).token
    with torch.inference_mode():
        whole = [backbone.model(**predict.one_batch([row], 0).inputs).last_hidden_state[0, 0] for row in ROWS]
    assert near(seen, torch.stack(whole))
    handle.remove()


# --- what is touched, and what is not ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("more", "expected"),
    [({"layers_to_transform": [1]}, 1), ({}, 0), ({"target_modules": ["word_embeddings"]}, 0), (None, 2)],
    ids=["the upper layer", "every layer", "the embeddings", "nothing"],
)
def test_the_layers_below_the_first_one_that_an_adapter_touches_are_known(
    more: dict[str, Any] | None, expected: int, tiny: Path, save_lora: Callable[..., Path]
) -> None:
    backbone = runtime.open_backbone(tiny)
    if more is None:
        assert encoder.untouched(backbone) == expected
        return
    with on(backbone, save_lora(**{"target_modules": ["query"], **more})) as attached:
        assert encoder.untouched(backbone) == expected
        attached.enabled = False
    assert encoder.untouched(backbone) == 2, "what was taken off is gone"


def test_a_hook_anywhere_is_seen(tiny: Path) -> None:
    backbone = runtime.open_backbone(tiny)
    layer = backbone.model.encoder.layer[1]
    for module, expected in ((layer.output.dense, 1), (backbone.model.embeddings, 0), (backbone.model, 0)):
        handle = module.register_forward_pre_hook(token_wise(lambda module, args: None))
        assert encoder.untouched(backbone) == expected
        handle.remove()
        assert encoder.untouched(backbone) == 2


def test_a_hook_on_the_body_has_the_whole_pass_made(tiny: Path) -> None:
    backbone = runtime.open_backbone(tiny)
    rows = predict.tokenise(backbone.tokenizer, ["one", "two of them", "three of them now"], None, 20)
    cut = predict.batches(rows, 0)
    plain = predict.for_heads(backbone, cut).token
    assert near(plain, predict.states(backbone, cut).token)

    def doubled(module: Any, args: Any, out: Any) -> Any:
        out.last_hidden_state = out.last_hidden_state * 2
        return out

    handle = backbone.model.register_forward_hook(doubled)
    assert near(predict.for_heads(backbone, cut).token, plain * 2)
    handle.remove()


# --- batches ----------------------------------------------------------------------------------------------------------
def test_rows_meet_in_batches_of_their_length_and_nothing_is_padded() -> None:
    rows = [predict.Encoded((1,) * length, (0,) * length) for length in (5, 3, 5, 1200, 3, 5, 1200)]
    cut = predict.batches(rows, 0)
    assert [batch.rows for batch in cut] == [(1, 4), (0, 2, 5), (3,), (6,)], "1 200 tokens twice are more than 2 048"
    assert all(bool(batch.attention_mask.all()) for batch in cut)
