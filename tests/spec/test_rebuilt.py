"""The configuration as a hub serves it: what is kept, what is written out, what is left away, and what is refused because
it cannot be written out."""

import json

import pytest

from hub.spec import validation
from hub.spec.methods import peft_rebuilt, rewriting
from hub.spec.snapshot import MemorySnapshot
from tests.specimens.spec import builders as make
from tests.specimens.spec import good

CONFIG, HEAD = "adapter_config.json", "head_config.json"
MODULES = [
    f"bert.encoder.layer.{layer}.attention.self.{name}" for layer in range(make.LAYERS) for name in ("query", "value")
]
PROVEN = f"the list of the {len(MODULES)} modules that the tensors prove"
BOMBS = {
    "that never ends": {"target_modules": "(([a-z.]+)+)+[0-9]!"},
    "of question marks": {"exclude_modules": "(?:[a-z_.0-9]?){80}!"},
    "to the tenth power": {"target_modules": ".*" * 10 + "(query|value)!"},
    "for layers": {"layers_pattern": "(([a-z.]+)+)+[0-9]!"},
    "of choices": {"exclude_modules": "(a|a)*b"},
}
PLACES = (
    "/home/ann/bert",
    "./bert",
    "~/bert",
    "../bert",
    "C:\\models\\bert",
    "a/b/c",
    "a\\b",
    " bert",
    "https://x/bert",
)


def inspect(files, base=None):
    return validation.inspect(MemorySnapshot(files), base, to_run=False)


def served(files):
    """(the configuration as it is served, what is told of it), by path."""
    found = inspect(files)
    assert found.ok, [str(problem) for problem in found.problems]
    return {one.path: (json.loads(one.data), one.changes) for one in found.rewritten}


def of(config, **files):
    return served(make.lora(config, **files))[CONFIG]


def refused(files):
    return {problem.code: problem.where for problem in inspect(files).problems}


@pytest.mark.parametrize("name", good.ALL)
def test_a_good_file_of_a_library_is_served_as_it_is_or_says_what_was_removed(name):
    for one in inspect(good.ALL[name]).rewritten:
        assert one.changes


def test_what_peft_writes_keeps_its_bytes():
    assert served(make.lora()) == {}
    assert served(make.bottleneck()) == {}


@pytest.mark.parametrize("name", BOMBS)
def test_a_pattern_is_neither_evaluated_nor_served(name):
    config, changes = of(BOMBS[name])
    assert config["target_modules"] == MODULES
    assert f"target_modules: {PROVEN}" in changes
    for value in BOMBS[name].values():
        assert value not in json.dumps(config)


def test_a_rule_or_silence_becomes_the_modules_that_the_tensors_prove():
    for said in ("all-linear", None, make.REMOVE):
        config, changes = of({"target_modules": said})
        assert (config["target_modules"], changes) == (MODULES, (f"target_modules: {PROVEN}",))


def test_a_single_name_which_peft_reads_as_a_pattern_becomes_the_modules_that_it_means_here():
    gone = {key: make.REMOVE for key in make.lora_shapes() if ".value." in key}
    config, _ = served(make.lora({"target_modules": "query"}, gone))[CONFIG]
    assert config["target_modules"] == MODULES[::2]


def test_a_list_of_names_stays_with_what_goes_with_it():
    kept = {"exclude_modules": ["pooler"], "layers_to_transform": [0, 1], "layers_pattern": ["layer"]}
    assert served(make.lora(kept)) == {}


def test_what_chose_among_a_pattern_s_modules_goes_with_it():
    config, changes = of({"target_modules": ".*", "exclude_modules": ["pooler"], "layers_to_transform": [0, 1]})
    assert not {"exclude_modules", "layers_to_transform"} & set(config)
    gone = [f"{key}: {rewriting.CHOSEN}" for key in ("exclude_modules", "layers_to_transform")]
    assert changes == (*gone, f"target_modules: {PROVEN}")


@pytest.mark.parametrize("layer", [0, 1])
def test_layer_0_is_a_layer_as_any_other(layer):
    others = {key: make.REMOVE for key in make.lora_shapes() if f"layer.{1 - layer}." in key}
    keys = {"layers_to_transform": layer, "layers_pattern": "layer"}
    assert served(make.lora(keys, others)) == {}
    assert refused(make.lora(keys)) == {"tensors.untargeted": "adapter_model.safetensors"}
    config, changes = served(make.lora({"target_modules": ".*", **keys}, others))[CONFIG]
    assert not set(keys) & set(config)
    assert [change for change in changes if "layers" in change] == [
        f"{key}: {rewriting.CHOSEN}" for key in sorted(keys)
    ]


@pytest.mark.parametrize("key", ["bias", "layers_pattern", "rank_pattern", "alpha_pattern", "use_rslora"])
def test_a_zero_is_no_word_for_nothing(key):
    """PEFT takes none of these for unsaid, and most of them it does not load."""
    assert list(refused(make.lora({key: 0})).values()) == [f"{CONFIG}: {key}"]
    assert refused(make.lora({key: None})) == {}


def test_a_zero_under_a_key_that_nobody_knows_may_mean_something():
    for value in (0, 0.0):
        assert refused(make.lora({"gate": value})) == {"config.unsupported": f"{CONFIG}: gate"}
    for value in (None, False, "", [], {}):
        assert refused(make.lora({"gate": value})) == {}


@pytest.mark.parametrize("key", ["auto_mapping", "revision", "loftq_config", "eva_config", "runtime_config"])
def test_what_imports_or_fetches_is_removed(key):
    value = {"base_model_class": "B", "parent_library": "transformers.models"} if key == "auto_mapping" else {"a": "b"}
    config, changes = of({key: "main" if key == "revision" else value})
    assert key not in config and changes == (f"{key}: {rewriting.UNREAD}",)


@pytest.mark.parametrize("place", PLACES)
def test_a_place_on_a_machine_is_null_and_is_not_told(place):
    config, changes = of({"base_model_name_or_path": place})
    assert config["base_model_name_or_path"] is None
    assert changes == (f"base_model_name_or_path: {rewriting.PLACE}",)


QUIET = {
    "auto_mapping": {"base_model_class": "B"},
    "eva_config": {"rho": 2.0},
    "base_model_name_or_path": "/home/bea/bert",
}


def test_only_a_change_that_somebody_may_miss_is_news():
    quiet, loud = (inspect(make.lora(QUIET | more)) for more in ({}, {"target_modules": ".*(query|value)"}))
    assert len(quiet.rewritten[0].changes) == 3, "every change stays in the details"
    assert not [notice for notice in quiet.notices if "written anew" in notice]
    assert [notice for notice in loud.notices if "written anew" in notice] == [
        f"{CONFIG} is written anew by a hub (target_modules: {PROVEN})"
    ]


FORM = [
    {"target_modules": ".*(query|value)", "exclude_modules": ["pooler"]},
    {"target_modules": "all-linear", "modules_to_save": "classifier"},
    {**QUIET, "revision": "main"},
]


@pytest.mark.parametrize("keys", FORM)
def test_a_reader_misses_nothing_where_only_the_form_has_changed(keys):
    changes = [change for one in inspect(make.lora(keys)).rewritten for change in one.changes]
    assert changes and all(map(rewriting.is_form, changes)), changes


def test_a_reader_may_miss_a_setting_that_was_dropped_and_should_hear_of_code():
    (one,) = inspect(make.peft("PROMPT_TUNING", {"num_virtual_tokens": 3, "token_dim": 8, "target_modules": "a.*"},
                               {"prompt_embeddings": (3, 8)})).rewritten  # fmt: skip
    code = rewriting.without_code("config.json", {"auto_map": {"AutoModel": "eve/evil--model.Model"}})
    assert not any(rewriting.is_form(change) for change in (*one.changes, *code.changes))


def test_a_key_that_speaks_like_the_hub_is_dropped_as_any_other():
    for key in (rewriting.PROVEN, f"target_modules: {PROVEN}", f"x: {rewriting.PLACE}"):
        one = rewriting.written(CONFIG, {}, {key: rewriting.GONE})
        assert not any(map(rewriting.is_form, one.changes)), key


@pytest.mark.parametrize("name", ["bert-base-uncased", "google-bert/bert-base-uncased", "", None])
def test_a_name_that_others_can_find_stays(name):
    assert served(make.lora({"base_model_name_or_path": name})) == {}


def test_a_key_that_nobody_knows_and_that_says_nothing_is_removed():
    config, changes = of({"use_tomorrow": False, "tomorrow_config": None})
    assert not {"use_tomorrow", "tomorrow_config"} & set(config)
    assert changes == (f"tomorrow_config: {rewriting.UNREAD}", f"use_tomorrow: {rewriting.UNREAD}")


def test_a_key_that_nobody_knows_and_that_says_something_is_refused():
    assert refused(make.lora({"use_tomorrow": True})) == {"config.unsupported": f"{CONFIG}: use_tomorrow"}


def test_a_known_key_with_a_value_of_another_kind_is_refused():
    for value in ({"x": "/etc/passwd"}, "import os; os.system('x')", [[[["deep"]]]]):
        assert "config.type" in refused(make.lora({"trainable_token_indices": value})), value


def test_a_saved_module_that_is_named_by_a_text_is_named_by_a_list():
    config, changes = of({"modules_to_save": "classifier"})
    assert (config["modules_to_save"], changes) == (["classifier"], ("modules_to_save: a list",))


def test_the_file_is_readable_and_the_same_whoever_writes_it():
    (one,) = inspect(make.lora({"target_modules": "all-linear"})).rewritten
    again = json.dumps(json.loads(one.data), indent=2, sort_keys=True)
    assert one.data.decode() == f"{again}\n"
    assert inspect(make.lora() | {CONFIG: one.data}).rewritten == ()


def test_it_depends_on_the_folder_alone(base):
    files = make.lora({"target_modules": ".*(query|value)"})
    assert inspect(files).rewritten == inspect(files, base).rewritten


def test_a_refused_configuration_is_not_rewritten():
    assert inspect(make.lora({"target_modules": ".*", "r": 10**9})).rewritten == ()


def test_the_news_is_told_in_one_sentence():
    found = inspect(make.lora({"target_modules": "all-linear", "exclude_modules": ["pooler"], "revision": "main"}))
    told = f"{CONFIG} is written anew by a hub (exclude_modules: {rewriting.CHOSEN}; target_modules: {PROVEN})"
    assert told in found.notices
    (check,) = [check for check in found.checks if check["name"] == "config"]
    assert check["status"] == "warning" and told in check["message"]


class TestOtherMethods:
    def ia3(self, shapes=((1, 8), (8, 1)), **config):
        names = ("bert.encoder.layer.0.output.dense", "bert.encoder.layer.0.attention.self.value")
        table = {f"{make.PREFIX}{name}.ia3_l": shape for name, shape in zip(names, shapes, strict=True)}
        return names, make.peft("IA3", {"target_modules": ["dense", "value"], **config}, table)

    def test_feedforward_modules_by_a_pattern_are_told_by_the_shapes(self):
        (dense, value), files = self.ia3(feedforward_modules="(.+)+dense")
        config, _ = served(files)[CONFIG]
        assert (config["target_modules"], config["feedforward_modules"]) == ([value, dense], [dense])

    def test_feedforward_modules_by_a_pattern_are_refused_where_the_shapes_do_not_tell(self):
        _, files = self.ia3(((1, 1), (8, 1)), feedforward_modules=".*dense")
        assert refused(files) == {"config.pattern": f"{CONFIG}: feedforward_modules"}

    def test_feedforward_modules_stay_a_part_of_the_modules_that_are_written_out(self):
        (dense, value), files = self.ia3(target_modules=".*", feedforward_modules=["output.dense"])
        config, _ = served(files)[CONFIG]
        assert config["feedforward_modules"] == [dense]

    def test_feedforward_modules_that_are_no_names_are_refused(self):
        for value in (["(a+)+"], [3], [""], {"dense": 1}):
            _, files = self.ia3(feedforward_modules=value)
            assert set(refused(files)) <= {"config.pattern", "config.type"} and refused(files), value

    def test_parameters_beyond_number_are_refused(self):
        names = [f"mlp.experts.p{n}" for n in range(257)]
        assert refused(make.lora({"target_parameters": names})) == {"config.type": f"{CONFIG}: target_parameters"}
        assert refused(make.lora({"target_parameters": names[:256]})) == {}

    @pytest.mark.parametrize(("said", "parameter"), [
        (None, "mlp.experts.down_proj"), (None, "down_proj"), ("(a+)+b", "mlp.experts.down_proj"),
    ])  # fmt: skip
    def test_parameters_without_modules_are_served_with_an_empty_list(self, said, parameter):
        keys = {"r": 4, "target_parameters": [parameter]}
        config, changes = served(good.parameters(**keys, target_modules=said))[CONFIG]
        assert config["target_modules"] == []
        assert changes == ("target_modules: none, the tensors prove parameters alone",)
        assert served(good.parameters(**keys, target_modules=[])) == {}

    def test_modules_beside_parameters_are_served_by_name_where_nothing_names_them(self):
        files = make.lora({"target_modules": None, "target_parameters": ["attention.self.value.weight"]})
        config, changes = served(files)[CONFIG]
        assert config["target_modules"] == [name for name in MODULES if name.endswith("query")]
        assert changes == (f"target_modules: the list of the {make.LAYERS} modules that the tensors prove",)

    def test_where_nothing_tells_parameters_from_modules_the_list_has_to_be_written(self):
        files = make.lora({"target_modules": None, "target_parameters": ["weight"]})
        assert refused(files) == {"config.pattern": f"{CONFIG}: target_modules"}

    @pytest.mark.parametrize("name", good.BESIDE_PARAMETERS)
    def test_a_pattern_beside_parameters_alone_is_not_served(self, name):
        keys = good.BESIDE_PARAMETERS[name]
        config, changes = served(good.parameters(**keys))[CONFIG]
        assert good.EVIL not in json.dumps(config) and not set(keys) & set(config)
        assert (config["target_parameters"], config["target_modules"]) == (["mlp.experts.down_proj"], [])
        assert {change.partition(":")[0] for change in changes} == {*keys, "target_modules"}

    def test_names_beside_parameters_alone_stay(self):
        keys = {"layers_to_transform": [0], "layers_pattern": "layers", "exclude_modules": ["lm_head"]}
        assert served(good.parameters(**keys, target_modules=[])) == {}

    @pytest.mark.parametrize("key", ["target_modules", "exclude_modules", "layers_pattern"])
    def test_a_pattern_that_nothing_wrote_out_is_refused_before_it_is_served(self, key, monkeypatch):
        files = make.lora({"layers_to_transform": [0, 1], key: BOMBS["of choices"]["exclude_modules"]})
        assert refused(files) == {}
        monkeypatch.setattr(peft_rebuilt._Writer, "change_targets", lambda writer: None)
        assert refused(files) == {"config.pattern": f"{CONFIG}: {key}"}
        assert refused(make.lora({"exclude_modules": "pooler"})) == {}

    def prompt(self, **config):
        keys = {"num_virtual_tokens": 3, "token_dim": 8, "prompt_tuning_init": "RANDOM", **config}
        return make.peft("PROMPT_TUNING", keys, {"prompt_embeddings": (3, 8)})

    def test_a_prompt_keeps_no_text_and_no_tokenizer(self):
        assert served(self.prompt()) == {}
        code = {"trust_remote_code": True}
        text = {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "Tell me", "tokenizer_name_or_path": "eve/t"}
        config, changes = served(self.prompt(**text, tokenizer_kwargs=code))[CONFIG]
        assert not {*text, "tokenizer_kwargs"} & set(config)
        assert len(changes) == 4 and "target_modules" not in config

    def test_a_prompt_has_no_modules_to_name(self):
        config, changes = served(self.prompt(target_modules="(a+)+b"))[CONFIG]
        assert "target_modules" not in config and changes == ("target_modules: removed",)

    def test_numbers_by_module_take_no_pattern(self):
        table = {f"{make.PREFIX}{MODULES[0]}.delora_{name}": shape for name, shape in
                 (("A", (2, 8)), ("B", (8, 2)), ("lambda", (1,)))}  # fmt: skip
        for pattern, codes in (
            ({"query": 3.0}, {}),
            ({"(a+)+": 3.0}, {"config.pattern"}),
            ({"query": "x"}, {"config.alpha"}),
        ):
            files = make.peft("DELORA", {"r": 2, "target_modules": ["query"], "lambda_pattern": pattern}, table)
            assert set(refused(files)) == set(codes), pattern

    def test_a_table_of_tokens_that_may_be_tied_is_to_be_named(self):
        for names, codes in ((["lm_head", "model.embed_tokens"], {"config.pattern"}), (["model.embed_tokens"], set())):
            table = {f"{make.PREFIX}{name}.trainable_tokens_delta": (2, 8) for name in names}
            files = make.peft("TRAINABLE_TOKENS", {"token_indices": [1, 2], "target_modules": ".*"}, table)
            assert set(refused(files)) == codes

    def test_llama_adapter_takes_the_end_of_a_name(self):
        module = f"{make.PREFIX}model.layers.0.self_attn.adaption_"
        table = {f"{module}prompt": (1, 2, 8), f"{module}gate": (1,)}
        for target, codes in (("self_attn", set()), (".*attn", {"config.pattern"})):
            keys = {"adapter_len": 2, "adapter_layers": 1, "target_modules": target}
            files = make.peft("ADAPTION_PROMPT", keys, table)
            assert set(refused(files)) == codes
            assert inspect(files).rewritten == ()

    def test_of_a_method_known_by_name_only_what_imports_is_removed_and_the_rest_stays(self):
        keys = {"target_modules": ".*query", "revision": "main", "anything": {"of": "its own"}}
        config, changes = served(make.peft("ADAMSS", keys, {f"{make.PREFIX}{MODULES[0]}.adamss_A": (4,)}))[CONFIG]
        assert changes == (f"revision: {rewriting.UNREAD}",)
        assert (config["target_modules"], config["anything"]) == (".*query", {"of": "its own"})


class TestAdapterHub:
    def test_a_place_is_null_in_both_files(self):
        found = served(make.bottleneck({"model_name": "/home/ann/bert"}, head={"model_name": "C:\\bert"}))
        assert {path: config["model_name"] for path, (config, _) in found.items()} == {CONFIG: None, HEAD: None}

    def test_an_unknown_key_and_a_text_are_removed(self):
        config = {"entry_point": "os.system", "config": {"dropout": 0.0, "init_weights": "a path/of mine"}}
        found, changes = served(make.bottleneck(config))[CONFIG]
        assert changes == ("config.init_weights: removed", "entry_point: removed")
        assert "entry_point" not in found and found["config"]["dropout"] == 0.0

    def test_a_prompt_s_first_text_is_removed_from_every_part_of_a_union(self):
        from hub.spec import components, errors
        from hub.spec.methods import adapterhub_rebuilt

        part = {"architecture": "prompt_tuning", "prompt_init": "from_string", "prompt_init_text": "Tell me"}
        config = {"name": "a", "model_type": "bert", "config": {"architecture": "union", "configs": [part]}}
        source = components.Source("", config, CONFIG, "", (), errors.Collector())
        (one,) = adapterhub_rebuilt.rebuilt(source)
        assert json.loads(one.data)["config"]["configs"] == [{"architecture": "prompt_tuning"}]


CODE = {"auto_map": {"AutoModel": "evil/repo--modeling.Evil"}, "custom_pipelines": {"x": {"impl": "evil.P"}}}


@pytest.mark.parametrize(
    "path", ["config.json", "tokenizer_config.json", "processor_config.json", "generation_config.json", "a/Config.JSON"]
)
def test_what_names_code_to_import_is_served_in_no_configuration(path):
    kept = {"model_type": "bert", "id2label": {"1": "b", "0": "a"}}
    found = served(make.lora() | {path: json.dumps(CODE | kept).encode()})
    config, changes = found[path]
    assert config == kept and list(config["id2label"]) == ["1", "0"]
    assert [change.partition(":")[0] for change in changes] == sorted(CODE)
    again = make.lora() | {path: json.dumps(config).encode()}
    assert served(again) == {}


def test_a_configuration_that_names_no_code_keeps_its_bytes():
    for value in ({"auto_map": None, "model_type": "bert"}, [CODE], "auto_map"):
        assert served(make.lora() | {"processor_config.json": json.dumps(value).encode()}) == {}


@pytest.mark.parametrize("name", ["adapter_fusion_config.json", "head_config.json", "a/head_config.json"])
def test_an_adapter_s_configuration_that_nobody_reads_is_not_served(name):
    hostile = {"peft_type": "LORA", "target_modules": BOMBS["of choices"]["exclude_modules"], "model_name": "/home/ann"}
    found = inspect(make.lora() | {name: json.dumps(hostile).encode()})
    assert {(problem.code, problem.where) for problem in found.problems} == {("files.unused", name)}
