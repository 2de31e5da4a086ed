"""What this hub's own runtime does not run, PEFT runs in the child: the same answers, verdicts, refusals, and a backbone untouched."""

import dataclasses
import json
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from hub import errors, runtime
from hub.runtime import heads, predict
from hub.runtime.attached import Attached
from hub.runtime.base import Backbone
from hub.spec import validation
from tests.engine import families as tiny
from tests.engine import makers, speakers
from tests.engine.makers import check, failed
from tests.engine.resident import Resident
from tests.engine.test_parity import same
from tests.engine.test_text_generation import nll
from tests.specimens.spec import good
from workers import library
from workers.backbone import _result
from workers.errors import Fault

INVOCATION = [7, 9]
WORDS = 170
"""As many as the tokenizer of the tiny base models has, and a few more."""
SPEAKS = {"task_type": "CAUSAL_LM"}
CLASSIFIES = {"task_type": "SEQ_CLS", "target_modules": ["query", "value"]}
FUSED = {
    "r": 2,
    "target_modules": ["q_proj"],
    "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "aLoRA": ("llama", "LoraConfig", {"r": 4, "alora_invocation_tokens": INVOCATION, "target_modules": ["q_proj", "down_proj"]}),
    "aLoRA on transposed layers": ("gpt2", "LoraConfig", {"r": 4, "alora_invocation_tokens": INVOCATION}),
    "aLoRA on the scores of words": ("llama", "LoraConfig", {"alora_invocation_tokens": INVOCATION, "target_modules": ["lm_head"]}),
    "parameters of layers": ("llama", "LoraConfig", {"r": 4, "target_modules": [], "target_parameters": ["q_proj.weight"]}),
    "fused experts": ("qwen3_moe", "LoraConfig", FUSED),
    "fused experts beside all of a table": ("mixtral", "LoraConfig", FUSED | {"modules_to_save": ["embed_tokens"]}),
    "LLaMA-Adapter": ("llama", "AdaptionPromptConfig", {"adapter_len": 3, "adapter_layers": 2}),
    "LLaMA-Adapter on Mistral": ("mistral", "AdaptionPromptConfig", {"adapter_len": 3, "adapter_layers": 1}),
    "LLaMA-Adapter on GPT-2": ("gpt2", "AdaptionPromptConfig", {"adapter_len": 3, "adapter_layers": 1}),
    "UniLoRA by its seed": ("bert", "UniLoraConfig", {"r": 2, "theta_d_length": 32}),
    "WaveFT by other wavelets": ("bert", "WaveFTConfig", {"n_frequency": 20, "wavelet_family": "sym4", "use_idwt": True}),
}  # fmt: skip
Saved = tuple[Any, Path, Path]


def trained(case: str, place: Path, base: Path | None = None, step: float = 0.1) -> Saved:
    """(PEFT's model with every trained number moved by `step`, the base model's folder, the adapter's)"""
    family, kind, settings = CASES[case]
    torch.manual_seed(0)
    if family == "bert":
        base = makers.TINY
        plain = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    else:
        base = base or tiny.saved(family, place / "base", vocab_size=WORDS)
        plain = transformers.AutoModelForCausalLM.from_pretrained(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = getattr(peft, kind)(**{**(CLASSIFIES if family == "bert" else SPEAKS), **settings})
        model = peft.get_peft_model(plain, asked).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * step)
    model.save_pretrained(place / "adapter")
    return model, base, place / "adapter"


def lent(base: Path, folder: Path) -> tuple[Backbone, Backbone, Attached, Any]:
    """(the backbone, the one that answers in its place, the adapter, the adapter's head or None)"""
    backbone = runtime.open_backbone(base)
    snapshot = runtime.open_snapshot(folder)
    found = validation.inspect(snapshot, backbone.base)
    (component,) = found.components
    assert found.ok and component.by_library, [str(problem) for problem in found.problems]
    tensors = runtime.tensors_of(snapshot, component)
    used = {key: tensors[key] for part in component.parts for key in part.tensors.values()}
    other, attached = library.lend(backbone, component, found.configuration(snapshot, component), used)
    head = heads.build(component.head, tensors, backbone.pools) if component.head else None
    return backbone, other, attached, head


def given() -> dict[str, torch.Tensor]:
    """Rows of which two hold the invocation: one at the end, where padding follows in none, and one in the middle."""
    found = tiny.inputs()
    found["input_ids"][0, 10:], found["input_ids"][3, 4:6] = torch.tensor(INVOCATION), torch.tensor(INVOCATION)
    return found


def without_types(model: Any, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    takes = getattr(model.config, "type_vocab_size", 0)
    return inputs if takes else {key: value for key, value in inputs.items() if key != "token_type_ids"}


def said(backbone: Backbone, head: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        if head is None:
            assert backbone.language_model is not None
            return torch.as_tensor(backbone.language_model(**inputs).logits)
        output = backbone.model(**inputs)
        return torch.as_tensor(head(output.last_hidden_state[:, 0], output.pooler_output))


@pytest.mark.parametrize("case", CASES)
def test_it_answers_as_a_plain_call_of_peft_does(case: str, tmp_path: Path) -> None:
    model, base, folder = trained(case, tmp_path)
    backbone, other, attached, head = lent(base, folder)
    inputs = without_types(model, given())
    with torch.no_grad():
        theirs = model(**inputs).logits
    assert same(said(other, head, inputs), theirs)
    assert attached.applied[0] == attached.applied[1] and attached.runtime == f"peft=={peft.__version__}"
    attached.enabled = False
    plain = said(backbone, head, inputs)
    assert torch.equal(said(other, head, inputs), plain), "off it is the backbone itself that answers"
    assert not same(plain, theirs), "the adapter does something"
    assert runtime.rehash(backbone) == backbone.fingerprint


def test_where_nothing_is_invoked_alora_leaves_the_row_alone(tmp_path: Path) -> None:
    _, base, folder = trained("aLoRA", tmp_path)
    backbone, other, _, head = lent(base, folder)
    inputs = given()
    changed = (said(other, head, inputs) - said(backbone, head, inputs)).abs().amax(-1) > 1e-4
    assert changed.any(1).tolist() == [True, False, False, True]
    assert not changed[3, :4].any() and changed[3, 4:].all(), "from the invocation on"


# --- verdicts ------------------------------------------------------------------------------------------------------


def test_alora_is_looked_at_with_the_tokens_that_invoke_it(tmp_path: Path) -> None:
    _, base, folder = trained("aLoRA", tmp_path)
    found = judged(base, folder, tmp_path)
    assert found["verdict"] == "passed" and check(found, "effect")["evidence"]["hidden"] > 0
    assert check(found, "drift")["evidence"]["cosine"] == 1, "neutral sentences invoke nothing"


def judged(base: Path, folder: Path, scratch: Path, **more: Any) -> dict[str, Any]:
    return makers.judged(makers.assignment(folder, base, **more), runtime.open_backbone(base), scratch)


def test_that_it_is_not_compared_with_itself_is_told(tmp_path: Path) -> None:
    _, base, folder = trained("WaveFT by other wavelets", tmp_path)
    told = check(judged(base, folder, tmp_path, parity=True), "parity")
    assert (told["status"], told["message"]) == ("skipped", "the library that wrote it ran it")


def spoil(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    found = load_file(folder / "adapter_model.safetensors")
    change(found)
    save_file(found, folder / "adapter_model.safetensors")


def first(found: dict[str, torch.Tensor], word: str) -> str:
    return next(key for key in sorted(found) if word in key)


SPOILT: dict[str, tuple[str, str, Callable[[dict[str, torch.Tensor]], Any], str, str]] = {
    "no effect (aLoRA)": ("aLoRA", "lora_B", lambda all_: [t.zero_() for k, t in all_.items() if "lora_B" in k], "effect", "changes nothing"),
    "no effect (experts)": ("fused experts", "lora_B", lambda all_: [t.zero_() for k, t in all_.items() if "lora_B" in k], "effect", "changes nothing"),
    "no effect (gates)": ("LLaMA-Adapter", "gate", lambda all_: [t.zero_() for k, t in all_.items() if "gate" in k], "effect", "changes nothing"),
    "a half is missing": ("aLoRA", "lora_B", lambda all_: all_.pop(first(all_, "lora_B")), "shapes", "is missing"),
    "a prompt is missing": ("LLaMA-Adapter", "adaption_prompt", lambda all_: all_.pop(first(all_, "prompt")), "shapes", "is missing"),
    "an expert's half is missing": ("fused experts", "experts", lambda all_: all_.pop(first(all_, "experts.lora_B")), "shapes", "is missing"),
    "NaN": ("LLaMA-Adapter", "prompt", lambda all_: all_[first(all_, "prompt")].fill_(float("nan")), "finite", "NaN"),
    "another width": ("LLaMA-Adapter", "prompt", lambda all_: all_.update({first(all_, "prompt"): torch.zeros(1, 3, 8)}), "shapes", "[1, 3, 8]"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SPOILT)
def test_a_bad_one_is_refused_for_its_own_reason(kind: str, tmp_path: Path) -> None:
    case, _, change, name, words = SPOILT[kind]
    _, base, folder = trained(case, tmp_path)
    assert judged(base, folder, tmp_path / "s")["verdict"] == "passed"
    spoil(folder, change)
    found = judged(base, folder, tmp_path / "s")
    assert found["verdict"] == "failed" and words in check(found, name)["message"], found["summary"]


def test_what_peft_would_make_up_or_has_no_place_for_never_runs(tmp_path: Path) -> None:
    _, base, folder = trained("UniLoRA by its seed", tmp_path)
    backbone, snapshot = runtime.open_backbone(base), runtime.open_snapshot(folder)
    found = validation.inspect(snapshot, backbone.base)
    (component,) = found.components
    config = found.configuration(snapshot, component)
    with pytest.raises(errors.HubError, match="would make up base_model.unilora_theta_d"):
        library.lend(backbone, component, config, {})
    tensors = {
        "base_model.unilora_theta_d": torch.ones(32),
        "base_model.model.bert.pooler.dense.weight": torch.ones(32, 32),
    }
    with pytest.raises(errors.HubError, match="has no place for base_model.model.bert.pooler"):
        library.lend(backbone, component, config, tensors)


def test_what_peft_raises_is_told_as_the_adapters_own_fault(tmp_path: Path) -> None:
    _, base, folder = trained("aLoRA", tmp_path)
    makers.edit_json(folder / "adapter_config.json", use_dora=True)
    spoil(folder, lambda all_: all_.update({k.replace("lora_A.weight", "lora_magnitude_vector"): torch.ones(
        len(all_[k.replace("lora_A", "lora_B")])) for k in list(all_) if "lora_A" in k}))  # fmt: skip
    found = judged(base, folder, tmp_path / "s")
    assert failed(found)[0] == "load" and f"PEFT {peft.__version__}" in check(found, "load")["message"]


def test_where_the_worker_lacks_peft_it_is_no_verdict_and_no_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, base, folder = trained("LLaMA-Adapter", tmp_path)
    asked = makers.assignment(folder, base)
    resident = Resident(runtime.open_backbone(base), asked, tmp_path / "scratch")
    (found,) = resident.answers(asked)
    assert found["report"]["verdict"] == "passed"
    monkeypatch.setattr("workers.library.util.find_spec", lambda name: None)
    assert not library.ready()
    (lacking,) = resident.answers(asked)
    assert (
        "only peft runs LLaMA-Adapter, and this worker does not have it" in lacking["fault"]
        and lacking["started"] is False
    )


def test_a_child_that_calls_its_fault_no_attempt_is_not_believed_where_peft_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"fault": "I did not begin", "started": False}
    for here, started in ((True, True), (False, False)):
        monkeypatch.setattr("workers.library.installed", lambda here=here: here)
        with pytest.raises(Fault, match="did not begin") as told:
            _result(said)
        assert told.value.started is started
        with pytest.raises(Fault) as told:
            _result({"fault": "out of memory"})
        assert told.value.started


def test_where_there_is_no_room_for_a_copy_the_run_is_refused_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, base, folder = trained("LLaMA-Adapter", tmp_path)
    monkeypatch.setattr("workers.library.MOST_PARAMETERS", 1000)
    told = check(judged(base, folder, tmp_path / "s"), "load")
    assert told["status"] == "failed"
    assert told["message"].startswith("only peft runs LLaMA-Adapter, and the base model is too large for a second copy")


@pytest.mark.parametrize("kind", [OSError, ModuleNotFoundError, ValueError])
def test_what_the_worker_has_not_is_no_fault_of_the_adapter(
    kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, base, folder = trained("LLaMA-Adapter", tmp_path)

    def fails(*given: Any, **more: Any) -> None:
        raise kind(f"nothing at {library.__file__}: \x1b[2J\n{'x' * 2000}")

    monkeypatch.setattr("peft.get_peft_model", fails)
    if kind is not ValueError:
        with pytest.raises(kind):
            judged(base, folder, tmp_path / "s")
        return
    message = check(judged(base, folder, tmp_path / "s"), "load")["message"]
    assert "ValueError: nothing at (a file): ?[2J xxx" in message and message.isprintable() and len(message) < 600
    assert str(Path(library.__file__).parent) not in message


@pytest.mark.parametrize("name", good.BESIDE_PARAMETERS)
def test_a_pattern_beside_parameters_never_reaches_peft(name: str, tmp_path: Path) -> None:
    keys = good.BESIDE_PARAMETERS[name]
    _, base, folder = trained("parameters of layers", tmp_path)
    makers.edit_json(folder / "adapter_config.json", target_modules=None, **keys)
    backbone, other, _, _ = lent(base, folder)
    assert not torch.equal(said(other, None, given()), said(backbone, None, given())), "it runs, without the pattern"
    snapshot = runtime.open_snapshot(folder)
    (component,) = validation.inspect(snapshot, backbone.base).components
    config = (folder / "adapter_config.json").read_bytes()
    with pytest.raises(errors.HubError, match="(exclude_modules|layers_pattern) holds a pattern"):
        library.lend(backbone, component, config, runtime.tensors_of(snapshot, component))


@pytest.mark.parametrize("late", ["peft.utils.transformers_weight_conversion", "peft.tuners.lora.variants"])
def test_what_peft_imports_late_is_there_before_a_child_is(late: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, late)
    assert library.ready() and late in sys.modules


def test_the_client_says_who_runs_it_instead(tmp_path: Path) -> None:
    _, base, folder = trained("LLaMA-Adapter", tmp_path)
    with pytest.raises(errors.HubError, match="does not run LLaMA-Adapter") as told:
        runtime.load(folder, base)
    assert "peft.PeftModel.from_pretrained" in told.value.hint


def test_a_pass_of_the_copy_never_takes_the_short_way_of_bert(tmp_path: Path) -> None:
    _, base, folder = trained("WaveFT by other wavelets", tmp_path)
    backbone, other, _, _ = lent(base, folder)
    rows = [predict.Encoded((2, *range(5, 5 + length), 3), (0,) * (length + 2)) for length in (3, 3, 6)]
    cut = predict.batches(rows, 0)
    read = predict.for_heads(other, cut)
    one_by_one = torch.cat([predict.hidden(other, predict.one_batch([row], 0))[:, 0] for row in rows])
    assert torch.allclose(read.token, one_by_one, atol=1e-5)
    assert not torch.allclose(read.token, predict.for_heads(backbone, cut).token, atol=1e-3)
    assert dataclasses.is_dataclass(other) and other.fingerprint == backbone.fingerprint


def test_the_child_gives_a_verdict_and_the_next_ordinary_run_the_same_as_before(tmp_path: Path) -> None:
    base = speakers.base(tmp_path / "speaker", "llama")
    model, _, folder = trained("LLaMA-Adapter", tmp_path, base, step=0.5)
    files = speakers.texts(tmp_path / "b", "perplexity")
    speakers.adapter(tmp_path / "lora", base, steps=0)
    ordinary, asked = (makers.assignment(place, base, files, gates={}) for place in (tmp_path / "lora", folder))
    resident = Resident(runtime.open_backbone(base), ordinary, tmp_path / "scratch")
    before, found, after, again = (answer["report"] for answer in resident.answers(ordinary, asked, ordinary, asked))
    assert (found["verdict"], failed(found)) == ("passed", [])
    (score,) = found["components"][0]["scores"]
    assert score["runtime"] == check(found, "load")["evidence"]["runtime"] == f"peft=={peft.__version__}"
    assert check(found, "applied")["evidence"] == {"consumed": 4, "tensors": 4}
    assert check(found, "frozen")["status"] == check(found, "drift")["status"] == "passed"
    assert "merges nothing" in check(found, "merge")["message"]
    words = transformers.AutoTokenizer.from_pretrained(base)
    encoded = [words(json.loads(line)["text"])["input_ids"] for line in files.data.read_text().splitlines()]
    total = sum(nll(model, [words.eos_token_id, *ids], len(ids)) for ids in encoded)
    assert score["value"] == pytest.approx(math.exp(total / sum(map(len, encoded))), rel=1e-5)
    assert after["result_digest"] == before["result_digest"]
    assert after["components"][0]["scores"][0]["runtime"] == "reference"
    assert again["result_digest"] == found["result_digest"], "a replay gives the same bits"
