"""X-LoRA as PEFT writes it: a classifier whose layers follow from the configuration, and experts in folders of their own."""

import copy
import itertools
import json
import logging
import warnings

import peft
import pytest
from peft.tuners.xlora.model import XLoraModel
from safetensors.torch import save

from hub.spec import compatibility, scan, validation
from hub.spec.snapshot import MemorySnapshot
from tests.specimens.spec import builders

EXPERTS = ("first", "second")
DEPTHS = tuple(
    {"xlora_depth": depth, "xlora_size": 10, "xlora_dropout_p": drops, "layerwise_scalings": layerwise}
    for depth, drops, layerwise in itertools.product((1, 2, 3), (0.0, 0.2), (False, True))
)


def named(settings):
    return "-".join(f"{value}" for value in settings.values())


@pytest.fixture(scope="module")
def written(models, tmp_path_factory):
    """An X-LoRA over two experts: its folder with all that the model holds, what it trains, and the folder that PEFT saves."""
    place = tmp_path_factory.mktemp("xlora")
    model = copy.deepcopy(models["llama"])
    model.config.use_cache = False
    experts = {name: place / name for name in EXPERTS}
    for folder in experts.values():
        peft.get_peft_model(
            copy.deepcopy(model), peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
        ).save_pretrained(folder)

    def write(**settings):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            try:
                paths = {name: str(folder) for name, folder in experts.items()}
                config = peft.XLoraConfig(hidden_size=24, adapters=paths, task_type="CAUSAL_LM", **settings)
                made = peft.get_peft_model(copy.deepcopy(model), config)
                saved = place / named(settings)
                made.save_pretrained(saved)
            finally:
                logging.disable(logging.NOTSET)
        tensors = XLoraModel._get_adapter_state_dict(made, config, "default", made.state_dict(), [])
        files = {
            f"{number}/{path}": data
            for number, name in enumerate(EXPERTS)
            for path, data in read(experts[name]).items()
        }
        files |= {"adapter_model.safetensors": save(tensors), "adapter_config.json": read(saved)["adapter_config.json"]}
        classifier = made.base_model.internal_xlora_classifier
        return files, sum(parameter.numel() for parameter in classifier.parameters()), read(saved)

    return write


def read(folder):
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".json", ".safetensors")
    }


def inspect(files, base=None):
    return validation.inspect(MemorySnapshot(files), base, to_run=False)


def codes(found):
    return {problem.code for problem in found.problems}


def told(found):
    return [str(problem) for problem in found.problems]


def table(files):
    return {tensor.name: (tensor.dtype, tensor.shape) for tensor in scan.header(
        MemorySnapshot(files), "adapter_model.safetensors")}  # fmt: skip


def rewritten(files, change):
    return files | {"adapter_model.safetensors": builders.safetensors(change(table(files)))}


def configured(files, **changes):
    config = json.loads(files["adapter_config.json"]) | changes
    return files | {"adapter_config.json": json.dumps(config).encode()}


@pytest.mark.parametrize("settings", DEPTHS, ids=named)
def test_what_peft_writes_is_read_with_its_experts(settings, written, bases):
    files, trainable, _ = written(**settings)
    for base in (bases["llama"], None):
        found = inspect(files, base)
        assert found.ok, told(found)
        by_method = {}
        for component in found.components:
            by_method.setdefault(component.method, []).append(component)
        (classifier,) = by_method["xlora"]
        assert classifier.checked
        assert classifier.parameters == trainable
        assert len(by_method["lora"]) == len(EXPERTS)
    assert compatibility.check(inspect(files), bases["llama"]).level == "shape_only"


@pytest.mark.parametrize("settings", DEPTHS, ids=named)
def test_with_a_layer_less_or_a_shape_changed_it_is_refused(settings, written, bases):
    files, _, _ = written(**settings)
    for name, (dtype, shape) in table(files).items():
        assert not inspect(
            rewritten(files, lambda all_, name=name: {key: one for key, one in all_.items() if key != name})
        ).ok
        for axis in range(len(shape)):
            wrong = (*shape[:axis], shape[axis] + 1, *shape[axis + 1 :])
            changed = rewritten(files, lambda all_, name=name, one=(dtype, wrong): all_ | {name: one})
            assert not inspect(changed, bases["llama"]).ok, (name, wrong)


@pytest.mark.parametrize(
    "changes", [{"xlora_depth": 2}, {"xlora_size": 11}, {"hidden_size": 25}, {"adapters": {"only": "x"}},
                {"xlora_depth": 1 << 19}, {"xlora_depth": 0}, {"xlora_depth": True}, {"xlora_dropout_p": 0.0}],
    ids=str)  # fmt: skip
def test_another_configuration_than_the_tensors_is_refused(changes, written, bases):
    files, _, _ = written(xlora_depth=3, xlora_size=10, xlora_dropout_p=0.2, layerwise_scalings=False)
    assert inspect(files, bases["llama"]).ok
    assert not inspect(configured(files, **changes), bases["llama"]).ok


def test_a_base_of_another_width_is_refused_and_told(written, bases):
    files, _, _ = written(xlora_depth=1, xlora_size=10, xlora_dropout_p=0.2, layerwise_scalings=False)
    narrow = builders.base()
    found = inspect({path: data for path, data in files.items() if "/" not in path}, narrow)
    assert codes(found) == {"tensors.shape"}
    assert "[2, 24]" in told(found)[0] and "[2, 8]" in told(found)[0]


@pytest.mark.parametrize("settings", DEPTHS, ids=named)
def test_what_peft_itself_leaves_out_of_the_file_is_told(settings, written):
    """PEFT 0.21 drops every key with an expert's number in it, and calls its experts 0 and 1: layer 0 is never saved."""
    _, _, saved = written(**settings)
    if "adapter_model.safetensors" in saved:
        assert not any(".layers.0." in name for name in table(saved))
    found = inspect(saved)
    assert codes(found) <= {"tensors.missing", "tensors.unknown", "tensors.none", "files.weights"} and not found.ok
