"""What PEFT writes where an adapter touches the tables of tokens or a model's head: copies of tables beside what adapts
them, tables that are tied to one another, rows of tokens, and heads that are called otherwise than BERT's."""

import copy
import json
import logging
import warnings

import peft
import pytest
import torch
import transformers

from hub import base_folder
from hub.spec import compatibility
from tests.formats import zoo
from tests.formats.written import read, rewritten, told

LLAMA = zoo._GROUPED
BART = {
    "vocab_size": 40, "d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 16,
}  # fmt: skip
T5 = {"vocab_size": 40, "d_model": 24, "d_kv": 6, "d_ff": 48, "num_layers": 2, "num_heads": 4}
MORE = {
    "tied": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(tie_word_embeddings=True, **LLAMA)),
    "phi": lambda: transformers.PhiForCausalLM(transformers.PhiConfig(vocab_size=40, **zoo._TEXT)),
    "bart": lambda: transformers.BartForSequenceClassification(transformers.BartConfig(**BART)),
    "t5 classifier": lambda: transformers.T5ForSequenceClassification(transformers.T5Config(**T5)),
}
CAUSAL = {"task_type": "CAUSAL_LM"}
HEAD = {"target_modules": ["q_proj", "lm_head"], **CAUSAL}
ROWS = {"token_indices": [1, 2]}
WRITTEN = (
    ("llama", "LoraConfig", HEAD),
    ("llama", "LoraConfig", HEAD | {"target_modules": r".*\.?(q_proj|lm_head)"}),
    ("llama", "LoraConfig", HEAD | {"use_dora": True}),
    ("llama", "LoHaConfig", HEAD),
    ("llama", "IA3Config", HEAD | {"feedforward_modules": []}),
    ("tied", "LoraConfig", HEAD),
    ("tied", "LoraConfig", HEAD | {"target_modules": ["q_proj", "embed_tokens", "lm_head"]}),
    ("tied", "LoraConfig", HEAD | {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True}),
    ("tied", "LoraConfig", {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True, **CAUSAL}),
    ("gpt2", "LoraConfig", HEAD | {"target_modules": ["c_attn", "lm_head"]}),
    ("phi", "LoraConfig", HEAD),
    ("llama", "TrainableTokensConfig", ROWS),
    ("llama", "TrainableTokensConfig", ROWS | {"target_modules": ["embed_tokens", "lm_head"]}),
    ("llama", "LoraConfig", {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [1], "lm_head": [2, 3]}, **CAUSAL}),
    ("tied", "TrainableTokensConfig", ROWS),
    ("gpt2", "TrainableTokensConfig", ROWS),
    ("whisper", "TrainableTokensConfig", ROWS),
    ("bart", "LoraConfig", {"target_modules": ["q_proj"], "modules_to_save": ["classification_head"], "task_type": "SEQ_CLS"}),
    ("t5 classifier", "LoraConfig", {"target_modules": ["q"], "modules_to_save": ["classification_head"], "task_type": "SEQ_CLS"}),
)  # fmt: skip
# a table that may be tied to another one asks for nothing
UNPROVEN = {"whisper"}


@pytest.fixture(scope="module")
def zoo_and_more(models):
    torch.manual_seed(0)
    return models | {name: make().eval() for name, make in MORE.items()}


@pytest.fixture(scope="module")
def save(zoo_and_more, tmp_path_factory):
    """Let PEFT save an adapter: the files, its base model, and how many parameters PEFT trains."""
    place = tmp_path_factory.mktemp("tables")
    known = {}

    def saved(family, name, settings, **options):
        if family not in known:
            zoo_and_more[family].save_pretrained(place / "base" / family)
            known[family] = base_folder.read(place / "base" / family)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            try:
                model = peft.get_peft_model(copy.deepcopy(zoo_and_more[family]), getattr(peft, name)(**settings))
                model.save_pretrained(place / "adapter", **options)
            finally:
                logging.disable(logging.NOTSET)
        names = ("adapter_config.json", "adapter_model.safetensors")
        files = {name: (place / "adapter" / name).read_bytes() for name in names}
        return files, known[family], model.get_nb_trainable_parameters()[0]

    return saved


def counted(component):
    return component.parameters + component.head_parameters + component.saved_parameters


@pytest.mark.parametrize("option", WRITTEN, ids=lambda option: f"{option[1]}-{option[0]}")
def test_what_peft_writes_beside_tables_and_heads_is_read(option, save):
    files, base, trainable = save(*option)
    for known in (base, None):
        found = read(files, known)
        assert found.ok, told(found)
        (component,) = found.components
        assert counted(component) == trainable
    level = compatibility.check(read(files), base).level
    assert level == ("unknown" if option[0] in UNPROVEN else "shape_only")


@pytest.mark.parametrize("option", [WRITTEN[5], WRITTEN[9]], ids=str)
def test_what_adapts_a_tied_head_is_held_against_the_table(option, save):
    files, base, _ = save(*option)
    wrong = rewritten(files, lambda table: table | {"base_model.model.lm_head.lora_B.weight": ("F32", (41, 8))})
    (problem,) = told(read(wrong, base))
    assert "lm_head.lora_B.weight" in problem and "[40, 8]" in problem


def test_a_copy_of_a_table_that_the_file_does_not_adapt_is_refused(save):
    files, base, _ = save("llama", "LoraConfig", {"target_modules": ["q_proj"], **CAUSAL})
    for name in ("lm_head", "model.embed_tokens"):
        key = f"base_model.model.{name}.base_layer.weight"
        more = rewritten(files, lambda table, key=key: table | {key: ("F32", (40, 24))})
        assert [problem.code for problem in read(more, base).problems] == ["tensors.base_layer"]


def test_what_adapts_the_head_and_is_not_named_is_refused_without_a_base_too(save):
    files, _, _ = save("tied", "LoraConfig", HEAD)
    config = json.loads(files["adapter_config.json"]) | {"target_modules": ["q_proj"]}
    found = read(files | {"adapter_config.json": json.dumps(config).encode()})
    assert {problem.code for problem in found.problems} == {"tensors.untargeted"}


@pytest.mark.parametrize("family", ["llama", "tied", "gpt2"])
def test_tables_that_nothing_declares_are_refused_with_what_to_do(family, save):
    targets = ["c_attn"] if family == "gpt2" else ["q_proj"]
    files, base, _ = save(family, "LoraConfig", {"target_modules": targets, **CAUSAL}, save_embedding_layers=True)
    for known in (base, None):
        found = read(files, known)
        assert not found.ok
        assert all("modules_to_save" in problem and "save_embedding_layers=False" in problem for problem in told(found))
    names = ["wte", "lm_head"] if family == "gpt2" else ["embed_tokens", "lm_head"]
    config = json.loads(files["adapter_config.json"]) | {"modules_to_save": names}
    assert read(files | {"adapter_config.json": json.dumps(config).encode()}, base).ok


def test_an_adapter_of_a_classifying_t5_fits_the_t5_it_came_from(save, bases):
    settings = {"target_modules": ["q"], "modules_to_save": ["classification_head"], "task_type": "SEQ_CLS"}
    files, _, _ = save("t5 classifier", "LoraConfig", settings)
    found = read(files, bases["t5"])
    assert found.ok, told(found)
    assert compatibility.check(read(files), bases["t5"]).level == "shape_only"


def test_a_classifier_that_was_not_saved_is_told_with_the_names_it_may_have(save):
    files, base, _ = save("bart", "LoraConfig", {"target_modules": ["q_proj"], "task_type": "SEQ_CLS"})
    (problem,) = told(read(files, base))
    assert "classification_head" in problem and "modules_to_save" in problem
