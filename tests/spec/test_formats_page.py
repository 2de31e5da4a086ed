"""docs/formats.md lists every method of the tables, with the equations that the code checks.

`python tests/spec/test_formats_page.py` writes the tables anew.
"""

import re
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
TABLES = ("peft", "adapters")


def adapters():
    from hub.spec.methods import adapterhub_table

    yield "| container | tensors at a module, or in the file | numbers from the configuration |"
    yield "|---|---|---|"
    for row in adapterhub_table.CONTAINERS.values():
        told = "<br>".join(", ".join(map(slot, form.slots)) for form in row.forms)
        numbers = ", ".join(f"{knob.symbol} = `{knob.key}`" for knob in row.knobs)
        yield f"| `{row.container}`{' (once)' * row.once} | {told} | {numbers} |"


def peft():
    from hub.spec.methods import peft_table

    yield "| peft_type | method | tensors at a module, or in the file | numbers from the configuration |"
    yield "|---|---|---|---|"
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
        yield f"| `{row.type}` | {row.title} | {told} | {numbers} |"


def slot(item):
    axes = "" if item.axes is None else f" [{', '.join(item.axes)}]"
    marks = [word for word, on in (("optional", item.optional), ("fixed", item.fixed), ("integer", item.integer)) if on]
    return f"`{item.role}{axes}`" + (f" ({', '.join(marks)})" if marks else "")


def rows(name):
    return list({"peft": peft, "adapters": adapters}[name]())


@pytest.mark.parametrize("name", TABLES)
def test_the_page_has_every_row_of_the_table(name):
    inner = PAGE.read_text().partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
    assert inner.strip().splitlines() == rows(name)


if __name__ == "__main__":
    sys.path.insert(0, str(PAGE.parents[1]))
    for name in TABLES:
        table = "\n".join([f"<!-- {name} -->", *rows(name), f"<!-- /{name} -->"])
        PAGE.write_text(
            re.sub(
                f"<!-- {name} -->.*<!-- /{name} -->", lambda _, table=table: table, PAGE.read_text(), flags=re.DOTALL
            )
        )
