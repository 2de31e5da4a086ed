"""Several adapters in the sub-folders of one snapshot: each is judged alone, and each alone is asked for by `#folder`."""

import json

import pytest

from hub.spec import answers
from registry.models import BaseModel, BaseRelation, Fit, Version
from registry.queries import blobs, fits, grid, matrix
from tests.registry import adapters
from tests.registry import factories as make
from tests.registry.cast import Caller, report_for
from tests.registry.test_fits import other_values, register, tiny, work
from tests.registry.test_runs import seal
from tests.registry.workers import take

pytestmark = pytest.mark.django_db

PARTS = {"ask": ("query", 0.9), "tell": ("value", 0.8)}
"""Folder -> the module that its LoRA changes, and the accuracy that it reaches."""


def both(value: float = 0.01) -> dict[str, bytes]:
    """The files of a snapshot of two adapters."""
    files = adapters.lora(hub={"benchmarks": ["acme/tone"]}, readme="# Both\n\nOne asks, one tells.\n")
    kept = {path: files[path] for path in ("README.md", "hub.json")}
    for folder, (module, _) in PARTS.items():
        config = adapters.lora_config() | {"target_modules": [module]}
        tensors = {
            name.replace(".query.", f".{module}."): one for name, one in adapters.lora_tensors(value=value).items()
        }
        kept[f"{folder}/adapter_config.json"] = json.dumps(config).encode()
        kept[f"{folder}/adapter_model.safetensors"] = adapters.safetensors(tensors)
    return kept


def judged(owner: Caller, worker: Caller, base: BaseModel, *, ref: str = "acme/both", value: float = 0.01, **more):
    """Push it, and have a worker report what each of the two measured and answered; return the version and the claim."""
    assert owner.push(ref, both(value), **more).status == 202
    lease = take(worker, base.pk)
    report = report_for(lease.run)
    (score,) = report["components"][0]["scores"]
    report["components"] = [
        {
            "folder": folder,
            "scores": [score | {"value": accuracy, "interval": [accuracy - 0.05, accuracy + 0.05]}],
        }
        for folder, (_, accuracy) in PARTS.items()
    ]
    report["predictions"] = {score["digest"]: {"labels": [1] * 4, "folders": {"ask": [1] * 4, "tell": [0] * 4}}}
    answer = lease.report(seal(report))
    assert answer.status == 200, answer.json
    namespace, _, name = ref.partition("/")
    return Version.objects.filter(adapter__namespace__name=namespace, adapter__name=name).latest("number"), lease.claim


def taller_values(leaf: list) -> list:
    """A base model in which only the queries keep their size; every weight is another one."""
    name, dtype, shape, digest = leaf
    wanted = [2 * shape[0], *shape[1:]] if ".self.value." in name else shape
    return [name, dtype, wanted, digest[::-1]]


@pytest.fixture
def two(base, benchmark, owner, worker) -> Version:
    """acme/both:1, published, of two adapters."""
    return judged(owner, worker, base)[0]


@pytest.fixture
def bases(base, worker, admin) -> dict[str, BaseModel]:
    """The tiny base model, one of its shapes, and one that has room for one of the two only, which comes from it."""
    found = {
        "tiny-bert": base,
        "other-bert": register(worker, admin, "other-bert", tiny(other_values)),
        "odd-bert": register(worker, admin, "odd-bert", tiny(taller_values)),
    }
    make.make_base_relation(base=found["odd-bert"], parent=base, kind=BaseRelation.Kind.DERIVED)
    return found


LEVELS = {
    "tiny-bert": ("validated", "validated", "validated"),
    "other-bert": ("shape_only", "shape_only", "shape_only"),
    "odd-bert": ("incompatible", "derived", "incompatible"),
}
"""On each base: both together, the one that asks, the one that tells."""


def levels(verdict: dict) -> tuple[str, ...]:
    assert [part["folder"] for part in verdict["components"]] == list(PARTS)
    return (verdict["level"], *(part["level"] for part in verdict["components"]))


@pytest.mark.parametrize("name", LEVELS)
def test_every_way_to_ask_gives_each_component_the_same_level(two, bases, anybody, name):
    work()
    row = anybody.get(f"base-models/{name}/matrix?adapter=acme/both")["rows"][0]
    pulled = anybody.get(f"resolve?ref=acme/both&base={name}")["compatibility"]
    assert levels(row["cells"][0]) == levels(pulled) == LEVELS[name]
    assert row["cells"][0] == pulled
    given = tiny() if name == "tiny-bert" else tiny(other_values if name == "other-bert" else taller_values)
    asked = {"leaves": given["leaves"], "config": given["config"], "adapter": "acme/both"}
    assert levels(anybody.post("compat/check", asked)["results"][0]["compatibility"]) == LEVELS[name]


def test_a_page_of_the_matrix_has_the_components_in_every_cell(two, bases, anybody):
    work()
    found = anybody.get("base-models/tiny-bert/matrix")
    names = [column["base_model"]["name"] for column in found["columns"]]
    (row,) = found["rows"]
    assert {name: levels(cell) for name, cell in zip(names, row["cells"], strict=True)} == {
        name: LEVELS[name] for name in ("tiny-bert", "odd-bert")
    }


def test_a_component_shows_what_it_measured_itself(two, bases, anybody):
    work()
    for address in ("base-models/tiny-bert/matrix", "base-models/tiny-bert/matrix?adapter=acme/both"):
        cell, odd = anybody.get(address)["rows"][0]["cells"]
        for part in cell["components"]:
            (score,) = part["scores"]
            assert (score["folder"], score["value"]) == (part["folder"], PARTS[part["folder"]][1])
            assert part["evidence"]["ref"] == "acme/both:1"
        asks, tells = odd["components"]
        assert asks["scores"][0]["value"] == 0.9, "measured on the base that it comes from"
        assert (tells["scores"], tells["evidence"]) == ([], None)


def test_a_folder_is_asked_for_alone(two, bases, anybody):
    work()
    for folder, wanted in zip(PARTS, LEVELS["odd-bert"][1:], strict=True):
        row = anybody.get(f"base-models/odd-bert/matrix?adapter=acme/both%23{folder}")["rows"][0]
        pulled = anybody.get(f"resolve?ref=acme/both%23{folder}&base=odd-bert")
        assert row["adapter"] == f"acme/both#{folder}"
        assert row["cells"][0] == pulled["compatibility"]
        assert (pulled["compatibility"]["level"], "components" in pulled["compatibility"]) == (wanted, False)
        given = tiny(taller_values)
        asked = {"leaves": given["leaves"], "config": given["config"], "adapter": f"acme/both#{folder}"}
        assert anybody.post("compat/check", asked)["results"][0]["compatibility"]["level"] == wanted
    for address in ("base-models/odd-bert/matrix?adapter=acme/both%23no", "resolve?ref=acme/both%23no"):
        answer = anybody.get(address)
        assert (answer.status, answer["hint"]) == (404, "There are: ask, tell.")


def test_before_it_was_compared_a_component_is_unknown_where_nothing_ran(two, bases, anybody):
    Fit.objects.all().delete()
    tiny_, odd = anybody.get("base-models/tiny-bert/matrix")["rows"][0]["cells"]
    assert levels(tiny_) == LEVELS["tiny-bert"]
    assert levels(odd) == ("unknown", "unknown", "unknown")


def test_one_adapter_alone_has_no_components(published, anybody):
    work()
    assert "components" not in anybody.get("base-models/tiny-bert/matrix")["rows"][0]["cells"][0]
    assert "components" not in anybody.get("resolve?ref=acme/tone-bert&base=tiny-bert")["compatibility"]


def test_the_components_of_a_private_adapter_are_shown_to_its_members_alone(
    two, bases, owner, member, stranger, anybody
):
    work()
    two.adapter.visibility = "private"
    two.adapter.save(update_fields=["visibility"])
    for who in (owner, member):
        cell = who.get("base-models/tiny-bert/matrix?adapter=acme/both")["rows"][0]["cells"][0]
        assert [part["scores"][0]["value"] for part in cell["components"]] == [0.9, 0.8]
    for who in (stranger, anybody):
        assert who.get("base-models/tiny-bert/matrix")["rows"] == []
        for ref in ("acme/both", "acme/both%23ask"):
            assert who.get(f"base-models/tiny-bert/matrix?adapter={ref}").status == 404


def test_what_turns_private_between_two_questions_is_left_out(two, bases, anybody, monkeypatch):
    work()
    targets = [fits.of_base(bases["tiny-bert"], anybody.viewer)]
    key, cells = two.adapter_id, grid.cells
    (column,) = cells([key], targets, anybody.viewer)
    assert levels(column[key]) == LEVELS["tiny-bert"], "the control: it is public"

    def hidden(*asked):
        type(two.adapter).objects.filter(pk=key).update(visibility="private")
        return cells(*asked)

    monkeypatch.setattr(grid, "cells", hidden)
    assert anybody.get("base-models/tiny-bert/matrix")["rows"] == []
    assert matrix.of_adapter(two.adapter, two, anybody.viewer) == []
    assert cells([key], targets, anybody.viewer) == [{}]


def test_scores_on_a_private_benchmark_are_not_shown_beside_a_component(
    two, bases, benchmark, owner, member, stranger, anybody
):
    work()
    type(benchmark).objects.update(visibility="private")
    for who, shown in ((owner, 1), (member, 1), (stranger, 0), (anybody, 0)):
        for address in ("base-models/tiny-bert/matrix", "base-models/tiny-bert/matrix?adapter=acme/both"):
            for part in who.get(address)["rows"][0]["cells"][0]["components"]:
                assert (part["level"], len(part["scores"])) == ("validated", shown)


def test_the_next_version_is_compared_folder_by_folder(two, base, benchmark, owner, worker):
    _, claim = judged(owner, worker, base, value=0.02)
    said = {
        (file["folder"], file["benchmark"]): answers.from_lines(blobs.store().read(file["sha256"]))
        for file in claim["previous"]["answers"]
    }
    digest = f"sha256:{benchmark.pk}"
    assert said == {("ask", digest): [1] * 4, ("tell", digest): [0] * 4}


def test_many_adapters_with_components_cost_the_same_few_queries(
    two, bases, base, owner, worker, anybody, django_assert_max_num_queries
):
    work()
    with django_assert_max_num_queries(200) as few:
        anybody.get("base-models/tiny-bert/matrix")
    count = len(few)
    for n in range(3):
        judged(owner, worker, base, ref=f"acme/both-{n}", value=0.02 + n / 100)
    work()
    with django_assert_max_num_queries(count):
        assert len(anybody.get("base-models/tiny-bert/matrix")["rows"]) == 4
