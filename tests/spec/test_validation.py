"""Adapters judged without running them: the good pass, every bad specimen is told by its own reason."""

import dataclasses

import pytest

from hub.spec import report, validation
from hub.spec.validation import MemorySnapshot
from tests.specimens.spec import bad, builders, good


def inspect(files, base=None, labels=None):
    return validation.inspect(MemorySnapshot(files), base, labels)


@pytest.mark.parametrize("name", good.ALL)
def test_a_good_adapter_passes(name, base):
    found = inspect(good.ALL[name], base)
    assert found.ok, found.problems
    assert {check["name"]: check["status"] for check in found.checks}["shapes"] == "passed"
    assert found.components
    assert all(component.parts for component in found.components)


@pytest.mark.parametrize("name", good.ALL)
def test_a_good_adapter_passes_without_a_base_and_says_that_shapes_were_skipped(name):
    found = inspect(good.ALL[name])
    assert found.ok, found.problems
    assert {check["name"]: check["status"] for check in found.checks}["shapes"] == "skipped"


@pytest.mark.parametrize("name", bad.ALL)
def test_a_bad_adapter_is_refused_for_its_own_reason(name, base):
    files, code, words = bad.ALL[name]
    found = inspect(files, base)
    told = [problem for problem in found.problems if problem.code == code]
    assert told, [problem.code for problem in found.problems]
    assert any(words in str(problem) for problem in told), [str(problem) for problem in told]


@pytest.mark.parametrize("name", bad.NOT_RUN)
def test_what_is_understood_but_not_run_is_no_fault_of_the_files(name, base):
    files, _, words = bad.NOT_RUN[name]
    found = validation.inspect(MemorySnapshot(files), base, to_run=False)
    assert found.ok, [str(problem) for problem in found.problems]
    (component,) = found.components
    assert any(words in reason for reason in component.unrun)


@pytest.mark.parametrize("name", bad.BY_LIBRARY)
def test_what_only_the_library_runs_is_to_be_run_and_says_so(name):
    files, words = bad.BY_LIBRARY[name]
    found = inspect(files)
    assert found.ok, [str(problem) for problem in found.problems]
    (component,) = found.components
    assert component.unrun == () and any(words in what for what in component.by_library)
    assert validation.Component.from_json(component.to_json()) == component


def test_llama_adapter_on_a_base_that_peft_has_none_for_is_run_by_nobody(base):
    files, _ = bad.BY_LIBRARY["LLaMA-Adapter"]
    assert "nobody runs LLaMA-Adapter on bert" in str(inspect(files, base).problems)


@pytest.mark.parametrize("name", bad.ALL)
def test_every_problem_is_counted_in_a_check(name, base):
    found = inspect(bad.ALL[name][0], base)
    failed = {check["name"] for check in found.checks if check["status"] == "failed"}
    assert failed == {problem.check for problem in found.problems}


@pytest.mark.parametrize("name", bad.ATTACKS)
def test_an_attack_puts_nothing_into_the_rebuilt_configuration(name, base):
    for component in inspect(bad.ATTACKS[name][0], base).components:
        assert set(component.config) <= {
            "peft_type", "task_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern",
            "target_modules", "modules_to_save", "bias", "init_lora_weights", "lora_dropout", "inference_mode",
            "use_dora", "lora_bias", "fan_in_fan_out",
        }  # fmt: skip
        assert all(
            isinstance(component.config.get(key, False), bool) for key in ("use_dora", "lora_bias", "fan_in_fan_out")
        )
        assert component.config["init_lora_weights"] is True
        assert component.config["bias"] == "none"
        assert all(isinstance(name, str) and "(" not in name for name in component.config["target_modules"])


@pytest.mark.parametrize("name", bad.ATTACKS)
def test_an_attack_names_no_backbone_tensor_as_a_part(name, base):
    for component in inspect(bad.ATTACKS[name][0], base).components:
        keys = {key for part in component.parts for key in part.tensors.values()}
        assert all(key.endswith((".lora_A.weight", ".lora_B.weight")) for key in keys)


def test_a_specimen_of_each_rebuilt_configuration(base):
    lora, bottleneck = (inspect(good.ALL[name], base).components[0] for name in ("lora", "houlsby"))
    assert lora.config["target_modules"] == [
        f"encoder.layer.{layer}.attention.self.{name}" for layer in (0, 1) for name in ("query", "value")
    ]
    assert "base_model_name_or_path" not in lora.config
    assert set(bottleneck.config) == {
        "mh_adapter", "output_adapter", "non_linearity", "reduction_factor", "leave_out", "scaling",
        "residual_before_ln", "original_ln_before", "original_ln_after", "adapter_residual_before_ln",
        "is_parallel", "use_gating", "ln_before", "ln_after", "phm_layer", "inv_adapter",
    }  # fmt: skip


def test_the_parts_of_a_lora(base):
    component = inspect(good.ALL["lora"], base).components[0]
    part = component.parts[0]
    assert part.module == "encoder.layer.0.attention.self.query"
    assert part.tensors["A"] == "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight"
    assert (part.scale, part.shapes) == (2.0, {"A": (2, 8), "B": (8, 2)})
    assert (component.rank, component.parameters, component.head_parameters) == (2, 4 * 32, 18)
    assert (component.head.kind, component.head.pooling, component.head.num_labels) == ("linear", "pooler", 2)


def test_the_scales_of_lora(base):
    def scales(name):
        return {part.module[-5:]: part.scale for part in inspect(good.ALL[name], base).components[0].parts[:2]}

    assert scales("lora, rank-stabilised") == pytest.approx({"query": 4 / 2**0.5, "value": 4 / 2**0.5})
    assert scales("lora with a rank pattern") == {"query": 16.0, "value": 2.0}


def test_the_parts_of_a_houlsby_adapter(base):
    component = inspect(good.ALL["houlsby"], base).components[0]
    assert (component.variant, component.rank, len(component.parts)) == ("houlsby", 2, 4)
    assert component.parts[0].module == "encoder.layer.0.attention.output"
    assert component.parts[0].shapes["down_weight"] == (2, 8)
    assert component.parts[0].activation == "swish"
    assert (component.head.kind, component.head.pooling) == ("mlp", "cls")
    assert component.head.labels == ("negative", "positive")


def test_pfeiffer_is_called_so(base):
    assert inspect(good.ALL["pfeiffer"], base).components[0].variant == "pfeiffer"


def test_a_pooler_of_its_own_belongs_to_the_head(base):
    head = inspect(good.ALL["lora with its own pooler"], base).components[0].head
    assert head.tensors["pooler_weight"] == "base_model.model.bert.pooler.dense.weight"


def test_a_component_survives_json(base):
    for name in good.ALL:
        for component in inspect(good.ALL[name], base).components:
            assert validation.Component.from_json(component.to_json()) == component


def test_a_wrong_shape_is_named_with_both_shapes():
    found = inspect(good.ALL["lora"], builders.other_base())
    text = "\n".join(str(problem) for problem in found.problems)
    assert "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight" in text
    assert "has shape [2, 8]" in text
    assert "[12, 12] needs [2, 12]" in text


def test_checks_of_a_small_adapter_speak_of_one_file_and_one_class(base):
    told = {check["name"]: check["message"] for check in inspect(good.ALL["lora"], base).checks}
    assert "in 1 safetensors file;" in told["scan"]
    one = [validation.Head("linear", "cls", "w", {}, 1, None)]
    (component,) = inspect(good.ALL["lora"], base).components
    found = validation.Inspection(validation.card.Facts(), (dataclasses.replace(component, head=one[0]),), (), ())
    assert "the head has 1 class, but" in found.against(("a", "b")).problems[0].message


def test_a_head_that_does_not_fit_the_benchmark_is_refused(base):
    found = inspect(good.ALL["lora"], base, ("a", "b", "c"))
    assert [problem.code for problem in found.problems] == ["head.classes"]
    assert "2 classes, but the benchmark has 3 labels: a, b, c" in found.problems[0].message
    assert "of the head's ML task (text-classification)" in found.problems[0].hint
    assert inspect(good.ALL["lora"], base, ("a", "b")).ok


def test_all_problems_are_told_at_once(base):
    files = builders.lora({"r": 4, "alora_invocation_tokens": [1]}, **{"x.bin": b"", "hub.json": b'{"base": 1}'})
    codes = {problem.code for problem in inspect(files, base).problems}
    assert {"files.refused", "config.unsupported", "facts", "tensors.rank"} <= codes


def test_the_base_of_a_laptop_is_set_aside_with_a_notice(base):
    found = inspect(builders.lora({"base_model_name_or_path": "/home/alice/secret/model"}), base)
    assert found.ok
    assert found.facts.base is None
    assert "alice" not in str(found.notices)
    assert {check["name"]: check["status"] for check in found.checks}["config"] == "warning"


def test_twenty_thousand_wrong_tensors_are_told_in_a_few_words(base):
    shapes = {f"base_model.model.bert.x{index}.weight": (1,) for index in range(15_000)}
    found = inspect(builders.lora(shapes=shapes), base)
    assert len(found.problems) < 10
    assert "and 14999 more" in "\n".join(str(problem) for problem in found.problems)


def test_adapters_on_two_bases_do_not_share_a_snapshot(base):
    files = {f"a/{path}": data for path, data in builders.lora().items()}
    files |= {f"b/{path}": data for path, data in builders.lora({"base_model_name_or_path": "other"}).items()}
    assert "split the repository" in str([str(problem) for problem in inspect(files, base).problems])


def test_checks_have_the_reports_names_and_order(base):
    assert [check["name"] for check in inspect(good.ALL["lora"], base).checks] == list(validation.CHECKS)
    assert set(validation.CHECKS) <= set(report.CHECKS)


def test_the_same_files_give_the_same_checks(base):
    assert inspect(good.ALL["lora"], base) == inspect(good.ALL["lora"], base)


def test_the_head_says_which_task_it_is_and_no_word_talks_it_out_of_that(base):
    found = inspect(builders.lora(**{"hub.json": b'{"task": "anything-else"}'}), base)
    assert found.task == found.facts.task == "text-classification"
    assert [problem.where for problem in found.problems] == ["hub.json"]


def test_a_readme_that_names_another_task_is_set_aside_with_a_notice(base):
    found = inspect(builders.lora(**{"README.md": b"---\npipeline_tag: feature-extraction\n---\n"}, shapes={}), base)
    assert found.ok
    assert found.facts.task == "text-classification"
    assert any("feature-extraction" in notice for notice in found.notices)


def test_a_component_of_another_edition_is_read(base):
    (component,) = inspect(builders.lora(), base).components
    value = component.to_json() | {"invented_later": 1}
    value["parts"] = [part | {"invented_later": 1} for part in value["parts"]]
    assert type(component).from_json(value) == component
