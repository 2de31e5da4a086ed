"""Every family of base models opens as transformers opens it, frozen, and says when it is no longer what it was."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from hub import errors, runtime
from hub.runtime import assembly
from hub.runtime.base import Backbone
from hub.spec import families
from tests.engine import families as tiny


@pytest.fixture(autouse=True)
def quiet() -> None:
    transformers.utils.logging.disable_progress_bar()


def reference(folder: Path, backbone: Backbone, **more: Any) -> Any:
    """The same folder as transformers itself opens it."""
    kind = transformers.AutoModelForCausalLM if backbone.language_model is not None else transformers.AutoModel
    return kind.from_pretrained(folder, **{"dtype": torch.float32, **more}).eval()


def asked(model: Any, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a tokenizer gives for this model: types only where there is a table of them."""
    typed = getattr(model.config, "type_vocab_size", 0)
    return {name: value for name, value in given.items() if typed or name != "token_type_ids"}


def same_as_transformers(folder: Path, **more: Any) -> Backbone:
    backbone = runtime.open_backbone(folder)
    theirs = reference(folder, backbone, **more)
    given = tiny.inputs(backbone.model.config.pad_token_id or 0)
    with torch.no_grad():
        expected = theirs(**asked(theirs, given), output_hidden_states=True)
        found = backbone.whole(**given, output_hidden_states=True)
        assert torch.equal(
            backbone.model(**given).last_hidden_state, theirs.base_model(**asked(theirs, given)).last_hidden_state
        )
    for ours, one in zip(found.hidden_states, expected.hidden_states, strict=True):
        assert torch.equal(ours, one)
    if backbone.language_model is not None:
        assert torch.equal(found.logits, expected.logits)
    return backbone


def test_every_family_that_runs_is_tried_here() -> None:
    assert set(tiny.SETTINGS) == set(families.RUNS)


@pytest.mark.parametrize("family", families.RUNS)
def test_a_base_model_answers_bit_for_bit_as_transformers_opens_it(family: str, tmp_path: Path) -> None:
    backbone = same_as_transformers(tiny.saved(family, tmp_path))
    assert backbone.is_decoder == (backbone.language_model is not None)
    assert runtime.rehash(backbone) == backbone.fingerprint
    writable = {address for address, flags in mappings() if "w" in flags}
    for name, tensor in (*backbone.whole.named_parameters(), *backbone.whole.named_buffers()):
        place = tensor.data_ptr()
        assert not tensor.numel() or not any(start <= place < end for start, end in writable), f"{name} can be written"


def mappings() -> list[tuple[tuple[int, int], str]]:
    """This process's memory: ((first address, address behind the last), flags)."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, flags = line.split()[:2]
        start, end = (int(address, 16) for address in place.split("-"))
        found.append(((start, end), flags))
    return found


@pytest.mark.parametrize("family", families.RUNS)
def test_a_change_of_any_parameter_or_buffer_is_seen(family: str, tmp_path: Path) -> None:
    backbone = runtime.open_backbone(tiny.saved(family, tmp_path), writable=True)
    for name, tensor in (*backbone.whole.named_parameters(), *backbone.whole.named_buffers()):
        kept = tensor.clone()
        with torch.no_grad():
            tensor.view(-1)[-1] = ~kept.view(-1)[-1] if kept.dtype == torch.bool else kept.view(-1)[-1] + 1
        assert runtime.rehash(backbone) != backbone.fingerprint, f"{name} may be changed"
        with torch.no_grad():
            tensor.copy_(kept)
    assert runtime.rehash(backbone) == backbone.fingerprint


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_a_language_model_head_is_kept_tied_or_not(family: str, tied: bool, tmp_path: Path) -> None:
    backbone = same_as_transformers(tiny.saved(family, tmp_path, tie_word_embeddings=tied))
    language_model: Any = backbone.language_model
    assert (language_model.lm_head.weight is language_model.get_input_embeddings().weight) == tied


def test_a_head_of_its_own_stays_one_though_the_configuration_calls_it_tied(tmp_path: Path) -> None:
    tiny.saved("llama", tmp_path, tie_word_embeddings=False)
    config = json.loads((tmp_path / "config.json").read_text()) | {"tie_word_embeddings": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    backbone = same_as_transformers(tmp_path)
    language_model: Any = backbone.language_model
    assert language_model.lm_head.weight is not language_model.get_input_embeddings().weight
    with torch.no_grad():
        language_model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(language_model.lm_head.weight))
    assert runtime.rehash(backbone) != backbone.fingerprint


def test_another_head_in_place_of_a_tied_one_is_seen(tmp_path: Path) -> None:
    backbone = runtime.open_backbone(tiny.saved("llama", tmp_path, tie_word_embeddings=True))
    language_model: Any = backbone.language_model
    language_model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(language_model.lm_head.weight))
    assert runtime.rehash(backbone) == "altered:lm_head.weight"


def test_a_decoder_without_a_head_in_its_files_is_its_body_alone(tmp_path: Path) -> None:
    tiny.saved("llama", tmp_path, kind=transformers.AutoModel, tie_word_embeddings=False)
    assert same_as_transformers(tmp_path).language_model is None


def test_below_a_billion_parameters_half_precision_is_widened(tmp_path: Path) -> None:
    backbone = same_as_transformers(tiny.saved("llama", tmp_path, dtype=torch.bfloat16))
    assert backbone.dtype == "float32"
    assert runtime.rehash(backbone) == backbone.fingerprint


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3_moe"])
def test_above_it_the_record_is_in_the_files_own_format(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "RECORD_IN_FLOAT32", 0)
    backbone = same_as_transformers(tiny.saved(family, tmp_path, dtype=torch.bfloat16), dtype=torch.bfloat16)
    assert backbone.dtype == "bfloat16"
    assert runtime.rehash(backbone) == backbone.fingerprint


@pytest.mark.parametrize(
    ("family", "longest"), [("bert", 66), ("roberta", 64), ("mpnet", 64), ("gpt2", 66), ("llama", 66), ("bloom", 64)]
)
def test_inputs_may_be_as_long_as_positions_or_the_tokenizer_go(family: str, longest: int, tmp_path: Path) -> None:
    folder = tiny.saved(family, tmp_path)
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert runtime.open_backbone(folder).max_length == longest


def test_files_that_lack_a_tensor_are_refused_by_its_name(tmp_path: Path) -> None:
    tiny.saved("gpt2", tmp_path)
    held = load_file(tmp_path / "model.safetensors")
    held.pop("transformer.h.1.mlp.c_fc.weight")
    save_file(held, tmp_path / "model.safetensors")
    with pytest.raises(errors.IntegrityError, match=r"without h\.1\.mlp\.c_fc\.weight"):
        runtime.open_backbone(tmp_path)


def test_a_configuration_that_is_not_the_files_is_refused_by_the_tensor(tmp_path: Path) -> None:
    tiny.saved("llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"intermediate_size": 48}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(errors.IntegrityError, match=r"mlp\.\w+\.weight has the shape"):
        runtime.open_backbone(tmp_path)


def test_a_family_that_does_not_run_here_is_named(tmp_path: Path) -> None:
    transformers.T5Model(
        transformers.T5Config(vocab_size=90, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4)
    ).save_pretrained(tmp_path)
    with pytest.raises(errors.HubError, match="no runtime for model type 't5'"):
        runtime.open_backbone(tmp_path)
