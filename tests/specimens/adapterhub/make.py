"""Write the golden specimens of this folder with the AdapterHub library itself.

Needs an environment of its own, because `adapters` 1.3.0 wants transformers 4.57:

    pip install torch==2.13.0 && pip install transformers==4.57.6 adapters==1.3.0
    python tests/specimens/adapterhub/make.py

Writes `../tiny-bert` (a random BERT with a tokenizer), one folder per adapter, and `expected.json`: the
logits that the library computes for the token ids given there. The weights are random but seeded.
"""

import json
import shutil
import string
from pathlib import Path

import adapters  # type: ignore[import-not-found]
import torch
from adapters import (  # type: ignore[import-not-found]
    BertAdapterModel,
    BnConfig,
    DoubleSeqBnConfig,
    SeqBnConfig,
)
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

HERE = Path(__file__).parent
BASE = HERE.parent / "tiny-bert"
WORDS = [
    "a",
    "an",
    "the",
    "it",
    "this",
    "that",
    "is",
    "was",
    "be",
    "not",
    "very",
    "and",
    "or",
    "but",
    "film",
    "movie",
    "story",
    "plot",
    "acting",
    "food",
    "battery",
    "room",
    "service",
    "good",
    "great",
    "fine",
    "lovely",
    "charming",
    "warm",
    "bright",
    "fresh",
    "superb",
    "bad",
    "awful",
    "dull",
    "cold",
    "bland",
    "broken",
    "messy",
    "boring",
    "poor",
    "one",
    "two",
    "three",
    "cat",
    "dog",
    "man",
    "woman",
    "plays",
    "eats",
    "sleeps",
    "runs",
    "outside",
    "inside",
    "animal",
    "person",
]
PREPARED = {
    "double_seq_bn": (DoubleSeqBnConfig(reduction_factor=4), "flex"),
    "seq_bn": (SeqBnConfig(reduction_factor=4), "flex"),
    "seq_bn_leave_out": (
        SeqBnConfig(reduction_factor={"1": 8, "default": 4}, leave_out=[0], non_linearity="gelu"),
        "flex",
    ),
    "post_add": (
        BnConfig(
            mh_adapter=True,
            output_adapter=True,
            reduction_factor=8,
            non_linearity="swish",
            original_ln_before=True,
            residual_before_ln="post_add",
        ),
        "flex",
    ),
    "double_seq_bn_static": (DoubleSeqBnConfig(reduction_factor=4), "static"),
    "seq_bn_pooled": (SeqBnConfig(reduction_factor=4), "pooled"),
}


def tokenizer() -> BertTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = list(string.ascii_lowercase + string.digits + string.punctuation)
    vocabulary = special + letters + [f"##{c}" for c in string.ascii_lowercase + string.digits] + WORDS
    vocabulary = list(dict.fromkeys(vocabulary))
    plain = BertWordPieceTokenizer({word: i for i, word in enumerate(vocabulary)}, lowercase=True)
    return BertTokenizerFast(tokenizer_object=plain._tokenizer, do_lower_case=True, model_max_length=64)


def base() -> None:
    words = tokenizer()
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    shutil.rmtree(BASE, ignore_errors=True)
    BertModel(config).save_pretrained(BASE, safe_serialization=True)
    words.save_pretrained(BASE)
    for extra in ("special_tokens_map.json", "vocab.txt"):
        (BASE / extra).unlink(missing_ok=True)


def model(kind: str, config):
    torch.manual_seed(11)
    if kind == "static":
        made = BertForSequenceClassification.from_pretrained(BASE, num_labels=3)
        adapters.init(made)
    else:
        made = BertAdapterModel.from_pretrained(BASE)
    made.add_adapter("task", config=config)
    if kind != "static":
        pooled = {"layers": 1, "use_pooler": True} if kind == "pooled" else {}
        made.add_classification_head("task", num_labels=3, id2label={0: "low", 1: "mid", 2: "high"}, **pooled)
    made.set_active_adapters("task")
    for name, parameter in made.named_parameters():
        if "adapters.task" in name or "heads.task" in name or name.startswith("classifier"):
            torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def inputs() -> dict[str, list[list[int]]]:
    words = tokenizer()
    texts = [
        "a lovely charming film",
        "the plot is dull",
        "bad",
        "it is not a very good movie and the acting was poor",
    ]
    found = words(texts, padding=True)
    return {key: list(found[key]) for key in ("input_ids", "attention_mask", "token_type_ids")}


def tidy(folder: Path) -> None:
    """No path of the machine that wrote them in the configurations; files readable by all."""
    for path in folder.rglob("*"):
        if path.suffix == ".json":
            path.write_text(path.read_text().replace(str(BASE), BASE.name))
        if path.is_file():
            path.chmod(0o644)


def main() -> None:
    base()
    given = inputs()
    expected = {"inputs": given, "logits": {}}
    for name, (config, kind) in PREPARED.items():
        made = model(kind, config)
        with torch.no_grad():
            logits = made(**{key: torch.tensor(value) for key, value in given.items()}).logits
        folder = HERE / name
        shutil.rmtree(folder, ignore_errors=True)
        made.save_adapter(folder, "task", with_head=kind != "static", use_safetensors=True)
        if kind == "static":
            made.save_head(folder, use_safetensors=True)
        tidy(folder)
        expected["logits"][name] = logits.tolist()
    tidy(BASE)
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1))


if __name__ == "__main__":
    main()
