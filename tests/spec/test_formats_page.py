"""docs/formats.md lists every method of the tables, with the equations that the code checks.

`PYTHONPATH=. python tests/spec/test_formats_page.py` writes the tables anew.
"""

import json
import re
from pathlib import Path

import pytest

from hub.spec import validation
from hub.spec.validation import MemorySnapshot
from tests.specimens.adapterhub import drawn
from tests.specimens.spec import builders

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
ZOO = Path(__file__).resolve().parents[1] / "specimens" / "adapterhub" / "zoo.json"
FUSION = next(files for name, _, files in drawn.samples() if name == "fusion on bert")
TABLES = ("peft", "adapters", "configurations")


def adapters():
    from hub.spec.methods import adapterhub_table

    yield "| container | tensors at a module, or in the file | numbers from the configuration |"
    yield "|---|---|---|"
    for row in adapterhub_table.CONTAINERS.values():
        told = "<br>".join(", ".join(map(slot, form.slots)) for form in row.forms)
        numbers = ", ".join(f"{knob.symbol} = `{knob.key}`" for knob in row.knobs)
        yield f"| `{row.container}`{' (once)' * row.once} | {told} | {numbers} |"


def peft():
    from hub.spec.methods import peft_runs, peft_table

    yield "| peft_type | method | shapes | runs here | tensors at a module, or in the file | numbers from the configuration |"
    yield "|---|---|---|---|---|---|"
    for row in peft_table.ROWS:
        forms = [
            f"{form.kind}: " * (form.kind not in ("linear", "any")) + ", ".join(map(slot, form.slots))
            for form in row.forms
        ]
        forms += [", ".join(map(slot, row.prompts or ()))] if row.prompts else []
        forms += ["once: " + ", ".join(map(slot, row.shared))] if row.shared else []
        told = "<br>".join(forms) or (
            f"refused: {row.refused}" if row.refused else f"`{row.mark}...`, named only: no shape is checked"
        )
        numbers = ", ".join(f"{knob.symbol} = `{knob.key}`" for knob in row.knobs)
        shapes = "refused" if row.refused else "checked" if row.checked else "not checked"
        runs = "yes" if row.name in peft_runs.RUNS else "by PEFT" if row.name in peft_runs.BY_LIBRARY else "no"
        yield f"| `{row.type}` | {row.title} | {shapes} | {runs} | {told} | {numbers} |"


def configurations():
    """Every configuration that the library names, as its own sample on a BERT is read."""
    yield "| configuration | read as | shapes | runs here |"
    yield "|---|---|---|---|"
    for sample in json.loads(ZOO.read_text()):
        name, _, changed = sample["config"].partition("[")
        # a tiny BERT is too narrow for Compacter's own reduction factor
        small = name in ("compacter", "compacter++") and changed == "reduction_factor=4]"
        if sample["family"] != "bert" or (changed and not small):
            continue
        # a fusion with the adapters that it fuses, as save_adapter_setup writes them
        files = sample["files"] if name != "fusion" else FUSION
        found = validation.inspect(MemorySnapshot(files_of(files)), None, to_run=False)
        (component,) = found.components
        also = f" ({component.variant})" if component.variant != component.method else ""
        shapes = "checked" if component.checked else "not checked"
        yield f"| `{name}` | {component.method}{also} | {shapes} | {'no' if component.unrun else 'yes'} |"


def files_of(files):
    kept = {"pytorch_adapter.bin": "adapter.safetensors", "pytorch_model_head.bin": "model_head.safetensors"}
    return {
        kept.get(name, name): json.dumps(content).encode() if name.endswith(".json")
        else builders.safetensors({key: (dtype, tuple(shape)) for key, (dtype, shape) in content.items()})
        for name, content in files.items()
    }  # fmt: skip


def slot(item):
    axes = "" if item.axes is None else f" [{', '.join(item.axes)}]"
    marks = [word for word, on in (("optional", item.optional), ("fixed", item.fixed), ("integer", item.integer)) if on]
    return f"`{item.role}{axes}`" + (f" ({', '.join(marks)})" if marks else "")


def rows(name):
    return list({"peft": peft, "adapters": adapters, "configurations": configurations}[name]())


@pytest.mark.parametrize("name", TABLES)
def test_the_page_has_every_row_of_the_table(name):
    inner = PAGE.read_text().partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
    assert inner.strip().splitlines() == rows(name)


if __name__ == "__main__":
    for name in TABLES:
        table = "\n".join([f"<!-- {name} -->", *rows(name), f"<!-- /{name} -->"])
        PAGE.write_text(
            re.sub(
                f"<!-- {name} -->.*<!-- /{name} -->", lambda _, table=table: table, PAGE.read_text(), flags=re.DOTALL
            )
        )
