"""What an adapter was trained on: said, guessed, or not told."""

import json

import pytest

from hub.spec import card
from hub.spec.errors import SpecError
from hub.spec.snapshot import MemorySnapshot
from tests.specimens.spec import builders as make

NF4 = "unsloth/tinyllama-bnb-4bit"


def facts(named="bert-base-uncased", readme=b"", **hub):
    files = make.lora({"base_model_name_or_path": named}) | {"README.md": readme}
    return card.read(MemorySnapshot(files | ({"hub.json": json.dumps(hub).encode()} if hub else {})))


def test_the_name_of_a_quantised_copy_is_a_guess_that_no_file_is_the_source_of():
    found = facts(NF4, base="tinyllama")
    assert (found.base, found.trained_on) == ("tinyllama", NF4)
    assert found.sources["trained_on"] == card.GUESSED


def test_a_readme_that_names_one_is_guessed_from_too():
    assert facts(readme=f"---\nbase_model: {NF4}\n---\n".encode()).trained_on == NF4


def test_what_hub_json_says_is_no_guess():
    found = facts(NF4, trained_on="base:" + "0" * 64)
    assert (found.trained_on, found.sources["trained_on"]) == ("base:" + "0" * 64, "hub.json")


@pytest.mark.parametrize("named", ["None", "null", " none ", "", None])
def test_a_word_for_nothing_names_no_base(named):
    assert facts(named).base is None


def test_another_name_is_nothing():
    assert facts().trained_on is None
    assert facts("/home/me/model-bnb-4bit").trained_on is None


@pytest.mark.parametrize("said", ["/home/me/model", 4, ["a"], "base:" + "0" * 63])
def test_what_is_no_base_model_is_refused(said):
    with pytest.raises(SpecError, match="trained_on"):
        facts(trained_on=said)


TEMPLATE = b"""---
library_name: peft
---
# Model Card for Model ID

### Recommendations

Users (both direct and downstream) should be made aware of the risks, biases and limitations of the model. More information needed for further recommendations.

## How to Get Started with the Model

Use the code below to get started with the model.

[More Information Needed]

## Environmental Impact

Carbon emissions can be estimated using the [Machine Learning Impact calculator](https://mlco2.github.io/impact#compute) presented in [Lacoste et al. (2019)](https://arxiv.org/abs/1910.09700).

## Citation [optional]

**BibTeX:**

[More Information Needed]

**APA:**

[More Information Needed]
"""


def test_a_card_that_nobody_filled_in_describes_nothing():
    assert facts(readme=TEMPLATE).description == ""
    assert facts(readme=TEMPLATE + b"\nTells praise from blame.\n").description == "Tells praise from blame."
