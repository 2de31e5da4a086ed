"""Whether an adapter can answer the benchmarks that it is pushed against, told from its files."""

import pytest

from hub.spec import suitability, validation
from hub.spec.validation import MemorySnapshot
from tests.specimens.spec import builders as make

HEADLESS = dict.fromkeys((f"{make.PREFIX}classifier.weight", f"{make.PREFIX}classifier.bias"), make.REMOVE)


def told(task_type, *asked):
    found = validation.inspect(MemorySnapshot(make.lora({"task_type": task_type}, HEADLESS)), None)
    assert found.ok, found.problems
    return found.asked(asked)


@pytest.mark.parametrize(
    ("task_type", "asked", "origin", "train"),
    [
        ("CAUSAL_LM", "text-classification", "was made for text-generation (task_type CAUSAL_LM) and ", "SEQ_CLS"),
        ("FEATURE_EXTRACTION", "token-classification", "has task_type FEATURE_EXTRACTION and ", "TOKEN_CLS"),
        (None, "question-answering", "", "QUESTION_ANS"),
    ],
)
def test_an_adapter_without_a_head_is_told_what_it_was_made_for_what_is_asked_and_how_to_mend_it(
    task_type, asked, origin, train
):
    found = told(task_type, "text-generation", asked)
    (problem,) = found.problems
    wanted = f"the adapter {origin}brings no head, and benchmarks of its plan need one: they are for {asked}"
    assert (problem.code, problem.message) == ("head.none", wanted)
    assert f'train it with a head: task_type="{train}" in PEFT, add_' in problem.hint
    assert problem.hint.startswith("choose benchmarks for text-generation, or ") == (task_type == "CAUSAL_LM")
    (check,) = [check for check in found.checks if check["name"] == "head"]
    assert (check["status"], wanted in check["message"]) == ("failed", True)


def test_where_no_benchmark_needs_a_head_none_is_missed():
    assert told("CAUSAL_LM", "text-generation").ok and told("CAUSAL_LM").ok


@pytest.mark.parametrize(("called", "told_as"), [("tiny-bert", "tiny-bert"), ("", "the base model")])
def test_a_base_model_without_a_language_model_head_is_named_where_a_benchmark_asks_what_it_says(called, told_as):
    found = validation.inspect(MemorySnapshot(make.lora({"task_type": "CAUSAL_LM"}, HEADLESS)), make.base())
    (problem,) = found.asked(["text-generation"], make.base(), called).problems
    wanted = f"text-generation needs a decoder with its own language-model head; {told_as} (bert) has none"
    assert (problem.code, problem.message) == ("head.base", wanted)
    assert problem.hint == "choose another base model or benchmark"


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "telepathy"])
def test_one_that_may_have_such_a_head_is_left_to_the_worker(model_type):
    found = validation.inspect(MemorySnapshot(make.lora({"task_type": "CAUSAL_LM"}, HEADLESS)), None)
    assert found.asked(["text-generation"], make.base(model_type=model_type)).ok


def test_a_head_that_was_not_saved_is_one_problem_with_what_mends_it():
    found = validation.inspect(MemorySnapshot(make.lora({}, HEADLESS)), make.base())
    (problem,) = found.asked(["text-classification"]).problems
    assert problem.message == "adapter_config.json names classifier, but the file holds no classifier.weight"
    assert problem.hint == "save the adapter again with save_pretrained"


def test_one_that_no_configuration_names_is_told_how_to_name_it():
    found = validation.inspect(MemorySnapshot(make.lora({"modules_to_save": None}, HEADLESS)), make.base())
    (problem,) = found.asked(["text-classification"]).problems
    assert problem.message == "task_type is SEQ_CLS, but the file holds no classifier"
    assert problem.hint.startswith("name the model's head in modules_to_save")


def test_nobody_is_told_to_choose_benchmarks_of_the_task_that_is_asked():
    found = validation.inspect(MemorySnapshot(make.lora({"task_type": "TOKEN_CLS"}, HEADLESS)), make.base())
    assert suitability.lacks_head(found.components[0], ["token-classification"]).hint.startswith("train it with a head")


def test_a_classifier_under_the_task_type_of_a_language_model_is_named_with_the_one_to_set():
    found = validation.inspect(MemorySnapshot(make.lora({"task_type": "CAUSAL_LM"})), make.base())
    (problem,) = found.asked(["text-classification"]).problems
    assert problem.message == f"'{make.PREFIX}classifier.weight' is a classifier, but task_type is CAUSAL_LM"
    assert problem.hint == "set task_type SEQ_CLS"
