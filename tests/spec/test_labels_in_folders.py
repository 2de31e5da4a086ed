"""What the classes of a head are called: each adapter of a snapshot by the file that lies nearest to it."""

import json

import pytest

from hub.spec import validation
from hub.spec.validation import MemorySnapshot
from tests.specimens.spec import builders as make

PLAIN = {"negative": 0, "positive": 1}


def config(labels, **more):
    return json.dumps({"model_type": "bert", "label2id": labels, **more}).encode()


def inside(folder, files):
    return {f"{folder}/{path}": data for path, data in files.items()}


def labels_of(files):
    found = validation.inspect(MemorySnapshot(files), None)
    assert found.ok, [str(problem) for problem in found.problems]
    return {component.folder: component.head.labels for component in found.components}, found.facts


def test_a_config_in_a_folder_names_the_labels_of_the_adapter_there():
    files = inside("a", make.lora()) | {"a/config.json": config(PLAIN)} | inside("b", make.lora())
    labels, _ = labels_of(files)
    assert labels == {"a": ("negative", "positive"), "b": None}


def test_two_folders_have_labels_of_their_own_and_the_root_speaks_for_the_third():
    files = inside("a", make.lora()) | inside("b", make.lora()) | inside("c", make.lora())
    files |= {"a/config.json": config(PLAIN), "b/config.json": config({"no": 0, "yes": 1})}
    files |= {"config.json": config({"left": 0, "right": 1})}
    labels, _ = labels_of(files)
    assert labels == {"a": ("negative", "positive"), "b": ("no", "yes"), "c": ("left", "right")}


def test_an_only_adapter_in_a_folder_names_the_labels_of_the_snapshot():
    labels, facts = labels_of(inside("a", make.lora()) | {"a/config.json": config(PLAIN)})
    assert labels["a"] == facts.labels == ("negative", "positive")
    assert facts.sources["labels"] == "a/config.json"


def test_id2label_alone_says_it_too():
    files = make.lora(**{"config.json": json.dumps({"id2label": {"1": "positive", "0": "negative"}}).encode()})
    labels, _ = labels_of(files)
    assert labels[""] == ("negative", "positive")


@pytest.mark.parametrize("table", [{"0": "a", "2": "b"}, {"x": "a", "1": "b"}, {"0": "a", "1": "a"}, {"0": 1, "1": 2}, [1],
                                   {"0": "LABEL_0", "1": "LABEL_1"}, {}])  # fmt: skip
def test_an_id2label_that_says_nothing_usable_is_no_label(table):
    labels, _ = labels_of(make.lora(**{"config.json": json.dumps({"id2label": table}).encode()}))
    assert labels[""] is None


def test_hub_json_is_believed_before_every_folder():
    files = inside("a", make.lora()) | {"a/config.json": config(PLAIN), "hub.json": b'{"labels": ["bad", "good"]}'}
    labels, _ = labels_of(files)
    assert labels["a"] == ("bad", "good")


def test_a_head_configuration_is_believed_before_the_config_beside_it():
    files = inside("a", make.bottleneck()) | {"a/config.json": config({"left": 0, "right": 1})}
    labels, _ = labels_of(files)
    assert labels["a"] == ("negative", "positive")


def test_untouched_labels_of_a_head_configuration_give_way_to_the_config_beside_it():
    untouched = {"config": {"label2id": {"LABEL_0": 0, "LABEL_1": 1}}}
    files = inside("a", make.bottleneck(head=untouched)) | {"a/config.json": config({"left": 0, "right": 1})}
    labels, _ = labels_of(files)
    assert labels["a"] == ("left", "right")


def test_labels_in_a_folder_that_are_not_those_of_the_head_are_refused():
    files = inside("a", make.lora()) | {"a/config.json": config({"x": 0, "y": 1, "z": 2})}
    found = validation.inspect(MemorySnapshot(files), None)
    assert {problem.code for problem in found.problems} == {"tensors.head_labels"}
