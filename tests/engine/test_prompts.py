"""Prompts and prefixes: what stands before the text moves it, and every reader of the states has to know."""

import shutil
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
from hub.runtime import answering, predict
from hub.runtime.base import Backbone
from tests.engine import makers
from tests.engine.makers import check, edit_json, failed, judged
from tests.engine.test_parity import SENTENCES, answer, inputs, same

Saved = tuple[Any, Path]
PROMPTS: dict[str, tuple[str, dict[str, Any]]] = {
    "prompt tuning": ("PromptTuningConfig", {"num_virtual_tokens": 5}),
    "prompt tuning from words": ("PromptTuningConfig", {"num_virtual_tokens": 5, "prompt_tuning_init": "SAMPLE_VOCAB"}),
    "P-tuning by an MLP": ("PromptEncoderConfig", {"num_virtual_tokens": 4, "encoder_hidden_size": 12}),
    "P-tuning by an LSTM": (
        "PromptEncoderConfig",
        {"num_virtual_tokens": 4, "encoder_hidden_size": 12, "encoder_reparameterization_type": "LSTM"},
    ),
    "multitask prompt tuning": (
        "MultitaskPromptTuningConfig",
        {"num_virtual_tokens": 3, "num_tasks": 1, "num_ranks": 2},
    ),
    "prefix tuning": ("PrefixTuningConfig", {"num_virtual_tokens": 6}),
    "prefix tuning with a projection": (
        "PrefixTuningConfig",
        {"num_virtual_tokens": 6, "prefix_projection": True, "encoder_hidden_size": 10},
    ),
}
ROWS_AHEAD = {"PromptTuningConfig": True, "PrefixTuningConfig": False}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny base model of a family."""
    place = tmp_path_factory.mktemp("families")

    def base(family: str) -> Path:
        if family == "bert":
            return makers.TINY
        if not (place / family).exists():
            config = transformers.AutoConfig.for_model(
                family, vocab_size=170, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
                max_position_embeddings=66, initializer_range=0.2, pad_token_id=1,
            )  # fmt: skip
            transformers.AutoModel.from_config(config).save_pretrained(place / family)
            transformers.AutoTokenizer.from_pretrained(makers.TINY).save_pretrained(place / family)
        return place / family

    return base


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Saved]:
    """Let PEFT make an adapter of a method, move its numbers, and save it."""

    def saved(name: str, settings: dict[str, Any], base: Path = makers.TINY, std: float = 0.3) -> Saved:
        torch.manual_seed(4)
        plain = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = peft.get_peft_model(plain, getattr(peft, name)(**settings, task_type="SEQ_CLS"))
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter.add_(torch.randn_like(parameter) * std)
            model.save_pretrained(tmp_path / "adapter")
        return model.eval(), tmp_path / "adapter"

    return saved


def of_tasks(model: Any) -> dict[str, torch.Tensor]:
    many = model.active_peft_config.peft_type == "MULTITASK_PROMPT_TUNING"
    return {"task_ids": torch.zeros(len(SENTENCES), dtype=torch.long)} if many else {}


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
@pytest.mark.parametrize("name", PROMPTS)
def test_what_stands_before_the_text_answers_as_it_does_in_peft(
    name: str, family: str, bases: Callable[[str], Path], save: Callable[..., Saved]
) -> None:
    reference, folder = save(*PROMPTS[name], base=bases(family))
    model, _ = runtime.load(folder, bases(family))
    given = inputs(makers.TINY)
    if family != "bert":
        given.pop("token_type_ids")
        given["input_ids"][given["attention_mask"] == 0] = 1
    else:
        given["token_type_ids"][:, 3:] = 1
    assert same(answer(model, given), answer(reference, given | of_tasks(reference)))


@pytest.mark.parametrize("name", PROMPTS)
def test_padding_on_the_left_and_no_mask_at_all_are_read_as_peft_reads_them(
    name: str, save: Callable[..., Saved]
) -> None:
    reference, folder = save(*PROMPTS[name])
    model, _ = runtime.load(folder, makers.TINY)
    given = inputs(makers.TINY)
    left = {key: tensor.flip(1) for key, tensor in given.items()}
    for each in (left, {"input_ids": given["input_ids"]}):
        assert same(answer(model, each), answer(reference, each | of_tasks(reference)))


@pytest.mark.parametrize("name", PROMPTS)
def test_attention_written_out_in_full_sees_it_too(name: str, save: Callable[..., Saved]) -> None:
    _, folder = save(*PROMPTS[name])
    model, _ = runtime.load(folder, makers.TINY)
    fused = answer(model, inputs(makers.TINY))
    model.backbone.set_attn_implementation("eager")
    assert same(answer(model, inputs(makers.TINY)), fused)


@pytest.mark.parametrize("name", ["PromptTuningConfig", "PrefixTuningConfig"])
def test_states_are_those_of_the_text_and_the_head_reads_what_peft_reads(name: str, save: Callable[..., Saved]) -> None:
    reference, folder = save(name, {"num_virtual_tokens": 5})
    model, tokenizer = runtime.load(folder, makers.TINY)
    backbone = runtime.open_backbone(makers.TINY)
    cut = predict.batches(predict.tokenise(tokenizer, SENTENCES, None, model.max_length), 0)
    with makers.on(backbone, folder):
        seen, heads_see = predict.states(backbone, cut), predict.for_heads(backbone, cut)
        for batch in cut:
            whole = backbone.model(**batch.inputs).last_hidden_state
            text = predict.hidden(backbone, batch)
            assert text.shape == (len(batch.rows), batch.input_ids.shape[1], 32)
            assert whole.shape[1] - text.shape[1] == (5 if ROWS_AHEAD[name] else 0)
            assert torch.allclose(seen.mean[torch.tensor(batch.rows)], text.mean(1), atol=1e-6)
    theirs = answer(reference, inputs(makers.TINY))
    assert same(predict.logits(model.head, seen), theirs), "PEFT's classifiers read the first row, a prompt's own"
    assert same(predict.logits(model.head, heads_see), theirs)


@pytest.mark.parametrize("name", ["PromptTuningConfig", "PrefixTuningConfig"])
@pytest.mark.parametrize("task", ["FEATURE_EXTRACTION", "TOKEN_CLS", "QUESTION_ANS"])
def test_other_tasks_read_the_text_behind_it_as_peft_does(name: str, task: str, tmp_path: Path) -> None:
    kind = {"FEATURE_EXTRACTION": "AutoModel", "TOKEN_CLS": "AutoModelForTokenClassification",
            "QUESTION_ANS": "AutoModelForQuestionAnswering"}[task]  # fmt: skip
    torch.manual_seed(4)
    plain = getattr(transformers, kind).from_pretrained(makers.TINY)
    reference = peft.get_peft_model(plain, getattr(peft, name)(num_virtual_tokens=5, task_type=task)).eval()
    reference.save_pretrained(tmp_path)
    model, _ = runtime.load(tmp_path, makers.TINY)
    given = inputs(makers.TINY)
    given["token_type_ids"][:, 2:] = 1
    with torch.no_grad():
        ours, theirs = model(**given), reference(**given)
    read = {"FEATURE_EXTRACTION": "last_hidden_state", "TOKEN_CLS": "logits", "QUESTION_ANS": "end_logits"}[task]
    whole, ours_read = getattr(theirs, read), getattr(ours, read)
    if task != "FEATURE_EXTRACTION":  # what heads on tokens say of a prompt's own rows is left out here
        whole = whole[:, whole.shape[1] - given["input_ids"].shape[1] :]
    assert same(ours_read, whole)


@pytest.mark.parametrize("name", [*PROMPTS, "without a head"])
def test_a_worker_that_asks_the_library_hears_the_same(
    name: str, save: Callable[..., Saved], backbone: Backbone, tmp_path: Path
) -> None:
    if name == "without a head":
        plain = transformers.AutoModel.from_pretrained(makers.TINY)
        config = peft.PromptTuningConfig(num_virtual_tokens=5, task_type="FEATURE_EXTRACTION")
        peft.get_peft_model(plain, config).save_pretrained(tmp_path / "adapter")
        folder = tmp_path / "adapter"
    else:
        _, folder = save(*PROMPTS[name])
    found = check(judged(makers.assignment(folder, makers.TINY, parity=True), backbone, tmp_path), "parity")
    if name == "multitask prompt tuning":
        assert found["status"] == "skipped" and "task_ids" in found["message"]
    else:
        assert found["status"] == "passed", found["message"]


def test_sentences_are_cut_where_the_prompt_leaves_room(save: Callable[..., Saved], tiny: Path) -> None:
    _, folder = save("PromptTuningConfig", {"num_virtual_tokens": 40})
    model, tokenizer = runtime.load(folder, tiny)
    longest = runtime.open_backbone(tiny).max_length
    assert model.max_length == longest - 40
    long = " ".join(["film"] * longest)
    (found,) = answering.answer(model, tokenizer, [long])
    assert found["label"] in model.labels
    with pytest.raises(errors.UsageError, match=f"cut texts at {longest - 40} tokens|positions"):
        model(**tokenizer([long], truncation=True, max_length=longest, return_tensors="pt"))


def test_a_row_that_is_too_long_keeps_its_beginning_and_its_last_token() -> None:
    rows = [predict.Encoded(tuple(range(1, 10)), (0,) * 8 + (1,)), predict.Encoded((1, 2, 9), (0, 0, 1))]
    batch = predict.one_batch(rows, 0)
    cut = predict.within(batch, 5)
    order = list(cut.rows)
    assert cut.input_ids[order.index(0)].tolist() == [1, 2, 3, 4, 9]
    assert cut.token_type_ids[order.index(0)].tolist() == [0, 0, 0, 0, 1]
    assert cut.input_ids[order.index(1)].tolist() == [1, 2, 9, 0, 0]
    assert sorted(cut.attention_mask.sum(1).tolist()) == [3, 5]
    assert predict.within(batch, 9) is batch


@pytest.mark.parametrize("name", ["prompt tuning", "P-tuning by an MLP", "prefix tuning"])
def test_a_worker_scores_it_row_for_row_as_peft_does(
    name: str, save: Callable[..., Saved], backbone: Backbone, tmp_path: Path
) -> None:
    reference, folder = save(*PROMPTS[name], std=1.0)
    texts = makers.sentences(60, seed=7)
    truth = answer(reference, inputs(makers.TINY, texts)).argmax(-1).tolist()
    files = makers.write_benchmark(
        tmp_path / "bench", [f"{text}\t{label}" for text, label in zip(texts, truth, strict=True)], []
    )
    found = judged(makers.assignment(folder, makers.TINY, files), backbone, tmp_path)
    assert {item["name"]: item["status"] for item in found["checks"]}["applied"] == "passed"
    (predictions,) = found["predictions"].values()
    assert predictions["labels"] == truth
    assert runtime.rehash(backbone) == backbone.fingerprint


def test_rows_too_long_beside_a_prompt_are_cut_and_scored(
    save: Callable[..., Saved], backbone: Backbone, tmp_path: Path
) -> None:
    _, folder = save("PromptTuningConfig", {"num_virtual_tokens": backbone.max_length - 5})
    lines = [f"{text}\t{number % 2}" for number, text in enumerate(makers.sentences(40))]
    files = makers.write_benchmark(tmp_path / "bench", lines, [], max_length=backbone.max_length)
    found = judged(makers.assignment(folder, makers.TINY, files), backbone, tmp_path)
    assert check(found, "effect")["status"] == "passed"
    assert found["components"][0]["scores"][0]["n"] == 40


# several tasks in one adapter

MULTITASK = ("MultitaskPromptTuningConfig", {"num_virtual_tokens": 3, "num_tasks": 3, "num_ranks": 2})


def test_of_several_tasks_one_has_to_be_chosen(save: Callable[..., Saved], tiny: Path) -> None:
    reference, folder = save(*MULTITASK, std=1.0)
    model, _ = runtime.load(folder, tiny)
    given = inputs(tiny)
    with pytest.raises(errors.UsageError, match="3 tasks, and nothing says which"):
        answer(model, given)
    tasks = torch.tensor([0, 1, 2, 1, 0])
    assert same(answer(model, given | {"task_ids": tasks}), answer(reference, given | {"task_ids": tasks}))
    model.adapter.answer_for(2)
    assert same(answer(model, given), answer(reference, given | {"task_ids": torch.full((5,), 2)}))
    with pytest.raises(errors.UsageError, match="0 to 2, not 0 to 3"):
        answer(model, given | {"task_ids": torch.tensor([0, 1, 3, 0, 0])})


@pytest.mark.parametrize("task", [None, 3, -1, True, "1"])
def test_a_worker_is_told_which_task_in_the_usage_block(
    task: object, save: Callable[..., Saved], backbone: Backbone, tmp_path: Path
) -> None:
    _, folder = save(*MULTITASK)
    if task is not None:
        (folder / "hub.json").write_text("{}")
        edit_json(folder / "hub.json", usage={"task": task})
    refused = judged(makers.assignment(folder, makers.TINY), backbone, tmp_path)
    assert failed(refused) == ["load"] and "tasks 0 to 2" in check(refused, "load")["message"]
    (folder / "hub.json").write_text('{"usage": {"task": 1}}')
    assert judged(makers.assignment(folder, makers.TINY), backbone, tmp_path)["verdict"] == "passed"


# attacks


def spoilt(folder: Path, change: Callable[[torch.Tensor], torch.Tensor], key: str = "prompt_embeddings") -> None:
    path = folder / "adapter_model.safetensors"
    found = load_file(path)
    save_file(found | {key: change(found[key]).contiguous()}, path)


ATTACKS: dict[str, tuple[str, Callable[[Path], None], str, str]] = {
    "more rows than the configuration says": (
        "PromptTuningConfig", lambda folder: spoilt(folder, lambda rows: rows.repeat(2, 1)), "shapes", "prompt_embeddings"),
    "a prefix with more rows than the configuration says": (
        "PrefixTuningConfig", lambda folder: spoilt(folder, lambda rows: rows.repeat(2, 1)), "shapes", "prompt_embeddings"),
    "a thousand virtual tokens in the configuration": (
        "PromptTuningConfig", lambda folder: edit_json(folder / "adapter_config.json", num_virtual_tokens=1000), "shapes",
        "prompt_embeddings"),
    "a prefix of a thousand virtual tokens in the configuration": (
        "PrefixTuningConfig", lambda folder: edit_json(folder / "adapter_config.json", num_virtual_tokens=1000), "shapes",
        "prompt_embeddings"),
    "a billion virtual tokens": (
        "PromptTuningConfig", lambda folder: edit_json(folder / "adapter_config.json", num_virtual_tokens=10**9), "config",
        "num_virtual_tokens"),
    "not a number": (
        "PromptTuningConfig", lambda folder: spoilt(folder, lambda rows: rows * float("nan")), "finite", "prompt_embeddings"),
    "infinity in a prefix": (
        "PrefixTuningConfig", lambda folder: spoilt(folder, lambda rows: rows / 0.0), "finite", "prompt_embeddings"),
    "rows of another width": (
        "PromptTuningConfig", lambda folder: spoilt(folder, lambda rows: rows[:, :-1]), "shapes", "prompt_embeddings"),
    "a prefix of another number of layers": (
        "PrefixTuningConfig", lambda folder: spoilt(folder, lambda rows: rows[:, :64]), "shapes", "prompt_embeddings"),
    "other heads than the base model's": (
        "PrefixTuningConfig", lambda folder: edit_json(folder / "adapter_config.json", num_attention_heads=2), "load",
        "num_attention_heads"),
    "rows for a decoder that is not there": (
        "PromptTuningConfig", lambda folder: (
            spoilt(folder, lambda rows: rows.repeat(2, 1)),
            edit_json(folder / "adapter_config.json", num_transformer_submodules=2)), "load", "prompt_embeddings"),
    "a seed of submodules": (
        "PromptTuningConfig", lambda folder: edit_json(folder / "adapter_config.json", num_transformer_submodules=-1),
        "config", "num_transformer_submodules"),
    "no rows": (
        "PromptTuningConfig", lambda folder: spoilt(folder, lambda rows: rows[:0]), "shapes", "prompt_embeddings"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_a_spoilt_prompt_is_refused_and_named(
    name: str, save: Callable[..., Saved], backbone: Backbone, tmp_path: Path
) -> None:
    method, attack, refused_by, named = ATTACKS[name]
    _, good = save(method, {"num_virtual_tokens": 4})
    folder = Path(shutil.copytree(good, tmp_path / "spoilt"))
    attack(folder)
    found = judged(makers.assignment(folder, makers.TINY), backbone, tmp_path)
    assert refused_by in failed(found), found["summary"]
    assert named in check(found, refused_by)["message"]
    assert runtime.rehash(backbone) == backbone.fingerprint
    assert judged(makers.assignment(good, makers.TINY), backbone, tmp_path)["verdict"] == "passed"


@pytest.mark.parametrize(
    "key", ["base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight", "prefix_task_cols",
            "base_model.bert.embeddings.word_embeddings.weight", "encoder.layer.9.prompt_embeddings"])  # fmt: skip
def test_a_tensor_that_is_no_part_of_a_prompt_is_refused_and_named(
    key: str, save: Callable[..., Saved], backbone: Backbone, tmp_path: Path
) -> None:
    _, folder = save("PromptTuningConfig", {"num_virtual_tokens": 4})
    path = folder / "adapter_model.safetensors"
    save_file(load_file(path) | {key: torch.ones(4, 32)}, path)
    found = judged(makers.assignment(folder, makers.TINY), backbone, tmp_path)
    assert "shapes" in failed(found) and key in check(found, "shapes")["message"]


def test_a_prompt_that_leaves_no_room_for_a_text_is_refused(
    save: Callable[..., Saved], backbone: Backbone, tmp_path: Path
) -> None:
    _, folder = save("PromptTuningConfig", {"num_virtual_tokens": backbone.max_length})
    found = judged(makers.assignment(folder, makers.TINY), backbone, tmp_path)
    assert failed(found) == ["load"] and "no text would have room" in check(found, "load")["message"]
